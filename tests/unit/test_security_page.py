# SPDX-License-Identifier: Apache-2.0
"""docs/security.md names tests; they exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/security.md"

_ROW = re.compile(r"^\| .* \| .* \| (.*) \|$", re.MULTILINE)
_FILE = re.compile(r"([a-z]+/test_\w+\.py): ((?:`test_\w+`(?:, )?)+)")


def test_every_test_that_is_named_exists():
    _, _, tables = PAGE.read_text("utf-8").partition("## Attacks")
    cells = [cell for cell in _ROW.findall(tables) if cell != "test"]
    assert len(cells) > 40
    for cell in cells:
        assert _FILE.sub("", cell).replace("<br>", "") == "", cell
        for file, names in _FILE.findall(cell):
            defined = re.findall(r"^def (test_\w+)\(", (TESTS / file).read_text("utf-8"), re.MULTILINE)
            assert set(re.findall(r"`(\w+)`", names)) <= set(defined), (file, names)
