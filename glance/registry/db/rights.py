# SPDX-License-Identifier: Apache-2.0
"""core/access.py in SQL: which images a caller may see, change and share. A test compares the two."""

from typing import cast

from sqlalchemy import ColumnElement, Table, false, or_, select, true

from glance.core.access import OPEN
from glance.core.context import Context
from glance.core.image import Visibility
from glance.registry.db.models import ImageRow, MemberRow

IMAGES = cast(Table, ImageRow.__table__)
MEMBERS = cast(Table, MemberRow.__table__)

Condition = ColumnElement[bool]


def visible_to(ctx: Context) -> Condition:
    """The twin of can_see()."""
    if ctx.is_admin:
        return true()
    visibility = IMAGES.c.visibility
    is_open = visibility.in_(sorted(map(str, OPEN)))
    if not ctx.tenant:
        return is_open
    return or_(is_open, IMAGES.c.owner == ctx.tenant, (visibility == str(Visibility.SHARED)) & _has_member(ctx))


def changeable_by(ctx: Context) -> Condition:
    """The twin of can_change()."""
    if ctx.is_admin:
        return true()
    return IMAGES.c.owner == ctx.tenant if ctx.tenant else false()


def shareable_by(ctx: Context) -> Condition:
    """The twin of can_share(), for images that are visible to the caller."""
    if ctx.is_admin or not ctx.tenant:
        return changeable_by(ctx)
    return changeable_by(ctx) | _has_member(ctx, MEMBERS.c.can_share == true())


def _has_member(ctx: Context, *conditions: Condition) -> Condition:
    same = MEMBERS.c.image == IMAGES.c.number
    return select(MEMBERS.c.image).where(same, MEMBERS.c.member == ctx.tenant, *conditions).exists()
