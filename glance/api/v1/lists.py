# SPDX-License-Identifier: Apache-2.0
"""The parameters of a v1 list → Query."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from glance.core import values
from glance.core.context import Context
from glance.core.errors import Invalid
from glance.core.image import MemberStatus, Status, Visibility
from glance.core.query import MAX_CONDITIONS, Comparison, Filter, Query, Sort, Value

T = TypeVar("T")
R = TypeVar("R")

SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
EXACT = ("name", "status", "container_format", "disk_format")
REQUIREMENTS = ("min_ram", "min_disk")
PROPERTY = "property-"
ALL = frozenset(Visibility)
NOT_PUBLIC = ALL - {Visibility.PUBLIC}
NOT_REJECTED = frozenset(MemberStatus) - {MemberStatus.REJECTED}  # this API has no way to accept an image
DEFAULT_SORT = "created_at"

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def query_of(parameters: Mapping[str, str], ctx: Context, *, limit: int, most: int) -> Query | None:
    """What a list is asked with; None: for nothing. `limit` and `most` are numbers of images, by default and at
    most; a greater limit is cut. Unknown parameters are ignored. Raises Invalid."""
    wanted = values.whole_number("limit", parameters["limit"]) if "limit" in parameters else limit
    changed = parameters.get("changes-since")
    query = replace(
        _scope(parameters, ctx),
        deleted=changed is not None,
        filters=tuple(_filters(parameters)),
        properties=_properties(parameters),
        sort=(_sort(parameters),),
        limit=max(min(wanted, most), 1),
    )
    return query if wanted else None


def marker_of(parameters: Mapping[str, str]) -> str | None:
    """Raises Invalid."""
    return values.image_uuid("marker", parameters["marker"]) if "marker" in parameters else None


def _scope(parameters: Mapping[str, str], ctx: Context) -> Query:
    """Whose images: for admins `is_public` chooses, for others it is checked and has no effect."""
    text = parameters.get("is_public", "true").lower()
    if text == "none":
        public = None
    elif text in _TRUTH:
        public = _TRUTH[text]
    else:
        raise _bad("is_public", text, "true, false or none")
    if not ctx.is_admin or public:
        return Query(member_status=NOT_REJECTED)
    return Query(everyone=True, member_status=NOT_REJECTED, visibility=NOT_PUBLIC if public is False else ALL)


def _filters(parameters: Mapping[str, str]) -> list[Filter]:
    filters = [_is(key, _filter(values.line, key, parameters[key])) for key in EXACT if key in parameters]
    filters += [_is(key, _number(parameters, key, values.MAX_INT)) for key in REQUIREMENTS if key in parameters]
    if "protected" in parameters:
        text = parameters["protected"].lower()
        if text not in _TRUTH:
            raise _bad("protected", text, "true or false")
        filters.append(_is("protected", _TRUTH[text]))
    for key, comparison in (("size_min", Comparison.MORE_OR_EQUAL), ("size_max", Comparison.LESS_OR_EQUAL)):
        if key in parameters:
            filters.append(Filter("size", comparison, (_number(parameters, key, values.MAX_SIZE),)))
    if "changes-since" in parameters:
        filters.append(Filter("updated_at", Comparison.MORE, (_moment(parameters["changes-since"]),)))
    else:
        filters.append(Filter("status", Comparison.NOT_IN, (str(Status.KILLED),)))
    return filters


def _is(field: str, value: Value) -> Filter:
    return Filter(field, Comparison.IN, (value,))


def _properties(parameters: Mapping[str, str]) -> dict[str, str]:
    own = {key.removeprefix(PROPERTY): text for key, text in parameters.items() if key.startswith(PROPERTY)}
    if len(own) > MAX_CONDITIONS:
        raise Invalid(f"Bad value passed to filter: at most {MAX_CONDITIONS} properties, not {len(own)}")
    return _filter(lambda _, value: values.properties(value), PROPERTY, own)


def _number(parameters: Mapping[str, str], key: str, most: int) -> int:
    return _filter(lambda name, value: values.whole_number(name, value, most=most), key, parameters[key])


def _filter(check: Callable[[str, T], R], key: str, value: T) -> R:
    try:
        return check(key, value)
    except Invalid as error:
        raise Invalid(f"Bad value passed to filter: {error}") from None


def _moment(text: str) -> datetime:
    """A time without zone is UTC, and so is what comes out, without saying so."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(UTC) if moment.tzinfo is not None else moment).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise _bad("changes-since", text, "a time such as 2011-03-04T23:47:58+01:00, its plus sent as %2B") from None


def _sort(parameters: Mapping[str, str]) -> Sort:
    key, direction = parameters.get("sort_key", DEFAULT_SORT), parameters.get("sort_dir", "desc")
    if key not in SORT_KEYS:
        raise _bad("sort_key", key, ", ".join(SORT_KEYS))
    if direction not in ("asc", "desc"):
        raise _bad("sort_dir", direction, "asc or desc")
    return Sort(key, descending=direction == "desc")


def _bad(key: str, text: str, expected: str) -> Invalid:
    return Invalid(f"Bad value passed to filter: {key} must be {expected}, not {values.shown(text)}")
