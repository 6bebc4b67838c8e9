# SPDX-License-Identifier: Apache-2.0
"""What glance-api and glance-registry share: read the configuration, log, listen, serve in the foreground."""

import argparse
import contextlib
import dataclasses
import ipaddress
import logging
import re
import resource
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from glance import config
from glance.cli import logs
from glance.cli.arguments import absolute_path
from glance.cli.lifecycle import Lifecycle
from glance.cli.metrics import Metrics
from glance.cli.process import Refusal, describe, plain
from glance.core.errors import GlanceError
from glance.core.networks import Networks
from glance.serve import green
from glance.serve.listening import listen
from glance.serve.succession import Legacy, inherit
from glance.serve.tls import Tls
from glance.version import VERSION

OPEN = {  # what is worth a warning at start
    "glance-api": "no filter identifies callers, and {host} is open to other hosts: every client that reaches it "
    "has all rights (see docs/identity.md)",
    "glance-registry": "there is no registry_key, and {host} is open to other hosts: every client that reaches it "
    "has all rights (see docs/identity.md)",
}
OPEN_FILES = 32_768  # each connection, and each image on its way, needs one

_SECRET_NAME = re.compile(r"key|password|secret", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_USER_IN_URL = re.compile(r"/[^:/@]*:")
_PASSWORD_PARAMETER = re.compile(r"(password=)[^&]*", re.IGNORECASE)


def run(name: str, arguments: Sequence[str]) -> int:
    """Be that daemon until a signal ends it; the exit status."""
    legacy = inherit()
    options = _parser(name).parse_args(arguments)
    lifecycle = Lifecycle(name, legacy)
    try:
        _serve(name, options, legacy, lifecycle)
    except Refusal as refusal:
        reason = " ".join(str(refusal).split())
        print(f"ERROR: {reason}", file=sys.stderr, flush=True)
        lifecycle.refuses(reason)
        return 1
    except KeyboardInterrupt:
        return 130  # before it served: from then on SIGINT means to finish and end
    return 0


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=name,
        description=f"Run {name} in the foreground. glance-control starts it in the background.",
        epilog="SIGTERM and SIGINT let running requests finish for the grace time of the configuration "
        "(graceful_shutdown_timeout), SIGHUP lets them finish without limit. SIGUSR2 starts a successor, with the "
        "same command line, to which all new requests go. "
        "Under systemd use Type=notify: the daemon says when it answers.",
    )
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFPATH",
        help="configuration file; otherwise glance.conf in the current directory, ~/.glance, ~, /etc/glance or /etc",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    logs.declare(parser, name)
    parser.add_argument("--config-file", metavar="PATH", help="the same as CONFPATH")
    parser.add_argument(
        "--data-dir",
        type=absolute_path,
        metavar="DIR",
        help="use no configuration file but the built-in defaults, keep images and database below DIR, and listen on "
        "127.0.0.1",
    )
    return parser


def _serve(name: str, options: argparse.Namespace, legacy: Legacy | None, lifecycle: Lifecycle) -> None:
    path, loaded = _load(name, options)
    settings = loaded.settings
    logs.set_up(name, options, settings)
    log = logging.getLogger(name)
    if options.debug or settings.debug:
        log.debug("%s", _dump(path, settings))
    _raise_file_limit(log)
    assert isinstance(settings, config.ApiConfig | config.RegistryConfig)
    host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
    address = f"{host}:{settings.bind_port}"
    tls = _tls(settings)
    trusted_proxies = _trusted_proxies(settings)
    try:
        sockets = listen(settings.bind_host, settings.bind_port, backlog=settings.backlog, legacy=legacy)
    except OSError as error:
        raise Refusal(f"cannot listen on {address}: {plain(error)}") from error
    with contextlib.ExitStack() as listeners:
        for sock in sockets:
            listeners.enter_context(sock)
        try:
            app, bare = loaded.app()
        except (config.ConfigError, GlanceError) as error:
            raise Refusal(str(error)) from error
        except OSError as error:
            raise Refusal(describe(error)) from error
        except Exception as error:
            log.exception("the application cannot be loaded")
            raise Refusal(f"the application cannot be loaded: {type(error).__name__}: {error}") from error

        trusted = loaded.identifies_callers() if name == "glance-api" else bool(settings.registry_key)
        if not trusted and not all(_is_loopback(sock.getsockname()[0]) for sock in sockets):
            lifecycle.warn(OPEN[name].format(host=settings.bind_host))
        if path is not None and path.stat().st_mode & stat.S_IROTH and _holds_secrets(settings):
            lifecycle.warn(f"{path} holds a key or a password, and every user of this machine can read it: chmod o-r")

        def ready() -> None:
            log.info("%s %s answers at %s://%s", name, VERSION, settings.scheme, address)
            lifecycle.serves(f"{settings.scheme}://{address}")

        with contextlib.ExitStack() as stack:
            metrics, side = _metrics(settings, legacy, stack)
            green.run(
                bare.behind(app) if hasattr(bare, "behind") else app,
                sockets,
                workers=settings.workers,
                grace=settings.graceful_shutdown_timeout,
                limits=green.Limits(
                    connections_per_address=settings.connections_per_address,
                    keepalive_timeout=settings.keepalive_timeout,
                    client_timeout=settings.client_timeout,
                    trusted_proxies=trusted_proxies,
                    least_rate=settings.least_rate,
                    rate=settings.rate_limit if isinstance(settings, config.ApiConfig) else 0,
                    burst=settings.rate_burst if isinstance(settings, config.ApiConfig) else 1,
                ),
                tls=tls,
                observe=metrics.observe if metrics else lambda exchange: None,
                side=side,
                on_ready=ready,
                on_start=getattr(bare, "start", None),
                lifecycle=lifecycle,
            )
    log.info("%s has ended", name)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _holds_secrets(settings: config.DaemonConfig) -> bool:
    options = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return any(
        value and not name.endswith("_file") and shown_option(name, value) != str(value)
        for name, value in options.items()
    )


