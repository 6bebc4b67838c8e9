# SPDX-License-Identifier: Apache-2.0
"""The command line: options anywhere, before and behind the command. Nothing here takes time to load."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from glance.cli.arguments import utf8
from glance.cli.images.commands import COMMANDS, Command
from glance.cli.images.options import CLASSIC, COMMON, OWN, Option
from glance.version import VERSION

USAGE = "glance COMMAND [options] [arguments]"
DESCRIPTION = "Find, store, fetch and share images of virtual machines.\n\ncommands:\n" + "\n".join(
    f"  {command.name:17}{command.summary}" for command in COMMANDS.values()
)
EPILOG = """\
The variables of the environment stand for options that are not given. Those without an option: OS_TENANT_ID,
OS_PROJECT_ID, OS_USER_DOMAIN_NAME, OS_USER_DOMAIN_ID, OS_PROJECT_DOMAIN_NAME, OS_PROJECT_DOMAIN_ID, OS_INTERFACE,
OS_ENDPOINT_TYPE.

exit status: 0 done; 1 failed, standard error says why; 2 wrong options; 130 interrupted; 141 nobody reads the output

`glance help COMMAND` says more."""
SEE_ALSO = "`glance --help` shows the options that all commands take: for output, server and credentials."
HIDDEN: dict[str, Any] = {"help": argparse.SUPPRESS}


class Help(argparse.RawDescriptionHelpFormatter):
    """Shows `-p, --port PORT`, as Python 3.13 does, under every version: docs/cli.md shows it, too."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        metavar = self._format_args(action, self._get_default_metavar_for_optional(action))
        return " ".join(filter(None, (", ".join(action.option_strings), metavar)))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, and the command's name as `verb`, None without one. Exits for wrong options.

    With an unknown command, or none, only `help` is of use."""
    arguments = _with_hyphens(arguments)
    front = argparse.ArgumentParser(prog="glance", usage=USAGE, add_help=False, allow_abbrev=False)
    for options in (OWN, CLASSIC, *COMMON.values()):
        for name, (flags, settings) in options.items():
            front.add_argument(*flags, dest=name, action="store_true" if "action" in settings else "store")
    front.add_argument("--version", action="version", version=f"glance {VERSION}")
    front.add_argument("words", nargs="*")
    found, _ = front.parse_known_intermixed_args(arguments)
    found.verb = found.words[0] if found.words else None
    if found.verb not in COMMANDS:
        return found
    return parser_of(COMMANDS[found.verb]).parse_intermixed_args(arguments)


def parser_of(command: Command) -> argparse.ArgumentParser:
    """Takes the whole command line of a command, its name among the words."""
    parser = argparse.ArgumentParser(
        prog=f"glance {command.name}",
        usage=" ".join(("glance", command.name, "[options]", *command.arguments)),
        description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\n{command.text}".rstrip(),
        epilog="\n".join(("examples:", *(f"  {example}" for example in command.examples), "", SEE_ALSO)),
        formatter_class=Help,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("verb", help=argparse.SUPPRESS)
    fill(parser, command)
    _add(parser, {name: option for options in COMMON.values() for name, option in options.items()}, **HIDDEN)
    _add(parser, {name: option for name, option in CLASSIC.items() if name not in command.options}, **HIDDEN)
    return parser


def fill(parser: argparse.ArgumentParser, command: Command) -> None:
    """Give a parser the arguments of a command, and the options that are not every command's."""
    for argument in command.arguments:
        name = argument.strip("[].").partition("=")[0]
        optional, many = argument.startswith("["), argument.endswith("...")
        nargs = ("*" if optional else "+") if many else ("?" if optional else None)
        kind = str if name == "FILE" else utf8
        parser.add_argument(name.lower(), metavar=name, nargs=nargs, type=kind, help=argparse.SUPPRESS)
    own = {name: option for name, option in {**OWN, **CLASSIC}.items() if name in command.options}
    _add(parser.add_argument_group("options"), own)


def root_parser() -> argparse.ArgumentParser:
    """What the program takes whatever the command: for its help, and for shells that complete."""
    parser = argparse.ArgumentParser(
        prog="glance",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Help,
        add_help=False,
        allow_abbrev=False,
    )
    add_common(parser)
    parser.add_argument("--version", action="version", version=f"glance {VERSION}", help="show the version")
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of every command."""
    for title, options in COMMON.items():
        _add(parser.add_argument_group(title), options)


def _add(parser: "argparse._ActionsContainer", options: Mapping[str, Option], **settings: Any) -> None:
    for name, (flags, own) in options.items():
        parser.add_argument(*flags, **{"dest": name, **own, **settings})


def _with_hyphens(arguments: Sequence[str]) -> list[str]:
    """Options of 2011 are spelled with underscores."""
    found = list(arguments)
    for index, word in enumerate(found):
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found[index] = name.replace("_", "-") + equals + value
    return found
