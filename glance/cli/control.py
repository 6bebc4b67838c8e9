# SPDX-License-Identifier: Apache-2.0
"""glance-control: start, stop and watch the daemons."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from glance import config
from glance.cli.process import PidFile, PidFileError, Readiness, Running, plain, wait_until, write_pid
from glance.version import VERSION

SERVERS = {"api": "glance-api", "registry": "glance-registry"}  # in this order they are started and stopped
COMMANDS = ("start", "stop", "restart", "reload", "force-reload", "shutdown", "status")

START_SECONDS = 15.0  # that a daemon may take until it answers
CLEAN_UP_SECONDS = 8.0  # that it may take beyond its grace time
KILL_SECONDS = 2.0  # that a daemon whose start failed has between SIGTERM and SIGKILL
CLOSE_SECONDS = 5.0  # after SIGHUP until the port is free
NOT_RUNNING = 3  # exit status of `status`, as init scripts have it

ROOT_PID_DIR = Path("/var/run/glance")
ROOT_LOG_DIR = Path("/var/log/glance")

EPILOG = f"""\
commands:
  start         start, and return when the daemon answers (at most {START_SECONDS:.0f} seconds)
  stop          stop accepting, let running requests finish for the grace time of the configuration
                (graceful_shutdown_timeout), wait until the daemon has ended
  restart       stop, then start
  reload        start anew with the configuration as it is now; running requests are finished by the old
                daemon, however long that takes, and no request is refused for more than a moment
  force-reload  the same as reload
  shutdown      stop accepting, return, and let running requests finish without limit in the background
  status        say what is running; exit status 0 if all of it is, {NOT_RUNNING} otherwise

The configuration file is CONFPATH or the first glance.conf in the current directory, ~/.glance, ~, /etc/glance,
/etc. If there is none, built-in defaults are used and everything is kept below ~/.local/share/glance.

examples:
  glance-control all start
  glance-control api restart /etc/glance/glance.conf
  glance-control --pid-dir run --log-dir log all start ./glance.conf
  glance-control all status
"""


class Failure(Exception):
    """What the user is told before exit status 1."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A wrong usage is exit status 1 here, as scripts since 2011 have it."""
        self.exit(1, f"{self.format_usage()}{self.prog}: error: {message}\n")


def main() -> int:
    options = _parse(sys.argv[1:])
    try:
        return Control(options).run(options.command)
    except (Failure, PidFileError, config.ConfigError) as failure:
        return _complain(str(failure))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="glance-control",
        usage="%(prog)s [options] {all,api,registry} {start,stop,restart,reload,shutdown,status} [CONFPATH]",
        description="Start, stop and watch glance-api and glance-registry.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    parser.add_argument("--config-file", metavar="PATH", help="the same as CONFPATH")
    parser.add_argument("--pid-file", metavar="PATH", help="where the daemon's number stands; for one server only")
    parser.add_argument(
        "--pid-dir",
        metavar="DIR",
        help=f"directory of the pid files (default: {ROOT_PID_DIR} for root, otherwise ~/.local/share/glance/run)",
    )
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        help=f"directory of <server>.log, which takes what a daemon prints (default: log_dir of the configuration, "
        f"{ROOT_LOG_DIR} for root, otherwise ~/.local/share/glance/log)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="start daemons that log what they do")
    parser.add_argument("-d", "--debug", action="store_true", help="start daemons that log everything")
    options = parser.parse_intermixed_args(arguments)
    words: list[str] = options.words
    if len(words) < 2:
        parser.print_usage(sys.stdout)
        parser.exit(1)
    if len(words) > 3:
        parser.error(f"too many arguments: {' '.join(words[3:])}")
    server = words[0].lower().removeprefix("glance-")
    if server not in ("all", *SERVERS):
        parser.error(f"unknown server {words[0]!r}: choose from all, {', '.join(SERVERS)}")
    options.servers = list(SERVERS.values()) if server == "all" else [SERVERS[server]]
    options.command = words[1].lower()
    if options.command not in COMMANDS:
        parser.error(f"unknown command {words[1]!r}: choose from {', '.join(COMMANDS)}")
    if len(words) == 3:
        if options.config_file not in (None, words[2]):
            parser.error(f"two configuration files: {options.config_file} and {words[2]}")
        options.config_file = words[2]
    if options.pid_file and server == "all":
        parser.error("--pid-file is for one server, and both would share it: use --pid-dir")
    if options.pid_file and options.pid_dir:
        parser.error("--pid-file names the whole path: --pid-dir does not go with it")
    return options


