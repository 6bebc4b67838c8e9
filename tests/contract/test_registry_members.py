# SPDX-License-Identifier: Apache-2.0
"""Sharing: the life of a membership, its limits, and what happens to it when others act at the same time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from glance.core.context import Context
from glance.core.errors import GlanceError, Invalid, NotAllowed, NotFound, TooMany
from glance.core.image import Image, ImageChange, Member, MemberStatus, Visibility
from glance.core.query import Query
from glance.core.quota import ImageQuota
from glance.registry.db.sql import SqlRegistry
from tests.contract.conftest import over_http

OWNER = Context(tenant="owner")
ADMIN = Context(is_admin=True)
ANN, BOB = Context(tenant="ann"), Context(tenant="bob")
MAX_MEMBERS = ImageQuota().members
PENDING, NOT_REJECTED = frozenset({MemberStatus.PENDING}), frozenset(MemberStatus) - {MemberStatus.REJECTED}
MANY = [f"tenant {number:03}" for number in range(MAX_MEMBERS)]


@pytest.fixture
def image(registry) -> Image:
    return registry.add(OWNER, Image(name="shared"))


def names(members: tuple[Member, ...]) -> list[str]:
    return [member.member for member in members]


def listed(registry, ctx: Context, **query: object) -> list[str]:
    return [image.id for image in registry.find(ctx, Query(**query)).images]


def test_the_life_of_a_membership(registry, image):
    before = datetime.now(UTC).replace(tzinfo=None)
    (member,) = registry.set_members(OWNER, image.id, {"ann": None})
    assert (member.image_id, member.member, member.can_share, member.status) == (image.id, "ann", False, "pending")
    assert before <= member.created_at == member.updated_at <= datetime.now(UTC).replace(tzinfo=None)
    assert registry.get(ANN, image.id).visibility is Visibility.SHARED
    assert (listed(registry, ANN), listed(registry, ANN, member_status=PENDING)) == ([], [image.id])
    assert listed(registry, ANN, member_status=NOT_REJECTED) == [image.id]

    accepted = registry.set_member_status(ANN, image.id, "ann", MemberStatus.ACCEPTED)
    assert (accepted.status, accepted.created_at) == ("accepted", member.created_at)
    assert accepted.updated_at >= member.updated_at
    assert listed(registry, ANN) == listed(registry, ANN, member_status=NOT_REJECTED) == [image.id]
    assert registry.memberships(ANN, "ann") == registry.members(ANN, image.id) == (accepted,)

    registry.set_member_status(ANN, image.id, "ann", MemberStatus.REJECTED)
    assert listed(registry, ANN) == listed(registry, ANN, member_status=NOT_REJECTED) == []
    assert registry.get(ANN, image.id).id == image.id

    registry.drop_member(OWNER, image.id, "ann")
    for deed in (registry.get, registry.members):
        with pytest.raises(NotFound):
            deed(ANN, image.id)
    assert registry.members(OWNER, image.id) == registry.memberships(ANN, "ann") == ()
    assert registry.get(OWNER, image.id).visibility is Visibility.SHARED


def test_who_is_made_a_member_has_accepted_where_the_operator_says_so(kind):
    registry = kind.make(accept_members=True)
    image = registry.add(OWNER, Image())
    assert registry.set_members(OWNER, image.id, {"ann": None})[0].status is MemberStatus.ACCEPTED
    assert listed(registry, ANN) == [image.id]


def test_members_stand_in_the_order_of_their_names(registry, image):
    tenants = ["b", "a", "ä", "B", "a ", "🐧", "\uffff", "..", "a/b", "%2f", "?"]
    assert names(registry.set_members(OWNER, image.id, dict.fromkeys(tenants))) == sorted(tenants)
    for tenant in tenants:
        one = Context(tenant=tenant)
        assert registry.set_member_status(one, image.id, tenant, MemberStatus.ACCEPTED).member == tenant
        assert names(registry.memberships(one, tenant)) == [tenant]
        registry.drop_member(OWNER, image.id, tenant)
    assert registry.members(OWNER, image.id) == ()


def test_members_are_added_or_replaced(registry, image):
    registry.set_members(OWNER, image.id, {"ann": True, "bob": None})
    registry.set_member_status(ANN, image.id, "ann", MemberStatus.ACCEPTED)
    added = registry.set_members(OWNER, image.id, {"ann": None, "cid": True})
    assert [(one.member, one.can_share, one.status) for one in added] == [
        ("ann", True, "accepted"),
        ("bob", False, "pending"),
        ("cid", True, "pending"),
    ]
    replaced = registry.set_members(OWNER, image.id, {"ann": False, "dan": None}, replace=True)
    assert [(one.member, one.can_share, one.status) for one in replaced] == [
        ("ann", False, "accepted"),
        ("dan", False, "pending"),
    ]
    assert registry.set_members(OWNER, image.id, {}, replace=True) == ()


def test_a_member_with_can_share_adds_members(registry, image):
    registry.set_members(OWNER, image.id, {"ann": True, "bob": False})
    assert names(registry.set_members(ANN, image.id, {"cid": None})) == ["ann"]  # a member sees itself alone
    registry.set_members(ANN, image.id, {"dan": True, "bob": None, "cid": False})  # those that are there stay so
    assert names(registry.members(OWNER, image.id)) == ["ann", "bob", "cid", "dan"]
    with pytest.raises(NotAllowed):
        registry.set_members(Context(tenant="cid"), image.id, {"eve": None})
    with pytest.raises(NotAllowed):
        registry.update(ANN, image.id, ImageChange(name="mine"))


@pytest.mark.parametrize("deed", [
    lambda registry, key: registry.drop_member(ANN, key, "bob"),
    lambda registry, key: registry.drop_member(ANN, key, "nobody"),  # nor learns who is a member
    lambda registry, key: registry.set_members(ANN, key, {"ann": True}, replace=True),
    lambda registry, key: registry.set_members(ANN, key, {}, replace=True),
    lambda registry, key: registry.set_members(ANN, key, {"ann": True, "bob": False, "eve": None}, replace=True),
    lambda registry, key: registry.set_members(ANN, key, {"cid": False, "eve": None}),
    lambda registry, key: registry.set_members(ANN, key, {"bob": True}),
], ids=["drop", "drop none", "replace", "empty", "replace and add", "demote", "promote"])  # fmt: skip
def test_a_member_with_can_share_neither_removes_nor_changes_others(registry, image, deed):
    before = registry.set_members(OWNER, image.id, {"ann": True, "bob": False, "cid": True})
    with pytest.raises(NotAllowed):
        deed(registry, image.id)
    assert registry.members(OWNER, image.id) == before


def test_a_member_with_can_share_may_leave(registry, image):
    registry.set_members(OWNER, image.id, {"ann": True, "bob": False})
    registry.drop_member(ANN, image.id, "ann")
    assert names(registry.members(OWNER, image.id)) == ["bob"]
    with pytest.raises(NotFound):
        registry.get(ANN, image.id)


def test_an_admin_changes_the_members_of_every_image(registry, image):
    registry.set_members(OWNER, image.id, {"ann": True, "bob": False})
    registry.drop_member(ADMIN, image.id, "bob")
    assert registry.set_members(ADMIN, image.id, {}, replace=True) == ()


def test_nobody_answers_for_others(registry, image):
    registry.set_members(OWNER, image.id, {"ann": None, "bob": None})
    for ctx in (OWNER, BOB):
        with pytest.raises(NotAllowed):
            registry.set_member_status(ctx, image.id, "ann", MemberStatus.ACCEPTED)
    assert registry.set_member_status(ADMIN, image.id, "ann", MemberStatus.ACCEPTED).status is MemberStatus.ACCEPTED
    with pytest.raises(NotFound):
        registry.set_member_status(OWNER, image.id, "owner", MemberStatus.ACCEPTED)


def test_an_image_has_so_many_members_and_no_more(registry, image):
    assert names(registry.set_members(OWNER, image.id, dict.fromkeys(MANY))) == MANY
    with pytest.raises(TooMany, match="128"):
        registry.set_members(OWNER, image.id, {"one more": None})
    assert names(registry.set_members(OWNER, image.id, {MANY[0]: True})) == MANY
    with pytest.raises(TooMany):
        registry.set_members(OWNER, image.id, dict.fromkeys([*MANY, "one more"]), replace=True)
    registry.drop_member(OWNER, image.id, MANY[0])
    assert len(registry.set_members(OWNER, image.id, {"one more": None})) == MAX_MEMBERS


def test_too_many_members_leave_a_private_image_private(registry, image):
    with pytest.raises(TooMany):
        registry.set_members(OWNER, image.id, dict.fromkeys([*MANY, "one more"]))
    assert (registry.get(OWNER, image.id).visibility, registry.members(OWNER, image.id)) == (Visibility.PRIVATE, ())


@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.COMMUNITY, Visibility.SHARED])
def test_what_is_not_private_stays_what_it_is(registry, visibility):
    image = registry.add(ADMIN, Image(owner="owner", visibility=visibility))
    registry.set_members(OWNER, image.id, {"ann": None})
    assert registry.get(OWNER, image.id).visibility is visibility


def test_a_membership_marks_no_change_of_the_image(registry, image):
    registry.set_members(OWNER, image.id, {"ann": None})
    registry.set_member_status(ANN, image.id, "ann", MemberStatus.ACCEPTED)
    registry.drop_member(OWNER, image.id, "ann")
    assert registry.get(OWNER, image.id).updated_at == image.updated_at


def test_a_deleted_image_has_no_members(registry, image):
    registry.set_members(OWNER, image.id, {"ann": True})
    registry.remove(OWNER, image.id)
    assert registry.memberships(ANN, "ann") == ()
    for deed in (
        lambda: registry.members(OWNER, image.id),
        lambda: registry.set_members(OWNER, image.id, {"bob": None}),
        lambda: registry.set_member_status(ANN, image.id, "ann", MemberStatus.ACCEPTED),
        lambda: registry.drop_member(OWNER, image.id, "ann"),
    ):
        with pytest.raises(NotFound):
            deed()


def test_of_what_is_shared_with_others_one_sees_ones_own(registry, image):
    other = registry.add(BOB, Image())
    registry.set_members(OWNER, image.id, {"ann": None})
    registry.set_members(BOB, other.id, {"ann": None})
    assert [member.image_id for member in registry.memberships(ANN, "ann")] == [image.id, other.id]
    assert [member.image_id for member in registry.memberships(ADMIN, "ann")] == [image.id, other.id]
    assert [member.image_id for member in registry.memberships(BOB, "ann")] == [other.id]
    assert registry.memberships(Context(), "ann") == registry.memberships(ANN, "nobody") == ()


# Races


def settle(deed) -> str:
    """The reason of the error that it ended in, or "done"."""
    try:
        deed()
    except GlanceError as error:
        return error.reason
    return "done"


def test_racing_additions_never_exceed_the_limit(registry, image):
    registry.set_members(OWNER, image.id, dict.fromkeys(MANY[:-5]))
    with ThreadPoolExecutor(8) as pool:
        ends = list(
            pool.map(lambda n: settle(lambda: registry.set_members(OWNER, image.id, {f"new {n}": None})), range(16))
        )
    assert sorted(set(ends)) == ["done", "too-many"]
    assert (ends.count("done"), len(registry.members(OWNER, image.id))) == (5, MAX_MEMBERS)


def test_racing_replacements_leave_what_one_of_them_said(registry, image):
    wanted = [dict.fromkeys(MANY[start : start + 40]) for start in (0, 20, 40, 60)]
    with ThreadPoolExecutor(4) as pool:
        ends = list(
            pool.map(lambda one: settle(lambda: registry.set_members(OWNER, image.id, one, replace=True)), wanted * 3)
        )
    assert set(ends) == {"done"}
    assert names(registry.members(OWNER, image.id)) in [list(one) for one in wanted]


def test_sharing_races_with_deletion(registry):
    """Whoever comes first, a deleted image has no members."""
    for _ in range(10):
        image = registry.add(OWNER, Image())
        with ThreadPoolExecutor(3) as pool:
            deeds = [
                pool.submit(settle, lambda key=image.id: registry.set_members(OWNER, key, {"ann": None})),
                pool.submit(settle, lambda key=image.id: registry.remove(OWNER, key)),
                pool.submit(settle, lambda key=image.id: registry.set_members(OWNER, key, {"bob": None})),
            ]
        assert {deed.result() for deed in deeds} <= {"done", "not-found"}
        assert registry.memberships(ANN, "ann") == registry.memberships(BOB, "bob") == ()


@pytest.mark.parametrize("tenant", ["a\nb", "\x00", "x" * 256])
def test_what_can_be_no_name_is_refused_at_the_door(sqlite_engine, tenant):
    with over_http(SqlRegistry(sqlite_engine)) as registry:
        image = registry.add(OWNER, Image())
        for deed in (
            lambda: registry.set_members(OWNER, image.id, {tenant: None}),
            lambda: registry.drop_member(OWNER, image.id, tenant),
            lambda: registry.set_member_status(ADMIN, image.id, tenant, MemberStatus.ACCEPTED),
            lambda: registry.memberships(ADMIN, tenant),
        ):
            with pytest.raises(Invalid):
                deed()
