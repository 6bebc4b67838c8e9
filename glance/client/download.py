# SPDX-License-Identifier: Apache-2.0
"""The bytes of one image on their way to us, over as many connections as it takes."""

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from typing import Self

import requests

from glance.client.connection import Connection, Disconnected, Fields, NoServer, NotGlance
from glance.core.errors import Mismatch, RegistryDown, StoreDown

PAUSE = 1.0  # seconds before a broken connection is made again; twice as many each time that it breaks at once
LONGEST_PAUSE = 30.0

_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_WORTH_A_TRY = (Disconnected, NoServer, RegistryDown, StoreDown)


class Download:
    """Iterate over it, once, for the bytes; close it, or use it in a `with`, to end it early.

    `record` is the image, `size` its number of bytes (None: not known), `position` how many there are already.
    A connection that breaks is made again, up to `retries` times in a row without a byte, and goes on where it
    broke, by Range where the server knows it. Iterating raises Mismatch before it yields data beyond the size, and at
    the end if the size or the MD5 of all data is another one than in the record. `have` are the bytes that the caller
    got earlier; they are hashed and not fetched again.
    """

    def __init__(
        self, connection: Connection, path: str, record: Fields, *, have: Iterable[bytes] = (), retries: int = 0
    ) -> None:
        """Asks for the bytes already, and raises what the server answers."""
        self.record = record
        size, checksum = record.get("size"), record.get("checksum")
        self.size = size if isinstance(size, int) else None
        # Servers have also kept other things than MD5 in this field.
        self.checksum = checksum.lower() if isinstance(checksum, str) and _MD5.fullmatch(checksum) else None
        self.position = 0
        self._connection = connection
        self._path = path
        self._retries = retries
        self._digest = hashlib.md5(usedforsecurity=False)
        for piece in have:
            self._count(piece)
        if self.size is not None and self.position > self.size:
            raise Mismatch(f"there are {self.position} bytes already, but the image has {self.size}")
        self._response = None if self._is_complete() else self._ask()

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        failures = 0
        while True:
            try:
                for piece in self._pieces():
                    failures = 0
                    if self.size is not None and self.position + len(piece) > self.size:
                        self.close()
                        raise Mismatch(f"more data came than the {self.size} bytes of the image")
                    self._count(piece)
                    yield piece
                break
            except _WORTH_A_TRY:
                if failures == self._retries:
                    raise
                self.close()
                time.sleep(min(PAUSE * 2**failures, LONGEST_PAUSE))
                failures += 1
        self._check()

    def _pieces(self) -> Iterator[bytes]:
        """What is still missing, over the connection that is there or a new one."""
        if self._is_complete():
            return
        if self._response is None:
            self._response = self._ask()
        pieces = self._connection.pieces(self._response)
        yield from pieces if self._response.status_code == 206 else _after(self.position, pieces)

    def _is_complete(self) -> bool:
        return self.position > 0 and self.position == self.size

    def _ask(self) -> requests.Response:
        headers = {"Range": f"bytes={self.position}-"} if self.position else {}
        response = self._connection.ask("GET", self._path, headers)
        shown = response.headers.get("Content-Range", "")
        if response.status_code == 206 and not shown.startswith(f"bytes {self.position}-"):
            response.close()
            raise NotGlance(f"{self._connection.where} answers another range of the image than was asked for")
        return response

    def _count(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.position += len(piece)

    def _check(self) -> None:
        if self.size is not None and self.position != self.size:
            raise Mismatch(f"{self.position} bytes came, but the image has {self.size}")
        if self.checksum is not None and self._digest.hexdigest() != self.checksum:
            raise Mismatch(f"the MD5 of the bytes is {self._digest.hexdigest()}, that of the image {self.checksum}")


def _after(count: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces without the first `count` bytes."""
    for piece in pieces:
        if count < len(piece):
            yield piece[count:]
        count = max(count - len(piece), 0)