def user_folder() -> Path:
    """Where this user's programs keep their data (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local/share") / "glance"


@dataclass(frozen=True)
class Server:
    """One daemon: what it is called, and where the traces of a running one may be found."""

    name: str
    pid_files: tuple[PidFile, ...]  # a start makes the first one

    @property
    def module(self) -> str:
        return f"glance.cli.{self.name.removeprefix('glance-')}"

    def find(self) -> Running | None:
        """The running one, to be closed; None: there is none."""
        return next((running for file in self.pid_files if (running := file.find())), None)

    def sweep(self) -> None:
        """Remove pid files that are left over."""
        for file in self.pid_files:
            if file.remove_stale():
                print(f"Removing stale pid file {file.path}")


@dataclass(frozen=True)
class Started:
    """A child that may not answer yet."""

    server: Server
    child: "subprocess.Popen[bytes]"
    claim: int  # descriptor of its locked pid file
    readiness: Readiness
    deadline: float  # of time.monotonic()
    log: Path
    log_size: int  # bytes of the log that were there before


class Control:
    """One call of the command: the servers it is about, and the configuration that is found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._config = self._find_config()
        self._servers = [Server(name, self._pid_files(name)) for name in options.servers]

    def run(self, command: str) -> int:
        """The exit status."""
        steps: dict[str, Callable[[], int]] = {
            "start": self.start,
            "stop": self.stop,
            "restart": self.restart,
            "reload": self.reload,
            "force-reload": self.reload,
            "shutdown": self.shutdown,
            "status": self.status,
        }
        return steps[command]()

    def start(self) -> int:
        """Start all of them at the same time, then wait for each."""
        self._announce()
        return self._start(self._servers)

    def stop(self) -> int:
        # One after the other: while glance-api finishes its requests it needs the registry.
        return max(self._stop(server) for server in self._servers)

    def restart(self) -> int:
        self._check()
        return self.stop() or self.start()

    def reload(self) -> int:
        self._check()
        self._announce()
        return max([self._retire(server) or self._start([server]) for server in self._servers])

    def shutdown(self) -> int:
        return max([self._retire(server) for server in self._servers])

    def status(self) -> int:
        missing = 0
        for server in self._servers:
            running = server.find()
            if running is None:
                print(f"{server.name} is not running")
                missing = NOT_RUNNING
            else:
                print(f"{server.name} is running: pid {running.pid}, {_url(self._settings_of(server, running))}")
                running.close()
        return missing

    def _announce(self) -> None:
        if self._config is None:
            print(f"No {config.FILE_NAME} found: using built-in defaults, everything below {user_folder()}")

    def _check(self) -> None:
        """Find errors in the configuration while the old daemons still run. Raises Failure."""
        for server in self._servers:
            self._load(server.name)

    def _start(self, servers: Sequence[Server]) -> int:
        """Launch them all, then wait for each, so that they load side by side."""
        launched: list[Started] = []
        failed = 0
        try:
            for server in servers:
                try:
                    launched += self._launch(server)
                except (Failure, PidFileError) as failure:
                    failed = _complain(f"{server.name} did not start: {failure}")
        finally:  # also when interrupted: what was launched is waited for, or ended
            for started in launched:
                failed |= self._await(started)
        return failed

    def _launch(self, server: Server) -> list[Started]:
        """The child, or nothing if one is running already. Raises Failure, PidFileError."""
        if (running := server.find()) is not None:
            print(f"{server.name} appears to already be running: {running.path}")
            running.close()
            return []
        settings = self._load(server.name)
        pid_file = server.pid_files[0]
        _make_folder(pid_file.path.parent, "pid directory", "--pid-dir")
        log = self._log_folder(settings) / f"{server.name}.log"
        _make_folder(log.parent, "log directory", "--log-dir")
        server.sweep()
        print(f"Starting {server.name} with {self._config or 'built-in defaults'}", flush=True)
        claim = pid_file.claim()
        readiness = Readiness()
        try:
            with _open_log(log) as output:
                log_size = os.fstat(output.fileno()).st_size
                child = subprocess.Popen(
                    self._command(server),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=(claim,),
                    env=os.environ | {"NOTIFY_SOCKET": readiness.address},
                )
        except BaseException as error:
            pid_file.abandon(claim)
            readiness.close()
            if isinstance(error, OSError):
                raise Failure(f"{plain(error)}: {error.filename}") from error
            raise
        write_pid(claim, child.pid)
        return [Started(server, child, claim, readiness, time.monotonic() + START_SECONDS, log, log_size)]

    def _command(self, server: Server) -> list[str]:
        """-P: a file of the current directory must not pass for a module of ours."""
        words = [sys.executable, "-P", "-m", server.module]
        words += ["--verbose"] if self._options.verbose else []
        words += ["--debug"] if self._options.debug else []
        words += ["--log-dir", str(Path(self._options.log_dir).absolute())] if self._options.log_dir else []
        if self._config is not None:
            return [*words, "--config-file", str(self._config)]
        return [*words, "--data-dir", str(user_folder())]

    def _await(self, started: Started) -> int:
        """Wait until it answers; or end it and say why it does not."""
        problem: str | None = "interrupted"
        try:
            problem = started.readiness.wait(started.child, started.deadline)
        finally:
            started.readiness.close()
            if problem is not None:
                _end(started.child)
                started.server.pid_files[0].abandon(started.claim)
                last = _last_line(started.log, started.log_size)
                if "exit status" in problem and last:
                    problem = last
                _complain(f"{started.server.name} did not start: {problem.rstrip('.')}. Log: {started.log}")
            os.close(started.claim)
        return int(problem is not None)
