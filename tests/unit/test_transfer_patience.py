# SPDX-License-Identifier: Apache-2.0
"""A transfer outlives a registry that is away for a while: its lease, its steps, and who judges it afterwards."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from glance.core import leases, recovery
from glance.core.context import Context
from glance.core.errors import DeletedMeanwhile, GlanceError, RegistryDown, RegistryFull, RegistryReadOnly, WrongState
from glance.core.image import UNSET, Image, ImageChange, Status
from glance.core.leases import Lease, kept
from glance.core.recovery import ENDED, GRACE, Recovery
from glance.core.service import ImageService
from glance.store import StoreSet
from tests.fakes.registry import MemoryRegistry
from tests.fakes.store import BytesSource, MemoryStore

CTX = Context(is_admin=True)
DATA = bytes(range(256)) * 4
WAIT = 10  # seconds in which another thread must have done its part


class Away(MemoryRegistry):
    """Its answers may be lost on the way there (`before`) or back (`after`): both get the change of an update."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[ImageChange], object] = lambda change: None
        self.after: Callable[[ImageChange], object] = lambda change: None
        self.updates: list[ImageChange] = []

    def update(self, ctx: Context, image_id: str, change: ImageChange, **conditions: Any) -> Image:
        self.updates.append(change)
        self.before(change)
        image = super().update(ctx, image_id, change, **conditions)
        self.after(change)
        return image

    def only(self) -> Image:
        (image,) = self.images.values()
        return image


def failing(times: int, status: Status, error: Callable[[], GlanceError]) -> Callable[[ImageChange], None]:
    """Raises that often, when that status is set."""
    left = iter(range(times))

    def fail(change: ImageChange) -> None:
        if change.status is status and next(left, None) is not None:
            raise error()

    return fail


def down() -> GlanceError:
    return RegistryDown("away")


@pytest.fixture
def registry() -> Away:
    return Away()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glance.core.transfer.PAUSES", (0.001,))


def service(registry: Away, store: MemoryStore, *, patience: float = WAIT) -> ImageService:
    return ImageService(registry, StoreSet("memory", {"memory": store}), patience=patience)


def reserved(registry: Away) -> Image:
    return registry.add(CTX, Image())


def saving(registry: Away, holder: str = "me") -> Image:
    change = ImageChange(status=Status.SAVING, locations=("memory://1",), holder=holder, lease=60)
    return registry.update(CTX, reserved(registry).id, change)


def until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + WAIT
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return bool(condition())


# The steps of a transfer


@pytest.mark.parametrize("status", [Status.SAVING, Status.ACTIVE])
@pytest.mark.parametrize("error", [RegistryDown, RegistryFull, RegistryReadOnly])
def test_a_step_is_tried_again_while_the_registry_is_away(registry, store, status, error):
    registry.before = failing(3, status, lambda: error("away"))
    image = service(registry, store).upload(CTX, reserved(registry), BytesSource(DATA))
    assert (image.status, image.locations, store.objects) == (Status.ACTIVE, ("memory://1",), {"1": DATA})
    assert [change.status for change in registry.updates].count(status) == 4


@pytest.mark.parametrize("status", [Status.SAVING, Status.ACTIVE])
def test_a_step_whose_answer_was_lost_is_recognised(registry, store, status):
    registry.after = failing(1, status, down)
    image = service(registry, store).upload(CTX, reserved(registry), BytesSource(DATA))
    assert (image.status, registry.only().locations, store.objects) == (Status.ACTIVE, ("memory://1",), {"1": DATA})


def test_a_claim_that_another_made_meanwhile_is_not_taken_for_ones_own(registry, store):
    image = reserved(registry)

    def another(change: ImageChange) -> None:
        registry.before = lambda change: None
        registry.update(CTX, image.id, ImageChange(status=Status.SAVING, holder="another", lease=60))
        raise down()

    registry.before = another
    with pytest.raises(WrongState):
        service(registry, store).upload(CTX, image, BytesSource(DATA))
    assert (registry.only().status, registry.leases[1][0], store.objects) == (Status.SAVING, "another", {})


def test_the_first_refusal_of_a_claim_is_one(registry, store):
    image = saving(registry, "another")
    with pytest.raises(WrongState, match="saving, not queued"):
        service(registry, store).upload(CTX, image, BytesSource(DATA))
    assert len(registry.updates) == 2


def test_patience_ends(registry, store):
    registry.before = failing(10**6, Status.SAVING, down)
    body = BytesSource(DATA)
    with pytest.raises(RegistryDown):
        service(registry, store, patience=0.01).upload(CTX, reserved(registry), body)
    assert (registry.only().status, store.objects, body.read(4096)) == (Status.QUEUED, {}, DATA)


def test_without_patience_a_step_is_tried_once(registry, store):
    registry.before = failing(1, Status.ACTIVE, down)
    with pytest.raises(RegistryDown):
        service(registry, store, patience=0).upload(CTX, reserved(registry), BytesSource(DATA))
    assert (registry.only().status, registry.only().failure, store.objects) == (Status.KILLED, "away", {})


# Leases


def test_a_source_ends_when_its_lease_is_lost():
    lease = Lease()
    source = lease.bound(BytesSource(DATA, block=100))
    assert source.read(4096) == DATA[:100]
    lease.lost = WrongState("another has it")
    with pytest.raises(WrongState, match="another has it"):
        source.read(4096)


