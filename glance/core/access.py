# SPDX-License-Identifier: Apache-2.0
"""Who may see and change which image. registry/db/query.py says the same in SQL; a test compares the two.

What a caller may not see is not found; what he sees but may not change is not allowed.
"""

from collections.abc import Mapping

from glance.core.context import Context
from glance.core.errors import NotAllowed
from glance.core.image import Image, Member, Visibility
from glance.core.query import Query

OPEN = frozenset({Visibility.PUBLIC, Visibility.COMMUNITY})


def owns(ctx: Context, image: Image) -> bool:
    """A caller without a tenant, which the empty one is, owns nothing."""
    return bool(ctx.tenant) and image.owner == ctx.tenant


def can_see(ctx: Context, image: Image, membership: Member | None) -> bool:
    """Whether the caller may see an image by its name. `membership` is his own, whatever he answered."""
    if ctx.is_admin or owns(ctx, image) or image.visibility in OPEN:
        return True
    return image.visibility is Visibility.SHARED and membership is not None


def can_change(ctx: Context, image: Image) -> bool:
    return ctx.is_admin or owns(ctx, image)


def can_share(ctx: Context, image: Image, membership: Member | None) -> bool:
    """Return True if the caller may give the image new members: its owner, and members with `can_share`."""
    return can_change(ctx, image) or (membership is not None and membership.can_share)


def check_members_change(
    ctx: Context, image: Image, there: Mapping[str, bool], wanted: Mapping[str, bool | None], *, replace: bool
) -> None:
    """Check a change of members by a caller who may share the image. Raises NotAllowed.

    A member with `can_share` adds members and may leave; it neither removes others nor changes what they may do.
    `there` are the members with their `can_share`, `wanted` those to be set, with `replace` all others are removed.
    """
    if can_change(ctx, image):
        return
    removed = there.keys() - wanted.keys() if replace else set()
    changed = {tenant for tenant in there.keys() & wanted.keys() if wanted[tenant] not in (None, there[tenant])}
    if (removed | changed) - {ctx.tenant}:
        raise NotAllowed("only the owner of an image removes or changes its other members")


def speaks_for(ctx: Context, tenant: str) -> bool:
    """Whether the caller may answer for a tenant, and see all that is shared with him."""
    return ctx.is_admin or (bool(ctx.tenant) and ctx.tenant == tenant)


def is_listed(ctx: Context, query: Query, image: Image, membership: Member | None) -> bool:
    """Whether an image belongs into this caller's list, as far as its visibility is concerned."""
    if query.visibility is not None and image.visibility not in query.visibility:
        return False
    if owns(ctx, image) or image.visibility is Visibility.PUBLIC:
        return True
    if image.visibility is Visibility.COMMUNITY:
        return query.visibility is not None
    if ctx.is_admin and query.everyone:
        return True
    if image.visibility is Visibility.PRIVATE or membership is None:
        return False
    return query.member_status is None or membership.status in query.member_status
