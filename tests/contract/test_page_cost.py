# SPDX-License-Identifier: Apache-2.0
"""A page costs the same however many images there are: in steps of SQLite's machine and in blocks that PostgreSQL
reads, which no clock measures.

The lists are those of benchmarks/pages.py, which measures them in time.
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
from tests.servers.postgresql import Postgresql

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


class Reading:
    """A database of PostgreSQL with so many images, and the blocks that its pages take."""

    def __init__(self, url: str, count: int) -> None:
        self.engine = connect(url)
        fill(self.engine, count)
        event.listen(self.engine, "before_cursor_execute", self._explain)
        self._registry = SqlRegistry(self.engine)
        self._blocks = 0

    def _explain(self, _connection, cursor, statement, values, *_) -> None:
        if statement.startswith("SELECT"):
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
            plan = cursor.fetchone()[0][0]["Plan"]
            self._blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    def blocks(self, case: Case) -> int:
        query = placed(self._registry, self.engine, case)
        self._blocks = 0
        self._registry.find(case.ctx, query)
        return self._blocks


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


@pytest.fixture(scope="module")
def postgresql_tables(postgresql: Postgresql) -> Iterator[list[Reading]]:
    made = [Reading(postgresql.new_database(), count) for count in COUNTS]
    yield made
    for table in made:
        table.engine.dispose()


@pytest.mark.parametrize("name", GROUPS)
def test_postgresql_reads_as_many_blocks_however_many_images_there_are(postgresql_tables, name, monkeypatch):
    monkeypatch.setattr(rare, "FEW", FEW)
    for case in GROUPS[name]:
        few, many = [table.blocks(case) for table in postgresql_tables]
        # Trees are a step higher, and what is fetched is spread over more blocks.
        assert many <= 2 * few + 10, case.place
