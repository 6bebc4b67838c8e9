# SPDX-License-Identifier: Apache-2.0
"""The use cases, mostly as they go wrong."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from glance.core.context import Context
from glance.core.errors import (
    BlobMissing,
    BrokenUpload,
    Invalid,
    Mismatch,
    NotActive,
    NotFound,
    OverQuota,
    RangeNotSatisfiable,
    RegistryDown,
    StoreDown,
    StoreFull,
    StoreReadOnly,
    TooLarge,
    UnknownStore,
    WrongState,
)
from glance.core.image import Image, ImageChange, Span, Status
from glance.core.query import Query, Sort
from glance.core.service import ImageService
from glance.registry.db.quota import Quota
from glance.store import StoreSet
from tests.fakes.registry import MemoryRegistry
from tests.fakes.store import BytesSource, MemoryBlob, MemoryStore

CTX = Context(is_admin=True)
DATA = bytes(range(256)) * 4


class Records(MemoryRegistry):
    """`before` and `after` are called around an update, with the status it sets. Time stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[object], object] = lambda status: None
        self.after: Callable[[object], object] = lambda status: None

    def update(self, ctx: Context, image_id: str, change: ImageChange, **conditions: Any) -> Image:
        self.before(change.status)
        image = super().update(ctx, image_id, change, **conditions)
        image = self._keep(replace(image, updated_at=image.created_at))
        self.after(change.status)
        return image

    def limit(self, most: int) -> None:
        """From now on each tenant may have so many bytes."""
        self._quota = Quota(bytes=most)

    def only(self) -> Image:
        (image,) = self.images.values()
        return image

    def stalled(self) -> bool:
        """Whether the image waits for somebody who cleans up behind its transfer, once the lease is over."""
        return self.leases.get(self.only().number, (None, None))[1] is not None


class Elsewhere:
    """An ExternalStore of one image; it tells sizes of 5 at places that end in `/sized`, and knows no `/missing`."""

    schemes = frozenset({"http"})

    def examine(self, location: str) -> int | None:
        if location.endswith("/missing"):
            raise Invalid("nothing there")
        return 5 if location.endswith("/sized") else None

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        return MemoryBlob(b"elsewhere"[start:], None)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glance.core.transfer.PAUSES", (0,))


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def service(records, store) -> ImageService:
    return ImageService(
        records,
        StoreSet("memory", {"memory": store}, [Elsewhere()]),
        hashing_algorithm="sha256",
        limit=2000,
        patience=0.01,
    )


@pytest.fixture
def queued(service) -> Image:
    return service.reserve(CTX, Image(name="image"))


@pytest.fixture
def active(service, queued) -> Image:
    return service.upload(CTX, queued, BytesSource(DATA))


def on(status: Status, deed: Callable[[], object]) -> Callable[[object], None]:
    """Does the deed the first time that this status is set."""
    left = [deed]

    def hook(given: object) -> None:
        if given is status and left:
            left.pop()()

    return hook


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


# Reserve, upload


def test_a_reservation_is_queued_and_lies_nowhere_whatever_the_draft_says(service):
    image = service.reserve(CTX, Image(status=Status.ACTIVE, locations=("memory://1",)))
    assert (image.status, image.locations) == (Status.QUEUED, ())


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_an_upload_is_recorded_as_it_came(service, store, queued, data):
    image = service.upload(CTX, queued, BytesSource(data, block=100), change=ImageChange(name="new"))
    assert image == replace(
        queued,
        name="new",
        status=Status.ACTIVE,
        size=len(data),
        checksum=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        os_hash_algo="sha256",
        os_hash_value=hashlib.sha256(data).hexdigest(),
        locations=("memory://1",),
        charged=len(data),
    )
    assert store.objects == {"1": data}


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("on_failure", [Status.KILLED, Status.QUEUED])
def test_an_upload_over_the_quota_leaves_nothing_and_says_why(service, records, store, size, on_failure):
    records.limit(len(DATA) - 1)
    image = service.reserve(CTX, Image())
    body = BytesSource(DATA, block=100)
    with pytest.raises(OverQuota):
        service.upload(CTX, image, body, size=size, on_failure=on_failure)
    left = records.only()
    assert (left.status, left.charged, left.locations, store.objects) == (on_failure, None, (), {})
    assert "user_storage_quota" in left.failure
    assert not records.stalled()
    assert size is None or body.read(len(DATA)) == DATA[:100]  # nothing was read
    records.images.clear()
    service.upload(CTX, service.reserve(CTX, Image()), BytesSource(DATA[1:]), size=None)


