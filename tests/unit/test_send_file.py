# SPDX-License-Identifier: Apache-2.0
"""Files that are sent or read: data on the disk must not delay requests for data in the page cache."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glance.core.errors import StoreDown
from glance.core.inline import Inline
from glance.core.source import BlobSource
from glance.serve import head as heads
from glance.serve.connection import FileWrapper
from glance.serve.output import STEP, ClientGoneError, Output, call_here

DATA = bytes(range(256)) * 4 * 1024 * 3  # three steps
NOT_TOLD = Path("/proc/version")  # procfs has no RWF_NOWAIT, so every read may wait for the disk


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "image"
    path.write_bytes(DATA)
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


class Blocking:
    """Counts the calls that may wait for the disk."""

    def __init__(self, error: OSError | None = None) -> None:
        self.calls = 0
        self._error = error

    def __call__(self, work: Callable[..., int], /, *arguments: object) -> int:
        assert work in (os.sendfile, os.preadv)
        self.calls += 1
        if self._error is not None:
            raise self._error
        return work(*arguments)

    def fail(self, *_: object) -> int:
        assert self._error is not None
        raise self._error


def sent(descriptor: int, blocking: Callable[..., int], *, encrypted: bool, length: int = len(DATA)) -> bytes:
    """Return what a client receives whose buffer takes all of it. The file itself is read or sent by the kernel."""
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(descriptor), "rb") as opened:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * len(DATA))
        output = Output(ours)
        output.begin(heads.parse(b"GET / HTTP/1.1\r\nHost: glance"), lambda: False)
        output.start_response("200 OK", [("Content-Length", str(length))])
        output.send_file(opened, blocking, encrypted=encrypted)
        ours.shutdown(socket.SHUT_WR)
        received = b""
        while block := theirs.recv(STEP):
            received += block
    return received.partition(b"\r\n\r\n")[2]


def in_memory(descriptor: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except OSError:
        return False


ways = pytest.mark.parametrize("encrypted", [False, True], ids=["by the kernel", "encrypted"])


@ways
def test_data_on_the_disk_is_read_where_it_may_block(file, encrypted):
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    cold, blocking = not in_memory(file), Blocking()
    assert sent(file, blocking, encrypted=encrypted) == DATA
    assert cold == (blocking.calls > 0)


@ways
def test_data_in_the_page_cache_is_sent_at_once(file, encrypted):
    os.pread(file, len(DATA), 0)
    if not in_memory(file):
        pytest.skip("this file system does not tell what is in memory")
    blocking = Blocking()
    assert sent(file, blocking, encrypted=encrypted) == DATA
    assert blocking.calls == 0


@pytest.fixture
def not_told() -> Iterator[int]:
    descriptor = os.open(NOT_TOLD, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_an_encrypted_file_is_read_where_it_may_block_if_its_place_is_not_known(not_told):
    expected, blocking = NOT_TOLD.read_bytes(), Blocking()
    assert sent(not_told, blocking, encrypted=True, length=len(expected)) == expected
    assert blocking.calls == 1


def test_so_is_a_file_that_a_filter_iterates(not_told):
    blocking = Blocking()
    with os.fdopen(os.dup(not_told), "rb") as opened:
        assert b"".join(FileWrapper(opened, 10, blocking=blocking)) == NOT_TOLD.read_bytes()
    assert blocking.calls > 1


class CountingThreads(Inline):
    def __init__(self) -> None:
        self.call = Blocking()


class OpenedFile:
    """A blob, as the file store opens it."""

    def __init__(self, path: Path, size: int) -> None:
        self.file = path.open("rb", buffering=0)
        self.size = self.total = size

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("the file is to be read in native threads")


def test_so_is_the_source_of_a_copy():
    expected, threads = NOT_TOLD.read_bytes(), CountingThreads()
    blob = OpenedFile(NOT_TOLD, len(expected))
    with blob.file:
        source = BlobSource(blob, threads)
        assert b"".join(iter(lambda: source.read(7), b"")) == expected
    assert threads.call.calls == 1


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_file_that_is_too_short_does_not_end_as_if_whole(not_told, encrypted):
    with pytest.raises(RuntimeError, match="announced"):
        sent(not_told, Blocking(), encrypted=encrypted, length=1000)
    blob = OpenedFile(NOT_TOLD, 1000)
    source = BlobSource(blob, CountingThreads())
    with blob.file, pytest.raises(StoreDown, match="shorter"):
        while source.read(1000):
            pass


def test_a_disk_that_fails_breaks_the_copy():
    threads = CountingThreads()
    threads.call = Blocking(OSError(errno.EIO, "Input/output error"))
    blob = OpenedFile(NOT_TOLD, 10)
    with blob.file, pytest.raises(StoreDown, match="Input/output error"):
        BlobSource(blob, threads).read(10)


def test_a_client_that_goes_meanwhile(file):
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(file):
        pytest.skip("this file system keeps everything in memory")
    with pytest.raises(ClientGoneError, match="gone"):
        sent(file, Blocking(BrokenPipeError("gone")), encrypted=False)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_file_system_without_sendfile(file, monkeypatch, number):
    def refuse(*_: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "sendfile", refuse)
    assert sent(file, call_here, encrypted=False) == DATA


def test_an_error_of_the_client_is_not_taken_for_a_lack_of_the_file_system(file, monkeypatch):
    for name in ("sendfile", "write"):
        monkeypatch.setattr(os, name, Blocking(OSError(errno.EINVAL, "gone")).fail)
    with pytest.raises(ClientGoneError, match="gone"):
        sent(file, call_here, encrypted=False)
