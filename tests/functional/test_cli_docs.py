# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md and `--help` tell the same: no command, argument, option or variable is missing in one of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from glance.cli.images.credentials import VARIABLES
from glance.cli.images.fields import FILTERS, SETTABLE
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text("utf-8")
PROGRAMS = ("glance", "glance-upload", "glance-control", "glance-manage", "glance-scrubber", "glance-api")
BLOCKS = {
    "positional arguments": "argument",
    "commands": "command",
    "deeds": "command",
}  # of --help → heading of a table


def sections() -> dict[str, str]:
    """Heading → what stands below it, for those that are the name of a program or a command."""
    parts = re.split(r"^#+ (.*)\n", PAGE, flags=re.MULTILINE)[1:]
    return {
        heading.strip("`"): text
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
        if heading.startswith("`")
    }


SECTIONS = sections()


def rows(text: str, kind: str) -> set[str]:
    """The first cells of the tables with that heading; a cell may name several."""
    found = set()
    for table in re.findall(rf"^\| {kind} \|.*\n\|[-|]*\n((?:\|.*\n)*)", text, re.MULTILINE):
        for row in table.splitlines():
            found |= set(re.findall(r"`([^`]*)`", re.split(r"(?<!\\)\|", row)[1]))
    return found


def names(text: str, kind: str) -> set[str]:
    """What `--help` lists of a kind: options as they are called, with their value."""
    if kind == "option":
        return set(re.findall(r"^  (-\S+(?: \S+)*)(?: {2}|$)", text, re.MULTILINE))
    found = set()
    for title, lines in re.findall(r"^([a-z ]+):\n((?:  .*\n)+)", text, re.MULTILINE):
        if BLOCKS.get(title) == kind:
            found |= set(re.findall(r"^ {2,4}([\w-]+)(?: {2}|$)", lines, re.MULTILINE)) - {"COMMAND", "DEED"}
    return found


def helps(installation: Installation) -> Iterator[tuple[str, str]]:
    """Every program and command, and what it says with --help."""
    left = list(PROGRAMS)
    while left:
        words = left.pop(0).split()
        done = installation.run(*words, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        yield " ".join(words), done.stdout
        if words[0] in ("glance", "glance-manage"):
            left += [" ".join((*words, name)) for name in names(done.stdout, "command")]


def test_the_page_and_the_help_tell_the_same(installation: Installation) -> None:
    found = dict(helps(installation))
    assert set(SECTIONS) == set(found)
    for command, text in found.items():
        section = SECTIONS[command]
        for kind in ("option", "command", "argument"):
            assert (command, kind, rows(section, kind)) == (command, kind, names(text, kind))
        usage = re.match(r"usage: (.*)\n", text)[1]
        if "[options]" in usage:  # the others are made by argparse, of what was compared
            assert f"\n    {usage}\n" in section
        if not rows(section, "command"):
            examples = [line for line in re.findall(r"^    (.*)", section, re.MULTILINE) if line != usage]
            assert any(set(command.split()) <= set(line.split()) for line in examples), f"{command} has no example"
    assert sum(len(names(text, "option")) for text in found.values()) > 80  # they are found at all


def test_both_daemons_take_the_same(installation: Installation) -> None:
    api, registry = (installation.run(name, "--help").stdout for name in ("glance-api", "glance-registry"))
    assert names(api, "option") == names(registry, "option")


def test_the_variables_of_the_environment(installation: Installation) -> None:
    variables = {name for several in VARIABLES.values() for name in several}
    assert set(re.findall(r"\bOS_[A-Z_]+", PAGE)) == variables
    help_of_all = installation.run("glance", "--help").stdout
    assert set(re.findall(r"\bOS_[A-Z_]+", help_of_all)) == variables


def test_the_fields_and_the_filters(installation: Installation) -> None:
    assert rows(SECTIONS["glance add"], "field") == SETTABLE
    assert rows(SECTIONS["glance index"], "filter") == set(FILTERS)
    for command, told in (("add", SETTABLE), ("index", set(FILTERS)), ("details", set(FILTERS))):
        assert set(re.findall(r"\b([a-z_]+)=(?=\W)", installation.run("glance", "help", command).stdout)) >= told
