# SPDX-License-Identifier: Apache-2.0
"""Processes that die at a chosen step, and what others have to make of it.

A step is one call of the registry or the store, or one block that is read. Whoever is dead reaches neither of
them again: no `finally` and no `except` of his cleans up.
"""

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select, update

from glance.core.context import Context
from glance.core.errors import Invalid
from glance.core.image import Image, Status, Visibility
from glance.core.inline import INLINE
from glance.core.ports import Registry, Source
from glance.core.query import Query, Sort
from glance.core.recovery import Recovery
from glance.core.scrub import scrub
from glance.core.service import ImageService
from glance.registry.db.models import ImageRow
from glance.store import StoreSet
from tests.fakes.registry import MemoryRegistry
from tests.fakes.store import BytesSource, MemoryBlob, MemoryStore

ADMIN = Context(is_admin=True)
ALL = Query(everyone=True, deleted=True, visibility=frozenset(Visibility), sort=(Sort("number"),))
URL = "http://example.org/image"
DATA = bytes(range(256)) * 4
LONG_AGO = datetime(2011, 3, 4)
PURE = frozenset({"location_of", "schemes", "threads"})  # what reaches nobody


class Death(BaseException):
    """No Exception: `kill -9` is not one either."""


class Process:
    """Lives for ever, or until its step number `last` (from 1): dies `after` its effect, or before it."""

    def __init__(self, last: int | None = None, *, after: bool = False) -> None:
        self.steps = 0
        self.dead = False
        self._last = last
        self._after = after

    def step(self, deed: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self.dead:
            raise Death
        self.steps += 1
        if self.steps != self._last:
            return deed(*args, **named)
        try:
            if self._after:
                deed(*args, **named)
        finally:
            self.dead = True
        raise Death

    def of(self, target: Any) -> Any:
        """The same registry, store or source, as this process sees it."""
        return _Seen(target, self)


class _Seen:
    def __init__(self, target: object, process: Process) -> None:
        self._target = target
        self._process = process

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name in PURE:
            return found
        return lambda *args, **named: self._process.step(found, *args, **named)


class PartsStore(MemoryStore):
    """Keeps what it has received so far when the process dies, as a disk does; only delete() removes that."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, bytes] = {}

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        self.parts[name] = b""
        try:
            location = super().put(name, source, size=size)
        except Exception:
            del self.parts[name]
            raise
        del self.parts[name]  # not when the process dies
        return location

    def delete(self, location: str, **named: Any) -> None:
        super().delete(location, **named)
        self.parts.pop(location.removeprefix("memory://"), None)


class Web:
    """An ExternalStore of one image."""

    schemes = frozenset({"http"})

    def examine(self, location: str) -> int | None:
        if location != URL:
            raise Invalid("nothing there")
        return len(DATA)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        return MemoryBlob(DATA, len(DATA))


class Server:
    """The use cases, as one process offers them."""

    def __init__(self, world: "World", process: Process, keep: int | None = None) -> None:
        self.process = process
        self.registry: Registry = process.of(world.registry)
        stores = StoreSet("memory", {"memory": process.of(world.store)}, [Web()])
        self.service = ImageService(self.registry, stores, keep=keep)

    def source(self, *, cut: bool = False) -> Source:
        seen: Source = self.process.of(BytesSource(DATA, block=600, cut=cut))
        return seen

    def recover(self) -> None:
        """What Recovery.look() does, in this thread."""
        recovery = Recovery(self.service.transfers, self.registry, threading.Event())
        while claimed := self.registry.claim_stalled(ADMIN, "recovery", lease=60, limit=1):
            recovery.settle(ADMIN, claimed[0], "recovery", INLINE)

    def scrub(self) -> None:
        scrub(self.registry, self.service.transfers)


class World:
    """What outlives a process: a registry, in memory or in a database, and a store."""

    def __init__(self, registry: Registry, engine: Engine | None) -> None:
        self.registry = registry
        self.store = PartsStore()
        self._engine = engine

    def images(self) -> tuple[Image, ...]:
        return self.registry.find(ADMIN, ALL).images

    def leases(self) -> dict[int, tuple[str | None, datetime | None]]:
        """Holder and end by number, of images that have either."""
        if isinstance(self.registry, MemoryRegistry):
            rows = [(number, *lease) for number, lease in self.registry.leases.items()]
        else:
            assert self._engine is not None
            with self._engine.connect() as connection:
                columns = select(ImageRow.number, ImageRow.holder, ImageRow.lease_until)
                rows = [tuple(row) for row in connection.execute(columns)]
        return {number: (holder, until) for number, holder, until in rows if holder is not None or until is not None}

    def time_passes(self) -> None:
        """All leases are over, and all delays."""
        if isinstance(self.registry, MemoryRegistry):
            for number, (holder, until) in self.registry.leases.items():
                self.registry.leases[number] = (holder, None if until is None else LONG_AGO)
        else:
            assert self._engine is not None
            over = update(ImageRow).where(ImageRow.lease_until.is_not(None)).values(lease_until=LONG_AGO)
            with self._engine.begin() as connection:
                connection.execute(over)

    def settle(self) -> None:
        """Time passes, and another process looks once what there is to do."""
        self.time_passes()
        survivor = Server(self, Process())
        survivor.recover()
        survivor.scrub()

    def flaws(self) -> list[str]:
        """What should not be once all is settled, in words."""
        found = [f"image {number} has the lease {lease}" for number, lease in self.leases().items()]
        found += [f"a part of {name} is left" for name in self.store.parts]
        needed = set()
        for image in self.images():
            if image.status is Status.ACTIVE:
                needed.update(image.locations)
                found += self._damages(image)
            elif image.locations:
                found.append(f"image {image.number} is {image.status} and names {image.locations}")
            if image.status in (Status.SAVING, Status.PENDING_DELETE):
                found.append(f"image {image.number} is still {image.status}")
            if image.status is Status.KILLED and not image.failure:
                found.append(f"image {image.number} was killed without a reason")
        kept = map(self.store.location_of, self.store.objects)
        return found + [f"{location} is nobody's" for location in kept if location not in needed]

    def _damages(self, image: Image) -> list[str]:
        bytes_of = {self.store.location_of(name): data for name, data in self.store.objects.items()}
        whole = [bytes_of.get(location) for location in image.locations] == [DATA]
        right = (image.size, image.checksum) == (len(DATA), hashlib.md5(DATA, usedforsecurity=False).hexdigest())
        return [] if whole and right else [f"image {image.number} is active and not whole"]
