# SPDX-License-Identifier: Apache-2.0
"""Files that are sent: what is on the disk only must not hold up those who ask for what is in memory."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glance.serve import head as heads
from glance.serve.output import STEP, ClientGoneError, Output, call_here

DATA = bytes(range(256)) * 4 * 1024 * 3  # three steps


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "image"
    path.write_bytes(DATA)
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


class Blocking:
    """Counts what is called where it may wait for the disk."""

    def __init__(self, error: OSError | None = None) -> None:
        self.calls = 0
        self._error = error

    def __call__(self, work: Callable[..., int], /, *arguments: object) -> int:
        assert work is os.sendfile
        self.calls += 1
        if self._error is not None:
            raise self._error
        return work(*arguments)

    def fail(self, *_: object) -> int:
        assert self._error is not None
        raise self._error


def sent(descriptor: int, blocking: Callable[..., int]) -> bytes:
    """What a client gets that has room for all of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(descriptor), "rb") as opened:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * len(DATA))
        output = Output(ours)
        output.begin(heads.parse(b"GET / HTTP/1.1\r\nHost: glance"), lambda: False)
        output.start_response("200 OK", [("Content-Length", str(len(DATA)))])
        output.send_file(opened, blocking)
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


def test_what_is_on_the_disk_only_is_sent_where_that_holds_up_nobody(file):
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    cold, blocking = not in_memory(file), Blocking()
    assert sent(file, blocking) == DATA
    assert cold == (blocking.calls > 0)


def test_what_is_in_memory_is_sent_at_once(file):
    os.pread(file, len(DATA), 0)
    if not in_memory(file):
        pytest.skip("this file system does not tell what is in memory")
    blocking = Blocking()
    assert sent(file, blocking) == DATA
    assert blocking.calls == 0


def test_a_client_that_goes_meanwhile(file):
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(file):
        pytest.skip("this file system keeps everything in memory")
    with pytest.raises(ClientGoneError, match="gone"):
        sent(file, Blocking(BrokenPipeError("gone")))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_file_system_without_sendfile(file, monkeypatch, number):
    def refuse(*_: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "sendfile", refuse)
    assert sent(file, call_here) == DATA


def test_an_error_of_the_client_is_not_taken_for_a_lack_of_the_file_system(file, monkeypatch):
    for name in ("sendfile", "write"):
        monkeypatch.setattr(os, name, Blocking(OSError(errno.EINVAL, "gone")).fail)
    with pytest.raises(ClientGoneError, match="gone"):
        sent(file, call_here)
