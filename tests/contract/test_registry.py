# SPDX-License-Identifier: Apache-2.0
"""What every Registry promises (core/ports.py): one suite over memory, SQL, and HTTP to a registry daemon's application."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from glance.core.context import Context
from glance.core.errors import Duplicate, Invalid, NotFound, RegistryDown, TooMany, WrongState
from glance.core.image import Image, ImageChange, Status, Visibility
from glance.core.ports import Registry
from glance.core.query import Query, Sort
from glance.registry.client import HttpRegistry
from glance.registry.db.engine import connect
from glance.registry.db.models import ImageRow
from glance.registry.db.sql import SqlRegistry

CTX = Context(is_admin=True)
ALL = Query(everyone=True, visibility=frozenset(Visibility), sort=(Sort("number"),))
UUID = "71c675ab-d94f-49cd-a114-e12490b328d9"
FULL = Image(
    id=UUID,
    number=7,
    name="Ünï 漢字 🐧",
    visibility=Visibility.PUBLIC,
    owner="tenant",
    disk_format="qcow2",
    container_format="bare",
    size=2**63 - 1,
    virtual_size=2**63 - 1,
    checksum="0" * 32,
    os_hash_algo="sha512",
    os_hash_value="f" * 128,
    min_disk=2**31 - 1,
    min_ram=1,
    protected=True,
    hidden=True,
    created_at=datetime(2011, 3, 4, 23, 47, 58, 145889),
    updated_at=datetime(2011, 3, 4, 23, 47, 58, 145889),
    locations=("file:///images/7", "http://example.org/7"),
    tags=frozenset({"Tag", "tag", "‮"}),
    properties={"Arch": "amd64", "arch": "", "key with spaces: ü": "x" * 65535},
)


def add(registry: Registry, **fields: object) -> Image:
    return registry.add(CTX, Image(**fields))


# add


def test_everything_comes_back_as_it_was_added(registry):
    assert registry.add(CTX, FULL) == FULL
    assert registry.get(CTX, UUID) == FULL
    assert registry.get(CTX, "7") == FULL


def test_what_is_lacking_is_given(registry):
    before = datetime.now(UTC).replace(tzinfo=None)
    image = add(registry)
    assert image.number == 1
    assert len(image.id) == 36
    assert before <= image.created_at <= datetime.now(UTC).replace(tzinfo=None)
    assert (image.updated_at, image.deleted_at, image.status) == (image.created_at, None, Status.QUEUED)


def test_names_are_taken_once(registry):
    registry.add(CTX, FULL)
    with pytest.raises(Duplicate) as by_number:
        add(registry, number=7)
    with pytest.raises(Duplicate) as by_id:
        add(registry, id=UUID)
    assert str(by_number.value) == str(by_id.value)
    assert [image.number for image in registry.find(CTX, ALL).images] == [7]


def test_names_are_taken_for_ever(registry):
    registry.add(CTX, replace(FULL, protected=False))
    registry.remove(CTX, UUID)
    for fields in ({"number": 7}, {"id": UUID}):
        with pytest.raises(Duplicate):
            add(registry, **fields)
    assert add(registry).number > 7


def test_nothing_is_added_or_updated_as_deleted(registry):
    with pytest.raises(Invalid):
        add(registry, status=Status.DELETED)
    add(registry)
    with pytest.raises(Invalid):
        registry.update(CTX, "1", ImageChange(status=Status.DELETED))
    assert [(image.number, image.status) for image in registry.find(CTX, ALL).images] == [(1, Status.QUEUED)]


@pytest.mark.parametrize("number", [0, -1, 2**31])
def test_numbers_that_cannot_be_chosen(registry, number):
    with pytest.raises(Invalid):
        add(registry, number=number)


def test_a_hundred_additions_at_once_get_a_hundred_numbers(registry):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: add(registry).number, range(100)))
    assert sorted(numbers) == list(range(1, 101))


# get


@pytest.mark.parametrize(
    "name",
    [
        "1",
        "999",
        UUID,
        "",
        "0",
        "9" * 30,
        "x",
        ".",
        "..",
        "../1",
        "%",
        "' OR 1=1 --",
        "١",
        UUID.upper(),
        "01",
        "+1",
        " 1",
        "1\n",
        "\x00",
        "\ud800",
        "é",
    ],
)
def test_what_is_not_there_is_not_found(registry, name):
    with pytest.raises(NotFound):
        registry.get(CTX, name)


# find


def test_pages_in_the_order_of_numbers(registry):
    for number in (3, 1, 2, 5, 4):
        add(registry, number=number)
    first = registry.find(CTX, replace(ALL, limit=2))
    assert ([image.number for image in first.images], first.after) == ([1, 2], (2,))
    last = registry.find(CTX, replace(ALL, limit=3, after=(2,)))
    assert ([image.number for image in last.images], last.after) == ([3, 4, 5], None)
    assert registry.find(CTX, replace(ALL, after=(5,))).images == ()


def test_by_visibility(registry):
    for visibility in Visibility:
        add(registry, visibility=visibility)
    (image,) = registry.find(CTX, Query(visibility=frozenset({Visibility.COMMUNITY}))).images
    assert image.visibility is Visibility.COMMUNITY
    assert len(registry.find(CTX, ALL).images) == len(Visibility)


def test_a_page_holds_each_image_with_what_is_its_own(registry):
    for number in range(1, 4):
        add(registry, properties={"n": str(number)}, locations=(f"http://h/{number}",), tags=frozenset({str(number)}))
    for image in registry.find(CTX, ALL).images:
        mine = str(image.number)
        assert (image.properties, image.locations, image.tags) == ({"n": mine}, (f"http://h/{mine}",), {mine})


def test_a_page_has_at_most_a_thousand_images_and_ends_only_at_the_end(sql, engine):
    row = {
        "status": "active",
        "visibility": "public",
        "min_disk": 0,
        "min_ram": 0,
        "protected": False,
        "hidden": False,
    }
    rows = [{**row, "id": str(uuid.UUID(int=n)), "created_at": datetime(2011, 3, 4)} for n in range(1001)]
    with engine.begin() as connection:
        connection.execute(insert(ImageRow), rows)
    first = sql.find(CTX, replace(ALL, limit=5000))
    assert (len(first.images), first.after) == (1000, (1000,))
    rest = sql.find(CTX, replace(ALL, after=(1000,)))
    assert ([image.number for image in rest.images], rest.after) == ([1001], None)


# update


def test_an_update_changes_what_it_names(registry):
    registry.add(CTX, FULL)
    changed = registry.update(CTX, "7", ImageChange(name=None, size=5, properties={"arch": "arm", "new": "1"}))
    assert changed.updated_at is not None
    assert changed == replace(
        FULL,
        name=None,
        size=5,
        properties={**FULL.properties, "arch": "arm", "new": "1"},
        updated_at=changed.updated_at,
    )
    assert registry.get(CTX, UUID) == changed


def test_an_update_that_names_nothing_marks_the_time(registry):
    registry.add(CTX, FULL)
    assert registry.update(CTX, UUID, ImageChange()).updated_at is not None


def test_locations_are_replaced(registry):
    registry.add(CTX, FULL)
    assert registry.update(CTX, UUID, ImageChange(locations=("file:///b",))).locations == ("file:///b",)
    assert registry.update(CTX, UUID, ImageChange(locations=())).locations == ()


def test_the_expected_status_decides(registry):
    add(registry)
    assert registry.update(CTX, "1", ImageChange(status=Status.SAVING), expect=Status.QUEUED).status is Status.SAVING
    with pytest.raises(WrongState, match=r"^the image is saving, not queued$"):
        registry.update(CTX, "1", ImageChange(status=Status.KILLED, name="x"), expect=Status.QUEUED)
    assert registry.get(CTX, "1").name is None


def test_the_expected_holder_decides(registry):
    add(registry)
    registry.update(CTX, "1", ImageChange(status=Status.SAVING, holder="first", lease=60), expect=Status.QUEUED)
    with pytest.raises(WrongState, match=r"^another request has taken the image over$"):
        registry.update(CTX, "1", ImageChange(status=Status.ACTIVE), expect=Status.SAVING, holder="second")
    assert registry.get(CTX, "1").status is Status.SAVING


def test_of_racing_updates_one_wins(registry):
    for number in range(1, 21):
        add(registry, number=number)

        def claim(who: int, number: int = number) -> bool:
            try:
                registry.update(
                    CTX, str(number), ImageChange(status=Status.SAVING, name=str(who)), expect=Status.QUEUED
                )
            except WrongState:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(claim, range(4)))
        assert sum(won) == 1
        assert registry.get(CTX, str(number)).name == str(won.index(True))


def test_more_properties_than_an_image_may_have_change_nothing(registry):
    add(registry, properties={f"a{n}": "" for n in range(100)})
    with pytest.raises(TooMany):
        registry.update(CTX, "1", ImageChange(name="x", properties={f"b{n}": "" for n in range(29)}))
    image = registry.get(CTX, "1")
    assert (len(image.properties), image.name, image.updated_at) == (100, None, image.created_at)


# remove


def test_a_removed_image_is_returned_and_gone(registry):
    registry.add(CTX, replace(FULL, protected=False))
    removed = registry.remove(CTX, UUID)
    moment = removed.deleted_at
    assert removed == replace(FULL, protected=False, status=Status.DELETED, deleted_at=moment, updated_at=moment)
    assert removed.deleted_at is not None
    gone: list[Callable[[], object]] = [
        lambda: registry.get(CTX, UUID),
        lambda: registry.get(CTX, "7"),
        lambda: registry.update(CTX, UUID, ImageChange(name="x")),
        lambda: registry.update(CTX, UUID, ImageChange(name="x"), expect=Status.DELETED),
        lambda: registry.remove(CTX, UUID),
    ]
    for call in gone:
        with pytest.raises(NotFound):
            call()
    assert registry.find(CTX, ALL).images == ()


def test_of_racing_removals_one_wins(registry):
    add(registry)

    def remove(_: int) -> bool:
        try:
            registry.remove(CTX, "1")
        except NotFound:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(remove, range(4))) == 1


# Away


def test_a_registry_that_is_not_there_is_down_at_once():
    client = HttpRegistry("127.0.0.1", 1)
    started = time.monotonic()
    with pytest.raises(RegistryDown):
        client.get(CTX, "1")
    assert time.monotonic() - started < 5
    client.close()


def test_a_database_that_fails_is_down_and_says_nothing_of_itself(sql, tmp_path):
    (tmp_path / "glance.sqlite").write_bytes(b"this is no database" * 1000)
    with pytest.raises(RegistryDown) as down:
        SqlRegistry(connect(f"sqlite:///{tmp_path}/glance.sqlite")).get(CTX, "1")
    assert "sqlite" not in str(down.value).lower()
