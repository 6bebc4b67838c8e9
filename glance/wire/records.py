# SPDX-License-Identifier: Apache-2.0
"""Image, ImageChange, Query and Page ↔ the JSON that the two daemons speak with each other.

A record is an object with a key per field of Image; a change one with the fields that it sets. Decoding is an
entrance like any other: every value is checked, and a key that is no field is Invalid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from glance.core import values
from glance.core.errors import Invalid
from glance.core.image import (
    CONTAINER_FORMATS,
    DISK_FORMATS,
    MAX_PAGE,
    Image,
    ImageChange,
    Page,
    Query,
    Status,
    Visibility,
)

EXPECT_HEADER = "X-Glance-Expect"  # the status that an update starts from
MAX_LOCATIONS = 128  # per image
MAX_TAGS = 128  # per image

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Decoder = Callable[[str, Any], Any]


def encode_image(image: Image) -> dict[str, object]:
    return {item.name: _plain(getattr(image, item.name)) for item in fields(Image)}


def decode_image(value: object) -> Image:
    """Raises Invalid."""
    return Image(**_decoded(value))


def encode_change(change: ImageChange) -> dict[str, object]:
    return {name: _plain(given) for name, given in change.given().items()}


def decode_change(value: object) -> ImageChange:
    """Raises Invalid."""
    known = {item.name for item in fields(ImageChange)}
    decoded = _decoded(value)
    for name in decoded:
        if name not in known:
            raise Invalid(f"{name} cannot be changed")
    return ImageChange(**decoded)


def encode_page(page: Page) -> dict[str, object]:
    return {"records": [encode_image(image) for image in page.images], "after": page.after}


def decode_page(value: object) -> Page:
    """Raises Invalid."""
    page = _object("a page", value)
    if page.keys() != {"records", "after"}:  # without its `after`, a list would end early and nobody would know
        raise Invalid("a page must have records and after, and nothing else")
    if not isinstance(page["records"], list):
        raise Invalid(f"records must be a list, not {values.shown(page['records'])}")
    return Page(
        images=tuple(decode_image(record) for record in page["records"]),
        after=_or_none(_number(values.MAX_SIZE))("after", page["after"]),
    )


def encode_query(query: Query) -> dict[str, str]:
    """The parameters of a URL."""
    parameters = {"after": str(query.after), "limit": str(query.limit)}
    if query.visibility is not None:
        parameters["visibility"] = str(query.visibility)
    return parameters


def decode_query(parameters: Mapping[str, str]) -> Query:
    """Raises Invalid. A limit over the largest page is cut to it."""
    for name in parameters:
        if name not in ("after", "limit", "visibility"):
            raise Invalid(f"unknown parameter {values.shown(name)}: expected after, limit or visibility")
    limit = values.whole_number("limit", parameters.get("limit", str(MAX_PAGE)), least=1)
    return Query(
        visibility=_visibility(parameters),
        after=values.whole_number("after", parameters.get("after", "0")),
        limit=min(limit, MAX_PAGE),
    )


def _plain(value: object) -> object:
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _decoded(value: object) -> dict[str, Any]:
    record = _object("a record", value)
    decoded = {}
    for name, field in record.items():
        if name not in _DECODERS:
            raise Invalid(f"a record has no field {values.shown(name)}")
        decoded[name] = _DECODERS[name](name, field)
    return decoded


def _object(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid(f"{what} must be an object, not {values.shown(value)}")
    return value


def _line(most: int) -> Decoder:
    return lambda name, value: values.line(name, value, most=most)


def _number(most: int, least: int = 0) -> Decoder:
    def decode(name: str, value: object) -> int:
        if not isinstance(value, int):
            raise Invalid(f"{name} must be a whole number, not {values.shown(value)}")
        return values.whole_number(name, value, least=least, most=most)

    return decode


def _one_of(kind: type[E]) -> Callable[[str, object], E]:
    def decode(name: str, value: object) -> E:
        for member in kind:
            if value == str(member):
                return member
        raise Invalid(f"{name} must be one of {', '.join(kind)}, not {values.shown(value)}")

    return decode


def _choice(choices: Sequence[str]) -> Decoder:
    def decode(name: str, value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise Invalid(f"{name} must be one of {', '.join(choices)}, not {values.shown(value)}")

    return decode


def _or_none(decode: Decoder) -> Decoder:
    return lambda name, value: None if value is None else decode(name, value)


def _list(most: int, decode: Decoder) -> Callable[[str, object], list[Any]]:
    def decode_all(name: str, value: object) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise Invalid(f"{name} must be a list of at most {most} texts")
        return [decode(name, item) for item in value]

    return decode_all


def _visibility(parameters: Mapping[str, str]) -> Visibility | None:
    wanted = parameters.get("visibility")
    return None if wanted is None else _one_of(Visibility)("visibility", wanted)


def _time(name: str, value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise Invalid(f"{name} must be a time such as 2011-03-04T23:47:58.145889, not {values.shown(value)}")
    return moment


_locations = _list(MAX_LOCATIONS, _line(values.MAX_LOCATION))
_tags = _list(MAX_TAGS, _line(values.MAX_TEXT))

_DECODERS: dict[str, Decoder] = {
    "id": lambda name, value: "" if value == "" else values.image_uuid(name, value),
    "number": _or_none(_number(values.MAX_SIZE, least=1)),
    "name": _or_none(_line(values.MAX_TEXT)),
    "status": _one_of(Status),
    "visibility": _one_of(Visibility),
    "owner": _or_none(_line(values.MAX_TEXT)),
    "disk_format": _or_none(_choice(DISK_FORMATS)),
    "container_format": _or_none(_choice(CONTAINER_FORMATS)),
    "size": _or_none(_number(values.MAX_SIZE)),
    "virtual_size": _or_none(_number(values.MAX_SIZE)),
    "checksum": _or_none(_line(32)),
    "os_hash_algo": _or_none(_line(64)),
    "os_hash_value": _or_none(_line(128)),
    "min_disk": _number(values.MAX_INT),
    "min_ram": _number(values.MAX_INT),
    "protected": values.truth,
    "hidden": values.truth,
    "created_at": _or_none(_time),
    "updated_at": _or_none(_time),
    "deleted_at": _or_none(_time),
    "locations": lambda name, value: tuple(_locations(name, value)),
    "tags": lambda name, value: frozenset(_tags(name, value)),
    "properties": lambda _, value: values.properties(value),
}
