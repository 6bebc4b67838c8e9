# SPDX-License-Identifier: Apache-2.0
"""Leases and delayed deletes, as every Registry keeps them: who holds an image, and who may clean up behind him."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from glance.core.context import Context
from glance.core.errors import Duplicate, NotAllowed, NotFound, Protected, WrongState
from glance.core.image import Image, ImageChange, Status, Visibility
from glance.core.ports import Registry
from glance.core.query import Query

CTX = Context(is_admin=True)
USER = Context(tenant="a")
UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"
PLACE = ("file:///images/1",)
LONG = 3600  # seconds; longer than any test


def add(registry: Registry, *, lease: int | None = None, **fields: object) -> Image:
    return registry.add(CTX, Image(**fields), lease=lease)


def saving(registry: Registry, holder: str = "first", *, lease: int = LONG, **fields: object) -> Image:
    """An image whose bytes are on their way, and who brings them."""
    image = add(registry, **fields)
    change = ImageChange(status=Status.SAVING, locations=PLACE, holder=holder, lease=lease)
    return registry.update(CTX, image.id, change, expect=Status.QUEUED)


def active(registry: Registry, **fields: object) -> Image:
    return add(registry, status=Status.ACTIVE, locations=PLACE, **fields)


def claimed(registry: Registry, holder: str = "other", *, limit: int = 10, pending: bool = False) -> list[int | None]:
    """The numbers of the images that this one may have now, for long."""
    return [image.number for image in registry.claim_stalled(CTX, holder, lease=LONG, limit=limit, pending=pending)]


# Leases of images that live


def test_an_image_without_a_lease_is_never_stalled(registry):
    add(registry)
    active(registry)
    assert claimed(registry) == []


def test_an_image_is_stalled_when_the_lease_it_was_added_with_is_over(registry):
    add(registry, lease=LONG)
    add(registry, lease=0)
    assert claimed(registry) == [2]
    assert claimed(registry) == []  # whoever has it has it for some time


def test_an_image_to_be_copied_is_stalled_at_once(registry):
    add(registry, copy_from="http://example.org/image", locations=PLACE, lease=LONG)
    (found,) = registry.claim_stalled(CTX, "copier", lease=LONG, limit=10)
    assert (found.number, found.status, found.copy_from) == (1, Status.QUEUED, "http://example.org/image")


def test_who_claims_an_image_is_its_holder(registry):
    saving(registry, "dead", lease=0)
    assert claimed(registry, "other") == [1]
    with pytest.raises(WrongState, match=r"^another request has taken the image over$"):
        registry.update(CTX, "1", ImageChange(lease=LONG), expect=Status.SAVING, holder="dead")
    killed = ImageChange(status=Status.KILLED, failure="its server ended")
    assert registry.update(CTX, "1", killed, expect=Status.SAVING, holder="other").status is Status.KILLED


def test_a_lease_that_is_renewed_in_time_is_not_over_and_is_no_change_of_the_image(registry):
    image = saving(registry, lease=0)
    renewed = registry.update(CTX, "1", ImageChange(lease=LONG), expect=Status.SAVING, holder="first")
    assert (renewed, claimed(registry)) == (image, [])


def test_a_claim_ends_with_its_lease(registry):
    saving(registry, lease=0)
    for holder in ("second", "third"):
        (found,) = registry.claim_stalled(CTX, holder, lease=0, limit=10)
        assert (found.number, found.locations) == (1, PLACE)


def test_the_longest_stalled_come_first_and_no_more_than_asked_for(registry):
    for number in (3, 1, 2):
        saving(registry, lease=0, number=number)
    assert claimed(registry, limit=2) == [3, 1]
    assert claimed(registry, limit=2) == [2]


def test_of_several_who_claim_one_gets_each_image(registry):
    for _ in range(20):
        add(registry, lease=0)
    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda holder: claimed(registry, holder, limit=20), "abcd"))
    assert sorted(number for share in shares for number in share) == sorted(set().union(*shares))
    assert sorted([*set().union(*shares), *claimed(registry, limit=20)]) == list(range(1, 21))


def test_claiming_and_releasing_is_for_admins(registry):
    image = registry.add(USER, Image(), lease=0)
    with pytest.raises(NotAllowed):
        registry.claim_stalled(USER, "other", lease=LONG, limit=1)
    with pytest.raises(NotAllowed):
        registry.release(USER, image.id)
    assert claimed(registry) == [1]


# Release


def test_the_holder_ends_his_lease(registry):
    saving(registry, lease=0)
    registry.release(CTX, "1", holder="first")
    assert (registry.get(CTX, "1").locations, claimed(registry)) == ((), [])


@pytest.mark.parametrize("holder", ["second", None])
def test_nobody_else_ends_it(registry, holder):
    saving(registry, lease=0)
    registry.release(CTX, "1", holder=holder)
    assert registry.get(CTX, "1").locations == PLACE
    assert claimed(registry) == [1]


def test_what_nobody_holds_is_released_by_nobody_in_particular(registry):
    image = active(registry)
    registry.remove(CTX, image.id, lease=0)
    registry.release(CTX, image.id, holder="somebody")
    assert registry.get(CTX, "1", deleted=True).locations == PLACE
    registry.release(CTX, image.id)
    assert (registry.get(CTX, "1", deleted=True).locations, claimed(registry)) == ((), [])


def test_an_active_image_keeps_its_locations(registry):
    active(registry)
    registry.update(CTX, "1", ImageChange(holder="first", lease=0))
    registry.release(CTX, "1", holder="first")
    assert (registry.get(CTX, "1").locations, claimed(registry)) == (PLACE, [])


def test_what_never_was_cannot_be_released(registry):
    for name in ("1", UUID):
        with pytest.raises(NotFound):
            registry.release(CTX, name)


# Removal


def test_who_removes_an_image_has_its_lease_to_remove_the_bytes(registry):
    for lease in (LONG, 0):
        image = active(registry)
        removed = registry.remove(CTX, image.id, lease=lease)
        assert (removed.status, removed.locations) == (Status.DELETED, PLACE)
    (found,) = registry.claim_stalled(CTX, "other", lease=LONG, limit=10)
    assert (found.number, found.status, found.locations) == (2, Status.DELETED, PLACE)


def test_an_image_without_bytes_leaves_nothing_to_do(registry):
    add(registry, lease=0)
    assert registry.remove(CTX, "1", lease=0).status is Status.DELETED
    assert claimed(registry) == []


def test_an_image_that_is_held_is_left_to_its_holder(registry):
    saving(registry)
    removed = registry.remove(CTX, "1", lease=0)
    assert (removed.status, removed.locations) == (Status.DELETED, ())
    assert registry.get(CTX, "1", deleted=True).locations == PLACE
    assert claimed(registry) == []  # its lease is as it was
    registry.release(CTX, "1")
    assert registry.get(CTX, "1", deleted=True).locations == PLACE
    registry.release(CTX, "1", holder="first")
    assert registry.get(CTX, "1", deleted=True).locations == ()


def test_whose_lease_is_over_does_not_hold_it(registry):
    saving(registry, lease=0)
    assert registry.remove(CTX, "1", lease=LONG).locations == PLACE
    registry.release(CTX, "1", holder="first")
    assert registry.get(CTX, "1", deleted=True).locations == PLACE
    registry.release(CTX, "1")
    assert registry.get(CTX, "1", deleted=True).locations == ()


# Delayed delete


def pending(registry: Registry, *, delay: int, **fields: object) -> Image:
    return registry.remove(CTX, active(registry, **fields).id, lease=LONG, delay=delay)


def test_a_delayed_delete_is_pending_until_its_release(registry):
    removed = pending(registry, delay=0)
    assert (removed.status, removed.locations) == (Status.PENDING_DELETE, PLACE)
    assert removed.deleted_at is not None
    (found,) = registry.claim_stalled(CTX, "scrubber", lease=LONG, limit=10, pending=True)
    assert found == registry.get(CTX, "1", deleted=True) == removed
    registry.release(CTX, "1", holder="other")
    assert registry.get(CTX, "1", deleted=True) == removed
    registry.release(CTX, "1", holder="scrubber")
    done = registry.get(CTX, "1", deleted=True)
    assert (done.status, done.locations, done.deleted_at) == (Status.DELETED, (), removed.deleted_at)
    assert claimed(registry, pending=True) == []


def test_it_is_not_offered_before_its_time(registry):
    pending(registry, delay=LONG)
    pending(registry, delay=0)
    assert claimed(registry, pending=True) == [2]


def test_who_wants_what_is_pending_gets_nothing_else_and_the_other_way_round(registry):
    pending(registry, delay=0)
    saving(registry, lease=0)
    registry.remove(CTX, active(registry).id, lease=0)
    assert claimed(registry) == [2, 3]
    assert claimed(registry, pending=True) == [1]


def test_the_first_of_the_pending_comes_first_and_to_one_of_several(registry):
    for number in (3, 1, 2):
        pending(registry, delay=0, number=number)
    assert claimed(registry, "a", limit=2, pending=True) == [3, 1]
    assert claimed(registry, "b", pending=True) == [2]
    assert claimed(registry, "c", pending=True) == []


def test_an_image_that_is_held_is_deleted_and_not_pending(registry):
    saving(registry)
    removed = registry.remove(CTX, "1", delay=0)
    assert (removed.status, removed.locations) == (Status.DELETED, ())
    assert claimed(registry, pending=True) == []
    assert registry.get(CTX, "1", deleted=True).status is Status.DELETED


def test_an_image_without_bytes_is_deleted_and_not_pending(registry):
    add(registry)
    assert registry.remove(CTX, "1", delay=0).status is Status.DELETED
    assert registry.get(CTX, "1", deleted=True).status is Status.DELETED
    assert claimed(registry, pending=True) == []


def test_what_is_pending_is_gone_for_all_but_admins_who_ask_for_it(registry):
    pending(registry, delay=LONG, id=UUID, owner="a", visibility=Visibility.PUBLIC)
    for ctx in (CTX, USER):
        with pytest.raises(NotFound):
            registry.get(ctx, UUID)
        assert registry.find(ctx, Query()).images == ()
    with pytest.raises(NotFound):
        registry.update(CTX, UUID, ImageChange(name="new"))
    with pytest.raises(NotFound):
        registry.remove(CTX, UUID)
    assert registry.get(CTX, UUID, deleted=True).status is Status.PENDING_DELETE
    (found,) = registry.find(CTX, Query(everyone=True, deleted=True)).images
    assert (found.id, found.status) == (UUID, Status.PENDING_DELETE)


def test_its_names_are_never_given_again(registry):
    pending(registry, delay=LONG, id=UUID)
    for draft in (Image(id=UUID), Image(number=1)):
        with pytest.raises(Duplicate):
            registry.add(CTX, draft)
    assert add(registry).number not in (None, 1)


def test_what_is_protected_is_not_deleted_later_either(registry):
    image = active(registry, protected=True)
    with pytest.raises(Protected):
        registry.remove(CTX, image.id, delay=0)
    assert registry.get(CTX, image.id).status is Status.ACTIVE
    assert claimed(registry, pending=True) == []