def test_more_bytes_than_were_announced_are_not_taken_beyond_the_quota(service, records, store):
    """The number that a header says, while the body comes in chunks, is no leave to send more."""
    records.limit(len(DATA))
    with pytest.raises(OverQuota):
        service.upload(CTX, service.reserve(CTX, Image()), BytesSource(DATA + b"x"), size=1)
    assert store.objects == {}


def test_the_bytes_are_stored_before_the_record_says_so(service, records, store, queued):
    seen = []
    records.before = on(Status.ACTIVE, lambda: seen.append(dict(store.objects)))
    store.before = lambda method: seen.append(records.only().status) if method == "put" else None
    service.upload(CTX, queued, BytesSource(DATA))
    assert seen == [Status.SAVING, {"1": DATA}]


@pytest.mark.parametrize(("data", "promises", "error"), [
    (DATA, {"size": 7}, Mismatch), (DATA, {"checksum": "0" * 32}, Mismatch), (DATA * 2, {}, TooLarge), (b"", {"size": 2001}, TooLarge),
    (DATA, {"store": "http"}, StoreReadOnly), (DATA, {"store": "nowhere"}, UnknownStore), (None, {}, BrokenUpload),
], ids=["size", "checksum", "large", "announced too large", "read-only", "unknown", "cut"])  # fmt: skip
@pytest.mark.parametrize("on_failure", [Status.KILLED, Status.QUEUED])
def test_a_failed_upload_leaves_nothing_and_its_status(
    service, records, store, queued, data, promises, error, on_failure
):
    source = BytesSource(DATA, cut=True) if data is None else BytesSource(data)
    with pytest.raises(error):
        service.upload(CTX, queued, source, on_failure=on_failure, **promises)
    assert records.only() == replace(queued, status=on_failure, failure=records.only().failure)
    assert records.only().failure
    assert (store.objects, records.stalled()) == ({}, False)


@pytest.mark.parametrize(
    "error", [StoreFull("full"), StoreDown("down"), KeyboardInterrupt(), RuntimeError("bug")], ids=repr
)
def test_whatever_the_store_raises_settles_the_image(service, records, store, queued, error):
    store.before = lambda method: failing(error)() if method == "put" else None
    with pytest.raises(type(error)):
        service.upload(CTX, queued, BytesSource(DATA))
    assert records.only().status is Status.KILLED


@pytest.mark.parametrize("status", [Status.SAVING, Status.ACTIVE, Status.KILLED])
def test_bytes_are_taken_once(service, records, store, queued, status):
    records.update(CTX, queued.id, ImageChange(status=status))
    with pytest.raises(WrongState):
        service.upload(CTX, queued, BytesSource(DATA))
    assert (records.only().status, store.objects) == (status, {})


def test_an_image_deleted_during_its_upload_leaves_nothing(service, records, store, queued):
    store.before = lambda method: records.remove(CTX, queued.id) if method == "put" else None
    with pytest.raises(NotFound):
        service.upload(CTX, queued, BytesSource(DATA))
    assert (records.only().status, store.objects) == (Status.DELETED, {})


def test_a_registry_that_fails_for_a_moment_costs_nothing(service, records, store, queued):
    records.before = on(Status.ACTIVE, failing(RegistryDown("down")))
    assert service.upload(CTX, queued, BytesSource(DATA)).status is Status.ACTIVE
    assert (records.only().status, store.objects) == (Status.ACTIVE, {"1": DATA})


