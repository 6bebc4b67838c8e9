# SPDX-License-Identifier: Apache-2.0
"""What a single value may be, for every entrance: headers, JSON, files of configuration.

Each function returns the value in its own type or raises Invalid with a text that says what was expected.
"""

import re
import reprlib
from collections.abc import Mapping

from glance.core.errors import Invalid

MAX_SIZE = 2**63 - 1  # bytes; what a BIGINT column holds
MAX_INT = 2**31 - 1  # what an INTEGER column holds
MAX_TEXT = 255  # characters of a name or a property key; what a VARCHAR(255) column holds
MAX_PROPERTY_VALUE = 65_535  # characters; the old limit of a TEXT column
MAX_PROPERTIES_TEXT = 131_072  # characters of all names and values of one image
MAX_LOCATION = 4_096  # characters of a location URL

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode's category Cc
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_IMAGE_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)  # any such fits into 64 bits
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_SHOWN = 40  # characters of a wrong value that an error text repeats


def shown(value: object) -> str:
    """A wrong value as it may stand in an error text: quoted, on one line, and short."""
    if isinstance(value, str):
        start = value[: _SHOWN + 1]
        found = repr(start) if start.isprintable() else ascii(start)
    else:
        try:
            found = ascii(value) if value is None or isinstance(value, int | float) else reprlib.repr(value)
        except ValueError:  # Python prints no number of more than 4300 digits
            found = "a number of thousands of digits"
    return found if len(found) <= _SHOWN else found[: _SHOWN - 1] + "…"


def whole_number(field: str, value: object, *, least: int = 0, most: int = MAX_SIZE) -> int:
    """A whole number, given as int or as ASCII digits.

    Python's int() would also take '1_000', ' 7 ', '+5' and digits of other scripts, so it is not asked first.
    """
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _DIGITS.fullmatch(value):
        number = int(value)
    if number is None or not least <= number <= most:
        raise Invalid(f"{field} must be a whole number from {least} to {most}, not {shown(value)}")
    return number


def line(field: str, value: object, *, most: int = MAX_TEXT, least: int = 0) -> str:
    """Text without control characters and lone surrogates, so that it fits into a header and a log line."""
    if isinstance(value, str) and least <= len(value) <= most and value.isascii() and value.isprintable():
        return value  # most are, and lists have thousands of them
    found = text(field, value, most=most, least=least)
    if _CONTROL.search(found):
        raise Invalid(f"{field} must not contain control characters, as {shown(value)} does")
    return found


def line_of(text: str) -> str:
    """A text of ours, made to fit where a line of MAX_TEXT characters is wanted."""
    return "".join(character if character.isprintable() else " " for character in text)[:MAX_TEXT]


def tenant(field: str, value: object) -> str:
    """The name of a tenant, which must be able to stand in a path."""
    found = line(field, value, least=1)
    if "/" in found or not found.strip("."):
        raise Invalid(f"{field} must be a name without '/', and not of dots alone, as {shown(value)} is")
    return found


def text(field: str, value: object, *, most: int, least: int = 0) -> str:
    """Unicode without lone surrogates."""
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {shown(value)}")
    if not least <= len(value) <= most:
        raise Invalid(f"{field} must have {least} to {most} characters, not {len(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid(f"{field} must be valid Unicode, not {shown(value)}") from None
    return value


def truth(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{field} must be true or false, not {shown(value)}")
    return value


def image_uuid(field: str, value: object) -> str:
    """A UUID in its canonical lower-case form; uuid.UUID() would take braces, urn: and stray dashes too."""
    if not isinstance(value, str) or not is_uuid(value):
        raise Invalid(f"{field} must be a lower-case UUID of 36 characters, not {shown(value)}")
    return value


def is_image_number(text: str) -> bool:
    """Whether it is a number as an image may have it, in its one form."""
    return _IMAGE_NUMBER.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def properties(value: object) -> dict[str, str]:
    """An image's own properties: keys of 1 to 255 characters, values of text."""
    if not isinstance(value, Mapping):
        raise Invalid(f"properties must be an object of texts, not {shown(value)}")
    checked = {
        line("a property's name", key, least=1): line(f"property {shown(key)}", own, most=MAX_PROPERTY_VALUE)
        for key, own in value.items()
    }
    check_properties(checked)
    return checked


def check_properties(own: Mapping[str, str]) -> None:
    """Raises Invalid when these are longer than those of one image may be; ImageQuota judges how many there are."""
    if sum(map(len, own)) + sum(map(len, own.values())) > MAX_PROPERTIES_TEXT:
        raise Invalid(f"the properties of an image may have at most {MAX_PROPERTIES_TEXT} characters together")
