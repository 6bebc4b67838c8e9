# SPDX-License-Identifier: Apache-2.0
"""Bytes that go out of one store, as those that come into another."""

from glance.core.ports import Blob, Threads


class BlobSource:
    """A Source that reads an opened blob, which stays its opener's to close."""

    def __init__(self, blob: Blob, threads: Threads, sender: str = "") -> None:
        self.threads = threads
        self.sender = sender
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
