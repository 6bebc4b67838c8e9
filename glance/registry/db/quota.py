# SPDX-License-Identifier: Apache-2.0
"""What one tenant may have, in SQL: each function is one step of a transaction of sql.py.

`charged` is a column of images, and what a tenant has is their sum: so it cannot drift from what there is. A check
comes behind the write that it judges, and holds the tenant's lock until the transaction ends: whoever is next sees
the sum with that write, or without it. See docs/decisions/007-quotas.md."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from glance.core.errors import OverQuota
from glance.registry.db.engine import Undone
from glance.registry.db.models import ImageRow, QuotaLockRow
from glance.registry.db.rows import ALIVE

IMAGES: Any = ImageRow.__table__
LOCKS: Any = QuotaLockRow.__table__


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Of each tenant; what belongs to nobody counts as of one more. 0: any number."""

    bytes: int = 0
    images: int = 0


def lowers(connection: Connection, named: ColumnElement[bool], charged: int) -> bool:
    """Whether an image has been charged for as many bytes, or more. Locks it."""
    enough = update(IMAGES).where(named, IMAGES.c.charged >= charged).values(charged=charged)
    return connection.execute(enough).rowcount == 1


def check_bytes(connection: Connection, owner: str | None, charged: int, most: int) -> None:
    """Behind a write that charges for so many bytes of one image. Raises OverQuota."""
    gives = f"the quota user_storage_quota gives a tenant {most} bytes"
    if charged > most:  # not summed up: not every database knows numbers over 2**63
        raise OverQuota(f"{gives}, and {charged} were to come for one image")
    _lock(connection, owner)
    total = select(func.sum(IMAGES.c.charged)).where(_of(owner), IMAGES.c.charged > 0)
    others = int(connection.execute(total).scalar() or 0) - charged
    if others + charged > most:
        raise OverQuota(f"{gives}: other images use {others}, and {charged} do not fit beside them")


def check_images(connection: Connection, owner: str | None, most: int) -> None:
    """Behind the insert of one. Raises OverQuota."""
    _lock(connection, owner)
    alive = select(func.count()).select_from(IMAGES).where(_of(owner), ALIVE)
    count = connection.execute(alive).scalar_one()
    if count > most:
        raise OverQuota(f"the quota image_count_quota gives a tenant {most} images, and there are {count - 1}")


def _of(owner: str | None) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = IMAGES.c.owner.is_(None) if owner is None else IMAGES.c.owner == owner
    return condition


def _lock(connection: Connection, owner: str | None) -> None:
    """Let the checks of one tenant come one after the other. Always the last lock of a transaction, so that nobody
    who has it waits for another one."""
    key = owner or ""
    if connection.execute(update(LOCKS).where(LOCKS.c.owner == key).values(owner=key)).rowcount == 0:
        try:
            connection.execute(insert(LOCKS).values(owner=key))
        except IntegrityError as error:
            raise Undone("another request has made this lock") from error
