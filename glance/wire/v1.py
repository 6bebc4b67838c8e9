# SPDX-License-Identifier: Apache-2.0
"""Image ↔ the record of the Images API v1: `x-image-meta-*` headers in both directions, and JSON in answers.

Header names are folded: lower case, "-" and "_" are the same. Strings are native ones (wire/native.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import unquote_to_bytes

from glance.core import values
from glance.core.errors import Invalid
from glance.core.image import CONTAINER_FORMATS, DISK_FORMATS, UNSET, Image, ImageChange, Unset, Visibility
from glance.wire.native import PREFIX, PROPERTY_PREFIX, check_sendable, from_wire, is_token, spelled, to_wire

KNOWN = frozenset({
    "location", "size", "is_public", "disk_format", "container_format", "name", "status", "copy_from", "uri",
    "checksum", "created_at", "updated_at", "deleted_at", "min_ram", "min_disk", "owner", "store", "id", "protected",
    "deleted", "virtual_size",
})  # fmt: skip
TRUE_WORDS = frozenset({"t", "true", "on", "y", "yes", "1"})
AMAZON = ("aki", "ari", "ami")  # formats that are disk and container format at once
MAX_CHECKSUM = 32  # characters

Texts = dict[str, str | None]


def brief_of(image: Image) -> dict[str, object]:
    """An item of a brief list."""
    return {
        "id": image.id,
        "name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "checksum": image.checksum,
        "size": image.size or 0,
    }


def record_of(image: Image) -> dict[str, object]:
    """The whole record; locations are never told."""
    return {
        **brief_of(image),
        "status": str(image.status),
        "virtual_size": image.virtual_size,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "is_public": image.is_public,
        "protected": image.protected,
        "owner": image.owner,
        "created_at": _time(image.created_at),
        "updated_at": _time(image.updated_at),
        "deleted_at": _time(image.deleted_at),
        "deleted": image.deleted,
        "properties": dict(image.properties),
    }


def headers_of(record: Mapping[str, object], *, exact: bool = False) -> dict[str, str]:
    """Return the headers of a record: one per field that is not null, and one per property.

    A property whose name cannot be part of a header's name has none. `exact`: raises Invalid for text that a header
    cannot carry unchanged, for requests; in answers it is replaced."""
    headers = {}
    for field, value in record.items():
        if value is not None and field != "properties":
            text = str(value)
            if exact:
                check_sendable(field, text)
            headers[spelled(PREFIX + field)] = to_wire(text)
    properties = record.get("properties")
    if isinstance(properties, Mapping):
        for key, value in properties.items():
            if is_token(key) and value is not None:
                text = str(value)
                if exact:
                    check_sendable(f"property {key}", text)
                headers[spelled(PROPERTY_PREFIX + key.lower())] = to_wire(text)
    return headers


def record_from(headers: Iterable[tuple[str, str]]) -> dict[str, object]:
    """The record that an answer's headers describe, with the types of JSON: what a client reads."""
    fields, properties = texts_of(headers)
    record: dict[str, object] = dict(fields)
    for name in ("is_public", "protected", "deleted"):
        if name in record:
            record[name] = is_true(fields[name])
    for name in ("size", "virtual_size", "min_disk", "min_ram"):
        text = fields.get(name)
        if text is not None:
            record[name] = values.whole_number(name, text)
    return {**record, "properties": properties}


def texts_of(headers: Iterable[tuple[str, str]], *, encoded: bool = False) -> tuple[Texts, Texts]:
    """The fields and the properties that headers set, as text; None for what is empty.

    `encoded`: names and values are percent-encoded, as python-glanceclient does. Raises Invalid for a field that
    is none, and for what is not UTF-8."""
    fields: Texts = {}
    properties: Texts = {}
    for name, value in headers:
        folded = _folded(text_of(name, name, encoded=True) if encoded else name)
        if not folded.startswith(PREFIX):
            continue
        text = text_of(name, value, encoded=encoded)
        if folded.startswith(PROPERTY_PREFIX):
            properties[_key(folded.removeprefix(PROPERTY_PREFIX))] = text or None
            continue
        field = _key(folded.removeprefix(PREFIX))
        if field not in KNOWN:
            shown = values.shown(PREFIX + field)
            raise Invalid(f"Bad header {shown}: there is no such field. Own ones begin with {PROPERTY_PREFIX}")
        fields[field] = text or None
    return fields, properties


