# SPDX-License-Identifier: Apache-2.0
"""Image ↔ the record of March 2011: twelve fields, as the registry writes them in JSON and the API in headers.

`fields` is always a dict of these twelve by name, values in their JSON types. A 2011 image has one `type`
where newer ones have a disk and a container format; the pairs below are how the two worlds name the same.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from glance.core import values
from glance.core.errors import Invalid
from glance.core.image import DISK_FORMATS, UNSET, Image, ImageChange, Status, Unset, Visibility

T = TypeVar("T")
D = TypeVar("D")

FIELDS = (
    "id", "name", "type", "size", "status", "is_public", "location", "properties",
    "created_at", "updated_at", "deleted_at", "deleted",
)  # fmt: skip
BOOKKEEPING = frozenset({"created_at", "updated_at", "deleted_at", "deleted"})  # sent by clients, never taken

_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_AMAZON = {"machine": "ami", "kernel": "aki", "ramdisk": "ari"}
_FORMATS = {name: (amazon, amazon) for name, amazon in _AMAZON.items()} | {
    name: (name, "bare") for name in DISK_FORMATS if name not in _AMAZON.values()
}
_TYPES = {disk_format: name for name, (disk_format, _) in _FORMATS.items()}
TYPES = tuple(_FORMATS)


def is_number(text: str) -> bool:
    """Whether a text can name an image: its number, as it is printed."""
    return _NUMBER.fullmatch(text) is not None


def type_of(image: Image) -> str | None:
    """The 2011 type of an image; None while it has no disk format, or has one that only a newer registry knows."""
    return _TYPES.get(image.disk_format or "")


def brief_of(image: Image) -> dict[str, object]:
    """The four fields of a brief list."""
    return {"id": image.number, "name": image.name, "type": type_of(image), "size": image.size}


def record_of(image: Image) -> dict[str, object]:
    """The twelve fields."""
    return {
        **brief_of(image),
        "status": str(image.status),
        "is_public": image.is_public,
        "location": image.locations[0] if image.locations else None,
        "properties": dict(image.properties),
        "created_at": _time(image.created_at),
        "updated_at": _time(image.updated_at if image.updated_at != image.created_at else None),
        "deleted_at": _time(image.deleted_at),
        "deleted": image.deleted,
    }


def draft_from(fields: Mapping[str, object]) -> Image:
    """The image that a creation asks for, still without location. Raises Invalid.

    A missing status means active, as the registry of 2011 has it.
    """
    change = change_from({"status": str(Status.ACTIVE), **fields})
    if fields.get("type") is None:
        raise Invalid(f"Image type is required: one of {', '.join(TYPES)}")
    number = fields.get("id")
    return Image(
        number=None if number is None else values.whole_number("id", number, least=1, most=values.MAX_INT),
        name=_or(change.name, None),
        status=_or(change.status, Status.ACTIVE),
        visibility=_or(change.visibility, Visibility.PRIVATE),
        disk_format=_or(change.disk_format, None),
        container_format=_or(change.container_format, None),
        size=_or(change.size, None),
        locations=_or(change.locations, ()),
        properties=_or(change.properties, {}),
    )


def change_from(fields: Mapping[str, object]) -> ImageChange:
    """What an update asks for; absent fields, the id and the bookkeeping stay as they are. Raises Invalid."""
    disk_format, container_format = _formats(fields["type"]) if "type" in fields else (UNSET, UNSET)
    return ImageChange(
        name=_text(fields, "name", values.MAX_TEXT),
        status=_status(fields["status"]) if "status" in fields else UNSET,
        visibility=_visibility(fields["is_public"]) if "is_public" in fields else UNSET,
        disk_format=disk_format,
        container_format=container_format,
        size=_size(fields["size"]) if "size" in fields else UNSET,
        locations=_locations(fields),
        properties=values.properties(fields["properties"] or {}) if "properties" in fields else UNSET,
    )


def _or(value: T | Unset, default: D) -> T | D:
    return default if isinstance(value, Unset) else value


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="microseconds") if moment is not None else None


def _formats(value: object) -> tuple[str, str]:
    if isinstance(value, str) and value in _FORMATS:
        return _FORMATS[value]
    raise Invalid(f"Invalid image type {values.shown(value)}: expected one of {', '.join(TYPES)}")


def _status(value: object) -> Status:
    allowed = (Status.QUEUED, Status.SAVING, Status.ACTIVE, Status.KILLED)
    if value in allowed:
        return Status(str(value))
    raise Invalid(f"Invalid image status {values.shown(value)}: expected one of {', '.join(allowed)}")


def _visibility(value: object) -> Visibility:
    return Visibility.PUBLIC if values.truth("is_public", value) else Visibility.PRIVATE


def _size(value: object) -> int | None:
    return None if value is None else values.whole_number("size", value)


def _text(fields: Mapping[str, object], field: str, most: int) -> str | Unset | None:
    value = fields.get(field, UNSET)
    if value is None or isinstance(value, Unset):
        return value
    return values.line(field, value, most=most)


def _locations(fields: Mapping[str, object]) -> tuple[str, ...] | Unset:
    location = _text(fields, "location", values.MAX_LOCATION)
    if isinstance(location, Unset):
        return UNSET
    return () if location is None else (location,)
