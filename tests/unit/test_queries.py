# SPDX-License-Identifier: Apache-2.0
"""Lists as the daemons ask each other for them."""

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.core.errors import GlanceError, Invalid
from glance.core.image import Image, MemberStatus, Visibility
from glance.core.query import (
    FILTER_FIELDS,
    MAX_PAGE,
    SORT_KEYS,
    Comparison,
    Filter,
    Page,
    Query,
    Sort,
    order_of,
    position_of,
)
from glance.wire import jsontext, queries
from tests.unit.test_records import IMAGES, LINES, PROPERTIES

VALUES = {
    str: LINES,
    int: st.integers(0, 2**63 - 1),
    bool: st.booleans(),
    datetime: st.datetimes(min_value=datetime(1970, 1, 1)),
}
SINGLE = [comparison for comparison in Comparison if comparison not in (Comparison.IN, Comparison.NOT_IN)]
FILTERS = st.sampled_from(sorted(FILTER_FIELDS)).flatmap(
    lambda field: (
        st.builds(
            Filter,
            st.just(field),
            st.sampled_from([Comparison.IN, Comparison.NOT_IN]),
            st.lists(VALUES[FILTER_FIELDS[field]], max_size=3).map(tuple),
        )
        | st.builds(Filter, st.just(field), st.sampled_from(SINGLE), st.tuples(VALUES[FILTER_FIELDS[field]])).filter(
            lambda built: FILTER_FIELDS[built.field] is not bool
        )
    )
)
SORTS = st.lists(st.builds(Sort, st.sampled_from(SORT_KEYS), st.booleans()), max_size=3).map(tuple)


@st.composite
def all_queries(draw):
    sort = draw(SORTS)
    return Query(
        everyone=draw(st.booleans()),
        visibility=draw(st.none() | st.frozensets(st.sampled_from(Visibility))),
        member_status=draw(st.none() | st.frozensets(st.sampled_from(MemberStatus))),
        deleted=draw(st.booleans()),
        filters=tuple(draw(st.lists(FILTERS, max_size=3))),
        properties=draw(PROPERTIES),
        tags=draw(st.frozensets(LINES, max_size=3)),
        sort=sort,
        after=draw(st.none() | IMAGES.map(lambda image: position_of(image, order_of(sort)))),
        limit=draw(st.integers(1, MAX_PAGE)),
    )


@given(all_queries())
def test_a_query_comes_back(query):
    assert queries.decode_query(queries.encode_query(query)) == query


@given(st.lists(IMAGES, max_size=3), SORTS, st.booleans())
def test_a_page_comes_back(images, sort, more):
    order = order_of(sort)
    page = Page(images=tuple(images), after=position_of(images[-1], order) if images and more else None)
    answer = jsontext.parse(json.dumps(queries.encode_page(page)).encode())
    assert queries.decode_page(answer, order) == page


def test_what_a_query_does_not_name_has_its_default():
    assert queries.decode_query("{}") == Query()


def test_a_query_names_only_what_is_not_the_default():
    """So an older registry, which does not know new keys, answers queries that do not need them."""
    assert queries.encode_query(Query()) == "{}"
    assert queries.encode_query(Query(limit=5, tags=frozenset({"b", "a"}))) == '{"tags":["a","b"],"limit":5}'


def test_an_older_glance_api_names_one_status_of_members():
    assert queries.decode_query('{"member_status": "accepted"}').member_status == {MemberStatus.ACCEPTED}
    assert queries.decode_query('{"member_status": null}').member_status is None


def test_a_page_may_have_keys_that_are_unknown_here():
    page = {"records": [], "after": None, "total": 1}
    assert queries.decode_page(page, order_of((Sort("number"),))) == Page(images=())


def test_a_limit_over_the_largest_page_is_cut():
    assert queries.decode_query('{"limit": 5000}').limit == MAX_PAGE


@pytest.mark.parametrize("query", [
    {"limit": 0}, {"limit": -1}, {"limit": "x"}, {"limit": None}, {"everyone": "true"}, {"visibility": "public"},
    {"visibility": ["everybody"]}, {"member_status": "all"}, {"deleted": 1}, {"name": "x"}, {"tags": "x"}, {"tags": [5]},
    {"filters": [["name", "in", "x"]]}, {"filters": [["location", "in", ["x"]]]}, {"filters": [["size", "lt", []]]},
    {"filters": [["size", "lt", [1, 2]]]}, {"filters": [["size", "near", [1]]]}, {"filters": [["size", "in", ["1"]]]},
    {"filters": [["size", "in", [2**63]]]}, {"filters": [["protected", "in", [1]]]}, {"filters": [["protected", "lt", [True]]]}, {"filters": [["name", "in", [None]]]},
    {"filters": [["created_at", "lt", ["9999-99-99"]]]}, {"filters": [["name", "in", ["x"] * 101]]}, {"filters": {}}, {"filters": [5]},
    {"sort": [["location", True]]}, {"sort": [["name", "asc"]]}, {"sort": "name"}, {"sort": [["__class__", True]]},
    {"after": [1]}, {"after": "x"}, {"after": [5, "x"]}, {"sort": [["number", False]], "after": [True, 1]},
    {"properties": {"a": 1}}, {"properties": []}, {"member_status": ["all"]}, {"member_status": 1}, {"member_status": [None]},
    {"properties": {str(n): "" for n in range(21)}}, {"tags": [str(n) for n in range(21)]}, {"filters": [["size", "in", [1]]] * 21}, [], 5, None,
])  # fmt: skip
def test_a_wrong_query_is_refused(query):
    with pytest.raises(Invalid):
        queries.decode_query(json.dumps(query))


@pytest.mark.parametrize("text", ["", "{", "x", "\ud800"])
def test_a_query_is_json(text):
    with pytest.raises(Invalid):
        queries.decode_query(text)


@pytest.mark.parametrize("page", [
    {}, {"records": []}, {"after": None}, {"records": [], "after": "5"}, {"records": [], "after": True}, {"records": [], "after": -1},
    {"records": None, "after": None}, {"records": {}, "after": None}, {"records": [5], "after": None}, {"records": [], "after": [None, 1]},
    [], None,
])  # fmt: skip
def test_a_page_says_whether_it_is_the_last(page):
    with pytest.raises(GlanceError):
        queries.decode_page(page, order_of((Sort("number"),)))


@pytest.mark.parametrize(("sort", "keys"), [
    ("", "created_at id"), ("name", "name created_at id"), ("number", "number"), ("id name", "id"), ("created_at", "created_at id"),
    ("size name", "size name created_at id"), ("size size", "size created_at id"),
])  # fmt: skip
def test_an_order_is_total(sort, keys):
    order = order_of(tuple(Sort(key, descending=True) for key in sort.split()))
    assert " ".join(item.key for item in order) == keys
    assert not sort or all(item.descending for item in order)


def test_a_position_is_an_images_values_of_the_order():
    image = Image(id="x", number=1, name=None, created_at=datetime(2011, 3, 4))
    assert position_of(image, order_of((Sort("status"), Sort("name")))) == ("queued", None, datetime(2011, 3, 4), "x")
