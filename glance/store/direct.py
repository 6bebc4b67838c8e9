# SPDX-License-Identifier: Apache-2.0
"""Bytes → a file, most of them past the page cache.

What is copied into the page cache costs a core for a good part of the time that an upload takes, keeps fsync()
waiting at the end, and pushes out the images that others are just reading. So only the beginning of a file goes
there; with it, all of a small one, which will soon be read. The rest goes from a buffer of ours to the disk
(O_DIRECT, see open(2)), as far as the file system can do that.
"""

import mmap
import os

from glance.store.abilities import UNSUPPORTED, set_direct

CACHED = 16 * 1024 * 1024  # bytes that are written through the page cache
BUFFER = 512 * 1024  # bytes of one direct write; a multiple of what any disk wants, in a place that any disk takes


class DirectWriter:
    """Writes to a new file, from its beginning on. Used by one thread at a time. All of it raises OSError."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._cached = 0  # bytes written through the page cache
        self._buffer: mmap.mmap | None = None  # pages of its own, so it is aligned
        self._filled = 0

    def write(self, block: bytes) -> None:
        view = memoryview(block)
        head = view[: CACHED - self._cached]
        self._write(head)
        self._cached += len(head)
        rest = view[len(head) :]
        while rest:
            if self._buffer is None:
                self._buffer = mmap.mmap(-1, BUFFER, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                set_direct(self._descriptor, True)
            part = rest[: BUFFER - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            rest = rest[len(part) :]
            if self._filled == BUFFER:
                self._write(memoryview(self._buffer))
                self._filled = 0

    def finish(self) -> None:
        """Write what is left, and wait until all is on the disk."""
        if self._buffer is not None:
            set_direct(self._descriptor, False)  # what is left is no whole block of the disk
            self._write(memoryview(self._buffer)[: self._filled])
        os.fsync(self._descriptor)

    def _write(self, view: memoryview) -> None:
        while view:
            try:
                written = os.write(self._descriptor, view)
            except OSError as error:
                # Not in that size, or not from there on, after a write that came to less than it should.
                if error.errno not in UNSUPPORTED or not set_direct(self._descriptor, False):
                    raise
            else:
                view = view[written:]
