# SPDX-License-Identifier: Apache-2.0
"""Opened bytes on their way out."""

import http.client
import logging
from collections.abc import Callable, Iterator
from typing import BinaryIO

from glance.core.errors import StoreDown
from glance.core.inline import INLINE
from glance.core.source import iter_file

LOG = logging.getLogger(__name__)

BLOCK = 256 * 1024  # bytes of a stream read at a time


class FileBlob:
    """`size` bytes of an open file of the operating system, from where it stands; the file has `total`."""

    def __init__(self, file: BinaryIO, *, size: int, total: int) -> None:
        self.file = file
        self.size = size
        self.total = total

    def __iter__(self) -> Iterator[bytes]:
        return iter_file(self.file, self.size, INLINE)

    def close(self) -> None:
        self.file.close()


class StreamBlob:
    """Bytes that come from another server: `size` of them, or if that is None all until its answer ends.

    `read(n)` gives 1 to n bytes, b"" at the end; `errors` are what it raises besides GlanceError. `close` gives
    the connection back. A stream that ends early or fails raises StoreDown while it is iterated, so that our
    own answer breaks off and does not look whole.
    """

    file = None

    def __init__(
        self,
        read: Callable[[int], bytes],
        *,
        size: int | None,
        total: int | None,
        close: Callable[[], object],
        errors: tuple[type[Exception], ...] = (OSError, http.client.HTTPException),
    ) -> None:
        self.size = size
        self.total = total
        self._read = read
        self._close = close
        self._errors = errors

    def __iter__(self) -> Iterator[bytes]:
        left = self.size
        while left is None or left:
            try:
                block = self._read(BLOCK if left is None else min(BLOCK, left))
            except self._errors as error:
                LOG.error("an image breaks off, its store failed: %s", type(error).__name__)
                raise StoreDown("the store broke off while it was read") from None
            if block:
                left = None if left is None else left - len(block)
                yield block
            elif left is None:
                return
            else:
                LOG.error("an image breaks off, its store ended %d bytes too early", left)
                raise StoreDown("the store broke off while it was read")

    def close(self) -> None:
        self._close()
