# SPDX-License-Identifier: Apache-2.0
"""glance-control: start, stop and watch the daemons."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from glance import config
from glance.cli.arguments import absolute_path
from glance.cli.launch import START_SECONDS, Launch, LaunchError
from glance.cli.process import PidFileError, describe
from glance.cli.server import ROOT_LOG_DIR, ROOT_PID_DIR, Place, Server, ServerError
from glance.cli.startup import OutputError
from glance.version import VERSION

SERVERS = {"api": "glance-api", "registry": "glance-registry"}  # in this order they are started and stopped
COMMANDS = ("start", "stop", "restart", "reload", "force-reload", "shutdown", "status")
NOT_RUNNING = 3  # exit status of `status`, as init scripts have it

EPILOG = f"""\
commands:
  start         start, and return when the daemon answers (at most {START_SECONDS:.0f} seconds); it is an error if the
                daemon runs with another configuration
  stop          stop accepting, let running requests finish for the grace time of the configuration
                (graceful_shutdown_timeout), wait until the daemon has ended
  restart       stop, then start; with the configuration file that it had, unless CONFPATH names another, and with
                the log directory, -v and -d that it had
  reload        have the daemon start its successor, with the same options and the configuration as it is now; no
                request is refused, and running ones are finished by the old daemon in the background, however long
                that takes. If the successor does not start, the old daemon goes on
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


def main() -> int:
    options = _parse(sys.argv[1:])
    try:
        return Control(options).run(options.command)
    except (ServerError, PidFileError, config.ConfigError) as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(describe(error))
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


class Control:
    """One call of the command: which servers, in which order, and what the user is told."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._place = Place(
            config=_find_config(options),
            named=options.config_file is not None,
            pid_file=options.pid_file,
            pid_dir=options.pid_dir,
            log_dir=options.log_dir,
            verbose=options.verbose,
            debug=options.debug,
        )
        self._servers = [Server(name, self._place) for name in options.servers]

    def run(self, command: str) -> int:
        """The exit status. Raises ServerError, PidFileError, ConfigError."""
        if command in ("restart", "reload", "force-reload"):
            for server in self._servers:
                server.inherit()
                server.configured()  # a wrong configuration is found while the old daemons still run
        if command not in ("stop", "shutdown", "status") and any(server.config is None for server in self._servers):
            _say(f"No {config.FILE_NAME} found: using built-in defaults, everything below {self._place.data}")
            _say(f"Other hosts cannot connect: set bind_host in a {config.FILE_NAME} to let them")
        if command == "start":
            return self._start(self._servers)
        if command == "restart":
            # What did end is started again, even if another does not end: better one daemon than none.
            return max(self._each(self._stop), self._start(self._servers))
        steps: dict[str, Callable[[Server], int]] = {
            "stop": self._stop,
            "shutdown": self._retire,
            "status": self._status,
        }
        return self._each(steps.get(command, self._reload))

    def _each(self, step: Callable[[Server], int]) -> int:
        """One server after the other; trouble with one keeps nobody from the next. The worst exit status."""
        worst = 0
        for server in self._servers:
            try:
                status = step(server)
            except (ServerError, PidFileError) as error:
                status = _complain(str(error))
            worst = max(worst, status)
        return worst

    def _start(self, servers: Sequence[Server]) -> int:
        """Launch them all, then wait for each, so that they load side by side."""
        failed = 0
        launched: list[tuple[Server, Launch]] = []
        try:
            for server in servers:
                try:
                    if (launch := self._launch(server)) is not None:
                        launched.append((server, launch))
                except (LaunchError, PidFileError, ServerError, config.ConfigError) as error:
                    failed = _complain(f"{server.name} did not start: {error}")
            while launched:
                server, launch = launched[0]
                if (problem := launch.wait()) is not None:
                    failed = _complain(f"{server.name} did not start: {problem.rstrip('.')}. Log: {launch.log}")
                for warning in launch.warnings:
                    _complain(f"WARNING: {server.name}: {warning}")
                launched.pop(0)
        finally:
            for _, launch in launched:  # interrupted: nobody would know whether these ever answer
                launch.discard()
        return failed

    def _launch(self, server: Server) -> Launch | None:
        if (running := server.find()) is not None:
            with running:
                if (other := server.find_other_configuration(running)) is not None:
                    raise ServerError(
                        f"it is running with {other} (pid {running.pid}); to run it with "
                        f"{server.config or 'built-in defaults'}, use restart, or stop it first"
                    )
            _say(f"{server.name} appears to already be running: {running.path}")
            return None
        server.prepare()
        self._sweep(server)
        _say(f"Starting {server.name} with {server.config or 'built-in defaults'}")
        return server.launch()

    def _stop(self, server: Server) -> int:
        """Returns when it has ended: glance-api, which is the first, needs the registry to finish its requests."""
        running = server.find()
        if running is None:
            self._report_none(server)
            return 0
        _say(f"Stopping {server.name}  pid: {running.pid}  signal: 15")
        problem = server.stop(running)
        return _complain(problem) if problem is not None else 0

    def _reload(self, server: Server) -> int:
        running = server.find()
        if running is None:
            self._report_none(server)
            return self._start([server])
        _say(f"Reloading {server.name}  pid: {running.pid}  signal: 12")
        successor = server.hand_over(running)
        if successor is None:
            goes_on = f"{server.name} (pid {running.pid}) goes on: its successor did not start"
            return _complain(f"{goes_on}. Log: {server.log()}")
        _say(f"{server.name} (pid {successor}) answers, {running.pid} finishes what it has")
        return 0

    def _retire(self, server: Server) -> int:
        running = server.find()
        if running is None:
            self._report_none(server)
            return 0
        _say(f"Stopping {server.name}  pid: {running.pid}  signal: 1")
        if server.retire(running):
            _say(f"{server.name} (pid {running.pid}) finishes its running requests in the background")
        return 0

    def _status(self, server: Server) -> int:
        running = server.find()
        if running is None:
            _say(f"{server.name} is not running")
            return NOT_RUNNING
        _say(f"{server.name} is running: pid {running.pid}, {server.url(running)}")
        running.close()
        return 0

    def _report_none(self, server: Server) -> None:
        self._sweep(server)
        _say(f"No {server.name} running")

    def _sweep(self, server: Server) -> None:
        for path in server.remove_stale():
            _say(f"Removing stale pid file {path}")


def _find_config(options: argparse.Namespace) -> Path | None:
    """Raises ConfigError; but what runs can be stopped even if its configuration is gone."""
    try:
        return config.find_file(options.config_file)
    except config.ConfigError:
        if options.command in ("stop", "shutdown", "status"):
            return None
        raise


def _say(message: str) -> None:
    """Print a line. One that cannot be written keeps no daemon from being started or stopped; the error is reported,
    with the exit status, at the end of the program, which flushes what is left."""
    with suppress(OutputError):
        print(message, flush=True)


def _complain(message: str) -> int:
    with suppress(OutputError):
        sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A wrong usage is exit status 1 here, as scripts since 2011 have it."""
        self.exit(1, f"{self.format_usage()}{self.prog}: error: {message}\n")


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
    parser.add_argument(
        "--pid-file", type=absolute_path, metavar="PATH", help="where the daemon's number stands; for one server only"
    )
    parser.add_argument(
        "--pid-dir",
        type=absolute_path,
        metavar="DIR",
        help=f"directory of the pid files (default: {ROOT_PID_DIR} for root, otherwise ~/.local/share/glance/run)",
    )
    parser.add_argument(
        "--log-dir",
        type=absolute_path,
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
