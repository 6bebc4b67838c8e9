# SPDX-License-Identifier: Apache-2.0
"""`wsgi.input`: the body of one request, read from its connection and ended where the request says.

It ends by itself (`wsgi.input_terminated`). A body that is cut short raises ConnectionError, one that breaks
the grammar of chunks ValueError, one that does not come TimeoutError: none of them is an end.
"""

import re
from collections.abc import Callable, Iterator
from typing import Protocol

MAX_CHUNK_LINE = 8 * 1024  # bytes of a chunk-size line with its extensions
MAX_TRAILER = 64 * 1024  # bytes of all trailer lines; they are dropped
BLOCK = 64 * 1024  # bytes asked for when a reader names no number
CHUNKS = 256  # chunks read before others get their turn: a body may come in chunks of one byte

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class Receiver(Protocol):
    """The connection as the body sees it. Both raise ConnectionError at a cut, TimeoutError at a standstill."""

    def receive(self, most: int) -> bytes:
        """1 to `most` bytes."""

    def receive_line(self, most: int) -> bytes:
        """What stands before the next CR LF, at most `most` bytes; ValueError when it is longer."""

    def give_way(self) -> None:
        """Let other connections have their turn."""


class Input:
    """A body of `length` bytes; None: in chunks. `on_first_read` sends the 100 Continue if one is due."""

    def __init__(self, receiver: Receiver, length: int | None, on_first_read: Callable[[], None]) -> None:
        self._receiver = receiver
        self._chunked = length is None
        self._left = length or 0  # bytes until the end of the body, or of the chunk
        self._on_first_read: Callable[[], None] | None = on_first_read
        self._chunks = 0
        self._between = False  # a chunk's data has been read, its CR LF has not
        self.received = 0  # bytes that were read
        self.finished = length == 0

    @property
    def untouched(self) -> bool:
        """Whether nothing was read yet."""
        return self._on_first_read is not None

    @property
    def left(self) -> int | None:
        """Bytes still to come; None: not known."""
        return None if self._chunked and not self.finished else self._left

    def read(self, size: int = -1, /) -> bytes:
        """Exactly `size` bytes, or all there are until the end."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        blocks = []
        while size and (block := self._some(size)):
            blocks.append(block)
            size -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def readline(self, size: int = -1, /) -> bytes:
        line = bytearray()
        while (size < 0 or len(line) < size) and (byte := self._some(1)):
            line += byte
            if byte == b"\n":
                break
        return bytes(line)

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _some(self, most: int) -> bytes:
        """1 to `most` bytes; b"" at the end."""
        if self.finished:
            return b""
        if self._on_first_read is not None:
            self._on_first_read()
            self._on_first_read = None
        if self._chunked and self._left == 0:
            self._next_chunk()
            if self.finished:
                return b""
        block = self._receiver.receive(min(most, self._left))
        self._left -= len(block)
        self.received += len(block)
        if self._left == 0 and not self._chunked:
            self.finished = True
        self._between = self._chunked and self._left == 0
        return block

    def _next_chunk(self) -> None:
        if self._between and self._receiver.receive_line(0) != b"":
            raise ValueError("a chunk is longer than its size says")
        self._between = False
        self._chunks += 1
        if self._chunks % CHUNKS == 0:
            self._receiver.give_way()
        found = _CHUNK_SIZE.fullmatch(self._receiver.receive_line(MAX_CHUNK_LINE))
        if found is None:
            raise ValueError("the size of a chunk must be 1 to 16 hexadecimal digits")
        self._left = int(found[1], 16)
        if self._left == 0:
            self._skip_trailer()
            self.finished = True

    def _skip_trailer(self) -> None:
        room = MAX_TRAILER
        while line := self._receiver.receive_line(min(room, MAX_CHUNK_LINE)):
            room -= len(line) + 2
            if room < 0:
                raise ValueError("the trailer of a chunked body is too long")
