# SPDX-License-Identifier: Apache-2.0
"""Stores and sources without a disk or a network; the store passes tests/contract/test_store.py."""

import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from glance.core.errors import BlobMissing, BrokenUpload, Duplicate
from glance.core.inline import INLINE
from glance.core.ports import Held, Source, Threads


class BytesSource:
    """A Source of the given bytes, at most `block` at a time; `cut` makes it raise in place of the end."""

    def __init__(
        self,
        data: bytes = b"",
        *,
        block: int | None = None,
        cut: bool = False,
        threads: Threads = INLINE,
        sender: str = "",
    ) -> None:
        self.threads = threads
        self.sender = sender
        self._stream = io.BytesIO(data)
        self._block = block
        self._cut = cut

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size if self._block is None else min(size, self._block))
        if not data and self._cut:
            raise BrokenUpload("the source was cut")
        return data


class MemoryBlob:
    """Bytes that are no file of the operating system."""

    file = None

    def __init__(self, data: bytes, total: int | None, block: int = 1000) -> None:
        self.size = len(data)
        self.total = total
        self.closed = 0
        self._data = data
        self._block = block

    def __iter__(self) -> Iterator[bytes]:
        return (self._data[at : at + self._block] for at in range(0, self.size, self._block))

    def close(self) -> None:
        self.closed += 1


class MemoryStore:
    """A Store in a dict. Whatever `before` is set to is called first, with the name of the method."""

    schemes = frozenset({"memory"})

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.modified = datetime.now(UTC).replace(tzinfo=None)  # all of it
        self.opened: list[MemoryBlob] = []
        self.before: Callable[[str], object] = lambda method: None

    def location_of(self, name: str) -> str:
        return f"memory://{name}"

    def connect(self) -> str:
        self.before("connect")
        return "this process"

    def prepare(self) -> str:
        self.before("prepare")
        return "a dict"

    def check(self, threads: Threads) -> None:
        self.before("check")

    def try_abilities(self) -> list[str]:
        self.before("try_abilities")
        return []

    def traces(self, name: str) -> list[str]:
        self.before("traces")
        return [f"the bytes {name}"] if name in self.objects else []

    def held(self) -> Iterator[Held]:
        self.before("held")
        return (Held(self.location_of(name), name, len(data), self.modified) for name, data in self.objects.items())

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        self.before("put")
        if not re.fullmatch(r"[0-9A-Za-z-]+", name):
            raise ValueError(f"not a name: {name!r}")
        data = b"".join(iter(lambda: source.read(4096), b""))
        if name in self.objects:
            raise Duplicate("the store holds bytes of that name already")
        self.objects[name] = data
        return self.location_of(name)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        self.before("open")
        data = self.objects.get(location.removeprefix("memory://"))
        if data is None:
            raise BlobMissing("no such bytes")
        end = None if length is None else start + length
        self.opened.append(MemoryBlob(data[start:end], len(data)))
        return self.opened[-1]

    def delete(self, location: str, *, threads: Threads | None = None) -> None:
        self.before("delete")
        self.objects.pop(location.removeprefix("memory://"), None)
