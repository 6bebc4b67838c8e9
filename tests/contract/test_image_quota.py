# SPDX-License-Identifier: Apache-2.0
"""How many properties, members, tags and locations one image may have, in every kind of registry."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from webob import Request, Response

from glance.core.context import Context
from glance.core.errors import TooMany
from glance.core.image import Image, ImageChange
from glance.core.ports import Registry
from glance.core.quota import OPTIONS, UNLIMITED, ImageQuota
from glance.registry.server import app_factory
from tests.contract.conftest import Kind

OWNER = Context(tenant="owner")
FIELDS = ("properties", "tags", "locations")
SMALL = ImageQuota(properties=3, members=3, tags=3, locations=3)


def some(what: str, count: int, start: int = 0) -> Any:
    """So many values of a field."""
    names = [f"x{number}" for number in range(start, start + count)]
    return {"properties": dict.fromkeys(names, "v"), "tags": frozenset(names), "locations": tuple(names)}[what]


def make(kind: Kind, **quota: int) -> Registry:
    return kind.make(image_quota=ImageQuota(**quota))


@pytest.mark.parametrize("what", FIELDS)
def test_as_many_as_the_quota_are_taken_and_no_more(kind, what):
    registry = kind.make(image_quota=SMALL)
    image = registry.add(OWNER, Image(**{what: some(what, 3)}))
    with pytest.raises(TooMany, match=rf"^{OPTIONS[what]} allows an image 3 {what}, and it would have 4$"):
        registry.add(OWNER, Image(**{what: some(what, 4)}))
    with pytest.raises(TooMany, match=OPTIONS[what]):
        registry.update(OWNER, image.id, ImageChange(name="new", **{what: some(what, 4)}))
    assert registry.get(OWNER, image.id) == image  # nothing of the change was made


@pytest.mark.parametrize("what", FIELDS)
def test_an_image_over_a_lowered_quota_changes_in_ways_that_do_not_add(real_kind, what):
    image = make(real_kind, **{what: 5}).add(OWNER, Image(**{what: some(what, 5)}))
    registry = make(real_kind, **{what: 3})
    assert registry.update(OWNER, image.id, ImageChange(name="new")).name == "new"
    with pytest.raises(TooMany, match=r"allows an image 3 .* would have 6"):
        registry.update(OWNER, image.id, ImageChange(**{what: some(what, 6)}))
    assert getattr(registry.update(OWNER, image.id, ImageChange(**{what: some(what, 5)})), what) == some(what, 5)
    fewer = {"dropped": frozenset({"x4"})} if what == "properties" else {what: some(what, 4)}
    assert getattr(registry.update(OWNER, image.id, ImageChange(**fewer)), what) == some(what, 4)
    with pytest.raises(TooMany, match="would have 5"):
        registry.update(OWNER, image.id, ImageChange(**{what: some(what, 5)}))


def test_properties_that_are_dropped_make_room_for_others(kind):
    registry = kind.make(image_quota=SMALL)
    image = registry.add(OWNER, Image(properties=some("properties", 3)))
    change = ImageChange(properties=some("properties", 2, start=7), dropped=frozenset({"x0", "x1"}))
    assert registry.update(OWNER, image.id, change).properties == {"x2": "v", "x7": "v", "x8": "v"}


def test_a_quota_of_members(kind):
    registry = kind.make(image_quota=SMALL)
    image = registry.add(OWNER, Image())
    registry.set_members(OWNER, image.id, dict.fromkeys("abc"))
    for wanted, replace in ((["d"], False), (["d", "e", "f", "g"], True)):
        with pytest.raises(TooMany, match=r"^image_member_quota allows an image 3 members, and it would have 4$"):
            registry.set_members(OWNER, image.id, dict.fromkeys(wanted), replace=replace)


def test_members_over_a_lowered_quota_stay_and_become_fewer(real_kind):
    image = real_kind.make().add(OWNER, Image())
    real_kind.make().set_members(OWNER, image.id, dict.fromkeys("abc"))
    registry = make(real_kind, members=1)
    assert len(registry.set_members(OWNER, image.id, {"a": True})) == 3
    assert len(registry.set_members(OWNER, image.id, {"a": None, "d": None}, replace=True)) == 2
    with pytest.raises(TooMany):
        registry.set_members(OWNER, image.id, {"e": None})
    registry.drop_member(OWNER, image.id, "a")
    registry.drop_member(OWNER, image.id, "d")
    assert len(registry.set_members(OWNER, image.id, {"e": None})) == 1


def test_without_a_quota_an_image_has_any_number(kind):
    registry = make(kind, **dict.fromkeys(OPTIONS, UNLIMITED))
    image = registry.add(OWNER, Image(**{what: some(what, 300) for what in FIELDS}))
    for what in FIELDS:
        assert getattr(image, what) == some(what, 300)
    assert len(registry.set_members(OWNER, image.id, {f"m{number}": None for number in range(300)})) == 300


def test_a_quota_of_none(kind):
    registry = make(kind, properties=0, members=0, tags=0)
    image = registry.add(OWNER, Image())
    for change in (ImageChange(properties={"a": "b"}), ImageChange(tags=frozenset({"a"}))):
        with pytest.raises(TooMany):
            registry.update(OWNER, image.id, change)
    with pytest.raises(TooMany):
        registry.set_members(OWNER, image.id, {"ann": None})


def test_racing_changes_never_exceed_a_quota(kind):
    registry = make(kind, properties=5)
    image = registry.add(OWNER, Image())

    def add(number: int) -> bool:
        try:
            registry.update(OWNER, image.id, ImageChange(properties=some("properties", 1, start=number)))
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(12))) == 5
    assert len(registry.get(OWNER, image.id).properties) == 5


# Options


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[..., Response]]:
    """Ask a registry with small quotas; in the API of 2011, and in that of glance-api."""
    app = app_factory(
        {},
        sql_connection=f"sqlite:///{tmp_path}/glance.sqlite",
        image_property_quota="2",
        image_member_quota="1",
        image_tag_quota="0",
        image_location_quota="-1",
    )

    def ask(method: str, path: str, body: object) -> Response:
        return Request.blank(path, method=method, body=json.dumps(body).encode()).get_response(app)

    yield ask


def test_the_options_are_the_quotas_of_all_apis(ask):
    brief = {"type": "raw", "properties": some("properties", 2)}
    assert ask("POST", "/images", {"image": brief}).status_int == 200
    for path, body in (
        ("/images", {"image": {"type": "raw", "properties": some("properties", 3)}}),
        ("/records", {"properties": some("properties", 3)}),
        ("/records", {"tags": ["a"]}),
    ):
        assert ask("POST", path, body).status_int == 413, body
    assert ask("PUT", "/images/1", {"image": {"properties": some("properties", 1, start=7)}}).status_int == 413
    assert ask("PATCH", "/records/1", {"locations": some("locations", 50)}).status_int == 200
    assert ask("PATCH", "/records/1/members", {"ann": None}).status_int == 200
    assert ask("PATCH", "/records/1/members", {"bob": None}).status_int == 413
