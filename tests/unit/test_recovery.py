# SPDX-License-Identifier: Apache-2.0
"""What is brought to an end for those who could not: transfers, removals, copies."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from glance.core.context import Context
from glance.core.errors import (
    BlobMissing,
    BrokenUpload,
    Invalid,
    NotAllowed,
    OverQuota,
    StoreDown,
    StoreReadOnly,
    WrongState,
)
from glance.core.image import Image, ImageChange, Status
from glance.core.inline import INLINE
from glance.core.policy import Policy
from glance.core.recovery import ENDED, Recovery
from glance.core.service import ImageService
from glance.registry.db.quota import Quota
from glance.store import StoreSet
from tests.fakes.registry import NO_QUOTA, MemoryRegistry
from tests.fakes.store import BytesSource, MemoryBlob, MemoryStore

CTX = Context(is_admin=True)
USER = Context(tenant="a")
URL = "http://example.org/image"
DATA = bytes(range(256)) * 4


class Web:
    """An ExternalStore of one image, which `opened` may do something about."""

    schemes = frozenset({"http"})

    def __init__(self) -> None:
        self.data = DATA
        self.opened: Callable[[], object] = lambda: None

    def examine(self, location: str) -> int | None:
        if location != URL:
            raise Invalid("nothing there")
        return len(self.data)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        self.opened()
        return MemoryBlob(self.data, len(self.data))


class Setup:
    def __init__(self, quota: Quota = NO_QUOTA) -> None:
        self.registry = MemoryRegistry(quota=quota)
        self.store = MemoryStore()
        self.web = Web()
        self.work = threading.Event()
        stores = StoreSet("memory", {"memory": self.store}, [self.web])
        self.service = ImageService(self.registry, stores, wake=self.work.set)
        self.recovery = Recovery(self.service.transfers, self.registry, self.work)

    def recover(self) -> None:
        """Take up all that is stalled now, and wait until it is done."""
        before = set(threading.enumerate())
        self.recovery.look(INLINE)
        end = time.monotonic() + 10
        while set(threading.enumerate()) - before and time.monotonic() < end:
            time.sleep(0.001)

    def expire(self) -> None:
        """As if all leases were over."""
        for number, (holder, until) in self.registry.leases.items():
            if until is not None:
                self.registry.leases[number] = (holder, until.replace(year=2011))

    def only(self) -> Image:
        (image,) = self.registry.images.values()
        return image

    def dying_upload(self) -> Image:
        """An image whose process was killed just before its last step: bytes are there, the record says saving."""
        image = self.service.reserve(CTX, Image())
        self.store.objects["1"] = DATA
        change = ImageChange(status=Status.SAVING, locations=("memory://1",), holder="dead", lease=60)
        return self.registry.update(CTX, image.id, change)


@pytest.fixture
def setup() -> Setup:
    return Setup()


# Uploads and removals


def test_an_upload_whose_server_died_is_killed_and_its_bytes_removed(setup):
    setup.dying_upload()
    setup.recover()
    assert setup.only().status is Status.SAVING  # its lease is not over
    setup.expire()
    setup.recover()
    assert (setup.only().status, setup.only().failure, setup.only().locations) == (Status.KILLED, ENDED, ())
    assert (setup.store.objects, setup.registry.leases) == ({}, {})


def test_whoever_comes_late_finds_his_image_gone(setup):
    image = setup.service.reserve(CTX, Image())

    def be_late(method: str) -> None:
        if method == "put":
            setup.store.before = lambda method: None
            setup.expire()
            setup.recover()

    setup.store.before = be_late
    with pytest.raises(WrongState):
        setup.service.upload(CTX, image, BytesSource(DATA))
    assert (setup.only().status, setup.store.objects) == (Status.KILLED, {})


def test_a_transfer_that_is_alive_keeps_its_lease(setup, monkeypatch):
    monkeypatch.setattr("glance.core.leases.RENEWALS", 30_000)
    image = setup.service.reserve(CTX, Image())

    def wait(method: str) -> None:
        if method == "put":
            setup.expire()
            end = time.monotonic() + 10
            while setup.registry.leases[1][1].year == 2011 and time.monotonic() < end:
                time.sleep(0.001)
            setup.recover()

    setup.store.before = wait
    assert setup.service.upload(CTX, image, BytesSource(DATA)).status is Status.ACTIVE
    assert setup.only().updated_at is not None


def test_bytes_of_a_deleted_image_are_removed_when_the_store_is_back(setup):
    image = setup.service.upload(CTX, setup.service.reserve(CTX, Image()), BytesSource(DATA))

    def down(method: str) -> None:
        raise StoreDown("down")

    setup.store.before = down
    setup.service.delete(CTX, image.id)
    setup.expire()
    setup.recover()
    assert setup.store.objects == {"1": DATA}
    setup.store.before = lambda method: None
    setup.recover()
    assert setup.store.objects == {"1": DATA}  # whoever tried last has some time left
    setup.expire()
    setup.recover()
    assert (setup.store.objects, setup.registry.leases, setup.only().locations) == ({}, {}, ())


def test_an_active_image_is_never_touched(setup):
    image = setup.service.upload(CTX, setup.service.reserve(CTX, Image()), BytesSource(DATA))
    setup.registry.update(CTX, image.id, ImageChange(holder="who", lease=0))
    setup.recover()
    assert (setup.only().locations, setup.store.objects, setup.registry.leases) == (("memory://1",), {"1": DATA}, {})


def test_a_name_is_not_used_again_after_a_failure(setup):
    image = setup.service.reserve(CTX, Image())
    with pytest.raises(BrokenUpload):
        setup.service.upload(CTX, image, BytesSource(DATA, cut=True), on_failure=Status.QUEUED)
    image = setup.service.upload(CTX, setup.only(), BytesSource(DATA))
    (name,) = setup.store.objects
    assert name.startswith("1-")
    assert image.failure is None


def test_bytes_of_another_registry_are_left_alone(setup):
    setup.store.objects["1"] = b"precious"
    image = setup.service.upload(CTX, setup.service.reserve(CTX, Image()), BytesSource(DATA))
    setup.service.delete(CTX, image.id)
    assert setup.store.objects == {"1": b"precious"}


# Copies


def test_a_copy_is_fetched_in_the_background(setup):
    image = setup.service.copy_from(CTX, Image(name="copy"), URL)
    assert (image.status, image.size, setup.work.is_set(), setup.store.objects) == (Status.QUEUED, 1024, True, {})
    setup.recover()
    done = setup.only()
    assert (done.status, done.size, done.copy_from, done.locations) == (
        Status.ACTIVE,
        1024,
        None,
        (f"memory://{image.id}",),
    )
    assert setup.store.objects == {image.id: DATA}
    assert setup.registry.leases[1] == (None, None)


def test_a_queued_image_can_be_filled_by_a_copy(setup):
    image = setup.service.reserve(CTX, Image(name="copy"))
    setup.service.copy_into(CTX, image, URL, change=ImageChange(name="new"))
    setup.recover()
    assert (setup.only().status, setup.only().name) == (Status.ACTIVE, "new")
    with pytest.raises(WrongState):
        setup.service.copy_into(CTX, image, URL)


@pytest.mark.parametrize(("url", "store", "error"), [
    ("http://example.org/missing", None, Invalid), ("file:///etc/passwd", None, Invalid), (URL, "http", StoreReadOnly),
])  # fmt: skip
def test_what_cannot_be_copied_is_not_begun(setup, url, store, error):
    with pytest.raises(error):
        setup.service.copy_from(CTX, Image(), url, store=store)
    assert setup.registry.images == {}


def test_a_copy_takes_the_right_to_copy(setup):
    with pytest.raises(NotAllowed):
        setup.service.copy_from(USER, Image(), URL)
    stores = StoreSet("memory", {"memory": setup.store}, [setup.web])
    allowed = ImageService(setup.registry, stores, policy=Policy({"copy_from": frozenset({"*"})}))
    assert allowed.copy_from(USER, Image(), URL).owner == "a"
    setup.recover()
    assert setup.only().status is Status.ACTIVE


@pytest.mark.parametrize("error", [BlobMissing("gone"), StoreDown("reset"), Invalid("an inside address by now")])
def test_a_copy_that_fails_kills_its_image_and_says_why(setup, error):
    def fail() -> None:
        raise error

    setup.web.opened = fail
    setup.service.copy_from(CTX, Image(), URL)
    setup.recover()
    assert (setup.only().status, setup.only().failure) == (Status.KILLED, str(error))
    assert (setup.store.objects, setup.registry.leases) == ({}, {})


def test_a_copy_over_the_quota_is_refused_when_it_is_asked_for_or_killed_when_there_is_more_than_was_told():
    setup = Setup(Quota(bytes=len(DATA)))
    setup.service.copy_from(CTX, Image(), URL)
    with pytest.raises(OverQuota):
        setup.service.copy_from(CTX, Image(), URL)
    assert setup.only().charged == len(DATA)
    setup.web.data = DATA + b"x"
    setup.recover()
    image = setup.only()
    assert (image.status, image.charged, image.locations, setup.store.objects) == (Status.KILLED, None, (), {})
    assert "user_storage_quota" in image.failure


def test_a_copy_whose_server_died_begins_anew(setup):
    image = setup.service.copy_from(CTX, Image(), URL)
    setup.registry.claim_stalled(CTX, "dead", lease=60, limit=1)
    saving = ImageChange(status=Status.SAVING, lease=60)
    setup.registry.update(CTX, image.id, saving, expect=Status.QUEUED, holder="dead")
    setup.store.objects[image.id] = DATA[:100]
    setup.recover()
    assert setup.only().status is Status.SAVING
    setup.expire()
    setup.recover()
    assert setup.only().status is Status.ACTIVE
    (name,) = setup.store.objects
    assert name.startswith(f"{image.id}-")
    assert setup.store.objects[name] == DATA


def test_a_copy_of_a_deleted_image_leaves_nothing(setup):
    image = setup.service.copy_from(CTX, Image(), URL)
    setup.web.opened = lambda: setup.service.delete(CTX, image.id)
    setup.recover()
    assert (setup.only().status, setup.store.objects, setup.registry.leases) == (Status.DELETED, {}, {})


def test_a_hundred_copies_of_two_processes_are_each_made_once(setup):
    fetched = []
    setup.web.opened = lambda: fetched.append(1)
    for _ in range(100):
        setup.service.copy_from(CTX, Image(), URL)
    other = Recovery(setup.service.transfers, setup.registry, setup.work)
    looks = [threading.Thread(target=recovery.look, args=(INLINE,)) for recovery in (setup.recovery, other)]
    for look in looks:
        look.start()
    for look in looks:
        look.join(30)
    end = time.monotonic() + 30
    while (
        any(image.status is not Status.ACTIVE for image in setup.registry.images.values()) and time.monotonic() < end
    ):
        time.sleep(0.01)
    assert (len(fetched), len(setup.store.objects)) == (100, 100)


def test_a_started_recovery_works_when_it_is_woken(setup):
    setup.recovery.start(INLINE)
    setup.service.copy_from(CTX, Image(), URL)
    end = time.monotonic() + 10
    while setup.only().status is not Status.ACTIVE and time.monotonic() < end:
        time.sleep(0.01)
    assert setup.only().status is Status.ACTIVE


def test_records_of_a_hand_are_not_copied_to_places_that_are_not_ours(setup):
    image = setup.service.copy_from(CTX, Image(), URL)
    setup.registry.images[1] = replace(image, locations=("http://example.org/elsewhere",))
    setup.recover()
    assert (setup.only().status, setup.store.objects) == (Status.QUEUED, {})
