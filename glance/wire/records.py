# SPDX-License-Identifier: Apache-2.0
"""Image, ImageChange and Member ↔ the JSON that the two daemons speak with each other.

A record is an object with a key per field of Image; a change one with the fields that it sets. Decoding is an
entrance like any other: every value is checked, and a key that is no field is Invalid. Lists are in queries.py.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from glance.core import values
from glance.core.errors import Invalid
from glance.core.image import (
    CONTAINER_FORMATS,
    DISK_FORMATS,
    Image,
    ImageChange,
    Member,
    MemberStatus,
    Status,
    Visibility,
)
from glance.wire.decode import Decoder, choice, line, list_of, number, object_of, one_of, or_none, time

EXPECT_HEADER = "X-Glance-Expect"  # the status that an update starts from
HOLDER_HEADER = "X-Glance-Holder"  # who holds the image, when an update is his alone
LEASE_HEADER = "X-Glance-Lease"  # seconds until an image that is added or deleted counts as left alone
TENANT = "tenant"  # the parameter of a URL that names a member
DELETED = "deleted"  # the parameter of a URL by which an admin gets a deleted image, too
DELAY = "delay"  # the parameter of a URL by which bytes of a deleted image are kept, in seconds
MAX_LOCATIONS = 128  # per image
MAX_TAGS = 128  # per image


def encode_image(image: Image) -> dict[str, object]:
    return {item.name: _plain(getattr(image, item.name)) for item in fields(Image)}


def decode_image(value: object) -> Image:
    """Raises Invalid."""
    return Image(**_decoded(value, _IMAGE))


def encode_change(change: ImageChange) -> dict[str, object]:
    return {name: _plain(given) for name, given in change.given().items()}


def decode_change(value: object) -> ImageChange:
    """Raises Invalid."""
    return ImageChange(**_decoded(value, _CHANGE))


def encode_members(members: Iterable[Member]) -> dict[str, object]:
    return {"members": [encode_member(member) for member in members]}


def decode_members(value: object) -> tuple[Member, ...]:
    """Raises Invalid."""
    found = object_of("a list of members", value).get("members")
    return tuple(list_of(lambda _, member: decode_member(member))("members", found))


def encode_member(member: Member) -> dict[str, object]:
    return {item.name: _plain(getattr(member, item.name)) for item in fields(Member)}


def decode_member(value: object) -> Member:
    """Raises Invalid."""
    decoded = _decoded(value, _MEMBER)
    if not decoded.keys() >= {"image_id", "member"}:
        raise Invalid("a member must have an image_id and a member")
    return Member(**decoded)


def decode_wanted(value: object) -> dict[str, bool | None]:
    """Tenant → can_share of members that an image is to have. Raises Invalid."""
    return {
        values.line("a member", tenant, least=1): None if can_share is None else values.truth("can_share", can_share)
        for tenant, can_share in object_of("members", value).items()
    }


def encode_claim(holder: str, lease: int, limit: int, pending: bool) -> dict[str, object]:
    return {"holder": holder, "lease": lease, "limit": limit} | ({"pending": True} if pending else {})


def decode_claim(value: object) -> tuple[str, int, int, bool]:
    """Holder, lease in seconds, number of images at most, and whether of those whose deletion is pending: no, if it
    does not tell. Raises Invalid."""
    claim = {"pending": False, **_decoded(value, _CLAIM)}
    if claim.keys() != _CLAIM.keys():
        raise Invalid("a claim must have holder, lease, limit")
    return claim["holder"], claim["lease"], claim["limit"], claim["pending"]


def decode_lease(text: str | None) -> int | None:
    """The seconds of LEASE_HEADER; None when it is absent. Raises Invalid."""
    if text is None:
        return None
    seconds: int = _CLAIM["lease"](LEASE_HEADER, int(text) if _DIGITS.fullmatch(text) else text)
    return seconds


def encode_images(images: Iterable[Image]) -> dict[str, object]:
    return {"records": [encode_image(image) for image in images]}


def decode_images(value: object) -> tuple[Image, ...]:
    """Raises Invalid."""
    found = object_of("a list of records", value).get("records")
    return tuple(list_of(lambda _, image: decode_image(image))("records", found))


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


def _decoded(value: object, decoders: Mapping[str, Decoder]) -> dict[str, Any]:
    record = object_of("a record", value)
    decoded = {}
    for name, field in record.items():
        if name not in decoders:
            raise Invalid(f"a record has no field {values.shown(name)} that could be given here")
        decoded[name] = decoders[name](name, field)
    return decoded


_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)
_locations = list_of(line(values.MAX_LOCATION), MAX_LOCATIONS)
_tags = list_of(line(values.MAX_TEXT), MAX_TAGS)
_names = list_of(line(values.MAX_TEXT), values.MAX_PROPERTIES)

_IMAGE: dict[str, Decoder] = {
    "id": lambda name, value: "" if value == "" else values.image_uuid(name, value),
    "number": or_none(number(values.MAX_SIZE, least=1)),
    "name": or_none(line(values.MAX_TEXT)),
    "status": one_of(Status),
    "visibility": one_of(Visibility),
    "owner": or_none(line(values.MAX_TEXT)),
    "disk_format": or_none(choice(DISK_FORMATS)),
    "container_format": or_none(choice(CONTAINER_FORMATS)),
    "size": or_none(number(values.MAX_SIZE)),
    "virtual_size": or_none(number(values.MAX_SIZE)),
    "checksum": or_none(line(32)),
    "os_hash_algo": or_none(line(64)),
    "os_hash_value": or_none(line(128)),
    "min_disk": number(values.MAX_INT),
    "min_ram": number(values.MAX_INT),
    "protected": values.truth,
    "hidden": values.truth,
    "created_at": or_none(time),
    "updated_at": or_none(time),
    "deleted_at": or_none(time),
    "locations": lambda name, value: tuple(_locations(name, value)),
    "tags": lambda name, value: frozenset(_tags(name, value)),
    "properties": lambda _, value: values.properties(value),
    "copy_from": or_none(line(values.MAX_LOCATION)),
    "failure": or_none(line(values.MAX_TEXT)),
    "charged": or_none(number(values.MAX_SIZE)),
}
_CHANGE: dict[str, Decoder] = {
    "dropped": lambda name, value: frozenset(_names(name, value)),
    "holder": or_none(line(64)),
    "lease": or_none(number(values.MAX_INT)),
    **{name: decode for name, decode in _IMAGE.items() if name in {item.name for item in fields(ImageChange)}},
}
_MEMBER: dict[str, Decoder] = {
    "image_id": values.image_uuid,
    "member": line(values.MAX_TEXT),
    "can_share": values.truth,
    "status": one_of(MemberStatus),
    "created_at": or_none(time),
    "updated_at": or_none(time),
}
_CLAIM: dict[str, Decoder] = {
    "holder": line(64),
    "lease": number(values.MAX_INT),
    "limit": number(1000, least=1),
    "pending": values.truth,
}
