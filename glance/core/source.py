# SPDX-License-Identifier: Apache-2.0
"""Data that leaves one store, as a source for another."""

from collections.abc import Iterator
from typing import BinaryIO

from glance.core.disk import read_at
from glance.core.errors import StoreDown
from glance.core.ports import Blob, Threads

BLOCK = 256 * 1024  # bytes of a file read at a time


def iter_file(file: BinaryIO, size: int, threads: Threads) -> Iterator[bytes]:
    """Yield `size` bytes of a file from its current position, reading from the disk in native threads.

    Raises StoreDown if the file ends early or cannot be read.
    """
    offset, left = file.tell(), size
    buffer = memoryview(bytearray(min(BLOCK, size)))
    while left:
        try:
            count = read_at(file.fileno(), buffer[:left], offset, threads.call)
        except OSError as error:
            raise StoreDown(f"the file could not be read: {error.strerror}") from error
        if not count:
            raise StoreDown("the file became shorter while it was read")
        offset += count
        left -= count
        yield bytes(buffer[:count])


class BlobSource:
    """A Source that reads an opened blob. The caller that opened the blob closes it."""

    def __init__(self, blob: Blob, threads: Threads, sender: str = "") -> None:
        self.threads = threads
        self.sender = sender
        if blob.file is not None and blob.size is not None:
            self._blocks = iter_file(blob.file, blob.size, threads)
        else:
            self._blocks = iter(blob)
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = memoryview(block)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)
