# SPDX-License-Identifier: Apache-2.0
"""One daemon as glance-control knows it: where its traces are, how it is started and ended."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from glance import config
from glance.cli.launch import Launch, LaunchError
from glance.cli.process import PidFile, Running, plain, wait_until
from glance.core.paths import escape_path, expand_path, find_home
from glance.serve.listening import is_free
from glance.serve.succession import PATIENCE

ROOT_PID_DIR = Path("/var/run/glance")
ROOT_LOG_DIR = Path("/var/log/glance")
CLEAN_UP_SECONDS = 8.0  # that a daemon may take beyond its grace time
CLOSE_SECONDS = 5.0  # that one may take after SIGHUP until its port is free

PATH_OPTIONS = ("--log-dir", "--config-file", "--data-dir")  # of the command line of a daemon

Settings = config.ApiConfig | config.RegistryConfig
DEFAULTS: dict[str, Settings] = {"glance-api": config.ApiConfig(), "glance-registry": config.RegistryConfig()}


class ServerError(Exception):
    """A running daemon cannot be dealt with as wished; the text says why."""


def user_folder() -> Path:
    """Where this user's programs keep their data (XDG base directories). Raises ConfigError."""
    base = os.environ.get("XDG_DATA_HOME", "")
    if base.startswith("/"):
        return Path(base, "glance")
    home = find_home()
    if home is None:
        raise config.ConfigError("this user has no home directory: set HOME or XDG_DATA_HOME, or name every path")
    return Path(home, ".local/share/glance")


@dataclass(frozen=True, kw_only=True)
class Place:
    """What one call of glance-control was told and has found; shared by its servers."""

    config: Path | None  # None: built-in defaults, with everything below `data`
    data_dir: Path | None = None  # None: the one of this user, which is looked up only if it is needed
    named: bool = False  # the user gave the configuration file, it was not just found
    pid_file: str | None = None
    pid_dir: str | None = None
    log_dir: str | None = None
    verbose: bool = False
    debug: bool = False

    @property
    def data(self) -> Path:
        """Raises ConfigError if there is no home directory for it."""
        return self.data_dir or user_folder()

    def settings(self, name: str) -> Settings:
        """Return the settings of that daemon. Raises ConfigError."""
        settings = config.load(name, self.config, None if self.config else self.data).settings
        assert isinstance(settings, Settings)
        return settings


