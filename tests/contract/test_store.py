# SPDX-License-Identifier: Apache-2.0
"""What every Store promises (core/ports.py): one suite, here over memory and the file system, in the files beside
this one over S3, Swift and, as far as it is about reading, HTTP. Then, what files add to it."""

import ctypes
import errno
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from glance.core.errors import BlobMissing, BrokenUpload, Duplicate, OutsideStore, StoreDown, StoreFull
from glance.core.inline import INLINE
from glance.core.ports import Store
from glance.store import abilities
from glance.store.filesystem import BLOCK, FilesystemStore
from tests.fakes.store import BytesSource, MemoryStore

DATA = bytes(range(256)) * 40
TRUE_OPEN = os.open


def refuse_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(path, flags, *arguments, **named):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return TRUE_OPEN(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", refusing)


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refusing)


def refuse_rename_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_):
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(abilities, "_LIBC", SimpleNamespace(renameat2=refusing))


# How a file of the file store gets its name, and which abilities of the file system are taken away for it.
FILES = {
    "unnamed": (),
    "named": (refuse_unnamed_files,),
    "renamed": (refuse_links,),
    "reserved": (refuse_unnamed_files, refuse_links, refuse_rename_flags),
}


@pytest.fixture
def datadir(tmp_path: Path) -> Path:
    return tmp_path / "parent" / "images"


@pytest.fixture(params=FILES)
def files(request: pytest.FixtureRequest, datadir: Path, monkeypatch: pytest.MonkeyPatch) -> FilesystemStore:
    """The file store, on file systems with all and with fewer abilities."""
    for refuse in FILES[request.param]:
        refuse(monkeypatch)
    return FilesystemStore(datadir)


