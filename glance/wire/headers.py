# SPDX-License-Identifier: Apache-2.0
"""The 2011 record ↔ `X-Image-Meta-*` headers, for the API and for the Python client.

In answers the names keep their underscores (`X-Image-Meta-Is_public`): clients of 2011 look for that spelling.
Requests may use either; our own clients send hyphens (client/request.py).
Values are the text of Python's str(): True, None, 187634470. Strings are native ones (wire/native.py).
"""

from collections.abc import Iterable, Mapping

from glance.core import values
from glance.wire import classic
from glance.wire.native import PREFIX, PROPERTY_PREFIX, check_sendable, from_wire, is_token, spelled, to_wire

ID_HEADER = "X-Glance-Image-Id"  # in answers: the id in the other APIs of the image that has this number
MAX_PRINTED = 8 * 1024  # characters of the printed dict
TRUE_WORDS = frozenset({"on", "1", "true"})


def headers_from_fields(fields: Mapping[str, object], *, exact: bool = False) -> dict[str, str]:
    """Return the headers of a record: one per field, and one more per property.

    `exact`: raises Invalid for text that a header cannot carry unchanged, for requests; in answers it is replaced."""
    headers = {}
    for field, value in fields.items():
        text = str(value)
        if field == "properties" and len(text) > MAX_PRINTED:
            text = "{...}"  # readers refuse longer header lines; the properties follow one by one
        if exact:
            check_sendable(field, text)
        headers[spelled(PREFIX + field)] = to_wire(text)
        if field == "properties" and isinstance(value, Mapping):
            for key, text in value.items():
                if is_token(key):  # what a header cannot be named stands in X-Image-Meta-Properties only
                    if exact:
                        check_sendable(f"property {key}", str(text))
                    headers[spelled(PROPERTY_PREFIX + key.lower())] = to_wire(str(text))
    return headers


def fields_from_headers(headers: Iterable[tuple[str, str]]) -> dict[str, object]:
    """The record that an answer's headers describe; values stay text, properties become a dict of texts."""
    fields: dict[str, object] = {}
    own: dict[str, str] = {}
    for name, value in headers:
        key, is_property = _key(name)
        if is_property:
            own[key] = from_wire(name, value)
        elif key:
            fields[key] = from_wire(name, value)
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
            own[key] = from_wire(name, value)
        elif key in classic.FIELDS and key not in classic.BOOKKEEPING and key != "properties":
            text = from_wire(name, value)
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
