# SPDX-License-Identifier: Apache-2.0
"""glance-manage: looks after what the daemons work with, while they run or not.

A command is a line of COMMANDS and two functions in a module of its own. This is an ordinary process: nothing of
it is green, and glance.serve stays out of it.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from glance import config
from glance.cli import db, fsck, purge, storecheck, usage, users, verify
from glance.cli.process import describe
from glance.cli.server import user_folder
from glance.cli.startup import OutputError
from glance.core.errors import GlanceError
from glance.version import VERSION


@dataclass(frozen=True, slots=True)
class Command:
    """`run(options)` returns the exit status. `options.path` is the configuration file that was found; None: there
    is none, built-in defaults hold, and everything is kept below `options.data`."""

    name: str
    summary: str
    declare: Callable[[argparse.ArgumentParser], None]  # its own arguments
    run: Callable[[argparse.Namespace], int]
    failed: int = 1  # the exit status when it cannot do its work; 2 where 1 is what it has found


COMMANDS = (
    Command("user", "add, list and remove the users of the filter tokens", users.declare, users.run),
    Command("store-check", "try the stores, and say what is wrong with them", storecheck.declare, storecheck.run),
    Command("fsck", "find images without their bytes, and bytes without an image", fsck.declare, fsck.run, failed=2),
    Command("verify", "find images whose bytes have changed", verify.declare, verify.run, failed=2),
    Command("usage", "count images and bytes, by tenant and by store", usage.declare, usage.run),
    Command("db", "look after the schema of the registry's database", db.declare, db.run, failed=2),
    Command("db_sync", "the same as db sync, by its name of old", lambda parser: None, db.sync, failed=2),
    Command("db_version", "the same as db version, by its name of old", lambda parser: None, db.version, failed=2),
    Command("purge", "remove the rows of images that were deleted long ago", purge.declare, purge.run),
)

EPILOG = """\
Exit status: 0 all is well, 1 something is wrong, 2 the command line is, or what is to be checked cannot be.
'glance-manage COMMAND --help' tells more about a command.
"""


def main() -> int:
    options = _parse(sys.argv[1:])
    _set_up_log(options.debug)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _interrupt)
    command: Command = options.command
    try:
        options.path = config.find_file(options.config_file)
        options.data = None if options.path else user_folder()
        status = command.run(options)
        sys.stdout.flush()
        return status
    except OutputError as error:
        if not error.broken_pipe:
            error.status = command.failed
        raise
    except (config.ConfigError, GlanceError) as error:
        return _complain(str(error), command.failed)
    except OSError as error:
        return _complain(describe(error), command.failed)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="glance-manage",
        description="Look after what glance-api and glance-registry work with.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common(None, False)],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        # The common options may stand before the command or behind it: there, no default may undo the former.
        own = commands.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            parents=[_common(argparse.SUPPRESS, argparse.SUPPRESS)],
        )
        own.set_defaults(command=command)
        command.declare(own)
    return parser.parse_args(arguments)


def _common(config_file: str | None, debug: bool | str) -> argparse.ArgumentParser:
    """The options of all commands, with these defaults."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--config-file",
        metavar="PATH",
        default=config_file,
        help="otherwise glance.conf in the current directory, ~/.glance, ~, /etc/glance or /etc",
    )
    parser.add_argument(
        "-d", "--debug", action="store_true", default=debug, help="show on standard error what is logged"
    )
    return parser


def _set_up_log(debug: bool) -> None:
    """What is wrong is told in words of our own; the log is for those who want more. Of libraries, nothing:
    at lower levels they tell what is in every request."""
    logging.getLogger().addHandler(logging.NullHandler())
    if debug:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s [%(name)s] %(message)s"))
        log = logging.getLogger("glance")
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)


def _interrupt(*_: object) -> NoReturn:
    """SIGTERM is taken as Ctrl-C is: what has been begun is put away."""
    raise KeyboardInterrupt


def _complain(message: str, status: int = 1) -> int:
    with suppress(OutputError):  # shown when the program ends
        sys.stdout.flush()
    print(f"ERROR: {message}", file=sys.stderr, flush=True)
    return status
