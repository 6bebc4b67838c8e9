# SPDX-License-Identifier: Apache-2.0
"""glance: understand the command line, then load what the command needs."""

import importlib
import sys
import traceback
from argparse import Namespace
from types import TracebackType

from glance.cli.images.commands import COMMANDS
from glance.cli.images.parser import USAGE, parse, parser_of, root_parser
from glance.cli.process import describe


def main() -> int:
    options = parse(sys.argv[1:])
    if options.debug:
        sys.excepthook = _print_traceback
    try:
        return _run(options)
    except OSError as error:
        if options.debug:
            raise
        print(f"Failed: {describe(error)}", file=sys.stderr)
        return 1


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback. The text of an error may come from a server, and a terminal would obey it."""
    from glance.cli.images.output import printable_lines

    print(printable_lines("".join(traceback.format_exception(kind, error, trace)).rstrip()), file=sys.stderr)


def _run(options: Namespace) -> int:
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if options.verb is None:  # options alone get the usage, as in 2011
        print(root_parser().format_help() if len(sys.argv) == 1 or options.help else f"usage: {USAGE}")
        return 0
    command = COMMANDS.get(options.verb)
    if command is None:
        return _unknown(options.verb)
    if command.name == "help":
        return _help(options.command)
    module, _, function = command.run.partition(":")
    from glance.cli.images.session import run  # loads requests, which takes a while

    return run(command, getattr(importlib.import_module(f"glance.cli.images.{module}"), function), options)


def _help(topic: str | None) -> int:
    if topic is None:
        print(root_parser().format_help(), end="")
        return 0
    if topic not in COMMANDS:
        return _unknown(topic)
    print(parser_of(COMMANDS[topic]).format_help(), end="")
    return 0


def _unknown(word: str) -> int:
    print(f"Unknown command: {word}", file=sys.stderr)
    return 1
