# SPDX-License-Identifier: Apache-2.0
"""The schema in every database: the steps make what the models say, whoever starts, stops or starts at the same time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, inspect, text

from glance.core.context import Context
from glance.core.errors import Duplicate, RegistryDown
from glance.core.image import Image, Status
from glance.core.query import Query
from glance.registry.db import migrate
from glance.registry.db.engine import connect
from glance.registry.db.models import Base
from glance.registry.db.schema import Schema
from glance.registry.db.sql import SqlRegistry

ADMIN = Context(is_admin=True)


@pytest.fixture
def empty(empty_url: str) -> Iterator[Engine]:
    engine = connect(empty_url)
    yield engine
    engine.dispose()


def test_the_steps_make_what_the_models_say(empty):
    migrate.prepare(empty)
    with empty.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_what_somebody_has_changed_by_hand_is_told_in_words(empty, empty_url):
    migrate.prepare(empty)
    schema = Schema(empty_url)
    assert (schema.step(), schema.differences()) == (migrate.HEAD, [])
    where = " ON images" if empty.dialect.name in ("mysql", "mariadb") else ""
    with empty.begin() as connection:
        connection.execute(text(f"DROP INDEX ix_images_checksum{where}"))
        connection.execute(text("ALTER TABLE images ADD COLUMN colour VARCHAR(20)"))
        connection.execute(text("DROP TABLE image_tags"))
        connection.execute(text("CREATE TABLE of_somebody_else (number INTEGER)"))
    assert sorted(schema.differences()) == [
        "column colour of table images should not be there",
        "index ix_image_tags_tag of table image_tags is missing",
        "index ix_images_checksum of table images is missing",
        "table image_tags is missing",
    ]
    assert empty.url.password is None or empty.url.password not in schema.address


def test_the_steps_can_be_taken_back(empty):
    migrate.prepare(empty)
    go(empty, command.downgrade, "base")
    assert inspect(empty).get_table_names() == ["alembic_version"]
    migrate.prepare(empty)
    assert SqlRegistry(empty).add(ADMIN, Image()).number == 1


def test_what_an_older_version_has_kept_is_found_by_this_one(empty):
    go(empty, command.upgrade, "0001")
    images = "INSERT INTO images (number, id, name, status, visibility, min_disk, min_ram, protected, hidden, created_at) VALUES"
    with empty.begin() as connection:
        for number, status in ((3, "active"), (4, "deleted")):
            values = f"({number}, '00000000-0000-0000-0000-00000000000{number}', 'old', '{status}', 'private', 0, 0, {{no}}, {{no}}, '2011-03-04 05:06:07')"
            connection.execute(
                text(f"{images} {values.format(no='0' if empty.dialect.name == 'sqlite' else 'false')}")
            )
        long = "v" * 300
        connection.execute(text(f"INSERT INTO image_properties (image, name, value) VALUES (3, 'p', '{long}')"))
    migrate.prepare(empty)
    registry = SqlRegistry(empty)
    (image,) = registry.find(ADMIN, Query(everyone=True, properties={"p": long})).images
    assert (image.number, image.properties, image.updated_at) == (3, {"p": long}, datetime(2011, 3, 4, 5, 6, 7))
    deleted = registry.find(ADMIN, Query(everyone=True, deleted=True)).images
    assert [(one.number, one.status) for one in deleted] == [(4, Status.DELETED), (3, Status.ACTIVE)]
    with pytest.raises(Duplicate):
        registry.add(ADMIN, Image(number=4))


def test_images_of_a_version_without_quotas_count_if_their_bytes_are_ours(empty):
    go(empty, command.upgrade, "0004")
    images = "INSERT INTO images (number, id, status, size, visibility, min_disk, min_ram, protected, hidden, deleted, created_at) VALUES"
    no = "0" if empty.dialect.name == "sqlite" else "false"
    rows = (
        ("active", "file:///images/1"),
        ("active", "swift://images/2"),
        ("active", "http://example.org/3"),
        ("active", "https://example.org/4"),
        ("pending_delete", "s3://images/5"),
        ("saving", "file:///images/6"),
        ("deleted", None),
    )
    with empty.begin() as connection:
        for number, (status, url) in enumerate(rows, 1):
            values = (
                f"({number}, '{number}', '{status}', 10, 'private', 0, 0, {no}, {no}, {no}, '2011-03-04 05:06:07')"
            )
            connection.execute(text(f"{images} {values}"))
            if url is not None:
                kept = f"({number}, 0, :url, 'active')"
                into = "INSERT INTO image_locations (image, position, url, status) VALUES"
                connection.execute(text(f"{into} {kept}"), {"url": url})
    migrate.prepare(empty)
    with empty.connect() as connection:
        charged = connection.execute(text("SELECT charged FROM images ORDER BY number")).scalars().all()
    assert charged == [10, 10, None, None, 10, None, None]


@pytest.mark.parametrize(
    "moment", ["CREATE TABLE image_properties", "CREATE INDEX ix_images_owner_size", "lease_until"]
)
def test_a_first_start_that_is_cut_off_leaves_nothing_in_the_way(empty, moment):
    def cut(_connection, _cursor, statement, *_):
        if moment in statement.replace("IF NOT EXISTS ", ""):
            raise KeyboardInterrupt

    event.listen(empty, "before_cursor_execute", cut)
    with pytest.raises(KeyboardInterrupt):
        migrate.prepare(empty)
    event.remove(empty, "before_cursor_execute", cut)
    migrate.prepare(empty)
    with empty.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert SqlRegistry(empty).add(ADMIN, Image()).number == 1


def test_daemons_that_start_at_once_do_not_disturb_each_other(empty_url):
    barrier = threading.Barrier(4)

    def start(_: int) -> str | None:
        engine = connect(empty_url)
        barrier.wait()
        migrate.prepare(engine)
        try:
            return migrate.version(engine)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [migrate.HEAD] * 4


def test_a_server_that_is_not_there_is_named_without_its_password():
    for kind in ("postgresql", "mysql", "mariadb"):
        with pytest.raises(RegistryDown, match=r"127\.0\.0\.1:1/glance") as down:
            migrate.prepare(connect(f"{kind}://glance:secret@127.0.0.1:1/glance"))
        assert "secret" not in str(down.value)


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_a_password_that_is_wrong_is_not_shown(request, server):
    url = request.getfixturevalue(server).new_database()
    wrong = url.replace(request.getfixturevalue(server).password, "secret")
    with pytest.raises(RegistryDown, match="glance") as down:
        migrate.prepare(connect(wrong))
    assert "secret" not in str(down.value)


def go(engine: Engine, direction, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        direction(config, revision)
        connection.commit()
    engine.dispose()
