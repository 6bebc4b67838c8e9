# SPDX-License-Identifier: Apache-2.0
"""Bytes from another server: the promised number of them, or an error."""

import io
from collections.abc import Callable

import pytest

from glance.core.errors import StoreDown
from glance.store.blob import BLOCK, StreamBlob

DATA = bytes(range(256)) * 10


def blob_of(read: Callable[[int], bytes], size: int | None, **more: object) -> StreamBlob:
    return StreamBlob(read, size=size, total=None, close=lambda: None, **more)


@pytest.mark.parametrize("size", [0, 1, len(DATA), None])
@pytest.mark.parametrize("most", [1, 100, 10**6])
def test_the_promised_bytes(size, most):
    stream = io.BytesIO(DATA)
    blob = blob_of(lambda count: stream.read(min(count, most)), size)
    assert b"".join(blob) == DATA[:size]
    assert stream.tell() == (len(DATA) if size is None else size)  # no byte that belongs to something else
    assert blob.file is None


@pytest.mark.parametrize("left", [0, 1, len(DATA)])
def test_an_end_that_comes_early_is_an_error(left):
    stream = io.BytesIO(DATA[:left])
    with pytest.raises(StoreDown, match="broke off"):
        b"".join(blob_of(stream.read, len(DATA) + 1))


@pytest.mark.parametrize("size", [None, 1000])
def test_a_stream_that_fails_is_an_error_without_its_words(size, caplog):
    def fail(count: int) -> bytes:
        assert count <= BLOCK
        raise ConnectionResetError("http://user:secret@host/")

    with pytest.raises(StoreDown) as caught:
        b"".join(blob_of(fail, size))
    assert "secret" not in caplog.text + str(caught.value) + repr(caught.value.__cause__)


def test_only_the_errors_that_are_named_are_translated():
    def fail(count: int) -> bytes:
        raise KeyError

    with pytest.raises(KeyError):
        b"".join(blob_of(fail, None))
    with pytest.raises(StoreDown):
        b"".join(blob_of(fail, None, errors=(KeyError,)))


def test_close_gives_the_connection_back():
    closed = []
    StreamBlob(lambda count: b"", size=0, total=0, close=lambda: closed.append(1)).close()
    assert closed == [1]
