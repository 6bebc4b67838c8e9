# SPDX-License-Identifier: Apache-2.0
"""Purged images are gone in every database, and their names never come back."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from glance.core.context import Context
from glance.core.errors import Duplicate, NotFound
from glance.core.image import Image, Status
from glance.core.query import Query
from glance.registry.db import purge as purging
from glance.registry.db.models import Base, ImageRow, now
from glance.registry.db.purge import purge
from glance.registry.db.sql import SqlRegistry
from tests.contract.conftest import load_rows

ADMIN = Context(is_admin=True)
MONTH = timedelta(days=30)


def image(number: int, *, days: float = 31, **fields: object) -> Image:
    """One that was deleted so many days ago."""
    moment = now() - timedelta(days=days)
    given = {"status": Status.DELETED, "deleted_at": moment, "created_at": moment, "name": "gone"}
    return Image(number=number, id=str(uuid.UUID(int=number)), **given | fields)


def numbers(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(ImageRow.number).order_by(ImageRow.number)).scalars())


def test_what_was_deleted_long_ago_goes_with_all_that_is_its(engine):
    old = image(1, properties={"a": "b"}, tags=frozenset({"t"}))
    load_rows(engine, [old, image(2, days=29), image(3, status=Status.ACTIVE), image(4, locations=("file:///4",))])
    assert sum(purge(engine, MONTH)) == 1
    assert numbers(engine) == [2, 3, 4]
    with engine.connect() as connection:
        for table in Base.metadata.tables.values():
            if "image" in table.c:
                assert connection.execute(select(func.count()).where(table.c.image == 1)).scalar() == 0
    registry = SqlRegistry(engine)
    for name in ("1", old.id):
        with pytest.raises(NotFound):
            registry.get(ADMIN, name, deleted=True)
    listed = registry.find(ADMIN, Query(everyone=True, deleted=True)).images
    assert sorted(found.number for found in listed) == [2, 3, 4]
    assert sum(purge(engine, MONTH)) == 0


def test_names_do_not_come_back(engine):
    load_rows(engine, [image(1), image(2)])
    assert sum(purge(engine, MONTH)) == 2
    registry = SqlRegistry(engine)
    for draft in (Image(number=1), Image(number=2), Image(id=image(1).id), Image(id=image(2).id, number=7)):
        with pytest.raises(Duplicate, match="existed"):
            registry.add(ADMIN, draft)
    assert numbers(engine) == []
    assert registry.add(ADMIN, Image()).number > 2  # though the newest one was purged
    assert registry.add(ADMIN, Image(number=100)).number == 100


def test_in_small_steps(engine, monkeypatch):
    monkeypatch.setattr(purging, "BATCH", 3)
    load_rows(engine, [image(number, days=40 * (number % 2)) for number in range(1, 15)])
    assert list(purge(engine, MONTH)) == [3, 3, 1]
    assert numbers(engine) == [2, 4, 6, 8, 10, 12, 14]


def test_several_purges_and_those_who_want_the_names_at_once(engine, monkeypatch):
    monkeypatch.setattr(purging, "BATCH", 5)
    gone = [image(number) for number in range(1, 41)]
    load_rows(engine, gone)
    registry = SqlRegistry(engine)

    def add(wanted: Image) -> bool:
        try:
            registry.add(ADMIN, Image(id=wanted.id))
        except Duplicate:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        purges = [pool.submit(lambda: sum(purge(engine, MONTH))) for _ in range(2)]
        adds = [pool.submit(add, wanted) for wanted in gone]
        assert sum(done.result() for done in purges) == 40
        assert not any(done.result() for done in adds)
    assert numbers(engine) == []
