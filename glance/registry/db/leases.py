# SPDX-License-Identifier: Apache-2.0
"""Who works on the bytes of which image, in SQL: each function is one step of a transaction of sql.py."""

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, case, delete, select, update

from glance.core.image import Status
from glance.registry.db.models import ImageRow, LocationRow, now

IMAGES = cast(Table, ImageRow.__table__)
LOCATIONS = cast(Table, LocationRow.__table__)
PENDING = str(Status.PENDING_DELETE)


def stalled(connection: Connection, limit: int, *, pending: bool) -> list[tuple[int, datetime]]:
    """Numbers and leases of images whose lease is over, the longest first: of those whose deletion is pending, or of
    the others."""
    kind = IMAGES.c.status == PENDING if pending else IMAGES.c.status != PENDING
    over = select(IMAGES.c.number, IMAGES.c.lease_until).where(IMAGES.c.lease_until <= now(), kind)
    rows = connection.execute(over.order_by(IMAGES.c.lease_until).limit(limit))
    return [(row.number, row.lease_until) for row in rows]


def claim(connection: Connection, number: int, lease_until: datetime, holder: str, lease: int) -> bool:
    """Take over an image that nobody has taken over since its lease was read."""
    same = (IMAGES.c.number == number) & (IMAGES.c.lease_until == lease_until)
    values = {"holder": holder, "lease_until": now() + timedelta(seconds=lease)}
    return connection.execute(update(IMAGES).where(same).values(values)).rowcount == 1


def release(connection: Connection, named: ColumnElement[bool]) -> None:
    """End the lease; forget the locations of an image that is not active, and charge nobody for it; and call one
    deleted whose deletion was pending."""
    status = case((IMAGES.c.status == PENDING, str(Status.DELETED)), else_=IMAGES.c.status)
    charged = case((IMAGES.c.status == str(Status.ACTIVE), IMAGES.c.charged))
    free: dict[str, Any] = {"holder": None, "lease_until": None, "charged": charged, "status": status}
    numbers = select(IMAGES.c.number).where(named, IMAGES.c.status != str(Status.ACTIVE))
    connection.execute(delete(LOCATIONS).where(LOCATIONS.c.image.in_(numbers)))
    connection.execute(update(IMAGES).where(named).values(free))


def until(seconds: int | None) -> datetime | None:
    """The end of a lease that begins now; None: there is none."""
    return None if seconds is None else now() + timedelta(seconds=seconds)


def held() -> ColumnElement[bool]:
    """Whether somebody is at work on the bytes of an image, as far as is known."""
    return IMAGES.c.holder.is_not(None) & (IMAGES.c.lease_until > now())


def held_by(holder: str | None) -> ColumnElement[bool]:
    return IMAGES.c.holder.is_(None) if holder is None else IMAGES.c.holder == holder


def holder(connection: Connection, named: ColumnElement[bool]) -> str | None:
    found: str | None = connection.execute(select(IMAGES.c.holder).where(named)).scalar_one()
    return found