@pytest.fixture(params=["memory", *FILES])
def store(request: pytest.FixtureRequest, datadir: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "memory":
        return MemoryStore()
    for refuse in FILES[request.param]:
        refuse(monkeypatch)
    return FilesystemStore(datadir)


@pytest.fixture
def held(store: Store, datadir: Path) -> Callable[[], list[str]]:
    """The names of everything that the store holds, unfinished files included."""
    return lambda: sorted(store.objects) if isinstance(store, MemoryStore) else on_disk(datadir)


def on_disk(datadir: Path) -> list[str]:
    """All files below; the folder for unfinished ones may be there, and is not told."""
    return sorted(str(path.relative_to(datadir)) for path in datadir.rglob("*") if path != datadir / "tmp")


def put(store: Store, data: bytes = DATA, name: str = "1", **source: object) -> str:
    return store.put(name, BytesSource(data, **source), size=None)


def read(store: Store, location: str, **part: int) -> bytes:
    blob = store.open(location, **part)
    try:
        data = b"".join(blob)
        assert blob.size == len(data)
        return data
    finally:
        blob.close()


# Every store


@pytest.mark.parametrize("block", [1, 7, 4095, 4097, None])
def test_what_is_put_is_read(store, block):
    assert read(store, put(store, block=block)) == DATA


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_any_number_of_bytes(store, size):
    data = os.urandom(size)
    location = put(store, data)
    assert read(store, location) == data
    blob = store.open(location)
    assert (blob.size, blob.total) == (size, size)
    blob.close()


def test_a_location_is_a_url_of_the_stores_own_schemes(store):
    scheme, separator, _ = put(store).partition("://")
    assert separator
    assert scheme in store.schemes


@pytest.mark.parametrize("part", [
    {"start": 10}, {"length": 10}, {"start": 10, "length": 20}, {"start": len(DATA) - 1}, {"start": 0, "length": len(DATA)},
], ids=str)  # fmt: skip
def test_parts(store, part):
    location = put(store)
    start, length = part.get("start", 0), part.get("length", len(DATA))
    assert read(store, location, **part) == DATA[start : start + length]
    blob = store.open(location, **part)
    assert blob.total == len(DATA)
    blob.close()


@pytest.mark.parametrize("part", [
    {"start": 5, "length": 10**12}, {"start": len(DATA)}, {"length": 0}, {"start": 10**12}, {"start": 10**12, "length": 5},
], ids=str)  # fmt: skip
def test_parts_that_end_with_the_whole_or_are_empty(store, part):
    test_parts(store, part)


def test_names_do_not_mix(store):
    names = ["1", "2", "11", "71c675ab-d94f-49cd-a114-e12490b328d9", "x" * 64]
    locations = [put(store, name.encode(), name) for name in names]
    assert [read(store, location) for location in locations] == [name.encode() for name in names]


def test_nothing_is_overwritten(store, held):
    location = put(store)
    with pytest.raises(Duplicate):
        put(store, b"other")
    assert read(store, location) == DATA
    assert held() == ["1"]


def test_of_two_puts_at_once_one_wins(store, held):
    """The second begins and ends while the first is still reading its source."""

    class Interrupted(BytesSource):
        def read(self, size: int, /) -> bytes:
            if not held() or held()[0] != "1":
                put(store, b"second")
            return super().read(size)

    with pytest.raises(Duplicate):
        store.put("1", Interrupted(DATA, block=1000), size=None)
    assert held() == ["1"]


@pytest.mark.parametrize("sent", [0, 1, 5000])
def test_a_source_that_raises_leaves_nothing_and_keeps_its_error(store, held, sent):
    with pytest.raises(BrokenUpload, match="the source was cut"):
        put(store, DATA[:sent], block=1000, cut=True)
    assert held() == []
    put(store)  # the name is still free
    assert held() == ["1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_whatever_ends_a_put_leaves_nothing(store, held, error):
    class Failing(BytesSource):
        def read(self, size: int, /) -> bytes:
            raise error

    with pytest.raises(error):
        store.put("1", Failing(), size=None)
    assert held() == []


def test_nothing_is_visible_before_the_end(store):
    location = put(store)
    store.delete(location)

    class Looking(BytesSource):
        def read(self, size: int, /) -> bytes:
            with pytest.raises(BlobMissing):
                store.open(location)
            return super().read(size)

    store.put("1", Looking(DATA, block=1000), size=None)
    assert read(store, location) == DATA


def test_what_is_deleted_is_gone(store, held):
    location = put(store)
    store.delete(location)
    assert held() == []
    with pytest.raises(BlobMissing):
        store.open(location)


def test_deleting_what_is_gone_is_no_error(store):
    location = put(store)
    for _ in range(3):
        store.delete(location)


def test_a_reader_keeps_what_it_has_opened(store):
    location = put(store)
    blob = store.open(location)
    store.delete(location)
    assert b"".join(blob) == DATA
    blob.close()


def test_all_that_lies_there_is_told(store):
    before = datetime.now(UTC).replace(tzinfo=None)
    assert list(store.held()) == []
    locations = {
        put(store, DATA[:size], name): (name, size) for name, size in (("1", 1), ("2", 0), ("x-3", len(DATA)))
    }
    found = [held for held in store.held() if held.whole]
    assert {held.location: (held.name, held.size) for held in found} == locations
    after = datetime.now(UTC).replace(tzinfo=None)
    second = timedelta(seconds=1)
    assert all(before - second <= held.modified <= after + second for held in store.held())
    for location in locations:
        store.delete(location)
    assert list(store.held()) == []


def test_a_check_leaves_nothing(store, held):
    store.check(INLINE)
    assert held() == []
    assert list(store.held()) == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../1", "a/b", "/etc/passwd", "a\0", "a b", "1\n", "ü", "%2e%2e"], ids=ascii
)
def test_a_name_that_might_mean_a_path_is_refused(store, held, name):
    with pytest.raises(ValueError, match="not a name"):
        put(store, name=name)
    assert held() == []


# Files


@pytest.mark.parametrize("folder", ["plain", "with space", "100%25", "#?&;", "ü漢", "a+b", "..dots"])
def test_any_directory(tmp_path, folder):
    store = FilesystemStore(tmp_path / folder)
    location = put(store)
    assert location.isascii()
    assert " " not in location
    assert read(store, location) == DATA
    assert on_disk(tmp_path / folder) == ["1"]
    store.delete(location)
    assert on_disk(tmp_path / folder) == []


def test_the_location_of_2011(tmp_path):
    assert put(FilesystemStore(tmp_path)) == f"file://{tmp_path}/1"
    assert read(FilesystemStore(tmp_path), f"file://{tmp_path}/1") == DATA


def test_a_relative_directory_is_fixed_at_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FilesystemStore(Path("images"))
    monkeypatch.chdir("/")
    assert put(store) == f"file://{tmp_path}/images/1"


def test_a_file_can_be_sent_by_the_kernel(files):
    blob = files.open(put(files), start=100, length=50)
    assert os.lseek(blob.file.fileno(), 0, os.SEEK_CUR) == blob.file.tell() == 100
    assert os.pread(blob.file.fileno(), 50, 100) == DATA[100:150]
    assert not os.get_inheritable(blob.file.fileno())
    blob.close()
    assert blob.file.closed


def test_the_whole_is_closed_by_closing_the_file_alone(files):
    """A server that was given the file by wsgi.file_wrapper closes nothing else."""
    blob = files.open(put(files))
    blob.file.close()
    blob.close()


def test_a_file_that_shrinks_while_it_is_read_does_not_end_as_if_whole(files, datadir):
    blob = files.open(put(files))
    os.truncate(datadir / "1", 100)
    with pytest.raises(StoreDown):
        b"".join(blob)
    blob.close()


def test_modes_do_not_depend_on_the_umask(files, datadir):
    old = os.umask(0)
    try:
        put(files)
    finally:
        os.umask(old)
    assert stat.S_IMODE((datadir / "1").stat().st_mode) == 0o640
    for directory in (datadir, *(path for path in datadir.iterdir() if path.is_dir())):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o750


def test_bytes_and_name_are_on_the_disk_before_put_returns(files, datadir, monkeypatch):
    synced = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append("directory" if stat.S_ISDIR(found.st_mode) else f"{found.st_size} bytes")
        synced.append(f"named: {(datadir / '1').exists()}")

    monkeypatch.setattr(os, "fsync", fsync)
    put(files)
    assert synced == [f"{len(DATA)} bytes", "named: False", "directory", "named: True"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_full_or_failing_disk_leaves_nothing(files, datadir, monkeypatch, call, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number), str(datadir))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreDown if number == errno.EIO else StoreFull) as caught:
        put(files)
    assert str(datadir) not in str(caught.value)
    assert on_disk(datadir) == []
    monkeypatch.undo()
    put(FilesystemStore(datadir))


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_check_notices_a_full_disk_when_it_is_told(files, datadir, monkeypatch, call):
    """NFS, for example, tells at fsync()."""

    def fail(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreFull):
        files.check(INLINE)
    assert on_disk(datadir) == []


