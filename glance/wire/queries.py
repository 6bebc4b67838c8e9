# SPDX-License-Identifier: Apache-2.0
"""Query and Page ↔ what the two daemons speak with each other: one JSON object in a URL, and one in the answer."""

import json
from datetime import datetime
from typing import Any, cast

from glance.core import values
from glance.core.errors import Invalid, UnknownField
from glance.core.image import MemberStatus, Visibility
from glance.core.query import (
    FILTER_FIELDS,
    MAX_CONDITIONS,
    MAX_PAGE,
    MAX_VALUES,
    SORT_KEYS,
    Comparison,
    Filter,
    Page,
    Position,
    Query,
    Sort,
    Value,
    order_of,
)
from glance.wire import jsontext, records
from glance.wire.decode import Decoder, list_of, number, object_of, one_of, or_none, time
from glance.wire.encode import encode_time, object_encoder

PARAMETER = "query"
BRIEF_HEADER = "X-Glance-Brief"  # "true" for Query.brief; not in the query, so that an older registry ignores it

_encode_fields = object_encoder(Query)
_TYPES = {**FILTER_FIELDS, "number": int}  # of every key that a list can be sorted by


def encode_query(query: Query) -> str:
    """Encode a query, except for `brief`, without what has its default: an older registry may not know the key."""
    return json.dumps(
        {name: value for name, value in _encode(query).items() if name in _QUERY and value != _DEFAULTS[name]},
        separators=(",", ":"),
        ensure_ascii=False,  # in a URL, escapes would take a third more room than UTF-8 does
    )


def _encode(query: Query) -> dict[str, object]:
    return {
        **_encode_fields(query),
        "filters": [[item.field, item.comparison, list(map(_encode_value, item.values))] for item in query.filters],
        "sort": [[item.key, item.descending] for item in query.sort],
        "after": _encode_position(query.after),
    }


def decode_query(text: str) -> Query:
    """The query of a list; what it does not name has its default. Raises Invalid.

    A limit over the largest page is cut to it."""
    given = object_of("a query", jsontext.parse(text.encode("utf-8", "replace")))
    decoded: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _QUERY:
            raise UnknownField(f"a query has no {values.shown(name)}: it may have {', '.join(_QUERY)}, and after")
        decoded[name] = _QUERY[name](name, value)
    after = decoded.pop("after", None)
    query = Query(**decoded)
    if after is None:
        return query
    return Query(**decoded, after=_position(after, order_of(query.sort)))


def encode_page(page: Page) -> dict[str, object]:
    return {**records.encode_images(page.images), "after": _encode_position(page.after)}


def decode_page(value: object, order: tuple[Sort, ...]) -> Page:
    """The answer to a query of this order. Raises Invalid."""
    page = object_of("a page", value)
    if not page.keys() >= {"records", "after"}:  # without its `after`, a list would end early unnoticed
        raise Invalid("a page must have records and after")
    found = list_of(lambda _, record: records.decode_image(record))("records", page["records"])
    return Page(
        images=tuple(found),
        after=None if page["after"] is None else _position(page["after"], order),
    )


def _encode_position(position: Position | None) -> list[object] | None:
    return None if position is None else list(map(_encode_value, position))


def _encode_value(value: Value) -> object:
    return encode_time(value) if isinstance(value, datetime) else value


def _position(value: object, order: tuple[Sort, ...]) -> Position:
    if not isinstance(value, list) or len(value) != len(order):
        raise Invalid(f"after must be a list with a value for each of {', '.join(item.key for item in order)}")
    return tuple(None if found is None else _value(item.key, found) for item, found in zip(order, value, strict=True))


def _value(field: str, value: object) -> Value:
    kind = _TYPES[field]
    if kind is datetime:
        return time(field, value)
    if kind is bool:
        return values.truth(field, value)
    if kind is int:
        return cast(int, number()(field, value))
    return values.text(field, value, most=values.MAX_LOCATION)


def _filter(_: str, value: object) -> Filter:
    match value:
        case [str(field), comparison, list(found)] if field in FILTER_FIELDS:
            decoded = tuple(_value(field, item) for item in found)
            compared = one_of(Comparison)("a comparison", comparison)
            if len(decoded) > MAX_VALUES:
                raise Invalid(f"a filter may name at most {MAX_VALUES} values, not {len(decoded)}")
            if compared not in (Comparison.IN, Comparison.NOT_IN):
                if FILTER_FIELDS[field] is bool:
                    raise Invalid(f"{field} is true or false, and can be filtered by in and not-in alone")
                if len(decoded) != 1:
                    raise Invalid(f"a filter by {compared} must name one value")
            return Filter(field, compared, decoded)
    raise Invalid(f"a filter must be [field, comparison, [values]] of {', '.join(FILTER_FIELDS)}")


def _properties(_: str, value: object) -> dict[str, str]:
    properties = values.properties(value)
    if len(properties) > MAX_CONDITIONS:
        raise Invalid(f"a query may name at most {MAX_CONDITIONS} properties, not {len(properties)}")
    return properties


def _sort(_: str, value: object) -> Sort:
    match value:
        case [str(key), bool(descending)] if key in SORT_KEYS:
            return Sort(key, descending)
    raise Invalid(f"a sort must be [key, whether descending] of {', '.join(SORT_KEYS)}")


def _member_status(name: str, value: object) -> frozenset[MemberStatus]:
    """A list of statuses, or a single one, which is what older glance-apis send."""
    return frozenset(_member_statuses(name, [value] if isinstance(value, str) else value))


_visibilities = list_of(one_of(Visibility))
_member_statuses = list_of(one_of(MemberStatus))
_filters = list_of(_filter, MAX_CONDITIONS)
_tags = list_of(lambda _, value: values.line("a tag", value), MAX_CONDITIONS)
_sorts = list_of(_sort)

_QUERY: dict[str, Decoder] = {
    "everyone": values.truth,
    "visibility": or_none(lambda name, value: frozenset(_visibilities(name, value))),
    "member_status": or_none(_member_status),
    "deleted": values.truth,
    "filters": lambda name, value: tuple(_filters(name, value)),
    "properties": _properties,
    "tags": lambda name, value: frozenset(_tags(name, value)),
    "sort": lambda name, value: tuple(_sorts(name, value)),
    "after": lambda _, value: value,  # understood by the sort
    "limit": lambda name, value: min(values.whole_number(name, value, least=1), MAX_PAGE),
}
_DEFAULTS = _encode(Query())
