# SPDX-License-Identifier: Apache-2.0
"""What a shell is told so that it completes command lines."""

import argparse
import sys

import shtab

from glance.cli.images.commands import COMMANDS
from glance.cli.images.errors import Failed
from glance.cli.images.parser import add_common, fill, root_parser
from glance.cli.images.session import Session

SHELLS = ("bash", "zsh")


def completion(session: Session) -> None:
    shell = session.options.shell
    if shell not in SHELLS:
        raise Failed(f"There is completion for {' and '.join(SHELLS)}, not for {shell!r}")
    sys.stdout.write(shtab.complete(_whole(), shell))


def _whole() -> argparse.ArgumentParser:
    """Every command as a parser of its own below the program's."""
    root = root_parser()
    commands = root.add_subparsers()
    for command in COMMANDS.values():
        parser = commands.add_parser(command.name, help=command.summary, add_help=False)
        fill(parser, command)
        add_common(parser)
        for action in parser._actions:
            if not action.option_strings:
                action.help = action.dest  # shtab leaves out what has none
            if action.metavar == "FILE":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar == "SHELL":
                action.choices = SHELLS
            elif action.metavar == "COMMAND":
                action.choices = list(COMMANDS)
    return root
