# SPDX-License-Identifier: Apache-2.0
"""Lists: any query, read page by page from any registry, gives what the one in memory gives at once."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glance.core.context import Context
from glance.core.image import Image, Member, MemberStatus, Status, Visibility
from glance.core.listing import every
from glance.core.ports import Registry
from glance.core.query import (
    FILTER_FIELDS,
    ITEM_TEXT,
    MAX_PAGE_TEXT,
    SORT_KEYS,
    Comparison,
    Filter,
    Position,
    Query,
    Sort,
)
from tests.contract.conftest import Kind, load_memory
from tests.fakes.registry import MemoryRegistry

ADMIN = Context(is_admin=True)
CALLERS = (
    ADMIN,
    Context(tenant="me"),
    Context(tenant="me", is_admin=True),
    Context(tenant="ME"),
    Context(),
)
MOMENTS = [datetime(2011, 3, 4), datetime(2011, 3, 4, 0, 0, 0, 1), datetime(2026, 11, 23, 4, 5, 6, 789012)]
TEXTS = [
    "",
    "a",
    "A",
    "a ",
    " a",
    "ä",
    "a\u0308",
    "b",
    "z" * 255,
    "漢字",
    "\uffff",
    "🐧",
    "%",
    "'",
]  # 🐧 is after \uffff
POOLS: dict[str, list] = {
    "name": [None, *TEXTS],
    "status": [status for status in Status if status is not Status.DELETED],
    "visibility": list(Visibility),
    "owner": [None, "me", "me ", "other"],
    "disk_format": [None, "raw", "qcow2"],
    "container_format": [None, "bare", "ovf"],
    "checksum": [None, "0" * 32, "f" * 32],
    "os_hash_value": [None, "0" * 128],
    "size": [None, 0, 1, 2, 2**40, 2**63 - 1],
    "min_disk": [0, 1, 2**31 - 1],
    "min_ram": [0, 512],
    "protected": [False, True],
    "hidden": [False, True],
    "created_at": MOMENTS,
    "updated_at": MOMENTS,
}
OWN = {"arch": ["x86", "arm", "ARM"], "os": ["linux", "linux ", "x" * 300 + "y", "x" * 300 + "z"]}
TAGS = ["t", "T", "t ", "é"]
OTHERS: dict[type, st.SearchStrategy] = {  # values that no image has
    str: st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=20),
    int: st.integers(0, 2**63 - 1),
    bool: st.booleans(),
    datetime: st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)),
}


def some_images(seed: int, count: int) -> list[Image]:
    """Images of few values, so that ties are many; their names are in no order."""
    chosen = random.Random(seed)
    numbers = chosen.sample(range(1, 10 * count), count)
    images = []
    for number in numbers:
        image = Image(
            id=str(uuid.UUID(int=chosen.getrandbits(128))),
            number=number,
            tags=frozenset(chosen.sample(TAGS, chosen.randrange(3))),
            properties={name: chosen.choice(values) for name, values in OWN.items() if chosen.random() < 0.6},
            locations=tuple(f"http://h/{n}" for n in range(chosen.randrange(3))),
            **{name: chosen.choice(values) for name, values in POOLS.items()},
        )
        images.append(replace(image, status=Status.DELETED) if chosen.random() < 0.1 else image)
    return images


def some_members(seed: int, images: list[Image]) -> list[Member]:
    chosen = random.Random(seed)
    return [
        Member(image_id=image.id, member=tenant, status=chosen.choice(list(MemberStatus)), created_at=MOMENTS[0])
        for image in images
        for tenant in ("me", "other")
        if chosen.random() < 0.5 and not image.deleted
    ]


EQUALITY = (Comparison.IN, Comparison.NOT_IN)


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    field = draw(st.sampled_from(sorted(FILTER_FIELDS)))
    known = [
        str(value) if isinstance(value, Status) else value for value in POOLS.get(field, []) if value is not None
    ]
    value = (st.sampled_from(known) | OTHERS[FILTER_FIELDS[field]]) if known else OTHERS[FILTER_FIELDS[field]]
    comparison = draw(st.sampled_from(EQUALITY if FILTER_FIELDS[field] is bool else tuple(Comparison)))
    if comparison in EQUALITY:
        return Filter(field, comparison, tuple(draw(st.lists(value, max_size=3))))
    return Filter(field, comparison, (draw(value),))


sorts = st.lists(st.builds(Sort, st.sampled_from(SORT_KEYS), st.booleans()), max_size=3).map(tuple)
queries = st.builds(
    Query,
    everyone=st.booleans(),
    visibility=st.none() | st.frozensets(st.sampled_from(Visibility)),
    member_status=st.none() | st.frozensets(st.sampled_from(MemberStatus)),
    deleted=st.booleans(),
    filters=st.lists(filters(), max_size=2).map(tuple) | st.just(()),
    properties=st.just({}) | st.fixed_dictionaries({}, optional={n: st.sampled_from(v) for n, v in OWN.items()}),
    tags=st.just(frozenset()) | st.frozensets(st.sampled_from([*TAGS, "none"]), max_size=2),
    sort=sorts,
    limit=st.integers(1, 30),
)
LISTS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_any_list_is_what_it_should_be(real_kind: Kind) -> None:
    images = some_images(1, 80)
    members = some_members(2, images)
    registry, reference = real_kind.make(), MemoryRegistry()
    real_kind.load(images, members)
    load_memory(reference, images, members)

    @given(st.sampled_from(CALLERS), queries)
    @settings(LISTS, max_examples=200 if real_kind.name == "sqlite" else 40)
    def check(ctx: Context, query: Query) -> None:
        expected = reference.find(ctx, replace(query, limit=1000)).images
        assert tuple(every(registry, ctx, query)) == expected

    check()


@pytest.mark.parametrize("key", SORT_KEYS)
@pytest.mark.parametrize("descending", [False, True])
def test_any_page_continues_where_the_last_ended(real_kind, key, descending):
    images = some_images(3, 25)
    registry, reference = real_kind.make(), MemoryRegistry()
    real_kind.load(images)
    load_memory(reference, images)
    query = Query(everyone=True, visibility=frozenset(Visibility), sort=(Sort(key, descending),), limit=1)
    for found, expected in zip(pages(registry, query), pages(reference, query), strict=True):
        assert found == expected


@given(data=st.data(), seed=st.integers(0, 10**6), sort=sorts, limit=st.integers(1, 8))
@settings(LISTS, max_examples=8)
def test_nothing_is_lost_or_shown_twice_while_others_come_and_go(kind, registry, data, seed, sort, limit):
    """Images that are there all the time stand in the list once, those that come or go at most once."""
    kind.clear()
    images = [replace(image, visibility=Visibility.PUBLIC, protected=False) for image in some_images(seed, 30)]
    kind.load(images)
    staying = {image.id for image in images if not image.deleted}
    coming = some_images(seed + 1, 30)
    shown: list[Image] = []
    for page in pages(registry, Query(sort=sort, limit=limit)):
        shown += page
        for _ in range(data.draw(st.integers(0, min(2, len(staying))))):
            gone = data.draw(st.sampled_from(sorted(staying)))
            staying.remove(gone)
            registry.remove(ADMIN, gone)
        for _ in range(data.draw(st.integers(0, min(2, len(coming))))):
            registry.add(
                ADMIN, replace(coming.pop(), number=None, visibility=Visibility.PUBLIC, status=Status.ACTIVE)
            )
    assert staying <= {image.id for image in shown}
    reference = MemoryRegistry()
    load_memory(reference, shown)
    assert list(reference.find(ADMIN, Query(sort=sort, limit=1000)).images) == shown


def test_a_page_ends_before_it_is_too_long(kind: Kind) -> None:
    half = MAX_PAGE_TEXT // 8 - ITEM_TEXT - 1  # characters: four images of two such properties are a page
    own = {"a": "x" * half, "b": "漢" * half}
    images = [replace(image, properties=own, tags=frozenset()) for image in some_images(5, 40)]
    images = [replace(image, locations=(), status=Status.ACTIVE) for image in images]
    registry = kind.make()
    kind.load(images)
    query = Query(everyone=True, visibility=frozenset(Visibility), sort=(Sort("number"),))
    found = list(pages(registry, query))
    assert [len(page) for page in found] == [4] * 10
    assert [image for page in found for image in page] == sorted(images, key=lambda image: image.number)
    assert [len(page) for page in pages(registry, replace(query, limit=3))] == [3] * 13 + [1]
    brief = registry.find(ADMIN, replace(query, brief=True))
    assert (len(brief.images), brief.after) == (40, None)


def test_a_page_has_an_image_however_long_it_is(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.registry.MAX_PAGE_TEXT", 1)
    monkeypatch.setattr("glance.registry.db.rows.MAX_PAGE_TEXT", 1)
    images = [replace(image, tags=frozenset({"long"}), status=Status.ACTIVE) for image in some_images(6, 4)]
    registry = kind.make()
    kind.load(images)
    query = Query(everyone=True, visibility=frozenset(Visibility))
    assert [len(page) for page in pages(registry, query)] == [1] * 4


@pytest.mark.parametrize(
    "image",
    [
        Image(locations=("http://h/" + "l" * 500,)),
        Image(tags=frozenset({"t" * 200, "u" * 200})),
        Image(properties={"k" * 200: "v" * 300}),
        Image(copy_from="http://h/" + "c" * 600),
        Image(properties={f"{number}": "" for number in range(10)}),
    ],
    ids=["locations", "tags", "properties", "copy_from", "many"],
)
def test_all_text_of_an_image_counts(kind: Kind, monkeypatch: pytest.MonkeyPatch, image: Image) -> None:
    monkeypatch.setattr("tests.fakes.registry.MAX_PAGE_TEXT", 1000)
    monkeypatch.setattr("glance.registry.db.rows.MAX_PAGE_TEXT", 1000)
    text = {name: getattr(image, name) for name in ("locations", "tags", "properties", "copy_from")}
    registry = kind.make()
    kind.load([replace(base, status=Status.QUEUED, **text) for base in some_images(7, 3)])
    query = Query(everyone=True, visibility=frozenset(Visibility))
    assert [len(page) for page in pages(registry, query)] == [1, 1, 1]


def test_a_brief_list_lacks_only_locations_properties_and_tags(kind: Kind) -> None:
    registry = kind.make()
    kind.load(some_images(8, 30))
    query = Query(everyone=True, visibility=frozenset(Visibility), properties={"arch": "x86"})
    whole, brief = registry.find(ADMIN, query), registry.find(ADMIN, replace(query, brief=True))
    assert any(image.locations for image in whole.images)
    assert brief.images == tuple(
        replace(image, locations=(), properties={}, tags=frozenset()) for image in whole.images
    )


def pages(registry: Registry, query: Query) -> Iterator[tuple[Image, ...]]:
    after: Position | None = None
    while True:
        page = registry.find(ADMIN, replace(query, after=after))
        yield page.images
        if (after := page.after) is None:
            return
