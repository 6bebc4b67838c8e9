# SPDX-License-Identifier: Apache-2.0
"""A page costs the same however many images there are: in steps of SQLite's machine, which no clock measures.

The lists are those of benchmarks/pages.py, which measures them in time, and on servers.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from sqlalchemy import event

from benchmarks.pages import LIMIT, Case, cases, fill, placed
from glance.registry.db import rare
from glance.registry.db.engine import connect
from glance.registry.db.sql import SqlRegistry

COUNTS = (3000, 20_000)  # images; in fewer, the shorter of the lists end before a page is full
FEW = 150  # in place of rare.FEW, more than which a table must have that the sorted way is taken through it
GROUPS = {name: list(found) for name, found in groupby(cases(), key=lambda case: case.name)}


class Counting:
    """A database of so many images, and the steps that its pages take."""

    def __init__(self, path: Path, count: int) -> None:
        self.engine = connect(f"sqlite:///{path}")
        fill(self.engine, count)
        self.engine.dispose()
        event.listen(self.engine, "connect", lambda connection, _: connection.set_progress_handler(self._step, 1))
        self._registry = SqlRegistry(self.engine)
        self._steps = 0

    def _step(self) -> int:
        self._steps += 1
        return 0

    def steps(self, case: Case) -> tuple[int, int]:
        """How many a page takes, and how many images it has."""
        query = placed(self._registry, self.engine, case)
        self._steps = 0
        page = self._registry.find(case.ctx, query)
        return self._steps, len(page.images)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Counting]]:
    folder = tmp_path_factory.mktemp("pages")
    made = [Counting(folder / f"{count}.sqlite", count) for count in COUNTS]
    yield made
    for table in made:
        table.engine.dispose()


@pytest.mark.parametrize("name", GROUPS)
def test_a_page_costs_the_same_however_many_images_there_are(tables, name, monkeypatch):
    monkeypatch.setattr(rare, "FEW", FEW)
    for case in GROUPS[name]:
        (few, _), (many, images) = [table.steps(case) for table in tables]
        assert many <= 1.3 * few, case.place
        assert images == LIMIT or "few" in name or "one" in name, case.place