def text_of(name: str, value: str, *, encoded: bool = False) -> str:
    """The text of a header's value. Raises Invalid when it is not UTF-8."""
    return from_wire(
        name, unquote_to_bytes(value.encode("latin-1", "replace")).decode("latin-1") if encoded else value
    )


def is_true(text: str | None) -> bool:
    return text is not None and text.strip().lower() in TRUE_WORDS


def is_spellable(key: str) -> bool:
    """Whether a property's name comes back through headers as it is."""
    return is_token(key) and _key(_folded(key)) == key


def draft_from(fields: Texts, properties: Texts, *, owner: str | None) -> Image:
    """The image that a creation asks for; `owner` is whose it is if it does not say. Raises Invalid."""
    image_id = fields.get("id")
    draft = Image(
        id="" if image_id is None else values.image_uuid("id", image_id),
        owner=owner,
        visibility=Visibility.PUBLIC if is_true(fields.get("is_public")) else Visibility.SHARED,
    )
    return change_from(fields, properties, draft).applied_to(draft)


def change_from(fields: Texts, properties: Texts, image: Image) -> ImageChange:
    """What headers set of an image; absent ones stay. Raises Invalid."""
    visibility: Visibility | Unset = UNSET
    if "is_public" in fields and is_true(fields["is_public"]) is not image.is_public:
        visibility = Visibility.SHARED if image.is_public else Visibility.PUBLIC
    change = ImageChange(
        name=_line(fields, "name"),
        visibility=visibility,
        owner=_line(fields, "owner"),
        disk_format=_format(fields, "disk_format", DISK_FORMATS),
        container_format=_format(fields, "container_format", CONTAINER_FORMATS),
        size=_number(fields, "size", values.MAX_SIZE),
        virtual_size=_number(fields, "virtual_size", values.MAX_SIZE),
        checksum=_checksum(fields),
        min_disk=_number(fields, "min_disk", values.MAX_INT) or 0 if "min_disk" in fields else UNSET,
        min_ram=_number(fields, "min_ram", values.MAX_INT) or 0 if "min_ram" in fields else UNSET,
        protected=is_true(fields["protected"]) if "protected" in fields else UNSET,
        properties=values.properties({key: text or "" for key, text in properties.items()}) if properties else UNSET,
    )
    return _paired(change, image)


def _paired(change: ImageChange, image: Image) -> ImageChange:
    """The Amazon formats come in pairs: one that is given stands for both. Raises Invalid."""
    after = change.applied_to(image)
    disk, container = after.disk_format, after.container_format
    if disk not in AMAZON and container not in AMAZON:
        return change
    disk, container = disk or container, container or disk
    if disk != container:
        raise Invalid(
            f"Invalid mix of disk and container formats: when one is {', '.join(AMAZON)}, so must be the other"
        )
    return replace(change, disk_format=disk, container_format=container)


def check_formats(image: Image) -> None:
    """Bytes need both formats. Raises Invalid."""
    for word, found, known in (
        ("disk", image.disk_format, DISK_FORMATS),
        ("container", image.container_format, CONTAINER_FORMATS),
    ):
        if found is None:
            raise Invalid(f"Invalid {word} format 'None' for an image with bytes: expected one of {', '.join(known)}")


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def _key(folded: str) -> str:
    return folded.replace("-", "_")


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="microseconds") if moment is not None else None


def _line(fields: Texts, field: str) -> str | Unset | None:
    if field not in fields:
        return UNSET
    text = fields[field]
    return None if text is None else values.line(field, text)


def _checksum(fields: Texts) -> str | Unset | None:
    if "checksum" not in fields:
        return UNSET
    text = fields["checksum"]
    return None if text is None else values.line("checksum", text, most=MAX_CHECKSUM).lower()


def _number(fields: Texts, field: str, most: int) -> int | Unset | None:
    if field not in fields:
        return UNSET
    text = fields[field]
    if text is None or (field == "virtual_size" and text == "None"):
        return None
    return values.whole_number(field, text, most=most)


def _format(fields: Texts, field: str, known: tuple[str, ...]) -> str | Unset | None:
    if field not in fields:
        return UNSET
    text = fields[field]
    if text is None or text in known:
        return text
    raise Invalid(f"Invalid {field.replace('_', ' ')} {values.shown(text)}: expected one of {', '.join(known)}")
