# SPDX-License-Identifier: Apache-2.0
"""Bodies in chunks, there and back. Form by form: tests/functional/test_http.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import body_of

BLOCKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
EXTENSIONS = st.sampled_from(["", " ", ";a", ';a="b"', "\t;x=y;z"])
TRAILERS = st.lists(st.sampled_from(["T: t", "Content-Length: 5", "x"]), max_size=3)


def chunked(blocks: list[bytes], extension: str, trailers: list[str]) -> bytes:
    chunks = [b"%x%b\r\n%b\r\n" % (len(block), extension.encode(), block) for block in blocks]
    return b"".join([*chunks, b"0\r\n", *(f"{line}\r\n".encode() for line in trailers), b"\r\n"])


@given(BLOCKS, EXTENSIONS, TRAILERS, st.integers(1, 50), st.lists(st.integers(1, 50), min_size=1))
def test_chunks_are_put_together_as_they_were_taken_apart(blocks, extension, trailers, piece, sizes):
    body = body_of(chunked(blocks, extension, trailers), piece)
    whole, read = b"".join(blocks), b""
    while not body.finished:
        size = sizes[len(read) % len(sizes)]
        block = body.read(size)
        assert len(block) == min(size, len(whole) - len(read))
        read += block
    assert (read, body.read(), body.received) == (whole, b"", len(whole))


@given(BLOCKS, EXTENSIONS, TRAILERS, st.integers(1, 50), st.data())
def test_a_body_that_is_cut_never_ends(blocks, extension, trailers, piece, data):
    whole = chunked(blocks, extension, trailers)
    body = body_of(whole[: data.draw(st.integers(0, len(whole) - 1))], piece)
    with pytest.raises(ConnectionError):
        body.read()
    assert not body.finished


@given(st.binary(), st.integers(1, 50))
def test_bytes_are_chunks_or_an_error(data, piece):
    body = body_of(data, piece)
    try:
        body.read()
    except (ValueError, ConnectionError):
        assert not body.finished
