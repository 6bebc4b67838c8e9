# SPDX-License-Identifier: Apache-2.0
"""Wiring of glance-api. `glance.server:app_factory` is the name that PasteDeploy files know since 2011."""

import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from glance.api import classic, v1
from glance.api.v1.images import Paging
from glance.api.versions import Version, Versions
from glance.config import ApiConfig, ConfigError, parse_allowed_hosts, parse_trusted_proxies, policy_of
from glance.core.inline import INLINE
from glance.core.ports import Registry, Store, Stores, Threads
from glance.core.recovery import Recovery
from glance.core.service import ImageService
from glance.registry.client import HttpRegistry
from glance.registry.pool import Https
from glance.store import StoreSet
from glance.store.filesystem import FilesystemStore
from glance.store.guard import Guard
from glance.store.http import HttpStore
from glance.store.proxy import Proxy, parse_proxy
from glance.store.s3 import S3Store
from glance.store.swift import Account, Login, SwiftStore
from glance.wsgi.body import THREADS_KEY
from glance.wsgi.browsers import KnownHosts
from glance.wsgi.endpoint import Endpoint, parse_public_endpoint
from glance.wsgi.faults import Faults
from glance.wsgi.health import Check, Health
from glance.wsgi.identify import Identify, RequestId, anybody
from glance.wsgi.negotiate import is_open
from glance.wsgi.write_check import WriteCheck, find_shared_file

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MIB = 1024 * 1024
VERSIONS = (Version("v1.1", "CURRENT", "v1"), Version("v1.0", "SUPPORTED", "v1"))
NEEDED = {"s3": "s3_store_host", "swift": "swift_store_auth_address"}  # store → the option that makes it be there


def app_factory(global_conf: dict[str, str], **local_conf: str) -> "Application":
    """The application of one section of a PasteDeploy file. Raises ConfigError."""
    return build(ApiConfig.parse(global_conf, local_conf), autostart=True)


def build(
    config: ApiConfig,
    *,
    registry: Registry | None = None,
    stores: Stores | None = None,
    autostart: bool = False,
) -> "Application":
    """The application; tests hand in their own registry and stores."""
    registry = registry if registry is not None else registry_of(config)
    stores = stores if stores is not None else stores_of(config)
    work = threading.Event()
    service = ImageService(
        registry,
        stores,
        hashing_algorithm=config.hashing_algorithm,
        limit=config.image_size_cap,
        lease=config.transfer_lease,
        patience=config.registry_patience,
        policy=policy_of(config),
        keep=config.scrub_time if config.delayed_delete else None,
        wake=work.set,
    )
    checks: dict[str, Check] = {
        "registry": lambda threads: registry.check(),
        "store": lambda threads: stores.named(None).check(threads),
    }
    if config.health_check_writes:
        checks["writing to the store"] = _make_write_check(config, stores)
    paging = Paging(default=config.limit_param_default, most=config.api_limit_max)
    apis = Versions(classic.router(service), {"v1": v1.application(service, paging)}, VERSIONS)
    try:
        public = parse_public_endpoint(config.public_endpoint)
    except ValueError as error:
        raise ConfigError(f"public_endpoint: {error}") from error
    hosts = parse_allowed_hosts(config, *([urlsplit(config.public_endpoint).hostname or ""] if public else []))
    health = Health(Faults(KnownHosts(Identify(apis, anybody), hosts)), checks)
    app = Endpoint(RequestId(health), public, parse_trusted_proxies(config))
    return Application(app, health, Recovery(service.transfers, registry, work), autostart=autostart)


class Application:
    """glance-api as a WSGI application, and the work that it does beside answering requests.

    That work begins with start(), which our own server calls in each process that serves; under another server,
    with `autostart`, the first request does."""

    def __init__(self, app: "WSGIApplication", health: Health, recovery: Recovery, *, autostart: bool) -> None:
        self._app = app
        self.add_check = health.add_check  # for filters in front
        self.recovery = recovery
        self._autostart = autostart
        self._starting = threading.Lock()
        self._started = 0  # the process in which the work has begun

    def start(self, threads: Threads) -> None:
        """Begin, once in each process."""
        with self._starting:
            if self._started != os.getpid():
                self._started = os.getpid()
                self.recovery.start(threads)

    def behind(self, filtered: "WSGIApplication") -> "WSGIApplication":
        """This application in its filters, but for what everybody may know: that is asked past them all."""

        def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            return (self if is_open(environ) else filtered)(environ, start_response)

        return app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if self._autostart and self._started != os.getpid():
            self.start(environ.get(THREADS_KEY, INLINE))
        return self._app(environ, start_response)


