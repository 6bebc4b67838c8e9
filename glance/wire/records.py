# SPDX-License-Identifier: Apache-2.0
"""Image, ImageChange and Member ↔ the JSON that the two daemons speak with each other. Lists are in queries.py.

A record is an object with a key per field of Image; a change one with the fields that it sets. Values are checked.
The two daemons may be of different versions, since they cannot be upgraded at the same moment:

- Requests are read strictly. An unknown key is UnknownField: ignoring it would lose what the caller wants.
- Answers are read tolerantly. Unknown keys are ignored, absent ones have the defaults of Image, except for REQUIRED.
  An unknown value of an enumeration is read as the one with which glance-api does least.

So a new field needs a default that means what it meant before there was the field. PROTOCOL counts such additions.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from glance.core import values
from glance.core.errors import Invalid, UnknownField
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
from glance.wire.encode import encoders_for, object_encoder

PROTOCOL = 1
PROTOCOL_HEADER = "X-Glance-Registry-Protocol"  # its sender's PROTOCOL, in requests and in answers
REQUIRED = frozenset(
    {"id", "number", "status", "visibility", "locations"}
)  # keys that an image in an answer must have

EXPECT_HEADER = "X-Glance-Expect"  # the status that an update starts from
HOLDER_HEADER = "X-Glance-Holder"  # who holds the image, when an update is his alone
LEASE_HEADER = "X-Glance-Lease"  # seconds until an image that is added or deleted counts as left alone
TENANT = "tenant"  # the parameter of a URL that names a member
DELETED = "deleted"  # the parameter of a URL by which an admin gets a deleted image, too
DELAY = "delay"  # the parameter of a URL by which bytes of a deleted image are kept, in seconds

encode_image = object_encoder(Image)


def decode_image(value: object) -> Image:
    """Decode the record of an answer. Raises Invalid."""
    return Image(**_decode_answer(value, _IMAGE_OF_ANSWER, REQUIRED))


def encode_draft(image: Image) -> dict[str, object]:
    """Encode an image that is to be added, without what has its default: an older registry may not know the field."""
    return {name: value for name, value in encode_image(image).items() if value != _DEFAULTS[name]}


def decode_draft(value: object) -> Image:
    """Decode the record of a request. Raises Invalid."""
    return Image(**_decode_request(value, _IMAGE))


def encode_change(change: ImageChange) -> dict[str, object]:
    encoded = change.given()
    for name in encoded.keys() & _CHANGE_ENCODERS.keys():
        if (value := encoded[name]) is not None:
            encoded[name] = _CHANGE_ENCODERS[name](value)
    return encoded


def decode_change(value: object) -> ImageChange:
    """Raises Invalid."""
    return ImageChange(**_decode_request(value, _CHANGE))


def encode_members(members: Iterable[Member]) -> dict[str, object]:
    return {"members": [encode_member(member) for member in members]}


def decode_members(value: object) -> tuple[Member, ...]:
    """Raises Invalid."""
    found = object_of("a list of members", value).get("members")
    return tuple(list_of(lambda _, member: decode_member(member))("members", found))


encode_member = object_encoder(Member)


def decode_member(value: object) -> Member:
    """Decode a member of an answer. Raises Invalid."""
    return Member(**_decode_answer(value, _MEMBER, frozenset({"image_id", "member"})))


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
    claim = {"pending": False, **_decode_request(value, _CLAIM)}
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


def decode_claimed(value: object) -> tuple[Image, ...]:
    """Decode the answer to a claim, without images of a status that only a newer registry knows: what has to be done
    for them is known to newer versions alone, and one of those claims them when the lease is over. Raises Invalid."""
    found = object_of("a list of records", value).get("records")
    records = list_of(lambda _, record: object_of("a record", record))("records", found)
    return tuple(decode_image(record) for record in records if record.get("status") in _STATUSES)


def _decode_request(value: object, decoders: Mapping[str, Decoder]) -> dict[str, Any]:
    decoded = {}
    for name, field in object_of("a record", value).items():
        if name not in decoders:
            raise UnknownField(f"a record has no field {values.shown(name)} that could be given here")
        decoded[name] = decoders[name](name, field)
    return decoded


def _decode_answer(value: object, decoders: Mapping[str, Decoder], required: frozenset[str]) -> dict[str, Any]:
    record = object_of("a record", value)
    if not record.keys() >= required:
        raise Invalid(f"a record must have {', '.join(sorted(required - record.keys()))}")
    return {name: decode(name, record[name]) for name, decode in decoders.items() if name in record}


_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)
_STATUSES = frozenset(map(str, Status))
_locations = list_of(line(values.MAX_LOCATION))
_texts = list_of(line(values.MAX_TEXT))

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
    "tags": lambda name, value: frozenset(_texts(name, value)),
    "properties": lambda _, value: values.properties(value),
    "copy_from": or_none(line(values.MAX_LOCATION)),
    "failure": or_none(line(values.MAX_TEXT)),
    "charged": or_none(number(values.MAX_SIZE)),
}
# What glance-api makes of values that only a newer registry knows: it neither reads, writes nor cleans up an image
# that is `saving`; it shows a `private` one to no other tenant; it prints formats as they are.
_IMAGE_OF_ANSWER: dict[str, Decoder] = {
    **_IMAGE,
    "status": one_of(Status, unknown=Status.SAVING),
    "visibility": one_of(Visibility, unknown=Visibility.PRIVATE),
    "disk_format": or_none(line(values.MAX_TEXT)),
    "container_format": or_none(line(values.MAX_TEXT)),
}
_DEFAULTS = encode_image(Image())
_CHANGE: dict[str, Decoder] = {
    "dropped": lambda name, value: frozenset(_texts(name, value)),
    "holder": or_none(line(64)),
    "lease": or_none(number(values.MAX_INT)),
    **{name: decode for name, decode in _IMAGE.items() if name in {item.name for item in fields(ImageChange)}},
}
_MEMBER: dict[str, Decoder] = {
    "image_id": values.image_uuid,
    "member": line(values.MAX_TEXT),
    "can_share": values.truth,
    "status": one_of(MemberStatus, unknown=MemberStatus.PENDING),
    "created_at": or_none(time),
    "updated_at": or_none(time),
}
_CHANGE_ENCODERS = encoders_for(ImageChange)
_CLAIM: dict[str, Decoder] = {
    "holder": line(64),
    "lease": number(values.MAX_INT),
    "limit": number(1000, least=1),
    "pending": values.truth,
}
