# SPDX-License-Identifier: Apache-2.0
"""The schema: what the steps make is what the models say, and what is not ours is refused."""

import os
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from glance.core.context import Context
from glance.core.errors import Invalid, RegistryDown
from glance.core.image import Image
from glance.registry.db import migrate
from glance.registry.db.engine import connect
from glance.registry.db.models import Base
from glance.registry.db.sql import SqlRegistry


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    yield engine
    engine.dispose()


def test_the_steps_make_what_the_models_say(engine):
    migrate.prepare(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_known_head_is_alembics():
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_a_second_start_finds_everything_in_place(engine, monkeypatch):
    migrate.prepare(engine)
    SqlRegistry(engine).add(Context(), Image(name="kept"))
    monkeypatch.setattr(migrate, "_upgrade", lambda _: pytest.fail("no step is due"))
    migrate.prepare(engine)
    assert SqlRegistry(engine).get(Context(), "1").name == "kept"


def test_no_connection_is_left_open(engine):
    migrate.prepare(engine)
    assert engine.pool.checkedin() == 0


def test_a_schema_of_a_later_version_is_refused(engine):
    migrate.prepare(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Invalid, match="not known to this version"):
        migrate.prepare(engine)


def test_a_database_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(RegistryDown, match=r"nowhere/glance\.sqlite.*unable to open database file"):
        migrate.prepare(connect(f"sqlite:///{tmp_path}/nowhere/glance.sqlite"))


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/db", "sqlite+nosuch:///x"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(Invalid, match="sql_connection"):
        connect(url)


def test_the_file_is_not_for_everybody(engine, tmp_path):
    before = os.umask(0)
    try:
        migrate.prepare(engine)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "glance.sqlite").stat().st_mode) == 0o640


def test_sqlite_is_durable_and_does_not_let_readers_wait(engine):
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