class Waiting:
    """A source that is always slower than the renewals: its second block waits for `ready`."""

    def __init__(self, deed: Callable[[], object], ready: Callable[[], object]) -> None:
        self._source = BytesSource(DATA, block=600)
        self.threads = self._source.threads
        self.sender = self._source.sender
        self.blocks = 0
        self._deed = deed
        self._ready = ready

    def read(self, size: int, /) -> bytes:
        self.blocks += 1
        if self.blocks == 2:
            self._deed()
            assert until(self._ready)
        return self._source.read(size)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed all the time."""
    monkeypatch.setattr(leases, "RENEWALS", 60_000)


def quiet_threads(before: set[threading.Thread]) -> bool:
    """Whether whoever renewed a lease has stopped."""
    return not set(threading.enumerate()) - before


@pytest.mark.usefixtures("fast")
def test_a_transfer_stops_when_its_image_is_deleted(registry, store):
    image, before = reserved(registry), set(threading.enumerate())
    body = Waiting(lambda: registry.remove(CTX, image.id), lambda: quiet_threads(before))
    with pytest.raises(DeletedMeanwhile, match="deleted while its bytes came"):
        service(registry, store).upload(CTX, image, body)
    assert (body.blocks, registry.only().status, store.objects) == (2, Status.DELETED, {})


@pytest.mark.usefixtures("fast")
def test_a_transfer_stops_when_another_has_taken_its_image(registry, store):
    image, before = reserved(registry), set(threading.enumerate())

    def take() -> None:
        with registry._lock:
            registry.leases[1] = ("another", registry.leases[1][1])

    body = Waiting(take, lambda: quiet_threads(before))
    with pytest.raises(WrongState, match="taken the image over"):
        service(registry, store).upload(CTX, image, body)
    assert (body.blocks, registry.only().status, registry.leases[1][0]) == (2, Status.SAVING, "another")


def test_a_lease_is_reported_faster_while_the_registry_is_away(registry, monkeypatch):
    """Once in ten hours, but for the registry that is away: then at once after it is back."""
    monkeypatch.setattr(leases, "RETRY", 0.001)
    pauses: list[float] = []

    class Done(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            return len(pauses) > 4 or self.is_set()

    image = saving(registry)
    registry.before = failing_renewals(2)
    arguments = (CTX, image, "me", 36_000, Lease(), Done())
    leases._renew(registry, *arguments)
    assert pauses == [12_000, 0.001, 0.001, 12_000, 12_000]


def failing_renewals(times: int) -> Callable[[ImageChange], None]:
    left = iter(range(times))

    def fail(change: ImageChange) -> None:
        if change.status is UNSET and next(left, None) is not None:
            raise down()

    return fail


@pytest.mark.usefixtures("fast")
def test_a_registry_that_is_away_takes_no_lease(registry, monkeypatch):
    monkeypatch.setattr(leases, "RETRY", 0.001)
    image = saving(registry)
    registry.before = failing_renewals(5)
    with kept(registry, CTX, image, "me", 60) as lease:
        assert until(lambda: len(registry.updates) > 7)
        assert lease.lost is None


# Recovery


class Checked(Away):
    """Is away for some checks."""

    def __init__(self, failures: int, deeds: list[object]) -> None:
        super().__init__()
        self._left = iter(range(failures))
        self._deeds = deeds

    def check(self) -> None:
        self._deeds.append("check")
        if next(self._left, None) is not None:
            raise down()

    def claim_stalled(self, *args: Any, **named: Any) -> tuple[Image, ...]:
        self._deeds.append("claim")
        if self._deeds == ["claim"]:
            raise down()
        raise SystemExit  # the end of the thread, for this test


def test_holders_get_time_to_report_when_the_registry_was_away(store, monkeypatch):
    deeds: list[object] = []
    registry = Checked(2, deeds)
    monkeypatch.setattr(recovery.time, "sleep", deeds.append)
    with pytest.raises(SystemExit):
        Recovery(service(registry, store).transfers, registry, threading.Event())._run(BytesSource().threads)
    assert deeds == ["claim", "check", leases.RETRY, "check", leases.RETRY, "check", GRACE, "claim"]
    assert GRACE > leases.RETRY


def test_an_upload_that_was_to_come_at_once_and_never_began_is_killed(registry, store):
    images = service(registry, store)
    images.reserve(CTX, Image(), at_once=True)
    images.reserve(CTX, Image())
    for number, (holder, end) in registry.leases.items():
        registry.leases[number] = (holder, end.replace(year=2011))
    (found,) = registry.claim_stalled(CTX, "me", lease=60, limit=10)
    Recovery(images.transfers, registry, threading.Event()).settle(CTX, found, "me", BytesSource().threads)
    first, second = registry.images.values()
    assert (first.status, first.failure, registry.leases) == (Status.KILLED, ENDED, {})
    assert second.status is Status.QUEUED


def test_a_reserved_image_whose_upload_failed_stays_to_be_tried_again(registry, store):
    image = reserved(registry)
    change = ImageChange(locations=("memory://1",), failure="broken", lease=0)
    registry.update(CTX, image.id, change)
    store.objects["1"] = DATA
    (found,) = registry.claim_stalled(CTX, "me", lease=60, limit=10)
    transfers = service(registry, store).transfers
    Recovery(transfers, registry, threading.Event()).settle(CTX, found, "me", BytesSource().threads)
    assert (registry.only().status, registry.only().failure, store.objects) == (Status.QUEUED, "broken", {})
