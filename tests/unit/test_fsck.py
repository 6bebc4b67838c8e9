# SPDX-License-Identifier: Apache-2.0
"""What fsck finds, and above all what it leaves alone: everything changes while it looks."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from glance.core.context import Context
from glance.core.errors import RegistryDown, StoreDown
from glance.core.findings import Broken, Unchecked
from glance.core.fsck import Finding, Fsck
from glance.core.image import Image, ImageChange, Status, Visibility
from glance.core.ports import Held
from glance.store import StoreSet
from tests.fakes.registry import MemoryRegistry
from tests.fakes.store import BytesSource, MemoryStore

CTX = Context(is_admin=True)
UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"
HOUR = timedelta(hours=1)


class Setup:
    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        self.store = MemoryStore()
        self.store.modified -= 2 * HOUR
        self.add(b"a good one")  # so that it shows that registry and store belong together

    def add(self, data: bytes | None, *, status: Status = Status.ACTIVE, **fields: object) -> Image:
        image = self.registry.add(CTX, Image(size=10, **fields))
        location = self.store.location_of(str(image.number))
        if data is not None:
            self.put(str(image.number), data)
        return self.registry.update(CTX, image.id, ImageChange(status=status, locations=(location,)))

    def put(self, name: str, data: bytes = b"stray") -> None:
        self.store.put(name, BytesSource(data), size=None)

    def fsck(self, age: timedelta = HOUR) -> Fsck:
        return Fsck(self.registry, StoreSet("memory", {"memory": self.store}), ["memory"], age=age)

    def found(self) -> list[Finding]:
        return list(self.fsck().run())


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_what_agrees_is_not_told(setup):
    for visibility in Visibility:
        setup.add(b"0123456789", visibility=visibility, owner="somebody")
    fsck = setup.fsck()
    assert list(fsck.run()) == []
    assert (fsck.images, fsck.elsewhere, fsck.young, fsck.foreign) == (5, 0, 0, 0)


def test_an_image_without_bytes(setup):
    image = setup.add(None)
    (found,) = setup.found()
    assert (found.image, found.missing) == (image, True)


def test_an_image_that_became_shorter(setup):
    image = setup.add(b"short")
    (found,) = setup.found()
    assert (found.image, found.missing, found.problem) == (image, False, "it has 5 bytes, recorded are 10")


def test_an_active_image_that_names_no_place(setup):
    image = setup.registry.add(CTX, Image(status=Status.ACTIVE))
    fsck = setup.fsck()
    (found,) = fsck.run()
    assert found.image == image
    fsck.give_up(found)
    assert setup.registry.get(CTX, image.id).status is Status.KILLED


@pytest.mark.parametrize(
    "name",
    ["7", "7-0123abcd", UUID, f"{UUID}-0123abcd", "probe-0123456789abcdef", "store-check-small-0123456789abcdef"],
)
def test_bytes_without_an_image(setup, name):
    setup.put(name)
    fsck = setup.fsck()
    (found,) = fsck.run()
    assert (found.store, found.location, found.size) == ("memory", f"memory://{name}", 5)
    fsck.remove(found)
    assert set(setup.store.objects) == {"1"}


@pytest.mark.parametrize("name", ["notes", "7-x", "probe-1", UUID.upper(), f"{UUID}x", "seven"])
def test_what_glance_would_not_write_is_left_alone(setup, name):
    setup.store.objects[name] = b"another's"
    fsck = setup.fsck()
    assert list(fsck.run()) == []
    assert fsck.foreign == 1


def test_young_bytes_are_left_alone(setup):
    setup.put("7")
    setup.store.modified += HOUR + timedelta(minutes=1)
    fsck = setup.fsck()
    assert list(fsck.run()) == []
    assert fsck.young == 1


def test_when_age_does_not_matter_the_future_of_a_store_that_rounds_up_does_not_either(setup):
    setup.put("7")
    setup.store.modified += 2 * HOUR + timedelta(seconds=1)
    (found,) = setup.fsck(timedelta()).run()
    assert found.name == "7"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SAVING, Status.KILLED])
def test_bytes_that_a_record_names_are_its_own_whatever_its_status(setup, status):
    setup.add(b"half", status=status)
    assert setup.found() == []


def test_bytes_of_a_deleted_image_are_left_to_who_deletes_them(setup):
    image = setup.add(b"0123456789")
    setup.registry.remove(CTX, image.id)
    assert setup.found() == []
    setup.registry.release(CTX, image.id)
    (found,) = setup.found()
    assert found.location == "memory://2"


def during(setup: Setup, deed: Callable[[], object]) -> None:
    """Do it when the records have been read and the store has not."""

    def before(method: str) -> None:
        if method == "held":
            setup.store.before = lambda _: None
            deed()

    setup.store.before = before


def test_an_image_that_comes_while_fsck_looks(setup):
    during(setup, lambda: setup.add(b"0123456789"))
    assert setup.found() == []


def test_an_image_that_goes_while_fsck_looks(setup):
    image = setup.add(b"0123456789")

    def go() -> None:
        setup.registry.remove(CTX, image.id)
        setup.store.delete(image.locations[0])

    during(setup, go)
    assert setup.found() == []


def test_a_listing_that_comes_late_hides_no_image(setup):
    setup.add(b"0123456789")
    whole = setup.store.held
    setup.store.held = lambda: (held for held in whole() if held.name != "2")
    assert setup.found() == []


def test_an_owner_that_comes_before_the_bytes_are_deleted(setup):
    setup.put("2", b"0123456789")
    fsck = setup.fsck()
    (stray,) = fsck.run()
    setup.add(None)
    fsck.remove(stray)
    assert set(setup.store.objects) == {"1", "2"}


def listed(setup: Setup, *held: Held) -> None:
    whole = setup.store.held
    setup.store.held = lambda: [*whole(), *held]


def test_an_object_and_its_parts_are_one(setup):
    when = setup.store.modified
    parts = [Held("memory://7", "7", size, when + timedelta(minutes=size), False) for size in (1, 2, 3)]
    listed(setup, Held("memory://7", "7", 6, when), *parts)
    (found,) = setup.found()
    assert (found.size, found.whole, found.modified) == (6, 6, when + timedelta(minutes=3))


def test_parts_alone_are_an_upload_that_broke_off(setup):
    when = setup.store.modified
    listed(setup, *(Held("memory://7", "7", size, when, False) for size in (1, 2)))
    (found,) = setup.found()
    assert (found.size, found.whole) == (3, None)


def test_parts_of_which_the_youngest_is_young_are_left_alone(setup):
    when = setup.store.modified
    listed(setup, *(Held("memory://7", "7", 1, when + age, False) for age in (0 * HOUR, 1.5 * HOUR)))
    assert setup.found() == []


def test_parts_do_not_stand_for_the_object(setup):
    image = setup.add(None)
    listed(setup, Held(image.locations[0], "2", 10, setup.store.modified, False))
    (found,) = setup.found()
    assert isinstance(found, Broken)


# What might be the wrong registry, or the wrong store


def test_of_a_registry_that_knows_nothing_here_nothing_is_deleted(setup):
    setup.registry.images.clear()
    fsck = setup.fsck()
    (stray,) = fsck.run()
    with pytest.raises(StoreDown, match="not one image") as refused:
        fsck.remove(stray)
    assert "right registry" in refused.value.advice
    assert set(setup.store.objects) == {"1"}


def test_of_a_store_that_holds_nothing_nothing_is_given_up(setup):
    setup.store.objects.clear()
    fsck = setup.fsck()
    (broken,) = fsck.run()
    with pytest.raises(StoreDown, match="not one image"):
        fsck.give_up(broken)
    assert setup.registry.get(CTX, "1").status is Status.ACTIVE


def test_an_image_that_is_given_up_keeps_the_place_of_its_bytes(setup):
    image = setup.add(None)
    fsck = setup.fsck()
    (broken,) = fsck.run()
    fsck.give_up(broken)
    given_up = setup.registry.get(CTX, image.id)
    assert (given_up.status, given_up.locations) == (Status.KILLED, image.locations)
    assert "bytes" in given_up.failure
    setup.put("2", b"0123456789")  # they come back
    assert setup.found() == []


# What cannot be checked


def test_a_store_that_fails_is_told_once_and_its_images_are_not_said_to_be_lost(setup):
    setup.add(None)

    def broken() -> Iterator[Held]:
        yield Held("memory://9", "9", 1, setup.store.modified)
        raise StoreDown("the store broke off")

    setup.store.held = broken
    (found,) = setup.found()
    assert (found.what, str(found.error)) == ("store memory", "the store broke off")


def test_images_in_a_store_that_is_not_configured_are_told_once(setup):
    for _ in range(3):
        setup.registry.add(CTX, Image(status=Status.ACTIVE, locations=("s3://bucket/1",)))
    (found,) = setup.found()
    assert isinstance(found, Unchecked)
    assert found.what == "images at s3://"


def test_a_registry_that_is_down_ends_it(setup):
    def down(*_: object, **__: object) -> None:
        raise RegistryDown("the registry does not answer")

    setup.registry.find = down
    with pytest.raises(RegistryDown):
        setup.found()
