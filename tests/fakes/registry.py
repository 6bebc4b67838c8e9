# SPDX-License-Identifier: Apache-2.0
"""A Registry in memory, for tests; passes the suite of tests/contract like the real ones."""

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime

from glance.core.context import Context
from glance.core.errors import Duplicate, Invalid, NotFound, WrongState
from glance.core.image import MAX_PAGE, Image, ImageChange, Page, Query, Status
from glance.core.values import MAX_INT, check_properties


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class MemoryRegistry:
    """`images` are by number, deleted ones included."""

    def __init__(self) -> None:
        self.images: dict[int, Image] = {}
        self._lock = threading.Lock()

    def add(self, ctx: Context, image: Image) -> Image:
        with self._lock:
            number = max(self.images, default=0) + 1 if image.number is None else image.number
            if not 1 <= number <= MAX_INT or image.status is Status.DELETED:
                raise Invalid("no image can be added with this number or status")
            if number in self.images or image.id in {kept.id for kept in self.images.values()}:
                raise Duplicate("an image of that identifier exists, or existed")
            return self._keep(
                replace(image, number=number, id=image.id or str(uuid.uuid4()), created_at=image.created_at or now())
            )

    def get(self, ctx: Context, image_id: str) -> Image:
        with self._lock:
            return self._found(image_id)

    def find(self, ctx: Context, query: Query) -> Page:
        with self._lock:
            limit = min(query.limit, MAX_PAGE)
            found = [
                image
                for number, image in sorted(self.images.items())
                if number > query.after and not image.deleted and query.visibility in (None, image.visibility)
            ]
            return Page(images=tuple(found[:limit]), after=found[limit - 1].number if len(found) > limit else None)

    def update(self, ctx: Context, image_id: str, change: ImageChange, *, expect: Status | None = None) -> Image:
        with self._lock:
            image = self._found(image_id)
            if change.status is Status.DELETED:
                raise Invalid("an image is removed, not updated to be deleted")
            if expect not in (None, image.status):
                raise WrongState(f"image {image.number} is {image.status}, not {expect}")
            given = change.given()
            given["properties"] = {**image.properties, **given.get("properties", {})}
            check_properties(given["properties"])
            return self._keep(replace(image, **given, updated_at=now()))

    def remove(self, ctx: Context, image_id: str) -> Image:
        with self._lock:
            return self._keep(replace(self._found(image_id), status=Status.DELETED, deleted_at=now()))

    def _found(self, image_id: str) -> Image:
        for image in self.images.values():
            if image_id in (image.id, str(image.number)) and not image.deleted:
                return image
        raise NotFound(f"there is no image {image_id!r}")

    def _keep(self, image: Image) -> Image:
        self.images[image.number] = replace(image, properties=dict(image.properties))
        return image
