# SPDX-License-Identifier: Apache-2.0
"""Writing past the page cache, on file systems that can do so, cannot, or do so in part."""

import errno
import fcntl
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glance.store import direct
from glance.store.abilities import set_direct
from glance.store.direct import DirectWriter

CACHED = 16 * 1024
BUFFER = 8 * 1024
SIZES = (
    0, 1, CACHED - 1, CACHED, CACHED + 1, CACHED + BUFFER - 1, CACHED + BUFFER, CACHED + BUFFER + 1, CACHED + 10 * BUFFER + 4096, 200_003,
)  # fmt: skip
WRITE = os.write
FCNTL = fcntl.fcntl


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "CACHED", CACHED)
    monkeypatch.setattr(direct, "BUFFER", BUFFER)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path, os.O_RDWR | os.O_TMPFILE, 0o600)
    yield opened
    os.close(opened)


def is_direct(descriptor: int) -> bool:
    return bool(FCNTL(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def check(descriptor: int, size: int, *, most: int = 20_000) -> None:
    """Bytes that are written in blocks of any size are in the file."""
    data, chosen = os.urandom(size), random.Random(size)
    writer = DirectWriter(descriptor)
    at = 0
    while at < size:
        length = chosen.randint(1, most)
        writer.write(data[at : at + length])
        at += length
    writer.finish()
    assert os.fstat(descriptor).st_size == size
    assert os.pread(descriptor, size + 1, 0) == data


@pytest.mark.parametrize("most", [100, BUFFER, 100_000])
@pytest.mark.parametrize("size", SIZES)
def test_every_byte_is_written(descriptor, size, most):
    check(descriptor, size, most=most)


def test_what_lies_beyond_the_beginning_is_written_directly(descriptor, monkeypatch):
    seen = []

    def write(to: int, data: memoryview) -> int:
        seen.append((is_direct(to), os.fstat(to).st_size))
        return WRITE(to, data)

    can = set_direct(descriptor, True)
    assert set_direct(descriptor, False) == can
    monkeypatch.setattr(os, "write", write)
    check(descriptor, CACHED + 5 * BUFFER + 1)
    assert [place for flag, place in seen if flag] == [CACHED + n * BUFFER for n in range(5)] * can
    assert seen[-1][0] is False


def refusing_the_flag(descriptor: int, command: int, flags: int = 0) -> int:
    if command == fcntl.F_SETFL and flags & os.O_DIRECT:
        raise OSError(errno.EINVAL, "no O_DIRECT here")
    return FCNTL(descriptor, command, flags)


def refusing_the_flag_in_other_words(descriptor: int, command: int, flags: int = 0) -> int:
    if command == fcntl.F_SETFL and flags & os.O_DIRECT:
        raise OSError(errno.EOPNOTSUPP, "no O_DIRECT here")
    return FCNTL(descriptor, command, flags)


def refusing_the_size(descriptor: int, data: memoryview) -> int:
    if is_direct(descriptor):
        raise OSError(errno.EINVAL, "not a block of this disk")
    return WRITE(descriptor, data)


def writing_less(descriptor: int, data: memoryview) -> int:
    return WRITE(descriptor, data[:4096] if is_direct(descriptor) else data[:1000])


def writing_an_odd_number(descriptor: int, data: memoryview) -> int:
    """So the place of the next byte is one where no direct write may begin."""
    if is_direct(descriptor):
        flags = FCNTL(descriptor, fcntl.F_GETFL)
        FCNTL(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        written = WRITE(descriptor, data[:1001])
        FCNTL(descriptor, fcntl.F_SETFL, flags)
        return written
    return WRITE(descriptor, data)


@pytest.mark.parametrize(
    "how",
    [
        refusing_the_flag,
        refusing_the_flag_in_other_words,
        refusing_the_size,
        writing_less,
        writing_an_odd_number,
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_every_byte_is_written_where_it_goes_another_way(descriptor, monkeypatch, size, how: Callable[..., int]):
    if how in (refusing_the_flag, refusing_the_flag_in_other_words):
        monkeypatch.setattr(fcntl, "fcntl", how)
    else:
        monkeypatch.setattr(os, "write", how)
    check(descriptor, size)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EINVAL])
def test_errors_are_told(descriptor, monkeypatch, number):
    def write(to: int, data: memoryview) -> int:
        raise OSError(number, os.strerror(number))

    writer = DirectWriter(descriptor)
    writer.write(b"x" * CACHED)
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match=os.strerror(number)):
        writer.write(b"x" * BUFFER)
