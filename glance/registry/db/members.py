# SPDX-License-Identifier: Apache-2.0
"""With whom images are shared, in SQL: each function is one step of a transaction of sql.py."""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, Table, delete, false, insert, select, update

from glance.core.access import can_change, check_members_change, speaks_for
from glance.core.context import Context
from glance.core.errors import NotAllowed, NotFound
from glance.core.image import Image, Member, MemberStatus
from glance.core.quota import ImageQuota
from glance.core.values import shown
from glance.registry.db.models import ImageRow, MemberRow, now

IMAGES = cast(Table, ImageRow.__table__)
MEMBERS = cast(Table, MemberRow.__table__)


def of_image(connection: Connection, ctx: Context, image: Image) -> tuple[Member, ...]:
    """All for its owner and admins; for a member himself."""
    statement = _select().where(MEMBERS.c.image == image.number).order_by(MEMBERS.c.member)
    if not can_change(ctx, image):
        statement = statement.where(MEMBERS.c.member == ctx.tenant)
    return tuple(_member(row) for row in connection.execute(statement))


def of_tenant(connection: Connection, ctx: Context, tenant: str) -> tuple[Member, ...]:
    statement = _select().where(MEMBERS.c.member == tenant).order_by(MEMBERS.c.image)
    if not speaks_for(ctx, tenant):
        statement = statement.where(IMAGES.c.owner == ctx.tenant) if ctx.tenant else statement.where(false())
    return tuple(_member(row) for row in connection.execute(statement))


def change(
    connection: Connection,
    ctx: Context,
    image: Image,
    wanted: Mapping[str, bool | None],
    replace: bool,
    first_answer: MemberStatus,
    quota: ImageQuota,
) -> None:
    """Add, change and, with `replace`, remove members. Raises NotAllowed, TooMany."""
    moment = now()
    own = MEMBERS.c.image == image.number
    rights = {row.member: row.can_share for row in connection.execute(select(MEMBERS).where(own))}
    there = rights.keys()
    check_members_change(ctx, image, rights, wanted, replace=replace)
    kept = there & wanted.keys() if replace else there
    quota.check_members(len(kept | wanted.keys()), len(there))
    if replace and there - kept:
        connection.execute(delete(MEMBERS).where(own, MEMBERS.c.member.in_(there - kept)))
    for tenant in kept & wanted.keys():
        if (can_share := wanted[tenant]) is not None:
            statement = update(MEMBERS).where(own, MEMBERS.c.member == tenant)
            connection.execute(statement.values(can_share=can_share, updated_at=moment))
    rows = [
        {
            "image": image.number,
            "member": tenant,
            "can_share": bool(can_share),
            "status": str(first_answer),
            "created_at": moment,
            "updated_at": moment,
        }
        for tenant, can_share in wanted.items()
        if tenant not in there
    ]
    if rows:
        connection.execute(insert(MEMBERS), rows)


def answer(connection: Connection, ctx: Context, image: Image, tenant: str, status: MemberStatus) -> Member:
    """Raises NotFound, NotAllowed."""
    if not speaks_for(ctx, tenant):
        raise NotAllowed("only the member himself says whether he accepts an image")
    one = (MEMBERS.c.image == image.number) & (MEMBERS.c.member == tenant)
    if connection.execute(update(MEMBERS).where(one).values(status=str(status), updated_at=now())).rowcount == 0:
        raise _no_member(tenant)
    return _member(connection.execute(_select().where(one)).one())


def drop(connection: Connection, ctx: Context, image: Image, tenant: str) -> None:
    """Raises NotFound, NotAllowed."""
    check_members_change(ctx, image, {tenant: False}, {}, replace=True)
    one = (MEMBERS.c.image == image.number) & (MEMBERS.c.member == tenant)
    if connection.execute(delete(MEMBERS).where(one)).rowcount == 0:
        raise _no_member(tenant)


def clear(connection: Connection, image: Image) -> None:
    connection.execute(delete(MEMBERS).where(MEMBERS.c.image == image.number))


def _select() -> Select[Any]:
    return select(IMAGES.c.id, MEMBERS).join(IMAGES, IMAGES.c.number == MEMBERS.c.image)


def _member(row: Row[Any]) -> Member:
    return Member(
        image_id=row.id,
        member=row.member,
        can_share=row.can_share,
        status=MemberStatus(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _no_member(tenant: str) -> NotFound:
    return NotFound(f"{shown(tenant)} is no member of this image")
