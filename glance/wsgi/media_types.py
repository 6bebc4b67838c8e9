# SPDX-License-Identifier: Apache-2.0
"""Media types of Accept and Content-Type headers."""

import re

_ITEM = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')  # a comma may stand in a quoted parameter
_REFUSED = re.compile(r";\s*q=0(?:\.0{0,3})?\s*(?:;|$)")


def parse_media_types(value: str) -> list[str]:
    """Return the media types of an Accept or Content-Type header, in lower case and without their parameters.

    Those that a client explicitly does not accept (q=0) are left out."""
    lower = value.lower()
    items = _ITEM.findall(lower) if '"' in lower else lower.split(",")
    types = (item.partition(";")[0].strip() for item in items if ";" not in item or not _REFUSED.search(item))
    return [media_type for media_type in types if media_type]