def _metrics(
    settings: config.DaemonConfig, legacy: Legacy | None, stack: contextlib.ExitStack
) -> tuple[Metrics | None, green.Side | None]:
    if not settings.metrics_port:
        return None, None
    try:
        sockets = listen(settings.metrics_host, settings.metrics_port, backlog=100, legacy=legacy)
    except OSError as error:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        raise Refusal(f"cannot listen on {where} for metrics: {plain(error)}") from error
    for sock in sockets:
        stack.enter_context(sock)
    metrics = stack.enter_context(Metrics(settings.workers))
    return metrics, green.Side(app=metrics.app, sockets=sockets)


def _tls(settings: config.DaemonConfig) -> Tls | None:
    if not settings.cert_file:
        if settings.key_file or settings.ca_file:
            raise Refusal("key_file and ca_file are for HTTPS: set cert_file, too")
        return None
    files = [Path(file) if file else None for file in (settings.cert_file, settings.key_file, settings.ca_file)]
    try:
        return Tls(Path(settings.cert_file), *files[1:])
    except OSError as error:
        raise Refusal(f"cert_file, key_file or ca_file cannot be used: {error}") from error


def _trusted_proxies(settings: config.DaemonConfig) -> Networks:
    try:
        return config.parse_trusted_proxies(settings)
    except config.ConfigError as error:
        raise Refusal(str(error)) from error


def _load(name: str, options: argparse.Namespace) -> tuple[Path | None, config.Loaded]:
    given = options.config_file or options.config
    if options.config_file and options.config and options.config_file != options.config:
        raise Refusal(f"two configuration files are given: {options.config} and {options.config_file}")
    if given and options.data_dir:
        raise Refusal("--data-dir stands for built-in defaults: give it or a configuration file, not both")
    try:
        if options.data_dir:
            return None, config.load(name, None, Path(options.data_dir))
        path = config.find_file(given)
        if path is None:
            raise Refusal(
                f"{name} finds no glance.conf in the current directory, ~/.glance, ~, /etc/glance or /etc. "
                f"Name one, or use --data-dir for built-in defaults"
            )
        return path, config.load(name, path)
    except config.ConfigError as error:
        raise Refusal(str(error)) from error


def _raise_file_limit(log: logging.Logger) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < OPEN_FILES:
        log.info("at most %d files may be open, %d are recommended: not started by root?", wanted, OPEN_FILES)


def _dump(path: Path | None, settings: config.DaemonConfig) -> str:
    """The configuration as it is used, without what is secret in it."""
    rows = [f"{field.name:<30} {shown_option(field.name, getattr(settings, field.name))}"
            for field in sorted(dataclasses.fields(settings), key=lambda field: field.name)]  # fmt: skip
    stars = "*" * 80
    return "\n".join((stars, "Configuration in use:", str(path or "built-in defaults"), "=" * 80, *rows, stars))


def shown_option(name: str, value: object) -> str:
    """An option's value as it may stand in a log: secret ones, and passwords inside URLs, as stars."""
    if value is None:
        return ""
    if _SECRET_NAME.search(name):
        return "***"
    return _WORD.sub(lambda word: _hide_password(word[0]), str(value))


def _hide_password(url: str) -> str:
    """A password lasts to the last "@": one that contains a "/" or an "@" makes no valid URL, but is still secret."""
    front, at, rest = url.rpartition("@")
    if at and (user := _USER_IN_URL.search(front)) is not None:
        url = f"{front[: user.end()]}***@{rest}"
    return _PASSWORD_PARAMETER.sub(r"\1***", url)