class Server:
    """One daemon, running or not."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self._place = place
        self._folder: Path | None = None  # where a start puts it; None: the current directory

    @property
    def config(self) -> Path | None:
        """The configuration file that a start would use; None: built-in defaults."""
        return self._place.config

    @property
    def _pid_files(self) -> tuple[PidFile, ...]:
        """A start makes the first; the others are where one may be that was started with other settings."""
        return tuple(PidFile(path) for path in self._pid_paths())

    def configured(self) -> Settings:
        """The settings that a start would use. Raises ConfigError."""
        return self._place.settings(self.name)

    def inherit(self) -> None:
        """Have a start repeat how the running one was started, unless the user named another configuration.

        For restart and reload: what the current directory holds, and what a relative path means in it, is chance.
        """
        running = self.find()
        if running is None:
            return
        with running:
            origin = self._origin(running)
            if origin is not None and not (self._place.named and self._place.config != origin.config):
                self._place = origin
                self._folder = running.directory()

    def find_other_configuration(self, running: Running) -> str | None:
        """Return what the running one was started with, or None if a start would use the same, or it is not known."""
        origin = self._origin(running)
        if origin is None or _same_file(origin.config, self._place.config):
            return None
        return str(origin.config or f"built-in defaults and the data in {origin.data}")

    def find(self) -> Running | None:
        """The running one, to be closed; None: there is none. Raises PidFileError."""
        return next((running for file in self._pid_files if (running := file.find())), None)

    def remove_stale(self) -> Iterator[Path]:
        """Remove the pid files that no daemon holds, and tell which. Raises PidFileError."""
        return (file.path for file in self._pid_files if file.remove_stale())

    def prepare(self) -> None:
        """Make what a start needs. Raises ConfigError, LaunchError."""
        log_dir = self._log_dir(self.configured())
        if self._place.config is None:
            _make_folder(self._place.data, 0o700, "data directory", "XDG_DATA_HOME")
            config.make_registry_key(self._place.data)
        _make_folder(self._pid_files[0].path.parent, 0o755, "pid directory", "--pid-dir")
        _make_folder(log_dir, 0o750, "log directory", "--log-dir")

    def launch(self) -> Launch:
        """Raises ConfigError, LaunchError, PidFileError."""
        return Launch(self._command(), self._pid_files[0], self.log(), self._folder)

    def log(self) -> Path:
        """The file that takes what it prints. Raises ConfigError."""
        return self._log_dir(self.configured()) / f"{self.name}.log"

    def stop(self, running: Running) -> str | None:
        """Have it end within its grace time, and wait for that; what went wrong. Raises ServerError."""
        with running:
            seconds = self._settings_of(running).graceful_shutdown_timeout + CLEAN_UP_SECONDS
            self._signal(running, signal.SIGTERM)
            if not running.wait(seconds):
                return f"{self.name} has not ended after {seconds:.0f} seconds: pid {running.pid}, {running.path}"
            running.forget()
        return None

    def retire(self, running: Running) -> bool:
        """Have it stop accepting, and forget it; whether it still finishes requests. Raises ServerError."""
        with running:
            settings = self._settings_of(running)
            self._signal(running, signal.SIGHUP)
            # Its lock is on the file that is removed here, so a new daemon can have a file of the same name.
            running.forget()
            if not wait_until(lambda: is_free(settings.bind_host, settings.bind_port), CLOSE_SECONDS):
                raise ServerError(f"{self.name} (pid {running.pid}) does not leave port {settings.bind_port}")
            return not running.wait(0)

    def hand_over(self, running: Running) -> int | None:
        """Have it start its successor and leave its place to it; the pid of that one, None if it does not start.

        Raises ServerError, and for options that the running one was not started with: its successor has the same.
        """
        with running:
            words = running.command()
            if words and words != self._command():
                raise ServerError(
                    f"{self.name} (pid {running.pid}) was started as: {shlex.join(words)}\n"
                    f"reload does not change that: use restart, which refuses requests for a moment"
                )
            changed = running.changed()
            self._signal(running, signal.SIGUSR2)
            if not wait_until(lambda: running.changed() != changed or running.wait(0), PATIENCE + CLEAN_UP_SECONDS):
                raise ServerError(f"{self.name} (pid {running.pid}) does not say whether it has a successor")
            successor = self.find()
            if successor is None:
                raise ServerError(f"{self.name} (pid {running.pid}) has ended")
            with successor:
                if successor.pid == running.pid:
                    return None
                with suppress(OSError):  # an older version has not recorded it
                    successor.record_command(words or self._command())
                return successor.pid

    def url(self, running: Running) -> str:
        """Where it answers."""
        settings = self._settings_of(running)
        host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
        return f"{settings.scheme}://{host}:{settings.bind_port}"

    def _command(self) -> list[str]:
        """The words that a start would run."""
        place = self._place
        # -P: a file in the current directory must not pass for one of our modules.
        words = [sys.executable, "-P", "-m", f"glance.cli.{self.name.removeprefix('glance-')}"]
        words += ["--verbose"] if place.verbose else []
        words += ["--debug"] if place.debug else []
        words += ["--log-dir", escape_path(place.log_dir)] if place.log_dir else []
        option, path = ("--config-file", place.config) if place.config else ("--data-dir", place.data)
        return [*words, option, escape_path(str(path))]

    def _signal(self, running: Running, number: signal.Signals) -> None:
        try:
            running.signal(number)
        except PermissionError as error:
            whose = f"{self.name} (pid {running.pid}) belongs to another user"
            raise ServerError(f"{whose}: only that user or root can stop it") from error

    def _origin(self, running: Running) -> Place | None:
        """What it was started with; None where the system does not tell."""
        words = running.command()
        given = {option: expand_path(word) for option, word in pairwise(words) if option in PATH_OPTIONS}
        place = replace(
            self._place,
            log_dir=self._place.log_dir or given.get("--log-dir"),
            verbose=self._place.verbose or "--verbose" in words,
            debug=self._place.debug or "--debug" in words,
        )
        if "--config-file" in given:
            return replace(place, config=Path(given["--config-file"]))
        if "--data-dir" in given:
            return replace(place, config=None, data_dir=Path(given["--data-dir"]))
        return None

    def _settings_of(self, running: Running) -> Settings:
        """The settings that it was started with, or the nearest that can be known."""
        for place in (self._origin(running), self._place):
            if place is not None:
                with suppress(config.ConfigError):  # edited since, and wrongly: no reason not to stop it
                    return place.settings(self.name)
        return DEFAULTS[self.name]

    def _pid_paths(self) -> Iterator[Path]:
        if self._place.pid_file:
            yield Path(self._place.pid_file)
            return
        if self._place.pid_dir:
            folders = [Path(self._place.pid_dir)]
        elif os.geteuid() == 0:
            folders = [ROOT_PID_DIR]
            with suppress(config.ConfigError):  # there is no home directory, and so no daemon of ours in it
                folders.insert(1 if self._place.config else 0, self._place.data / "run")
        else:
            folders = [self._place.data / "run"]
        yield from (folder / f"{self.name}.pid" for folder in folders)

    def _log_dir(self, settings: Settings) -> Path:
        given = self._place.log_dir or settings.log_dir
        if given:
            return _make_absolute(given)
        return ROOT_LOG_DIR if self._place.config and os.geteuid() == 0 else self._place.data / "log"


def _make_absolute(path: str) -> Path:
    """A relative log_dir of the configuration is one below the current directory."""
    try:
        return Path(path).absolute()
    except FileNotFoundError:
        raise ServerError(f"log_dir {path} is relative, and the current directory no longer exists") from None


def _same_file(one: Path | None, other: Path | None) -> bool:
    """Two names of one file are the same; so are built-in defaults (None) twice."""
    return one == other or (
        one is not None and other is not None and os.path.realpath(one) == os.path.realpath(other)
    )


def _make_folder(path: Path, mode: int, meaning: str, remedy: str) -> None:
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(f"cannot make the {meaning} {path}: {plain(error)}. Name another with {remedy}") from error