def test_a_registry_that_takes_no_end_kills_the_image_and_its_bytes(service, records, store, queued):
    records.before = lambda status: failing(RegistryDown("down"))() if status is Status.ACTIVE else None
    with pytest.raises(RegistryDown):
        service.upload(CTX, queued, BytesSource(DATA))
    assert (records.only().status, store.objects, records.stalled()) == (Status.KILLED, {}, False)


def test_a_registry_that_stays_away_leaves_the_bytes_to_whoever_sweeps(service, records, store, queued):
    def away(status: object) -> None:
        if status is not Status.SAVING:
            raise RegistryDown("down")

    records.before = away
    with pytest.raises(RegistryDown, match="down"):
        service.upload(CTX, queued, BytesSource(DATA))
    assert (records.only().status, store.objects) == (Status.SAVING, {"1": DATA})
    assert (records.only().locations, records.stalled()) == (("memory://1",), True)


def test_a_lost_answer_does_not_cost_an_active_image_its_bytes(service, records, store, queued):
    records.after = on(Status.ACTIVE, failing(RegistryDown("the answer was lost")))
    assert service.upload(CTX, queued, BytesSource(DATA)) == records.only()
    assert (records.only().status, store.objects) == (Status.ACTIVE, {"1": DATA})


def test_nor_do_lost_answers_without_end(service, records, store, queued):
    def lose(status: object) -> None:
        records.before = failing(RegistryDown("down"))
        raise RegistryDown("the answer was lost")

    records.after = lambda status: lose(status) if status is Status.ACTIVE else None
    with pytest.raises(RegistryDown):
        service.upload(CTX, queued, BytesSource(DATA))
    assert (records.only().status, store.objects) == (Status.ACTIVE, {"1": DATA})
    assert b"".join(service.open(CTX, records.only())) == DATA


def test_an_image_that_another_has_made_active_is_not_taken_for_ours(service, records, store, queued):
    records.before = on(
        Status.ACTIVE,
        lambda: records._keep(replace(records.only(), status=Status.ACTIVE, locations=("memory://other",))),
    )
    with pytest.raises(WrongState):
        service.upload(CTX, queued, BytesSource(DATA))
    assert records.only().locations == ("memory://other",)


def test_a_failure_to_settle_does_not_mask_the_error(service, records, queued):
    records.before = on(Status.KILLED, failing(RegistryDown("down")))
    with pytest.raises(BrokenUpload):
        service.upload(CTX, queued, BytesSource(cut=True))
    assert (records.only().status, records.stalled()) == (Status.SAVING, True)


# Abandon, activate


def test_a_reservation_can_be_abandoned_and_nothing_else(service, records, queued):
    service.abandon(CTX, queued, "no body")
    assert records.only().status is Status.KILLED
    with pytest.raises(WrongState):
        service.abandon(CTX, queued, "no body")


def test_bytes_elsewhere(service, records, queued):
    image = service.activate(CTX, queued, "http://example.org/image", change=ImageChange(size=9))
    assert (image.status, image.locations, image.size) == (Status.ACTIVE, ("http://example.org/image",), 9)
    with pytest.raises(WrongState):
        service.activate(CTX, queued, "http://example.org/other")


@pytest.mark.parametrize(("place", "size"), [("image", 9), ("sized", 5)])
def test_an_image_of_bytes_elsewhere(service, records, place, size):
    image = service.register(CTX, Image(name="image", size=9), f"http://example.org/{place}")
    assert records.only() == image
    assert (image.status, image.locations, image.size) == (Status.ACTIVE, (f"http://example.org/{place}",), size)


def test_the_size_that_is_told_is_the_size(service, queued):
    assert service.activate(CTX, queued, "http://example.org/sized", change=ImageChange(size=9)).size == 5


