# SPDX-License-Identifier: Apache-2.0
"""A caller's bytes as requests takes them for a body: in chunks, with or without their number."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from glance.core.errors import BrokenUpload

CHUNK = 65_536  # bytes of one piece, up and down

Data = bytes | str | BinaryIO | Iterable[bytes]


class SourceFailed(Exception):
    """Carries an error of the caller's own bytes past requests, which takes every OSError for the network's."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def body_of(data: Data, size: int | None = None) -> "bytes | Iterator[bytes] | Sized":
    """What requests sends: with a Content-Length for bytes, text and a given size, else in chunks."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes):
        return data
    if size == 0:
        return iter(())  # what has a length of 0 would be no body to requests; this is an empty one
    chunks = _chunks(data)
    return chunks if size is None else Sized(chunks, size)


class Sized:
    """The first `size` bytes; requests asks for the length. Raises SourceFailed when there are fewer."""

    def __init__(self, chunks: Iterator[bytes], size: int) -> None:
        self._chunks = chunks
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        for chunk in self._chunks:
            yield chunk[:left]
            left -= min(len(chunk), left)
            if not left:
                return
        if left:
            raise SourceFailed(BrokenUpload(f"the data ended {left} bytes before their size of {self._size}"))


def _chunks(data: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """A generator, because requests would look up a file's length and send no chunks."""
    pieces = iter(lambda: data.read(CHUNK), b"") if hasattr(data, "read") else iter(data)
    while True:
        try:
            piece = next(pieces, None)
        except OSError as error:
            raise SourceFailed(error) from error
        if piece is None:
            return
        if piece:  # an empty chunk would be the end
            yield piece
