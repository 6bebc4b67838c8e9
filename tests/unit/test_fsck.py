# SPDX-License-Identifier: Apache-2.0
"""What fsck finds, and above all what it leaves alone: everything changes while it looks."""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from glance.core.context import Context
from glance.core.errors import GlanceError, OutsideStore, RegistryDown, StoreDown, WrongState
from glance.core.findings import Broken, Unchecked
from glance.core.fsck import Finding, Fsck, Moved, Stray
from glance.core.image import Image, ImageChange, Status, Visibility
from glance.core.ports import Held
from glance.store import StoreSet
from tests.fakes.registry import MemoryRegistry
from tests.fakes.store import BytesSource, MemoryBlob, MemoryStore

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

    def fsck(self, age: timedelta = HOUR, *, force: bool = False) -> Fsck:
        return Fsck(self.registry, StoreSet("memory", {"memory": self.store}), ["memory"], age=age, force=force)

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
    with pytest.raises(WrongState):
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


# After a change of the directory, bucket or container


def add_moved(setup: Setup, data: bytes = b"0123456789", *, found: bytes | None = None, **fields: object) -> Image:
    """Add an image whose record names a location in another place, and an object with its name in this store."""
    fields = {"size": len(data), "checksum": hashlib.md5(data).hexdigest()} | fields
    image = setup.registry.add(CTX, Image(**fields))
    location = f"memory://old/{image.number}"
    setup.store.objects[str(image.number)] = data if found is None else found
    return setup.registry.update(CTX, image.id, ImageChange(status=Status.ACTIVE, locations=(location,)))


def act_on(fsck: Fsck) -> list[Finding]:
    """Do what --delete --repair does with each finding; return them."""
    findings = []
    for finding in fsck.run():
        findings.append(finding)
        with contextlib.suppress(GlanceError):
            if isinstance(finding, Stray):
                fsck.remove(finding)
            elif isinstance(finding, Broken) and finding.missing:
                fsck.give_up(finding)
    return findings


@pytest.mark.parametrize("force", [False, True])
def test_moved_data_is_reported_and_neither_data_nor_record_is_changed(setup, force):
    images = [add_moved(setup) for _ in range(3)]
    findings = act_on(setup.fsck(force=force))
    assert [(type(found), found.image, found.recorded, found.found, found.copied) for found in findings] == [
        (Moved, image, f"memory://old/{image.number}", f"memory://{image.number}", False) for image in images
    ]
    assert set(setup.store.objects) == {"1", "2", "3", "4"}
    assert {setup.registry.get(CTX, image.id).status for image in images} == {Status.ACTIVE}


def test_moved_data_is_recognized_by_another_checksum_and_without_any(setup):
    digest = hashlib.sha512(b"0123456789").hexdigest()
    add_moved(setup, checksum=None, os_hash_algo="sha512", os_hash_value=digest)
    add_moved(setup, checksum=None)
    assert [type(found) for found in act_on(setup.fsck(force=True))] == [Moved, Moved]


@pytest.mark.parametrize("data", [b"9876543210", b"012345678"], ids=["checksum", "size"])
def test_an_object_that_differs_from_the_record_has_not_moved(setup, data):
    image = add_moved(setup, found=data)
    stray, broken = act_on(setup.fsck())
    assert (type(stray), stray.location) == (Stray, "memory://2")
    assert (broken.image, broken.location, broken.missing) == (image, "memory://old/2", True)
    assert set(setup.store.objects) == {"1"}


def test_moved_data_that_is_young_keeps_its_record(setup):
    add_moved(setup)
    setup.store.modified += HOUR + timedelta(minutes=1)
    assert [type(found) for found in act_on(setup.fsck())] == [Moved]


def test_a_copy_of_data_that_is_where_its_record_says_is_not_deleted(setup):
    add_moved(setup)
    setup.store.objects["old/2"] = setup.store.objects["2"]
    (found,) = act_on(setup.fsck())
    assert (type(found), found.copied) == (Moved, True)
    assert "2" in setup.store.objects


@pytest.mark.parametrize("status", [Status.PENDING_DELETE, Status.KILLED])
def test_moved_data_of_other_images_is_kept_too(setup, status):
    image = add_moved(setup)
    if status is Status.PENDING_DELETE:
        setup.registry.remove(CTX, image.id, delay=1000)
    else:
        setup.registry.update(CTX, image.id, ImageChange(status=status))
    assert [type(found) for found in act_on(setup.fsck(force=True))] == [Moved]
    assert "2" in setup.store.objects


def test_what_cannot_be_compared_is_not_changed(setup):
    image = add_moved(setup)
    true_open = setup.store.open

    def refuse(location: str, **part: int) -> MemoryBlob:
        if location == "memory://2":
            raise StoreDown("the store broke off")
        return true_open(location, **part)

    setup.store.open = refuse
    assert [type(found) for found in act_on(setup.fsck(force=True))] == [Unchecked]
    assert "2" in setup.store.objects
    assert setup.registry.get(CTX, image.id).status is Status.ACTIVE


@pytest.mark.parametrize("error", [OutsideStore("not in this directory"), StoreDown("the bucket does not exist")])
def test_an_image_at_a_location_that_cannot_be_read_is_not_lost(setup, error):
    image = setup.add(None)
    true_open = setup.store.open

    def refuse(location: str, **part: int) -> MemoryBlob:
        if location == image.locations[0]:
            raise error
        return true_open(location, **part)

    setup.store.open = refuse
    (found,) = act_on(setup.fsck(force=True))
    assert (type(found), found.error) == (Unchecked, error)
    assert setup.registry.get(CTX, image.id).status is Status.ACTIVE


@pytest.mark.parametrize(
    ("good", "missing", "changed"), [(1, 1, True), (2, 1, True), (2, 2, False), (18, 2, True), (17, 2, False)]
)
def test_nothing_is_changed_where_many_records_miss_their_data(setup, good, missing, changed):
    for _ in range(good - 1):  # one is there already
        setup.add(b"0123456789")
    images = [setup.add(None) for _ in range(missing)]
    setup.put("900")
    fsck = setup.fsck()
    stray, *broken = fsck.run()
    deeds = [lambda: fsck.remove(stray), *(functools.partial(fsck.give_up, each) for each in broken)]
    for deed in deeds:
        if changed:
            deed()
        else:
            with pytest.raises(StoreDown, match=f"{missing} of {good + missing} images of store memory") as refused:
                deed()
            assert "--force" in refused.value.advice
    assert ("900" in setup.store.objects) is not changed
    statuses = {setup.registry.get(CTX, image.id).status for image in images}
    assert statuses == {Status.KILLED if changed else Status.ACTIVE}
    act_on(setup.fsck(force=True))
    assert "900" not in setup.store.objects
    assert {setup.registry.get(CTX, image.id).status for image in images} == {Status.KILLED}


def test_moved_data_counts_as_missing_at_its_recorded_location(setup):
    for _ in range(2):
        add_moved(setup)
    setup.put("900")
    fsck = setup.fsck()
    stray = next(found for found in fsck.run() if isinstance(found, Stray))
    with pytest.raises(StoreDown, match="2 of 3 images"):
        fsck.remove(stray)
