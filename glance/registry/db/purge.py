# SPDX-License-Identifier: Apache-2.0
"""Deleted images: their rows go, their names stay taken (docs/decisions/005-purge.md)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, or_, select

from glance.core.image import Status
from glance.registry.db.engine import Undone, retried, writing
from glance.registry.db.models import ImageRow, LocationRow, PurgedRow, now

BATCH = 500  # images in one transaction, so that nobody waits long for it

IMAGES: Any = ImageRow.__table__
LOCATIONS: Any = LocationRow.__table__
PURGED: Any = PurgedRow.__table__


def purge(engine: Engine, age: timedelta) -> Iterator[int]:
    """Purge images that were deleted at least so long ago and of which no bytes are left. After each transaction, how
    many that were. Raises RegistryDown."""
    before, last = now() - age, 0
    while numbers := _purge_some(engine, before, last):
        yield len(numbers)
        last = numbers[-1]


def is_purged(connection: Connection, number: int, image_id: str) -> bool:
    """Whether one of these was the name of an image that was purged."""
    named = or_(PURGED.c.number == number, PURGED.c.id == image_id)
    return connection.execute(select(PURGED.c.number).where(named).limit(1)).first() is not None


@retried
def _purge_some(engine: Engine, before: datetime, last: int) -> list[int]:
    """The numbers of those that were purged, all behind `last`."""
    located = select(LOCATIONS.c.image).where(LOCATIONS.c.image == IMAGES.c.number).exists()
    due = (IMAGES.c.number > last, IMAGES.c.status == str(Status.DELETED), IMAGES.c.deleted_at <= before, ~located)
    with writing(engine) as connection:
        found = select(IMAGES.c.number, IMAGES.c.id).where(*due).order_by(IMAGES.c.number).limit(BATCH)
        names = [{"number": row.number, "id": row.id} for row in connection.execute(found)]
        numbers = [int(name["number"]) for name in names]
        if connection.execute(delete(IMAGES).where(IMAGES.c.number.in_(numbers))).rowcount != len(names):
            raise Undone("another purge has been faster")
        if names:
            connection.execute(insert(PURGED), names)
    return numbers
