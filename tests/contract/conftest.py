# SPDX-License-Identifier: Apache-2.0
"""Every kind of Registry, for one suite: in memory, over SQL, and over HTTP to a registry daemon's application."""

import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from sqlalchemy import Engine, delete, insert, text

from glance.config import RegistryConfig
from glance.core.image import Image, Member
from glance.core.ports import Registry
from glance.registry.client import HttpRegistry
from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from glance.registry.db.models import ImageRow, LocationRow, MemberRow, PropertyRow, PurgedRow, TagRow, start_of
from glance.registry.db.sql import SqlRegistry
from glance.registry.server import build
from tests.fakes.registry import MemoryRegistry
from tests.servers.mariadb import Mariadb
from tests.servers.postgresql import Postgresql

DATABASES = ("sqlite", "postgresql", "mariadb")
KEY = "a key that both daemons share"


class ThreadingServer(ThreadingMixIn, WSGIServer):
    request_queue_size = 128  # with the usual 5, connections that come at once may wait a second for a second try


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def over_http(registry: Registry) -> Iterator[HttpRegistry]:
    app = build(RegistryConfig(registry_key=KEY), registry=registry)
    with make_server("127.0.0.1", 0, app, ThreadingServer, QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        client = HttpRegistry("127.0.0.1", server.server_port, key=KEY)
        yield client
        client.close()
        server.shutdown()
        thread.join()


class Kind:
    """One kind of registry, empty at first."""

    def __init__(self, name: str, engine: Engine | None, stack: ExitStack) -> None:
        self.name = name
        self.engine = engine  # None: it is in memory
        self._memory: list[MemoryRegistry] = []
        self._stack = stack

    def make(self, **options: Any) -> Registry:
        """A registry, made with the options of its constructor."""
        if self.engine is None:
            self._memory.append(MemoryRegistry(**options))
            return self._memory[-1]
        sql = SqlRegistry(self.engine, **options)
        return self._stack.enter_context(over_http(sql)) if self.name == "http" else sql

    def load(self, images: Iterable[Image], members: Iterable[Member] = ()) -> None:
        """Write down images exactly as they are, deleted ones too, and their members."""
        if self.engine is not None:
            load_rows(self.engine, list(images), members)
        for memory in self._memory:
            load_memory(memory, images, members)

    def clear(self) -> None:
        """Forget all images, as if they had never been."""
        for memory in self._memory:
            memory.images.clear()
            memory.shares.clear()
        if self.engine is not None:
            with self.engine.begin() as connection:
                connection.execute(delete(ImageRow))  # and with them what is theirs


def load_memory(registry: MemoryRegistry, images: Iterable[Image], members: Iterable[Member] = ()) -> None:
    registry.images.update({image.number: image for image in images})
    numbers = {image.id: image.number for image in registry.images.values()}
    registry.shares.update({(numbers[member.image_id], member.member): member for member in members})


def load_rows(engine: Engine, images: list[Image], members: Iterable[Member] = ()) -> None:
    numbers = {image.id: image.number for image in images}
    columns = {column.name for column in ImageRow.__table__.columns}
    rows: dict[type, list[dict[str, Any]]] = {
        ImageRow: [
            {"deleted": image.deleted, **{i.name: getattr(image, i.name) for i in fields(image) if i.name in columns}}
            for image in images
        ],
        LocationRow: [
            {"image": image.number, "position": position, "url": url}
            for image in images
            for position, url in enumerate(image.locations)
        ],
        PropertyRow: [
            {"image": image.number, "name": name, "value": value, "start": start_of(value)}
            for image in images
            for name, value in image.properties.items()
        ],
        TagRow: [{"image": image.number, "tag": tag} for image in images for tag in image.tags],
        MemberRow: [
            {"image": numbers[member.image_id]}
            | {i.name: getattr(member, i.name) for i in fields(member) if i.name != "image_id"}
            for member in members
        ],
    }
    with engine.begin() as connection:
        for model, found in rows.items():
            if found:
                connection.execute(insert(model), found)
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('images_number_seq', (SELECT max(number) FROM images))"))


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables, to be copied: making them takes longer than most tests."""
    path = tmp_path_factory.mktemp("sqlite") / "glance.sqlite"
    prepare(connect(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_engine(empty_sqlite: Path, tmp_path: Path) -> Iterator[Engine]:
    shutil.copyfile(empty_sqlite, tmp_path / "glance.sqlite")
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def whole_postgresql(postgresql: Postgresql) -> Iterator[Engine]:
    engine = connect(postgresql.new_database())
    prepare(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql_engine(whole_postgresql: Engine) -> Engine:
    with whole_postgresql.begin() as connection:
        connection.execute(text("TRUNCATE images, purged_images RESTART IDENTITY CASCADE"))
    return whole_postgresql


@pytest.fixture(scope="session")
def whole_mariadb(mariadb: Mariadb) -> Iterator[Engine]:
    engine = connect(mariadb.new_database())
    prepare(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def mariadb_engine(whole_mariadb: Engine) -> Engine:
    with whole_mariadb.begin() as connection:
        connection.execute(delete(ImageRow))  # and with them what is theirs
        connection.execute(delete(PurgedRow))
        connection.execute(text("ALTER TABLE images AUTO_INCREMENT = 1"))
    return whole_mariadb


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """An empty database of every kind."""
    return request.getfixturevalue(f"{request.param}_engine")


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of every kind that has no tables yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/glance.sqlite"
    return request.getfixturevalue(request.param).new_database()


@pytest.fixture
def sql(engine: Engine) -> SqlRegistry:
    return SqlRegistry(engine)


def _kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    database = {"memory": None, "http": "sqlite"}.get(request.param, request.param)
    with ExitStack() as stack:
        yield Kind(request.param, database and request.getfixturevalue(f"{database}_engine"), stack)


kind = pytest.fixture(_kind, params=["memory", *DATABASES, "http"])
real_kind = pytest.fixture(_kind, params=[*DATABASES, "http"])  # to be compared with the one in memory


@pytest.fixture
def registry(kind: Kind) -> Registry:
    return kind.make()
