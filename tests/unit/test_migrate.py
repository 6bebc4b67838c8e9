# SPDX-License-Identifier: Apache-2.0
"""The schema: what the steps make is what the models say, and what is not ours is refused."""

import io
import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateTable

from glance.core.context import Context
from glance.core.errors import Invalid, RegistryDown
from glance.core.image import Image
from glance.registry.db import migrate
from glance.registry.db.engine import connect
from glance.registry.db.models import Base
from glance.registry.db.sql import SqlRegistry
from glance.registry.db.versions import step_0001

LATER = ("start ", "deleted ", "copy_from ", "failure ", "holder ", "lease_until ")  # columns


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    yield engine
    engine.dispose()


def test_the_steps_make_what_the_models_say(engine):
    migrate.prepare(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


@pytest.mark.parametrize("name", ["sqlite", "mysql", "mariadb", "postgresql"])
def test_the_first_step_says_the_same_in_every_dialect(name):
    """Half of it does not show in a schema that SQLite is asked for. Later steps will need the real databases."""
    output = io.StringIO()
    context = MigrationContext.configure(dialect_name=name, opts={"as_sql": True, "output_buffer": output})
    with Operations.context(context):
        step_0001.upgrade()
    dialect = make_url(f"{name}://").get_dialect()()
    wanted = [str(CreateTable(table).compile(dialect=dialect)) for table in Base.metadata.tables.values()]
    assert clauses(output.getvalue()) == clauses("\n".join(wanted))


def clauses(ddl: str) -> list[str]:
    """The lines that make tables, whatever their order; without what later steps add or change."""
    lines = (line.strip().rstrip(",;").replace(";", "") for line in ddl.splitlines() if line.strip(" ;\t"))
    return sorted(line for line in lines if not line.startswith((*LATER, "CREATE INDEX")))


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


def test_a_first_start_that_is_cut_off_leaves_nothing_in_the_way(engine):
    def cut(_connection, _cursor, statement, *_):
        if "CREATE TABLE image_properties" in statement:
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", cut)
    with pytest.raises(KeyboardInterrupt):
        migrate.prepare(engine)
    assert inspect(engine).get_table_names() == []
    event.remove(engine, "before_cursor_execute", cut)
    migrate.prepare(engine)
    assert migrate.version(engine) == migrate.HEAD


def test_daemons_that_start_at_once_do_not_disturb_each_other(tmp_path):
    for attempt in range(5):
        barrier = threading.Barrier(4)

        def start(_: int, attempt: int = attempt, barrier: threading.Barrier = barrier) -> str | None:
            engine = connect(f"sqlite:///{tmp_path}/{attempt}.sqlite")
            barrier.wait()
            migrate.prepare(engine)
            try:
                return migrate.version(engine)
            finally:
                engine.dispose()

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(start, range(4))) == [migrate.HEAD] * 4


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