def test_a_directory_that_cannot_be_synced_does_not_keep_the_file(files, datadir, monkeypatch):
    calls = []

    def fail_second(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", fail_second)
    with pytest.raises(StoreDown):
        put(files)
    assert on_disk(datadir) == []


def test_a_write_in_pieces_loses_nothing(files, monkeypatch):
    true_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, block: true_write(descriptor, block[:1000]))
    assert read(files, put(files)) == DATA


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("named", [True, False])
def test_a_disk_that_is_really_full(small_disk, monkeypatch, named):
    if named:
        refuse_unnamed_files(monkeypatch)
    store = FilesystemStore(small_disk / "images")
    store.check(INLINE)
    with pytest.raises(StoreFull):
        put(store, bytes(100_000))
    assert on_disk(small_disk / "images") == []
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass
    with pytest.raises(StoreFull):
        store.check(INLINE)
    assert on_disk(small_disk / "images") == []
    filler.unlink()
    location = put(store, bytes(30_000))  # there is room again
    assert read(store, location) == bytes(30_000)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.write_text("alive")
    return path


@pytest.fixture
def in_time() -> Iterator[None]:
    """What waits for the other end of a FIFO fails instead."""

    def fail(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("make", [
    lambda path, canary: path.symlink_to(canary), lambda path, canary: path.symlink_to("missing"), lambda path, canary: path.symlink_to(path),
    lambda path, canary: os.mkfifo(path), lambda path, canary: path.mkdir(),
], ids=["symlink", "dangling", "loop", "fifo", "directory"])  # fmt: skip
def test_what_is_no_file_is_not_read_and_holds_nobody_up(files, datadir, canary, make):
    location = put(files)
    (datadir / "1").unlink()
    make(datadir / "1", canary)
    with pytest.raises(BlobMissing):
        files.open(location)
    with pytest.raises(Duplicate):
        put(files, b"other")
    if (datadir / "1").is_dir():
        with pytest.raises(StoreDown):
            files.delete(location)
    else:
        files.delete(location)
        assert on_disk(datadir) == []
    assert canary.read_text() == "alive"


@pytest.mark.parametrize("location", [
    "file://{0}/canary", "file:{0}/canary", "{0}/canary", "FILE://{0}/canary", "http://{0}/canary", "file://localhost{0}/canary",
    "file://{0}/parent/images/../../canary", "file://{0}/parent/images/%2e%2e/%2e%2e/canary", "file://{0}/parent/images/./../../canary",
    "file://{0}/parent/images/link/canary", "file://{0}/parent/images%2flink%2fcanary", "file://{0}/parent/images/..",
    "file://{0}/parent/images", "file://{0}/parent/images/1%00", "file://{0}/parent/images/%ff", "file://{0}/parent/images/1%2f..%2f..%2f..%2fcanary",
    "file://", "", "file:///", "file:///etc/passwd",
])  # fmt: skip
def test_a_location_outside_is_neither_read_nor_deleted(files, datadir, canary, tmp_path, location):
    put(files)
    (datadir / "link").symlink_to(tmp_path)
    location = location.format(tmp_path)
    with pytest.raises(OutsideStore) as caught:
        files.open(location)
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(StoreDown):  # not "deleted": after a change of the configuration, the data may be there
        files.delete(location)
    assert canary.read_text() == "alive"
    assert (datadir / "1").read_bytes() == DATA


def test_a_directory_where_nothing_may_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    store = FilesystemStore(tmp_path / "file" / "images")
    for act in (lambda: put(store), lambda: store.check(INLINE)):
        with pytest.raises(StoreDown) as caught:
            act()
        assert str(tmp_path) not in str(caught.value)


def test_unfinished_files_have_names_that_no_image_has(files, datadir, monkeypatch):
    """A file left by a killed process must neither be read as an image nor stand in an image's way."""
    seen = []

    class Looking(BytesSource):
        def read(self, size: int, /) -> bytes:
            seen.extend(on_disk(datadir))
            return super().read(size)

    files.put("1", Looking(DATA, block=1000), size=None)
    assert all(name.startswith("tmp/") for name in seen)


def test_a_file_that_a_killed_process_left_is_told_and_deleted(files, datadir):
    put(files)
    left = datadir / "tmp" / "2.0123456789abcdef"
    left.parent.mkdir(exist_ok=True)
    for path in (left, left.with_name("a note")):
        path.write_bytes(b"half")
    (held,) = (held for held in files.held() if not held.whole)
    assert (held.location, held.name, held.size) == (files.location_of("2"), "2", 4)
    files.delete(held.location)
    assert on_disk(datadir) == ["1", "tmp/a note"]


def test_what_a_killed_process_has_not_finished_goes_with_the_image(files, datadir):
    left = datadir / "tmp" / "1.0123456789abcdef"
    left.parent.mkdir(parents=True)
    other = left.with_name("11.0123456789abcdef")
    for path in (left, other):
        path.write_bytes(DATA)
    assert files.traces("1") == [f"the file {left}"]
    files.delete(files.location_of("1"))
    assert on_disk(datadir) == ["tmp/11.0123456789abcdef"]
    location = put(files)
    left.write_bytes(DATA)
    files.delete(location)
    assert on_disk(datadir) == ["tmp/11.0123456789abcdef"]


def test_what_is_no_file_of_its_own_is_not_told(files, datadir, canary):
    put(files)
    (datadir / "lost+found").mkdir()
    (datadir / "lost+found" / "#17").write_text("x")
    (datadir / "link").symlink_to(canary)
    os.mkfifo(datadir / "pipe")
    (datadir / "a note").write_text("not an image")
    assert {held.name: held.whole for held in files.held()} == {"1": True, "a note": True}


def test_a_directory_that_cannot_be_listed_is_not_taken_for_empty(tmp_path):
    (tmp_path / "images").write_text("")
    with pytest.raises(StoreDown):
        list(FilesystemStore(tmp_path / "images").held())
