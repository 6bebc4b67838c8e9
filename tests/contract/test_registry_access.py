# SPDX-License-Identifier: Apache-2.0
"""Who may do what with which image: every registry against the one in memory, which decides by core/access.py, over
the whole matrix; and all of them against tables of what matters."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import NamedTuple

import pytest

from glance.core.context import Context
from glance.core.errors import GlanceError, Invalid, NotAllowed, NotFound
from glance.core.image import Image, ImageChange, Member, MemberStatus, Status, Visibility
from glance.core.listing import every
from glance.core.policy import Action, Policy
from glance.core.ports import Registry
from glance.core.query import Query, Sort
from tests.contract.conftest import Kind, load_memory
from tests.fakes.registry import MemoryRegistry

ADMIN = Context(is_admin=True)
MADE = datetime(2011, 3, 4)
NOT_REJECTED = frozenset({MemberStatus.PENDING, MemberStatus.ACCEPTED})

# Who asks. It is another tenant when one character differs, be it in case, an accent or a space at the end.
CALLERS: Mapping[str, Context] = {
    "operator": ADMIN,
    "admin of my tenant": Context(tenant="me", is_admin=True),
    "me": Context(tenant="me"),
    "owner": Context(tenant="owner"),
    "stranger": Context(tenant="stranger"),
    "spreader": Context(tenant="spreader"),  # a member of every image, who may share it further
    "nobody": Context(),
}
NEARLY = {
    "empty": Context(tenant=""),
    "ME": Context(tenant="ME"),
    "me and a space": Context(tenant="me "),
    "mé": Context(tenant="mé"),
    "me, admin of another": Context(tenant="me\u0301", is_admin=True),
}


class Cell(NamedTuple):
    """A kind of image; the membership is that of the tenant "me"."""

    visibility: Visibility
    owner: str | None
    membership: MemberStatus | None


CELLS = [Cell(*cell) for cell in product(Visibility, (None, "me", "owner", ""), (None, *MemberStatus))]

Deed = Callable[[Registry, Context, str], object]
READS: Mapping[str, Deed] = {
    "get": lambda registry, ctx, key: registry.get(ctx, key),
    "get deleted": lambda registry, ctx, key: registry.get(ctx, key, deleted=True),
    "members": lambda registry, ctx, key: registry.members(ctx, key),
}
WRITES: Mapping[str, Deed] = {
    "update": lambda registry, ctx, key: registry.update(ctx, key, ImageChange(name="new", tags=frozenset({"t"}))),
    "expect": lambda registry, ctx, key: registry.update(ctx, key, ImageChange(size=1), expect=Status.QUEUED),
    "expect wrongly": lambda registry, ctx, key: registry.update(ctx, key, ImageChange(size=1), expect=Status.SAVING),
    "publish": lambda registry, ctx, key: registry.update(ctx, key, ImageChange(visibility=Visibility.PUBLIC)),
    "hide": lambda registry, ctx, key: registry.update(ctx, key, ImageChange(visibility=Visibility.PRIVATE)),
    "give away": lambda registry, ctx, key: registry.update(ctx, key, ImageChange(owner="stranger")),
    "remove": lambda registry, ctx, key: registry.remove(ctx, key),
    "add a member": lambda registry, ctx, key: registry.set_members(ctx, key, {"new": None}),
    "add nobody": lambda registry, ctx, key: registry.set_members(ctx, key, {}),
    "replace members": lambda registry, ctx, key: registry.set_members(ctx, key, {"me": True}, replace=True),
    "empty members": lambda registry, ctx, key: registry.set_members(ctx, key, {}, replace=True),
    "too many": lambda registry, ctx, key: registry.set_members(ctx, key, {str(n): None for n in range(129)}),
    "accept": lambda registry, ctx, key: registry.set_member_status(ctx, key, "me", MemberStatus.ACCEPTED),
    "reject": lambda registry, ctx, key: registry.set_member_status(
        ctx, key, ctx.tenant or "me", MemberStatus.REJECTED
    ),
    "drop me": lambda registry, ctx, key: registry.drop_member(ctx, key, "me"),
    "drop a stranger": lambda registry, ctx, key: registry.drop_member(ctx, key, "stranger"),
    "release": lambda registry, ctx, key: registry.release(ctx, key),
}


def filled(kind: Kind, cells: Sequence[Cell] = CELLS) -> tuple[Registry, MemoryRegistry]:
    """A registry with an image of each cell, numbered as they are, and the reference with the same."""
    images, members = [], []
    for number, cell in enumerate(cells, 1):
        key = str(uuid.UUID(int=number))
        visibility, owner, membership = cell
        images.append(
            Image(id=key, number=number, owner=owner, visibility=visibility, created_at=MADE, updated_at=MADE)
        )
        members.append(Member(image_id=key, member="spreader", can_share=True, created_at=MADE, updated_at=MADE))
        if membership is not None:
            members.append(Member(image_id=key, member="me", status=membership, created_at=MADE, updated_at=MADE))
    registry, reference = kind.make(), MemoryRegistry()
    kind.load(images, members)
    load_memory(reference, images, members)
    return registry, reference


def outcome(deed: Callable[[], object]) -> object:
    """What comes of it, without the times; of an error its reason."""
    try:
        return without_times(deed())
    except GlanceError as error:
        return error.reason


def without_times(value: object) -> object:
    if isinstance(value, Image):
        return replace(value, created_at=None, updated_at=None, deleted_at=None)
    if isinstance(value, Member):
        return replace(value, created_at=None, updated_at=None)
    return tuple(map(without_times, value)) if isinstance(value, tuple) else value


# The matrix


@pytest.mark.parametrize("caller", CALLERS)
def test_every_deed_on_every_kind_of_image(real_kind, caller):
    ctx = CALLERS[caller]
    cases = list(product(cells_for(real_kind, caller), WRITES.items()))
    registry, reference = filled(real_kind, [cell for cell, _ in cases])
    for number, (cell, (name, deed)) in enumerate(cases, 1):
        key = str(number)
        found = outcome(lambda deed=deed, key=key: deed(registry, ctx, key))
        assert found == outcome(lambda deed=deed, key=key: deed(reference, ctx, key)), (name, cell)
    assert left(registry) == left(reference)


def cells_for(kind: Kind, caller: str) -> list[Cell]:
    """All for "me", whom they are made for, in SQLite. Over HTTP, and in other databases, the judge speaks the same
    SQL: some show that he is asked, and understood, as he should be."""
    if kind.name == "sqlite" and caller == "me":
        return CELLS
    owners = ("me", "owner") if caller == "me" else ("owner",)
    return [cell for cell in CELLS if cell.owner in owners and cell.membership in (None, MemberStatus.PENDING)]


def left(registry: Registry) -> object:
    """All that is there after the deeds."""
    query = Query(everyone=True, visibility=frozenset(Visibility), deleted=True, sort=(Sort("number"),))
    images = list(map(without_times, every(registry, ADMIN, query)))
    tenants = ("me", "spreader", "stranger", "owner", "new", "0", "1")
    return images, [without_times(registry.memberships(ADMIN, tenant)) for tenant in tenants]


@pytest.mark.parametrize("caller", [*CALLERS, *NEARLY])
def test_what_a_caller_sees(real_kind, caller):
    ctx = {**CALLERS, **NEARLY}[caller]
    cells = cells_for(real_kind, caller)
    registry, reference = filled(real_kind, cells)
    for number, cell in enumerate(cells, 1):
        for name, deed in READS.items():
            for key in (str(number), str(uuid.UUID(int=number))):
                found = outcome(lambda deed=deed, key=key: deed(registry, ctx, key))
                assert found == outcome(lambda deed=deed, key=key: deed(reference, ctx, key)), (name, cell)
    for tenant in ("me", "ME", "me ", "spreader", "stranger", "", "owner"):
        assert registry.memberships(ctx, tenant) == reference.memberships(ctx, tenant), tenant


@pytest.mark.parametrize("caller", [*CALLERS, *NEARLY])
def test_what_stands_in_a_callers_lists(real_kind, caller):
    ctx = {**CALLERS, **NEARLY}[caller]
    registry, reference = filled(real_kind)
    for number in range(1, len(CELLS) + 1, 5):
        registry.remove(ADMIN, str(number))
        reference.remove(ADMIN, str(number))
    for query in all_lists():
        assert numbers(registry, ctx, query) == numbers(reference, ctx, query), query


def all_lists() -> Iterator[Query]:
    """Every way to ask for a list, as far as it depends on who asks."""
    visibilities = [
        None,
        *({one} for one in Visibility),
        {Visibility.PUBLIC, Visibility.SHARED},
        set(),
        set(Visibility),
    ]
    statuses = [None, *(frozenset({one}) for one in MemberStatus), NOT_REJECTED, frozenset()]
    for visibility, member_status, everyone in product(visibilities, statuses, (False, True)):
        yield Query(
            visibility=None if visibility is None else frozenset(visibility),
            member_status=member_status,
            everyone=everyone,
            deleted=member_status is None,
            sort=(Sort("number"),),
        )


def numbers(registry: Registry, ctx: Context, query: Query) -> list[int | None]:
    return [image.number for image in registry.find(ctx, query).images]


# By hand


@pytest.fixture
def keys(kind: Kind) -> Iterator[tuple[Registry, Callable[..., str]]]:
    """A registry with an image of each cell, and the id of the one that is asked for."""
    registry, _ = filled(kind)

    def key(visibility: str, owner: str | None = "owner", membership: str | None = None) -> str:
        cell = Cell(Visibility(visibility), owner, membership and MemberStatus(membership))
        return str(uuid.UUID(int=CELLS.index(cell) + 1))

    yield registry, key


@pytest.mark.parametrize(("visibility", "membership", "caller", "seen", "changed"), [
    ("private", None, "owner", True, True),
    ("private", None, "operator", True, True),
    ("private", None, "stranger", False, False),
    ("private", None, "nobody", False, False),
    ("private", "accepted", "me", False, False),  # it was shared once
    ("shared", None, "me", False, False),
    ("shared", "pending", "me", True, False),
    ("shared", "accepted", "me", True, False),
    ("shared", "rejected", "me", True, False),
    ("shared", "accepted", "stranger", False, False),
    ("shared", "accepted", "nobody", False, False),
    ("shared", None, "owner", True, True),
    ("community", None, "stranger", True, False),
    ("community", None, "nobody", True, False),
    ("public", None, "stranger", True, False),
    ("public", None, "nobody", True, False),
    ("public", None, "admin of my tenant", True, True),
])  # fmt: skip
def test_who_sees_and_changes_an_image(keys, visibility, membership, caller, seen, changed):
    registry, key_of = keys
    key, ctx = key_of(visibility, "owner", membership), CALLERS[caller]
    refused = NotAllowed if seen else NotFound
    if seen:
        assert registry.get(ctx, key).id == key
    else:
        with pytest.raises(NotFound):
            registry.get(ctx, key)
    for deed in (registry.update, lambda ctx, key, _: registry.remove(ctx, key)):
        if changed:
            assert deed(ctx, key, ImageChange(name="new")).id == key
        else:
            with pytest.raises(refused):
                deed(ctx, key, ImageChange(name="new"))


@pytest.mark.parametrize(("caller", "query", "expected"), [
    ("me", Query(), {("public", "*", "*"), ("*", "me", "*"), ("shared", "*", "accepted")}),
    ("me", Query(member_status=frozenset({MemberStatus.PENDING})), {("public", "*", "*"), ("*", "me", "*"), ("shared", "*", "pending")}),
    ("me", Query(member_status=NOT_REJECTED), {("public", "*", "*"), ("*", "me", "*"), ("shared", "*", "pending"), ("shared", "*", "accepted")}),
    ("me", Query(member_status=frozenset()), {("public", "*", "*"), ("*", "me", "*")}),
    ("me", Query(member_status=None), {("public", "*", "*"), ("*", "me", "*"), ("shared", "*", "pending"), ("shared", "*", "accepted"), ("shared", "*", "rejected")}),
    ("me", Query(visibility=frozenset({Visibility.COMMUNITY})), {("community", "*", "*")}),
    ("me", Query(visibility=frozenset({Visibility.SHARED})), {("shared", "me", "*"), ("shared", "*", "accepted")}),
    ("me", Query(visibility=frozenset({Visibility.PRIVATE})), {("private", "me", "*")}),
    ("me", Query(visibility=frozenset(Visibility)), {("public", "*", "*"), ("community", "*", "*"), ("*", "me", "*"), ("shared", "*", "accepted")}),
    ("me", Query(everyone=True), {("public", "*", "*"), ("*", "me", "*"), ("shared", "*", "accepted")}),
    ("stranger", Query(), {("public", "*", "*")}),
    ("nobody", Query(member_status=None), {("public", "*", "*")}),
    ("stranger", Query(member_status=NOT_REJECTED), {("public", "*", "*")}),
    ("admin of my tenant", Query(member_status=NOT_REJECTED), {("public", "*", "*"), ("*", "me", "*"), ("shared", "*", "pending"), ("shared", "*", "accepted")}),
    ("nobody", Query(visibility=frozenset(Visibility)), {("public", "*", "*"), ("community", "*", "*")}),
    ("operator", Query(), {("public", "*", "*")}),
    ("operator", Query(everyone=True), {("public", "*", "*"), ("private", "*", "*"), ("shared", "*", "*")}),
    ("operator", Query(everyone=True, visibility=frozenset(Visibility)), {("*", "*", "*")}),
    ("admin of my tenant", Query(everyone=True), {("public", "*", "*"), ("private", "*", "*"), ("shared", "*", "*"), ("community", "me", "*")}),
    ("admin of my tenant", Query(), {("public", "*", "*"), ("*", "me", "*"), ("shared", "*", "accepted")}),
])  # fmt: skip
def test_what_is_listed(keys, caller, query, expected):
    """`expected` are cells, with * for any value."""
    registry, _ = keys
    cells = [
        number
        for number, cell in enumerate(CELLS, 1)
        if any(all(want in ("*", have) for want, have in zip(pattern, cell, strict=True)) for pattern in expected)
    ]
    assert numbers(registry, CALLERS[caller], replace(query, sort=(Sort("number"),))) == cells


@pytest.mark.parametrize("visibility", ["private", "shared", "public", "community"])
def test_whose_members_one_sees(keys, visibility):
    registry, key_of = keys
    key = key_of(visibility, "owner", "pending")
    for caller in ("owner", "operator"):
        assert [member.member for member in registry.members(CALLERS[caller], key)] == ["me", "spreader"]
    if visibility == "private":
        with pytest.raises(NotFound):
            registry.members(CALLERS["me"], key)
    else:
        assert [member.member for member in registry.members(CALLERS["me"], key)] == ["me"]
    if visibility in ("public", "community"):
        assert registry.members(CALLERS["stranger"], key) == ()


def test_what_was_hidden_cannot_be_shared_again_by_its_former_members(keys):
    registry, key_of = keys
    key = key_of("private", "owner", "accepted")
    for deed in (
        lambda: registry.set_members(CALLERS["spreader"], key, {"stranger": True}),
        lambda: registry.drop_member(CALLERS["spreader"], key, "me"),
        lambda: registry.set_member_status(CALLERS["spreader"], key, "spreader", MemberStatus.ACCEPTED),
    ):
        with pytest.raises(NotFound):
            deed()
    assert registry.get(ADMIN, key).visibility is Visibility.PRIVATE


def test_who_owns_what_he_adds(registry):
    assert registry.add(CALLERS["me"], Image(owner="owner")).owner == "me"
    assert registry.add(CALLERS["me"], Image()).owner == "me"
    assert registry.add(CALLERS["nobody"], Image(owner="owner")).owner is None
    assert registry.add(ADMIN, Image(owner="owner")).owner == "owner"
    assert registry.add(CALLERS["admin of my tenant"], Image()).owner is None


def test_what_is_deleted_is_got_by_those_who_saw_it_and_ask_for_it(registry):
    image = registry.add(CALLERS["me"], Image(name="x"))
    registry.remove(CALLERS["me"], image.id)
    for ctx in (ADMIN, CALLERS["me"]):
        assert registry.get(ctx, image.id, deleted=True).status is Status.DELETED
        with pytest.raises(NotFound):
            registry.get(ctx, image.id)
    with pytest.raises(NotFound):
        registry.get(OTHER, image.id, deleted=True)


# Policy

OTHER = Context(tenant="stranger", roles=frozenset({"publisher", "cleaner"}))
RULES = Policy(
    {Action.PUBLICIZE_IMAGE: frozenset({"publisher"}), Action.DELETE_FOREIGN_IMAGE: frozenset({"cleaner"})}
)


def test_publishing_takes_a_role(kind):
    registry = kind.make()
    with pytest.raises(NotAllowed, match="public"):
        registry.add(OTHER, Image(visibility=Visibility.PUBLIC))
    mine = registry.add(OTHER, Image())
    with pytest.raises(NotAllowed, match="public"):
        registry.update(OTHER, mine.id, ImageChange(name="new", visibility=Visibility.PUBLIC))
    assert (registry.get(OTHER, mine.id).name, len(registry.find(ADMIN, Query(everyone=True)).images)) == (None, 1)


def test_publishing_with_the_role(kind):
    registry = kind.make(policy=RULES)
    image = registry.add(OTHER, Image(visibility=Visibility.PUBLIC))
    assert image.visibility is Visibility.PUBLIC
    mine = registry.add(OTHER, Image())
    changed = registry.update(OTHER, mine.id, ImageChange(visibility=Visibility.PUBLIC))
    assert changed.visibility is Visibility.PUBLIC
    with pytest.raises(NotAllowed):
        registry.add(CALLERS["me"], Image(visibility=Visibility.PUBLIC))


def test_everybody_may_publish_where_the_operator_says_so(kind):
    registry = kind.make(policy=Policy({Action.PUBLICIZE_IMAGE: frozenset({"*"})}))
    assert registry.add(Context(), Image(visibility=Visibility.PUBLIC)).visibility is Visibility.PUBLIC


def test_a_role_deletes_what_one_sees_of_others(kind):
    registry = kind.make(policy=RULES)
    public, protected, private = (
        registry.add(ADMIN, Image(owner="owner", **fields))
        for fields in (
            {"visibility": Visibility.PUBLIC},
            {"visibility": Visibility.PUBLIC, "protected": True},
            {},
        )
    )
    with pytest.raises(NotAllowed):
        registry.remove(CALLERS["me"], public.id)
    assert registry.remove(OTHER, public.id).status is Status.DELETED
    with pytest.raises(NotAllowed, match="protected"):
        registry.remove(OTHER, protected.id)
    with pytest.raises(NotFound):
        registry.remove(OTHER, private.id)
    with pytest.raises(NotAllowed):
        registry.update(OTHER, protected.id, ImageChange(protected=False))


@pytest.mark.parametrize("change", [
    ImageChange(visibility=Visibility.PUBLIC), ImageChange(owner="stranger"), ImageChange(status=Status.DELETED),
])  # fmt: skip
def test_what_is_not_there_is_not_found_whatever_is_wanted_of_it(registry, change):
    """A refusal would tell that there is something."""
    private = registry.add(ADMIN, Image(owner="owner"))
    with pytest.raises((NotFound, Invalid)) as hidden:
        registry.update(CALLERS["stranger"], private.id, change)
    with pytest.raises((NotFound, Invalid)) as absent:
        registry.update(CALLERS["stranger"], str(uuid.UUID(int=99)), change)
    assert hidden.value.reason == absent.value.reason
