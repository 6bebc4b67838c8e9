# SPDX-License-Identifier: Apache-2.0
"""The one place where bytes are counted, hashed and limited, above all drivers.

A driver commits after a clean end and only then; so a Meter that raises instead of ending is all it takes to
keep damaged bytes out of every store.
"""

import hashlib
from collections.abc import Sequence

from glance.core.errors import Mismatch, TooLarge
from glance.core.ports import Source, Threads


class Meter:
    """A Source that passes another one on, counting and hashing what goes by.

    `size` is the number of bytes promised, `checksum` the promised md5 in hex, `limit` the most that is taken.
    Reading raises TooLarge at the limit, and Mismatch in place of an end that breaks a promise.
    """

    def __init__(
        self,
        source: Source,
        *,
        algorithms: Sequence[str] = ("md5", "sha512"),
        size: int | None = None,
        checksum: str | None = None,
        limit: int | None = None,
    ) -> None:
        self.count = 0
        self.threads: Threads = source.threads
        self.sender = source.sender
        self._source = source
        self._size = size
        self._checksum = checksum
        self._limit = limit
        # These digests find damage; md5 is what clients since 2011 compare, and no promise of security.
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        self._lanes = [self.threads.lane(digest.update) for digest in self._hashes.values()]

    def read(self, size: int, /) -> bytes:
        block = self._source.read(size)
        if not block:
            self._end()
            return b""
        self.count += len(block)
        if self._limit is not None and self.count > self._limit:
            raise TooLarge(f"an image may have at most {self._limit} bytes")
        for lane in self._lanes:
            lane.put(block)
        return block

    def digests(self) -> dict[str, str]:
        """Algorithm → digest in hex; complete after the clean end."""
        return {name: digest.hexdigest() for name, digest in self._hashes.items()}

    def close(self) -> None:
        """Stop hashing, wherever the source stands."""
        for lane in self._lanes:
            lane.abandon()

    def _end(self) -> None:
        for lane in self._lanes:
            lane.finish()
        if self._size is not None and self.count != self._size:
            raise Mismatch(f"{self._size} bytes were announced, {self.count} came")
        if self._checksum is not None and self._checksum != self.digests()["md5"]:
            raise Mismatch("the bytes do not have the md5 checksum that was announced")
