# SPDX-License-Identifier: Apache-2.0
"""Databases in trouble: lost connections, restarts, deadlocks, locks that are held; and what one request reads."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from glance.core.context import Context
from glance.core.errors import RegistryDown
from glance.core.image import Image, ImageChange, Status
from glance.core.query import Query
from glance.registry.db.engine import ATTEMPTS, connect
from glance.registry.db.sql import SqlRegistry

ADMIN = Context(is_admin=True)
SERVERS = ("postgresql", "mariadb")
BACKEND = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Engine:
    """An empty database of every server."""
    return request.getfixturevalue(f"{request.param}_engine")


@contextmanager
def before(engine: Engine, part: str, deed: Callable[[object], None], times: int = 1) -> Iterator[list[str]]:
    """Do something before the first statements that have this part; what these were."""
    seen: list[str] = []

    def check(connection, _cursor, statement, *_):
        if part in statement:
            seen.append(statement)
            if len(seen) <= times:
                deed(connection)

    event.listen(engine, "before_cursor_execute", check)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", check)


def kill(connection) -> None:
    """Cut a connection from the server's side, as its restart would."""
    name = connection.dialect.name
    cursor = connection.connection.cursor()
    cursor.execute(BACKEND[name])
    backend = cursor.fetchone()[0]
    with connection.engine.connect() as other:
        other.exec_driver_sql(KILL[name].format(backend))
    time.sleep(0.1)


# Lost connections


def test_a_change_whose_connection_is_lost_is_made_once(server):
    registry = SqlRegistry(server)
    registry.add(ADMIN, Image(properties={"a": "1"}))
    with before(server, "DELETE FROM image_properties", kill) as tries:
        changed = registry.update(
            ADMIN, "1", ImageChange(status=Status.SAVING, properties={"a": "2"}), expect=Status.QUEUED
        )
    assert (changed.status, changed.properties, len(tries)) == (Status.SAVING, {"a": "2"}, 2)
    assert registry.get(ADMIN, "1") == changed


def test_a_list_whose_connection_is_lost_is_read_again(server):
    registry = SqlRegistry(server)
    registry.add(ADMIN, Image())
    with before(server, "image_tags.tag AS value", kill) as tries:
        assert len(registry.find(ADMIN, Query(everyone=True)).images) == 1
    assert len(tries) == 2


def test_a_database_that_loses_every_connection_is_down(server):
    registry = SqlRegistry(server)
    registry.add(ADMIN, Image())
    with before(server, "FROM image_tags", kill, times=100) as tries, pytest.raises(RegistryDown):
        registry.get(ADMIN, "1")
    assert len(tries) == ATTEMPTS


def test_nobody_knows_what_became_of_a_commit_whose_connection_is_lost(server):
    """So it is not tried again: a number might be given twice, a claim lost to oneself."""
    registry = SqlRegistry(server)
    commits = []

    def lose(connection):
        commits.append(connection)
        kill(connection)

    event.listen(server, "commit", lose)
    try:
        with pytest.raises(RegistryDown):
            registry.add(ADMIN, Image())
    finally:
        event.remove(server, "commit", lose)
    assert len(commits) == 1
    assert registry.find(ADMIN, Query(everyone=True)).images == ()


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_was_restarted_is_used_again(request, name):
    server, engine = request.getfixturevalue(name), request.getfixturevalue(f"{name}_engine")
    registry = SqlRegistry(engine)
    image = registry.add(ADMIN, Image(name="kept"))
    connections = [engine.connect() for _ in range(3)]
    for connection in connections:
        connection.close()
    server.stop()
    try:
        for deed in (lambda: registry.get(ADMIN, image.id), lambda: registry.add(ADMIN, Image()), registry.check):
            with pytest.raises(RegistryDown):
                deed()
    finally:
        server.start()
    assert registry.get(ADMIN, image.id) == image
    assert registry.add(ADMIN, Image()).number is not None


# Locks


def test_a_deadlock_is_tried_again(server):
    registry = SqlRegistry(server)
    registry.add(ADMIN, Image(tags=frozenset({"old"})))
    registry.add(ADMIN, Image())
    with server.connect() as other:
        if server.dialect.name == "postgresql":
            other.exec_driver_sql("SET deadlock_timeout = '60s'")  # the first to look for one is its victim
        else:
            other.exec_driver_sql("UPDATE images SET name = 'much work' WHERE number = 2")  # who did least is
        other.exec_driver_sql("SELECT tag FROM image_tags WHERE image = 1 FOR UPDATE")

        def cross() -> None:
            other.exec_driver_sql("UPDATE images SET name = 'other' WHERE number = 1")
            other.commit()

        crossing = threading.Thread(target=cross)

        def start(_: object) -> None:
            crossing.start()
            time.sleep(0.3)  # it waits for our lock now, and we are about to wait for its

        with before(server, "DELETE FROM image_tags", start) as tries:
            changed = registry.update(ADMIN, "1", ImageChange(tags=frozenset({"new"})))
        crossing.join()
    assert (changed.tags, changed.name) == ({"new"}, "other")
    assert len(tries) >= 2


def test_a_lock_that_is_held_too_long_is_not_waited_for(server, monkeypatch):
    registry = SqlRegistry(server)
    registry.add(ADMIN, Image())
    impatient = connect(server.url.render_as_string(hide_password=False))
    setting = "SET lock_timeout = '1s'" if server.dialect.name == "postgresql" else "SET innodb_lock_wait_timeout = 1"
    event.listen(
        impatient, "connect", lambda connection, _: (connection.cursor().execute(setting), connection.commit())
    )
    with server.connect() as other:
        other.exec_driver_sql("UPDATE images SET name = 'held' WHERE number = 1")
        with pytest.raises(RegistryDown):
            SqlRegistry(impatient).update(ADMIN, "1", ImageChange(name="new"))
        assert SqlRegistry(impatient).get(ADMIN, "1").name is None
    impatient.dispose()


# Snapshots


def test_what_is_read_is_of_one_moment(engine):
    registry = SqlRegistry(engine)
    registry.add(
        ADMIN, Image(name="old", properties={"p": "old"}, locations=("http://old",), tags=frozenset({"old"}))
    )
    old = registry.get(ADMIN, "1")
    change = ImageChange(name="new", properties={"p": "new"}, locations=("http://new",), tags=frozenset({"new"}))
    for read in (
        lambda: registry.get(ADMIN, "1"),
        lambda: registry.find(ADMIN, Query(everyone=True)).images[0],
    ):
        with before(engine, "FROM image_locations", lambda _: registry.update(ADMIN, "1", change)):
            assert read() == old
        new = registry.get(ADMIN, "1")
        assert new.name == "new"
        old = new


# Under eventlet

SLOW = """
import sys
from glance.serve import green
green.patch()
import eventlet
from glance.registry.db.engine import connect
engine = connect(sys.argv[1])
ticks = 0

def tick():
    global ticks
    while True:
        eventlet.sleep(0.01)
        ticks += 1

with engine.connect() as connection:
    connection.exec_driver_sql("SELECT 1")
    eventlet.spawn(tick)
    connection.exec_driver_sql(sys.argv[2])
print(ticks)
"""


@pytest.mark.parametrize(
    ("name", "statement"), [("postgresql", "SELECT pg_sleep(1)"), ("mariadb", "SELECT SLEEP(1)")]
)
def test_a_slow_query_lets_other_requests_go_on(request, name, statement):
    url = request.getfixturevalue(name).new_database()
    command = [sys.executable, "-W", "ignore", "-c", SLOW, url, statement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5  # about 90, and none from a driver that blocks
