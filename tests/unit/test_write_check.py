# SPDX-License-Identifier: Apache-2.0
"""The check that writes an object: at most once a minute on a host, whichever process is asked."""

import fcntl
import os
from pathlib import Path

import pytest

from glance.core.errors import StoreDown, StoreFull
from glance.core.inline import INLINE
from glance.wsgi import write_check
from glance.wsgi.write_check import INTERVAL, WriteCheck, find_shared_file
from tests.fakes.store import MemoryStore


class Store(MemoryStore):
    """Counts what was put, and fails with `error`."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.error: Exception | None = None
        self.before = self._count

    def _count(self, method: str) -> None:
        if method == "put":
            self.puts += 1
            if self.error is not None:
                raise self.error


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(write_check, "_now", lambda: made.now)
    return made


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.json"


def test_processes_of_a_host_write_once_in_a_minute(store, path, clock):
    checks = [WriteCheck(store, path) for _ in range(3)]
    for _ in range(4):
        for check in checks:
            check(INLINE)
            clock.now += 1
    assert (store.puts, store.objects) == (1, {})
    clock.now += INTERVAL
    for check in checks:
        check(INLINE)
    assert store.puts == 2


def test_all_processes_report_what_one_has_found(store, path, clock):
    store.error = StoreFull("the store has no room for these bytes")
    one, other = WriteCheck(store, path), WriteCheck(store, path)
    for check in (one, other, one):
        with pytest.raises(StoreFull, match="no room"):
            check(INLINE)
    assert store.puts == 1
    store.error, clock.now = None, clock.now + INTERVAL
    other(INLINE)
    one(INLINE)
    assert store.puts == 2


def test_a_process_that_dies_meanwhile_does_not_make_others_write_at_once(store, path, clock):
    store.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        WriteCheck(store, path)(INLINE)
    store.error = None
    WriteCheck(store, path)(INLINE)
    assert store.puts == 1


def test_while_another_process_writes_the_last_result_holds(store, path, clock):
    store.error = StoreDown("it is down")
    check = WriteCheck(store, path)
    with pytest.raises(StoreDown):
        check(INLINE)
    clock.now += INTERVAL
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreDown):
            check(INLINE)
    assert store.puts == 1


def test_a_file_of_before_the_start_of_the_machine_does_not_count(store, path, clock):
    check = WriteCheck(store, path)
    check(INLINE)
    clock.now = 5.0
    check(INLINE)
    assert store.puts == 2


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", "[null, 3]", '["x", null]', "[999.0, 5]", '[999.0, ["a", "b", "c"]]']
)
def test_a_file_that_makes_no_sense_is_written_anew(store, path, clock, content):
    path.write_text(content)
    for _ in range(2):
        WriteCheck(store, path)(INLINE)
    assert store.puts == 1


def make_symlink(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file to another user")
    path.touch()
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("make", [make_symlink, make_fifo, make_foreign])
def test_a_file_of_another_user_is_not_used(store, path, clock, caplog, make):
    make(path)
    one, other = WriteCheck(store, path), WriteCheck(store, path)
    for _ in range(3):
        one(INLINE)
        other(INLINE)
    assert store.puts == 2  # each process for itself
    assert not path.with_name("target").exists()
    assert caplog.text.count("each process checks the store for itself") == 2


def test_where_the_file_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:{tmp_path / 'more'}")
    one, other = find_shared_file("file:///images/1", "a"), find_shared_file("file:///images/1", "b")
    assert (one.parent, other.parent) == (tmp_path, tmp_path)
    assert one != other
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert find_shared_file("x").parent == tmp_path / "user"
