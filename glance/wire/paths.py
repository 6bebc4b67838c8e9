# SPDX-License-Identifier: Apache-2.0
"""URL paths made of text that users chose: ids of images, names of members."""

from urllib.parse import quote

from glance.core.errors import Invalid
from glance.core.values import shown


def build_path(*segments: str) -> str:
    """Return the path that consists of these segments, each percent-encoded.

    Raises Invalid for a segment that would address another resource. HTTP libraries and proxies resolve `.` and `..`
    even when they are percent-encoded, and an empty segment leaves the collection itself.
    """
    return "".join([f"/{_encode(segment)}" for segment in segments])


def _encode(segment: str) -> str:
    if segment in ("", ".", "..") or "/" in segment:
        raise Invalid(f"an id or a name must not be empty, '.' or '..', and must not contain '/': {shown(segment)}")
    try:
        return quote(segment, safe="")
    except UnicodeEncodeError:
        raise Invalid(f"an id or a name must be Unicode text, not {shown(segment)}") from None
