# SPDX-License-Identifier: Apache-2.0
"""A process that dies before or after any step of a use case leaves nothing that others do not bring to an end.

A step is a call of the registry or the store. From its death on nothing of the process has any effect, whatever its
handlers of exceptions try. Then its leases end, and another process looks after what it left.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update

from glance.core.context import Context
from glance.core.errors import BrokenUpload
from glance.core.image import Image, Status, Visibility
from glance.core.inline import INLINE
from glance.core.query import Query
from glance.core.recovery import Recovery
from glance.core.scrub import scrub
from glance.core.service import ImageService
from glance.registry.db.models import ImageRow
from glance.registry.db.sql import SqlRegistry
from glance.store import StoreSet
from tests.fakes.registry import MemoryRegistry
from tests.fakes.store import BytesSource, MemoryBlob, MemoryStore

CTX = Context(is_admin=True)
DATA = b"the bytes"
URL = "http://example.org/image"
EVERYTHING = Query(everyone=True, deleted=True, visibility=frozenset(Visibility))
LONG_AGO = datetime(2011, 3, 1)
STEPS = frozenset(
    {"add", "get", "find", "update", "remove", "release", "claim_stalled"}  # of the registry
    | {"put", "open", "delete"}  # of the store
)


class Death(BaseException):
    """The end of a process."""


class Process:
    """Dies at the step of this number, before it has an effect, or after. None: lives."""

    def __init__(self, dies_at: int | None = None, *, after: bool = False) -> None:
        self.steps = 0
        self.dead = False
        self._dies_at = dies_at
        self._after = after

    def step(self, work: Callable[[], Any]) -> Any:
        if self.dead:
            raise Death
        self.steps += 1
        if self.steps != self._dies_at:
            return work()
        self.dead = True
        if self._after:
            work()
        raise Death


class Mortal:
    """Something outside of the process, as it is reached by it."""

    def __init__(self, real: object, process: Process) -> None:
        self._real = real
        self._process = process

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in STEPS:
            return found
        return lambda *args, **kwargs: self._process.step(lambda: found(*args, **kwargs))


class Web:
    """An ExternalStore of one image."""

    schemes = frozenset({"http"})

    def examine(self, location: str) -> int | None:
        return len(DATA)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        return MemoryBlob(DATA, len(DATA))


class World:
    """What outlives a process: a registry and a store."""

    def __init__(self, engine: Engine | None) -> None:
        self.store = MemoryStore()
        self._engine = engine
        self.registry: Any = MemoryRegistry()
        if engine is not None:
            with engine.begin() as connection:
                connection.execute(delete(ImageRow))
            self.registry = SqlRegistry(engine)

    def service(self, process: Process, **options: Any) -> ImageService:
        stores = StoreSet("memory", {"memory": Mortal(self.store, process)}, [Web()])  # type: ignore[dict-item]
        return ImageService(Mortal(self.registry, process), stores, **options)  # type: ignore[arg-type]

    def recovery(self, service: ImageService, process: Process) -> Recovery:
        return Recovery(service.transfers, Mortal(self.registry, process), threading.Event())  # type: ignore[arg-type]

    def expire(self) -> None:
        """All leases end."""
        if self._engine is not None:
            with self._engine.begin() as connection:
                connection.execute(
                    update(ImageRow).where(ImageRow.lease_until.is_not(None)).values(lease_until=LONG_AGO)
                )
            return
        for number, (holder, until) in self.registry.leases.items():
            self.registry.leases[number] = (holder, until and LONG_AGO)

    def settle(self) -> None:
        """What a process does that lives, until there is nothing left to be done."""
        process = Process()
        service = self.service(process)
        before = set(threading.enumerate())
        self.recovery(service, process).look(INLINE)
        end = time.monotonic() + 10
        while set(threading.enumerate()) - before and time.monotonic() < end:
            time.sleep(0.001)
        scrub(self.registry, service.transfers)

    def images(self) -> list[Image]:
        return list(self.registry.find(CTX, EVERYTHING).images)


def upload(world: World, process: Process) -> None:
    service = world.service(process)
    service.upload(CTX, service.reserve(CTX, Image(), at_once=True), BytesSource(DATA))


def upload_that_breaks_off(world: World, process: Process) -> None:
    service = world.service(process)
    with suppress(BrokenUpload):
        service.upload(CTX, service.reserve(CTX, Image(), at_once=True), BytesSource(DATA, cut=True))


def copy(world: World, process: Process) -> None:
    service = world.service(process)
    service.copy_from(CTX, Image(), URL)
    (image,) = Mortal(world.registry, process).claim_stalled(CTX, "copier", lease=60, limit=1)
    world.recovery(service, process).settle(CTX, image, "copier", INLINE)


def deletion(world: World, process: Process) -> None:
    upload(world, Process())
    world.service(process).delete(CTX, world.images()[0].id)


def delayed_deletion(world: World, process: Process) -> None:
    upload(world, Process())
    service = world.service(process, keep=0)
    service.delete(CTX, world.images()[0].id)
    scrub(Mortal(world.registry, process), service.transfers)  # type: ignore[arg-type]


def recovery(world: World, process: Process) -> None:
    """Of an upload whose process died when all its bytes had come."""
    with suppress(Death):
        upload(world, Process(3, after=True))
    world.expire()
    (image,) = Mortal(world.registry, process).claim_stalled(CTX, "another", lease=60, limit=1)
    world.recovery(world.service(process), process).settle(CTX, image, "another", INLINE)


DONE = {
    upload: Status.ACTIVE, upload_that_breaks_off: Status.KILLED, copy: Status.ACTIVE, deletion: Status.DELETED,
    delayed_deletion: Status.DELETED, recovery: Status.KILLED,
}  # fmt: skip


@pytest.fixture(params=["memory", "sqlite"])
def make_world(request: pytest.FixtureRequest) -> Callable[[], World]:
    engine = request.getfixturevalue("sqlite_engine") if request.param == "sqlite" else None
    return lambda: World(engine)


def check(world: World, told: object) -> None:
    """Nothing is left to be done, and what there is is right."""
    images = world.images()
    for image in images:
        assert image.status in (Status.ACTIVE, Status.KILLED, Status.DELETED), told
        assert image.status is not Status.KILLED or image.failure, told
        assert bool(image.locations) == (image.status is Status.ACTIVE), told
    needed = [location for image in images for location in image.locations]
    assert [world.store.location_of(name) for name in world.store.objects] == needed, told
    assert set(world.store.objects.values()) <= {DATA}, told
    world.expire()
    for pending in (False, True):
        assert world.registry.claim_stalled(CTX, "x", lease=60, limit=9, pending=pending) == (), told


@pytest.mark.parametrize("deed", DONE, ids=lambda deed: deed.__name__)
def test_whatever_a_dead_process_left_is_settled(make_world, deed):
    world, whole = make_world(), Process()
    deed(world, whole)
    assert [image.status for image in world.images()] == [DONE[deed]]
    check(world, "nobody died")
    assert whole.steps >= 3
    for after in (False, True):
        for number in range(1, whole.steps + 1):
            world, process = make_world(), Process(number, after=after)
            with pytest.raises(Death):
                deed(world, process)
            world.expire()
            world.settle()
            check(world, f"died {'after' if after else 'before'} step {number} of {whole.steps}")
