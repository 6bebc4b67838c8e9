# SPDX-License-Identifier: Apache-2.0
"""`key=value` arguments → an image's fields and properties, or the filters of a list."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from glance.cli.images.errors import Failed

SETTABLE = frozenset({
    "name", "disk_format", "container_format", "is_public", "protected", "min_disk", "min_ram", "owner", "location",
    "copy_from", "id", "store", "checksum",
})  # fmt: skip
READ_ONLY = frozenset({
    "status", "size", "deleted", "created_on", "created_at", "updated_on", "updated_at", "deleted_on", "deleted_at",
})  # fmt: skip
FILTERS = {
    name: name
    for name in (
        "name", "disk_format", "container_format", "status", "min_ram", "min_disk", "size_min", "size_max",
        "is_public", "protected",
    )
} | {"changes_since": "changes-since"}  # fmt: skip
AMAZON = ("aki", "ari", "ami")  # formats that are disk and container format at once
TRUTH = dict.fromkeys(("t", "true", "on", "y", "yes", "1"), True) | dict.fromkeys(
    ("f", "false", "off", "n", "no", "0", "none", ""), False
)


@dataclass(frozen=True, slots=True)
class Record:
    """What arguments say of an image; None empties a field."""

    fields: dict[str, object] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)

    def all(self) -> dict[str, object]:
        """As the API client takes it."""
        return {**self.fields, "properties": self.properties}


def pairs_of(arguments: Iterable[str]) -> dict[str, str]:
    """Lower-case keys with underscores, and their values. A comma around an argument is not part of it."""
    pairs = {}
    for argument in arguments:
        key, equals, value = argument.strip(",").partition("=")
        if not key or not equals:
            raise Failed(f"Arguments should be in the form of field=value, and {argument!r} is not")
        pairs[key.lower().replace("-", "_")] = value
    return pairs


def record_of(arguments: Iterable[str], word: str) -> Record:
    """Says which fields cannot be set, `word` being what they are not, and leaves them out."""
    record = Record()
    for key, text in pairs_of(arguments).items():
        if key in READ_ONLY:
            print(f"Found non-{word} field {key}. Removing.", file=sys.stderr)
        elif key in SETTABLE:
            record.fields[key] = _value(key, text)
        else:
            record.properties[key] = text
    return record


def with_defaults(fields: Mapping[str, object]) -> dict[str, object]:
    """The defaults of a new image. One of the Amazon formats stands for both, which the server sees to."""
    formats: dict[str, object] = {"disk_format": "raw", "container_format": "ovf"}
    if any(fields.get(key) in AMAZON for key in formats):
        formats = {}
    return {"is_public": False, "min_disk": 0, "min_ram": 0, **formats, **fields}


def query_of(arguments: Iterable[str]) -> dict[str, str]:
    """The filters of a list, in the words of the API; what is no field is a property."""
    return {FILTERS.get(key, f"property-{key}"): text for key, text in pairs_of(arguments).items()}


def _value(key: str, text: str) -> object:
    if key not in ("is_public", "protected"):
        return text or None
    try:
        return TRUTH[text.strip().lower()]
    except KeyError:
        raise Failed(f"{key} should be True or False, not {text!r}") from None