def _make_write_check(config: ApiConfig, stores: Stores) -> WriteCheck:
    store = stores.named(None)
    account = (config.s3_store_host, config.swift_store_auth_address, config.swift_store_user)
    return WriteCheck(store, find_shared_file(store.location_of("1"), *account))


def registry_of(config: ApiConfig) -> HttpRegistry:
    """The registry of this configuration, wherever it runs. Raises ConfigError."""
    https = Https(
        ca=config.registry_client_ca_file or None,
        cert=config.registry_client_cert_file or None,
        key=config.registry_client_key_file or None,
    )
    try:
        return HttpRegistry(
            config.registry_host,
            config.registry_port,
            timeout=config.registry_timeout,
            key=config.registry_key,
            https=https if config.registry_client_protocol == "https" else None,
        )
    except OSError as error:
        raise ConfigError(f"a file of registry_client_ca_file, _cert_file or _key_file: {error}") from error


def stores_of(config: ApiConfig) -> StoreSet:
    """The stores of this configuration; glance-manage looks after them with no server around. Raises ConfigError."""
    stores: dict[str, Store] = {"file": FilesystemStore(Path(config.filesystem_store_datadir))}
    try:
        if config.s3_store_host:
            stores["s3"] = _s3_store(config)
        if config.swift_store_auth_address:
            stores["swift"] = _swift_store(config)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if config.default_store not in stores:
        needed = NEEDED.get(config.default_store)
        hint = f": it needs {needed}" if needed else f": expected one of {', '.join(('file', *NEEDED))}"
        raise ConfigError(f"default_store is {config.default_store!r}, which is no store here{hint}")
    return StoreSet(config.default_store, stores, [_http_store(config)])


def _s3_store(config: ApiConfig) -> S3Store:
    for name in ("s3_store_access_key", "s3_store_secret_key", "s3_store_bucket"):
        _require(config, name, "s3_store_host")
    return S3Store(
        config.s3_store_host,
        config.s3_store_access_key,
        config.s3_store_secret_key,
        config.s3_store_bucket,
        create_bucket_on_put=config.s3_store_create_bucket_on_put,
        large_object_size=config.s3_store_large_object_size,
        large_object_chunk_size=config.s3_store_large_object_chunk_size,
        region=config.s3_store_region_name or None,
        bucket_url_format=config.s3_store_bucket_url_format,
        cacert=config.s3_store_cacert or None,
        read_timeout=config.s3_store_timeout,
        proxy=_proxy(config, "store_http_proxy", schemes=("http", "https")),
    )


def _swift_store(config: ApiConfig) -> SwiftStore:
    for name in ("swift_store_user", "swift_store_key", "swift_store_container"):
        _require(config, name, "swift_store_auth_address")
    login = Login(
        address=config.swift_store_auth_address,
        user=config.swift_store_user,
        key=config.swift_store_key,
        version=config.swift_store_auth_version,
        region=config.swift_store_region or None,
        user_domain_id=config.swift_store_user_domain_id or None,
        user_domain_name=config.swift_store_user_domain_name or None,
        project_domain_id=config.swift_store_project_domain_id or None,
        project_domain_name=config.swift_store_project_domain_name or None,
        cacert=config.swift_store_cacert or None,
        insecure=config.swift_store_auth_insecure,
        timeout=config.swift_store_timeout,
        proxy=_proxy(config, "store_http_proxy", schemes=("http", "https")),
    )
    return SwiftStore(
        Account(login),
        container=config.swift_store_container,
        create_container_on_put=config.swift_store_create_container_on_put,
        large_object_size=config.swift_store_large_object_size * MIB,
        large_object_chunk_size=config.swift_store_large_object_chunk_size * MIB,
    )


def _require(config: ApiConfig, name: str, because: str) -> None:
    if not getattr(config, name):
        raise ConfigError(f"{because} is set, so {name} must be, too")


def _proxy(config: ApiConfig, option: str, *, schemes: Collection[str] = ("http",)) -> Proxy | None:
    """Return the proxy that an option names, or None if it is empty. Raises ConfigError."""
    text = getattr(config, option)
    try:
        return parse_proxy(text, schemes=schemes) if text else None
    except ValueError as error:
        raise ConfigError(f"{option} {error}") from error


def _http_store(config: ApiConfig) -> HttpStore:
    proxy = _proxy(config, "http_store_proxy")
    entries = (entry.strip() for entry in config.http_store_allowed_hosts.split(","))
    try:
        guard = Guard((entry for entry in entries if entry), resolve=proxy is None)
    except ValueError as error:
        raise ConfigError(f"http_store_allowed_hosts: {error}") from error
    return HttpStore(
        guard, connect_timeout=config.http_store_connect_timeout, timeout=config.http_store_timeout, proxy=proxy
    )
