# SPDX-License-Identifier: Apache-2.0
"""Text ↔ what stands in a header.

A header value is UTF-8 on the wire; WSGI and http.client show its bytes as Latin-1 characters, and such a string is
"native". Names of headers are spelled with capitals, as they always were, and keep their underscores.
"""

import re
from functools import lru_cache

from glance.core import values
from glance.core.errors import Invalid

PREFIX = "x-image-meta-"
PROPERTY_PREFIX = "x-image-meta-property-"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 §5.6.2


def is_token(key: str) -> bool:
    """Whether a key can be a part of a header's name."""
    return _TOKEN.fullmatch(key) is not None


@lru_cache(1024)
def spelled(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def to_wire(text: str) -> str:
    """Return the native string of a value.

    In answers, line ends and other control characters, which would end the header, become spaces, and lone surrogates
    question marks; text of a request has to pass check_sendable() first."""
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode("latin-1")


def check_sendable(name: str, text: str) -> None:
    """Raise Invalid for text of a request that a header cannot carry unchanged."""
    if _CONTROL.search(text):
        raise Invalid(f"{name} must not contain line ends or other control characters, as {values.shown(text)} does")
    if text.strip(" ") != text:
        raise Invalid(f"{name} must not begin or end with a space, as {values.shown(text)} does: HTTP would drop it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid(f"{name} must be valid UTF-8, which {values.shown(text)} is not") from None


def from_wire(name: str, value: str) -> str:
    """Raises Invalid when the value of this header is not UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise Invalid(f"header {name} must be UTF-8, not {values.shown(value)}") from None
