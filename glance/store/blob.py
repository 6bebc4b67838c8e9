# SPDX-License-Identifier: Apache-2.0
"""Opened bytes on their way out."""

from collections.abc import Iterator
from typing import BinaryIO

from glance.core.errors import StoreDown

BLOCK = 256 * 1024  # bytes read at a time where the server cannot send the file itself


class FileBlob:
    """`size` bytes of an open file of the operating system, from where it stands; the file has `total`."""

    def __init__(self, file: BinaryIO, *, size: int, total: int) -> None:
        self.file = file
        self.size = size
        self.total = total

    def __iter__(self) -> Iterator[bytes]:
        left = self.size
        while left:
            block = self.file.read(min(BLOCK, left))
            if not block:
                raise StoreDown("the file became shorter while it was read")
            left -= len(block)
            yield block

    def close(self) -> None:
        self.file.close()
