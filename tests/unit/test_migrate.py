# SPDX-License-Identifier: Apache-2.0
"""The start of a database, as SQLite has it; tests/contract/test_schema.py has what all have in common."""

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from glance.core.context import Context
from glance.core.errors import Invalid, RegistryDown
from glance.core.image import Image
from glance.registry.db import migrate
from glance.registry.db.engine import connect
from glance.registry.db.sql import SqlRegistry


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    yield engine
    engine.dispose()


def test_the_known_head_is_alembics():
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_a_second_start_finds_everything_in_place(engine, monkeypatch):
    migrate.prepare(engine)
    SqlRegistry(engine).add(Context(is_admin=True), Image(name="kept"))
    monkeypatch.setattr(migrate, "_upgrade", lambda _: pytest.fail("no step is due"))
    migrate.prepare(engine)
    assert SqlRegistry(engine).get(Context(is_admin=True), "1").name == "kept"


def test_no_connection_is_left_open(engine):
    migrate.prepare(engine)
    assert engine.pool.checkedin() == 0


def test_a_schema_of_a_later_version_is_refused(engine):
    migrate.prepare(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Invalid, match=r"not known to this version.*install the version that made it"):
        migrate.prepare(engine)


def test_a_database_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(RegistryDown, match=r"nowhere/glance\.sqlite.*unable to open database file"):
        migrate.prepare(connect(f"sqlite:///{tmp_path}/nowhere/glance.sqlite"))


@pytest.mark.parametrize(
    "url",
    ["nonsense", "nosuch://u:password@host/db", "sqlite+nosuch:///x", "postgresql://u:p@ss:password@host/db", "sqlite://",
     "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(Invalid, match="sql_connection") as refused:
        connect(url)
    assert "pass" not in str(refused.value)


def test_the_file_is_not_for_everybody(engine, tmp_path):
    before = os.umask(0)
    try:
        migrate.prepare(engine)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "glance.sqlite").stat().st_mode) == 0o640


def test_a_new_file_that_another_daemon_is_writing_to_is_waited_for(engine, tmp_path):
    other = sqlite3.connect(tmp_path / "glance.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite refuses the change to WAL at once then, whatever the busy_timeout
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()
    migrate.prepare(engine)
    release.join()
    other.close()
    assert migrate.version(engine) == migrate.HEAD


def test_sqlite_is_durable_and_does_not_let_readers_wait(engine):
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
