# SPDX-License-Identifier: Apache-2.0
"""How many properties, members, tags and locations one image may have. The registry enforces it."""

from dataclasses import dataclass

from glance.core.errors import TooMany
from glance.core.image import Image

UNLIMITED = -1
OPTIONS = {
    "properties": "image_property_quota",
    "members": "image_member_quota",
    "tags": "image_tag_quota",
    "locations": "image_location_quota",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuota:
    """The values of OPTIONS; each may be UNLIMITED.

    An image that has more already, because a quota was lowered, may keep it, but not get more.
    """

    properties: int = 128
    members: int = 128
    tags: int = 128
    locations: int = 10

    def check(self, image: Image, before: Image | None = None) -> None:
        """Judge an image as it would be after a change, or as a new one. Raises TooMany."""
        before = before or Image()
        for what in ("properties", "tags", "locations"):
            self._check(what, len(getattr(image, what)), len(getattr(before, what)))

    def check_members(self, count: int, before: int) -> None:
        """Judge the number of members that an image would have after a change. Raises TooMany."""
        self._check("members", count, before)

    def _check(self, what: str, count: int, before: int) -> None:
        quota = getattr(self, what)
        if quota != UNLIMITED and count > max(quota, before):
            raise TooMany(f"{OPTIONS[what]} allows an image {quota} {what}, and it would have {count}")
