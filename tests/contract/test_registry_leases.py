# SPDX-License-Identifier: Apache-2.0
"""Who works on the bytes of an image, and for how long he may be silent: the same in every Registry.

Leases of no seconds are over at once; no test waits for one.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from glance.core.context import Context
from glance.core.errors import Duplicate, Invalid, NotAllowed, NotFound, WrongState
from glance.core.image import Image, ImageChange, Status
from glance.core.ports import Registry

CTX = Context(is_admin=True)
USER = Context(user="me", tenant="mine")
PLACE = ("memory://1",)


def add(registry: Registry, *, lease: int | None = None, **fields: object) -> Image:
    return registry.add(CTX, Image(**{"status": Status.QUEUED, **fields}), lease=lease)


def hold(registry: Registry, image: Image, holder: str = "somebody", lease: int = 60) -> Image:
    claim = ImageChange(status=Status.SAVING, locations=PLACE, holder=holder, lease=lease)
    return registry.update(CTX, image.id, claim, expect=Status.QUEUED)


def stalled(registry: Registry, holder: str = "finder", *, lease: int = 60, limit: int = 9, pending: bool = False):
    return [image.number for image in registry.claim_stalled(CTX, holder, lease=lease, limit=limit, pending=pending)]


# New images


def test_a_reservation_without_a_lease_may_wait_for_ever(registry):
    add(registry)
    assert stalled(registry) == []


def test_a_reservation_with_a_lease_is_found_when_that_is_over(registry):
    add(registry, lease=60)
    image = add(registry, lease=0)
    assert stalled(registry) == [image.number]


def test_a_copy_is_found_at_once(registry):
    image = add(registry, copy_from="http://example.org/image", locations=PLACE)
    assert stalled(registry) == [image.number]


# Claims


def test_each_stalled_image_goes_to_one(registry):
    numbers = {add(registry, lease=0).number for _ in range(12)}
    with ThreadPoolExecutor(4) as pool:
        found = [n for each in pool.map(lambda who: stalled(registry, str(who), limit=12), range(4)) for n in each]
    assert sorted(found) == sorted(numbers)
    assert stalled(registry) == []


def test_no_more_are_claimed_than_asked_for_and_the_longest_silent_first(registry):
    numbers = [add(registry, lease=0).number for _ in range(3)]
    assert stalled(registry, limit=2) == numbers[:2]
    assert stalled(registry, limit=2) == numbers[2:]


def test_a_claim_ends_too(registry):
    image = add(registry, lease=0)
    assert stalled(registry, "first", lease=0) == [image.number]
    assert stalled(registry, "second") == [image.number]
    with pytest.raises(WrongState):
        registry.update(CTX, image.id, ImageChange(status=Status.KILLED), holder="first")
    assert registry.update(CTX, image.id, ImageChange(status=Status.KILLED), holder="second").status is Status.KILLED


def test_a_lease_that_is_renewed_is_not_over(registry):
    image = hold(registry, add(registry), lease=0)
    registry.update(CTX, image.id, ImageChange(lease=60), expect=Status.SAVING, holder="somebody")
    assert stalled(registry) == []


@pytest.mark.parametrize("pending", [False, True])
def test_claims_are_for_admins(registry, pending):
    with pytest.raises(NotAllowed):
        registry.claim_stalled(USER, "me", lease=60, limit=1, pending=pending)


# Ends


def test_who_holds_it_releases_it(registry):
    image = hold(registry, add(registry), lease=0)
    registry.update(CTX, image.id, ImageChange(status=Status.KILLED))
    for holder in (None, "another"):
        registry.release(CTX, image.id, holder=holder)
        assert registry.get(CTX, image.id).locations == PLACE
    registry.release(CTX, image.id, holder="somebody")
    assert registry.get(CTX, image.id).locations == ()
    assert stalled(registry) == []


def test_what_nobody_holds_is_released_by_anybody(registry):
    image = add(registry, status=Status.KILLED, locations=PLACE, lease=0)
    registry.release(CTX, image.id)
    assert registry.get(CTX, image.id).locations == ()
    assert stalled(registry) == []


def test_what_is_not_there_cannot_be_released(registry):
    with pytest.raises(NotFound):
        registry.release(CTX, "7", holder="somebody")


def test_who_deletes_what_is_held_gets_no_bytes_to_remove(registry):
    image = hold(registry, add(registry))
    removed = registry.remove(CTX, image.id, lease=0)
    assert (removed.status, removed.locations) == (Status.DELETED, ())
    assert stalled(registry) == []  # its holder is alive, and will find it gone
    with pytest.raises(NotFound):
        registry.update(CTX, image.id, ImageChange(status=Status.ACTIVE), expect=Status.SAVING, holder="somebody")
    assert registry.get(CTX, image.id, deleted=True).locations == PLACE
    registry.release(CTX, image.id, holder="somebody")
    assert registry.get(CTX, image.id, deleted=True).locations == ()


def test_who_deletes_what_was_held_by_a_dead_one_removes_its_bytes(registry):
    image = hold(registry, add(registry), lease=0)
    assert registry.remove(CTX, image.id).locations == PLACE
    registry.release(CTX, image.id)
    assert registry.get(CTX, image.id, deleted=True).locations == ()


def test_bytes_that_were_to_be_removed_and_were_not_are_found(registry):
    image = add(registry, status=Status.ACTIVE, locations=PLACE)
    assert registry.remove(CTX, image.id, lease=0).locations == PLACE
    assert stalled(registry) == [image.number]


# Delayed delete


def test_bytes_are_kept_until_they_are_released(registry):
    image = add(registry, status=Status.ACTIVE, locations=PLACE)
    removed = registry.remove(CTX, image.id, delay=0)
    assert (removed.status, removed.locations) == (Status.PENDING_DELETE, PLACE)
    with pytest.raises(NotFound):
        registry.get(CTX, image.id)
    found = registry.get(CTX, image.id, deleted=True)
    assert (found.status, found.deleted, found.deleted_at) == (Status.PENDING_DELETE, True, removed.deleted_at)
    assert stalled(registry) == []  # none of those whose bytes are to be removed as soon as can be
    assert stalled(registry, pending=True) == [image.number]
    assert stalled(registry, pending=True) == []
    registry.release(CTX, image.id, holder="finder")
    found = registry.get(CTX, image.id, deleted=True)
    assert (found.status, found.locations) == (Status.DELETED, ())


def test_not_before_their_time(registry):
    image = add(registry, status=Status.ACTIVE, locations=PLACE)
    registry.remove(CTX, image.id, delay=3600)
    assert stalled(registry, pending=True) == []


def test_what_has_no_bytes_is_deleted_at_once(registry):
    image = add(registry)
    assert registry.remove(CTX, image.id, delay=3600).status is Status.DELETED
    assert registry.get(CTX, image.id, deleted=True).status is Status.DELETED


def test_what_is_held_is_deleted_at_once(registry):
    """Its bytes were never whole."""
    image = hold(registry, add(registry))
    removed = registry.remove(CTX, image.id, delay=3600)
    assert (removed.status, removed.locations) == (Status.DELETED, ())
    assert registry.get(CTX, image.id, deleted=True).status is Status.DELETED


def test_names_of_what_is_pending_are_taken(registry):
    image = add(registry, status=Status.ACTIVE, locations=PLACE)
    registry.remove(CTX, image.id, delay=3600)
    for again in (Image(id=image.id), Image(number=image.number)):
        with pytest.raises(Duplicate):
            registry.add(CTX, again)


@pytest.mark.parametrize("status", [Status.DELETED, Status.PENDING_DELETE])
def test_nobody_comes_to_be_deleted_by_an_update(registry, status):
    image = add(registry)
    with pytest.raises(Invalid):
        registry.update(CTX, image.id, ImageChange(status=status))
    assert registry.get(CTX, image.id).status is Status.QUEUED
