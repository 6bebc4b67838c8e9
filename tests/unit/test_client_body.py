# SPDX-License-Identifier: Apache-2.0
"""What the Python clients send of a caller's data: all of it, or an error."""

import gzip
import http.client
import io
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glance.client.body import CHUNK, Body, SourceFailed, measure
from glance.core.errors import BrokenUpload, GlanceError, Invalid


def sent(*arguments: object, **named: object) -> bytes:
    return b"".join(Body(*arguments, **named))  # type: ignore[arg-type]


def fail_to_send(*arguments: object, **named: object) -> Exception:
    with pytest.raises(SourceFailed) as caught:
        sent(*arguments, **named)
    return caught.value.error


# Data that is late


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_slow_non_blocking_pipe_is_sent_whole(buffering: int) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    def write() -> None:
        for block in (b"a" * 10, b"b" * CHUNK, b"c"):
            time.sleep(0.05)
            os.write(writer, block)
        time.sleep(0.05)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader, "rb", buffering=buffering) as file:
        assert sent(file) == b"a" * 10 + b"b" * CHUNK + b"c"
    thread.join()


def test_a_file_that_raises_instead_of_returning_none_is_waited_for() -> None:
    class Raw:
        def __init__(self, descriptor: int) -> None:
            self.fileno = lambda: descriptor

        def read(self, size: int) -> bytes:
            return os.read(self.fileno(), size)  # raises BlockingIOError

    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    timer = threading.Timer(0.1, lambda: (os.write(writer, b"late"), os.close(writer)))
    timer.start()
    assert sent(Raw(reader)) == b"late"
    timer.join()
    os.close(reader)


def test_a_file_that_cannot_be_waited_for_is_an_error() -> None:
    class Late(io.RawIOBase):
        def read(self, size: int = -1) -> None:
            return None

    error = fail_to_send(Late())
    assert isinstance(error, BlockingIOError)
    assert "no file descriptor to wait on" in str(error)


def test_an_empty_chunk_is_not_the_end() -> None:
    assert list(Body([b"a", b"", bytearray(b"b"), memoryview(b"c")])) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (iter([b"a", None, b"b"]), "image data must come as bytes, not NoneType"),
        (iter(["a"]), "image data must come as bytes, not str: open the file in binary mode"),
        (io.StringIO("a"), "image data must come as bytes, not str: open the file in binary mode"),
        ([0, 1], "image data must come as bytes, not int"),
    ],
)
def test_what_is_not_bytes_is_an_error(data: object, text: str) -> None:
    error = fail_to_send(data)
    assert (type(error), str(error)) == (TypeError, text)


@pytest.mark.parametrize(
    "error", [OSError(5, "x"), http.client.IncompleteRead(b""), ValueError("closed"), GlanceError("x")]
)
def test_an_error_of_the_data_is_passed_on(error: Exception) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise error

    assert fail_to_send(broken()) is error


# Size


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), "abc"])
def test_data_in_memory_has_a_size(data: object) -> None:
    assert (len(Body(data)), sent(data), sent(data, 2)) == (3, b"abc", b"ab")
    with pytest.raises(BrokenUpload, match="the data has 3 bytes, fewer than the announced 4"):
        Body(data, 4)


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_file_has_a_size_from_its_position_on(tmp_path: Path, buffering: int) -> None:
    (tmp_path / "disk").write_bytes(b"0123456789")
    with (tmp_path / "disk").open("rb", buffering=buffering) as file:
        assert file.read(3) == b"012"
        body = Body(file)
        assert len(body) == 7
        assert b"".join(body) == b"3456789"
    with (tmp_path / "disk").open("rb", buffering=buffering) as file:
        assert (sent(file, 4), file.read()) == (b"0123", b"456789")


def test_other_files_with_and_without_a_size(tmp_path: Path) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"0123456789")
        file.seek(4)
        assert (measure(file), sent(file)) == (6, b"456789")
    assert (measure(io.BytesIO(b"abc")), measure(iter([b"abc"]))) == (3, None)
    with gzip.open(tmp_path / "disk.gz", "wb") as packed:
        packed.write(b"x" * 100_000)
    with gzip.open(tmp_path / "disk.gz") as packed:  # its descriptor has the size of the packed data
        assert (measure(packed), sent(packed)) == (None, b"x" * 100_000)
    with Path("/proc/self/status").open("rb") as file:  # claims to be empty
        assert measure(file) is None
        assert sent(file).startswith(b"Name:")


@pytest.mark.parametrize("data", [b"", io.BytesIO(), iter([])])
def test_empty_data_is_a_body(data: object) -> None:
    body = Body(data)
    assert (len(body), bool(body), b"".join(body)) == (0, True, b"")


@pytest.mark.parametrize("size", [-1, 1.5, True, "x"])
def test_an_invalid_size(size: object) -> None:
    with pytest.raises(Invalid, match="size must be a whole number"):
        Body(b"abc", size)


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * CHUNK * 3)
    with path.open("rb", buffering=0) as file:
        chunks = iter(Body(file))
        next(chunks)
        os.truncate(path, CHUNK + 10)
        assert next(chunks) == b"x" * 10
        with pytest.raises(SourceFailed) as caught:
            next(chunks)
    assert isinstance(caught.value.error, BrokenUpload)
    missing = 2 * CHUNK - 10
    assert str(caught.value.error) == (
        f"{path} shrank during the transfer: it ended {missing} bytes before its size of {3 * CHUNK}"
    )


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_file_that_grows_is_sent_up_to_its_size_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, buffering: int
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * (CHUNK + 1))
    with caplog.at_level(logging.WARNING), path.open("rb", buffering=buffering) as file:
        body = Body(file)
        chunks = iter(body)
        begun = next(chunks)
        with path.open("ab") as more:
            more.write(b"y" * 10)
        assert begun + b"".join(chunks) == b"x" * (CHUNK + 1)
        assert caplog.messages == [f"{path} grew during the transfer: only its first {CHUNK + 1} bytes were sent"]
        caplog.clear()
        assert sent(file, 4) == b"y" * 4  # who names a size gets that without a remark
    assert caplog.messages == []
