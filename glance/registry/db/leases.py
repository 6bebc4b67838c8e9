# SPDX-License-Identifier: Apache-2.0
"""Who works on the bytes of which image, in SQL: each function is one step of a transaction of sql.py."""

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, delete, select, update

from glance.core.image import Status
from glance.registry.db.models import ImageRow, LocationRow, now

IMAGES = cast(Table, ImageRow.__table__)
LOCATIONS = cast(Table, LocationRow.__table__)


def stalled(connection: Connection, limit: int) -> list[tuple[int, datetime]]:
    """Numbers and leases of images whose lease is over, the longest first."""
    over = select(IMAGES.c.number, IMAGES.c.lease_until).where(IMAGES.c.lease_until <= now())
    rows = connection.execute(over.order_by(IMAGES.c.lease_until).limit(limit))
    return [(row.number, row.lease_until) for row in rows]


def claim(connection: Connection, number: int, lease_until: datetime, holder: str, lease: int) -> bool:
    """Take over an image that nobody has taken over since its lease was read."""
    same = (IMAGES.c.number == number) & (IMAGES.c.lease_until == lease_until)
    values = {"holder": holder, "lease_until": now() + timedelta(seconds=lease)}
    return connection.execute(update(IMAGES).where(same).values(values)).rowcount == 1


def release(connection: Connection, named: ColumnElement[bool]) -> int:
    """End the lease, and forget the locations of an image that is not active; the number of such images."""
    free: dict[str, Any] = {"holder": None, "lease_until": None}
    count = connection.execute(update(IMAGES).where(named).values(free)).rowcount
    numbers = select(IMAGES.c.number).where(named, IMAGES.c.status != str(Status.ACTIVE))
    connection.execute(delete(LOCATIONS).where(LOCATIONS.c.image.in_(numbers)))
    return count