@pytest.mark.parametrize("location", [
    "", "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", " file:///x", "filesystem:///x", "%66ile:///x", "/etc/passwd", "memory://1",
    "swift+config://x/y", "s3://bucket/key", "sheepdog://;id", "http:", "http:/host/x", " http://h/", "ftp://h/", "http://h/missing",
])  # fmt: skip
def test_places_that_cannot_be_registered(service, records, queued, location):
    with pytest.raises(Invalid):
        service.activate(CTX, queued, location)
    with pytest.raises(Invalid):
        service.register(CTX, Image(), location)
    assert records.only() == queued


# Open


def test_the_bytes_come_back(service, active):
    blob = service.open(CTX, active)
    assert (b"".join(blob), blob.size, blob.total) == (DATA, 1024, 1024)


@pytest.mark.parametrize(("start", "length"), [(0, 1), (10, 20), (1023, 1), (0, 1024)])
def test_a_part_comes_back(service, active, start, length):
    assert b"".join(service.open(CTX, active, Span(start, length))) == DATA[start : start + length]


@pytest.mark.parametrize("span", [Span(0, 1025), Span(1024, 1), Span(2000, 1)])
def test_a_part_behind_the_end(service, store, active, span):
    with pytest.raises(RangeNotSatisfiable) as caught:
        service.open(CTX, active, span)
    assert (caught.value.total, store.opened) == (1024, [])


def test_bytes_elsewhere_of_unknown_size_are_read(service, queued):
    image = service.activate(CTX, queued, "http://example.org/image", change=ImageChange(size=9))
    assert b"".join(service.open(CTX, image)) == b"elsewhere"


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.ACTIVE])
def test_only_active_images_are_read(service, active, status):
    with pytest.raises(NotActive):
        service.open(CTX, replace(active, status=status))


def test_an_active_image_without_location_is_not_read(service, active):
    with pytest.raises(NotActive):
        service.open(CTX, replace(active, locations=()))


def test_bytes_of_another_size_are_refused_and_closed(service, store, active):
    store.objects["1"] += b"x"
    with pytest.raises(BlobMissing):
        service.open(CTX, active)
    assert [blob.closed for blob in store.opened] == [1]


@pytest.mark.parametrize("location", ["memory://gone", "https://h/", "nonsense", "file:///etc/passwd"])
def test_the_user_is_not_told_where_bytes_should_have_been(service, active, location):
    with pytest.raises(BlobMissing) as caught:
        service.open(CTX, replace(active, locations=(location,)))
    assert location not in str(caught.value)


# List, update, delete


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_a_list_is_read_to_its_end(service, limit):
    for _ in range(5):
        service.reserve(CTX, Image())
    assert [
        image.number
        for page in service.list(CTX, Query(everyone=True, sort=(Sort("number"),), limit=limit))
        for image in page.images
    ] == [1, 2, 3, 4, 5]


def test_an_update_is_the_registrys(service, records, queued):
    assert (
        service.update(CTX, queued.id, ImageChange(name="new"))
        == service.get(CTX, queued.id)
        == replace(queued, name="new")
    )


def test_the_record_goes_first(service, records, store, active):
    store.before = lambda method: seen.append((method, records.only().status))
    seen: list[tuple[str, Status]] = []
    service.delete(CTX, active.id)
    assert seen == [("delete", Status.DELETED)]
    assert (store.objects, records.only().locations, records.stalled()) == ({}, (), False)


def test_what_the_registry_refuses_to_delete_keeps_its_bytes(service, records, store, active):
    records.remove = failing(NotFound("not yours"))
    with pytest.raises(NotFound):
        service.delete(CTX, active.id)
    assert store.objects == {"1": DATA}


def test_bytes_that_cannot_be_removed_do_not_keep_the_record(service, records, store, active, caplog):
    store.before = failing(StoreDown("down"))
    service.delete(CTX, active.id)
    assert records.only().deleted
    assert "still there" in caplog.text
    assert (records.only().locations, records.stalled()) == (("memory://1",), True)


def test_bytes_of_others_are_forgotten_not_removed(service, records, store, queued):
    service.activate(CTX, queued, "http://example.org/image")
    store.before = failing(AssertionError("not ours"))
    service.delete(CTX, queued.id)
    assert records.only().deleted
