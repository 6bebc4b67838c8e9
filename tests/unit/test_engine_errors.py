# SPDX-License-Identifier: Apache-2.0
"""What databases say when they have no room left, by their own codes; and what is no such thing."""

import sqlite3
from pathlib import Path

import psycopg2.errors
import pymysql.err
import pytest
from sqlalchemy.exc import DBAPIError

from glance.core.context import Context
from glance.core.errors import RegistryDown, RegistryFull, RegistryReadOnly
from glance.core.image import Image
from glance.registry.db.engine import Undone, connect, translated
from glance.registry.db.migrate import prepare
from glance.registry.db.sql import SqlRegistry

ADMIN = Context(is_admin=True)


class Postgresql(psycopg2.errors.DiskFull):
    """As the driver raises it, which alone can set the code of its own."""

    pgcode = "53100"


class Replica(psycopg2.errors.ReadOnlySqlTransaction):
    pgcode = "25006"


class OutOfMemory(psycopg2.errors.OutOfMemory):
    pgcode = "53200"


def sqlite_error(code: str, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorname = code
    return error


def raised(original: Exception) -> RegistryDown:
    with pytest.raises(RegistryDown) as caught, translated():
        raise DBAPIError("INSERT INTO images", None, original)
    return caught.value


@pytest.mark.parametrize("original", [
    Postgresql("could not extend file"), pymysql.err.OperationalError(1021, "Disk full (/tmp/x)"),
    pymysql.err.OperationalError(1114, "The table 'images' is full"),
    sqlite_error("SQLITE_FULL", "database or disk is full"),
])  # fmt: skip
def test_a_full_database_is_told_from_one_that_is_away(original):
    error = raised(original)
    assert (type(error), str(error)) == (RegistryFull, "the database has no room left")


@pytest.mark.parametrize("original", [
    Replica("cannot execute UPDATE"), pymysql.err.OperationalError(1290, "running with the --read-only option"),
    pymysql.err.OperationalError(1792, "READ ONLY transaction"), pymysql.err.OperationalError(1036, "Table is read only"),
    sqlite_error("SQLITE_READONLY", "readonly"), sqlite_error("SQLITE_READONLY_DBMOVED", "readonly"),
])  # fmt: skip
def test_so_is_one_that_can_only_be_read(original):
    error = raised(original)
    assert (type(error), str(error)) == (RegistryReadOnly, "the database can only be read")


@pytest.mark.parametrize(("original", "kind"), [
    (OutOfMemory("out of memory"), RegistryDown), (pymysql.err.OperationalError(2006, "gone away"), RegistryDown),
    (sqlite_error("SQLITE_IOERR", "disk I/O error"), RegistryDown), (pymysql.err.OperationalError(1213, "Deadlock"), Undone),
])  # fmt: skip
def test_other_errors_are_not_taken_for_it(original, kind):
    error = raised(original)
    assert (type(error), str(error)) == (kind, "the database does not answer")


def test_a_full_sqlite_can_still_be_read(tmp_path: Path):
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    prepare(engine)
    registry = SqlRegistry(engine)
    kept = registry.add(ADMIN, Image(name="kept"))
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")  # of this connection, which is used again
    with pytest.raises(RegistryFull, match=r"^the database has no room left$"):
        for _ in range(100):
            registry.add(ADMIN, Image(properties={"long": "x" * 60_000}))
    assert registry.get(ADMIN, "1") == kept
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1000}")
    assert registry.add(ADMIN, Image(name="again")).name == "again"
    engine.dispose()
