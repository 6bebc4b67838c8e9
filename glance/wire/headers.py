# SPDX-License-Identifier: Apache-2.0
"""The 2011 record ↔ `X-Image-Meta-*` headers, for the API and for the Python client.

The names keep their underscores (`X-Image-Meta-Is_public`): that is the spelling clients of the time look for.
Values are the text of Python's str(): True, None, 187634470. A header value is UTF-8 on the wire; WSGI and
http.client show its bytes as Latin-1 characters, and those "native" strings are what goes in and out here.
"""

import re
from collections.abc import Iterable, Mapping

from glance.core import values
from glance.core.errors import Invalid
from glance.wire import classic

PREFIX = "x-image-meta-"
PROPERTY_PREFIX = "x-image-meta-property-"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 §5.6.2
MAX_PRINTED = 8 * 1024  # characters of the printed dict
TRUE_WORDS = frozenset({"on", "1", "true"})


def headers_from_fields(fields: Mapping[str, object]) -> dict[str, str]:
    """The headers of a record: one per field, and one more per property."""
    headers = {}
    for field, value in fields.items():
        text = str(value)
        if field == "properties" and len(text) > MAX_PRINTED:
            text = "{...}"  # readers refuse longer header lines; the properties follow one by one
        headers[_spelled(PREFIX + field)] = _to_wire(text)
        if field == "properties" and isinstance(value, Mapping):
            for key, text in value.items():
                if _TOKEN.fullmatch(key):  # what a header cannot be named stands in X-Image-Meta-Properties only
                    headers[_spelled(PROPERTY_PREFIX + key.lower())] = _to_wire(str(text))
    return headers


def fields_from_headers(headers: Iterable[tuple[str, str]]) -> dict[str, object]:
    """The record that an answer's headers describe; values stay text, properties become a dict of texts."""
    fields: dict[str, object] = {}
    own: dict[str, str] = {}
    for name, value in headers:
        key, is_property = _key(name)
        if is_property:
            own[key] = _from_wire(name, value)
        elif key:
            fields[key] = _from_wire(name, value)
    if fields:
        fields["properties"] = own
    return fields


def fields_of_request(headers: Iterable[tuple[str, str]]) -> dict[str, object]:
    """The fields that a request's headers set, in their JSON types. Raises Invalid.

    Unknown names, the bookkeeping, and `properties` (a printed dict that the client of 2011 sends) are ignored.
    """
    fields: dict[str, object] = {}
    own: dict[str, str] = {}
    for name, value in headers:
        key, is_property = _key(name)
        if is_property:
            own[key] = _from_wire(name, value)
        elif key in classic.FIELDS and key not in classic.BOOKKEEPING and key != "properties":
            text = _from_wire(name, value)
            if text != "None" or key == "name":  # how the client of 2011 writes what it does not set
                fields[key] = text.strip().lower() in TRUE_WORDS if key == "is_public" else text
    if own:
        fields["properties"] = values.properties(own)
    return fields


def _key(name: str) -> tuple[str, bool]:
    """The field or property that a header names ("" for other headers), and whether it is a property."""
    lower = name.lower().replace("_", "-")
    if lower.startswith(PROPERTY_PREFIX):
        return lower[len(PROPERTY_PREFIX) :].replace("-", "_"), True
    if lower.startswith(PREFIX):
        return lower[len(PREFIX) :].replace("-", "_"), False
    return "", False


def _spelled(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _to_wire(text: str) -> str:
    """Native string of a value; line ends and other controls, which would end the header, become spaces."""
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode("latin-1")


def _from_wire(name: str, value: str) -> str:
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise Invalid(f"header {name} must be UTF-8, not {values.shown(value)}") from None
