# SPDX-License-Identifier: Apache-2.0
"""SqlRegistry: the Registry of core/ports.py over SQLAlchemy Core.

Every move of a status is one UPDATE with the status and the rights that are expected, so the database decides
races. A write transaction begins with a write, so that SQLite takes its lock at once and never has to upgrade one.
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, case, false, insert, update
from sqlalchemy.exc import IntegrityError

from glance.core.access import can_change
from glance.core.context import Context
from glance.core.errors import Duplicate, Invalid, NotAllowed, Protected, WrongState
from glance.core.image import UNSET, Image, ImageChange, Member, MemberStatus, Status, Visibility
from glance.core.policy import Action, Policy
from glance.core.ports import CLEANING
from glance.core.query import MAX_PAGE, Page, Query, position_of
from glance.core.quota import ImageQuota
from glance.core.values import MAX_INT
from glance.registry.db import leases, members, numbers, quota, rows
from glance.registry.db.engine import reading, retried, writing
from glance.registry.db.migrate import touch
from glance.registry.db.models import ImageRow, now
from glance.registry.db.purge import is_purged
from glance.registry.db.quota import Quota
from glance.registry.db.rare import numbers_of_page
from glance.registry.db.rights import changeable_by, shareable_by, visible_to
from glance.registry.db.shape import shape_of, values_of

SILENT = frozenset({"lease", "charged"})  # fields that change nothing of an image that anybody sees
TICK = timedelta(microseconds=1)

TAKEN = "an image of that identifier exists, or existed"

IMAGES: Any = ImageRow.__table__
NO_QUOTA = Quota()
IMAGE_QUOTA = ImageQuota()


class SqlRegistry:
    """`accept_members`: who is made a member has accepted, as before there was an answer to give."""

    def __init__(
        self,
        engine: Engine,
        *,
        policy: Policy | None = None,
        accept_members: bool = False,
        quota: Quota = NO_QUOTA,
        image_quota: ImageQuota = IMAGE_QUOTA,
    ) -> None:
        self._quota = quota
        self._image_quota = image_quota
        self._engine = engine
        self._policy = policy or Policy()
        self._first_answer = MemberStatus.ACCEPTED if accept_members else MemberStatus.PENDING

    @retried
    def check(self) -> None:
        with writing(self._engine) as connection:
            touch(connection)

    @retried
    def add(self, ctx: Context, image: Image, *, lease: int | None = None) -> Image:
        if image.number is not None and not 1 <= image.number <= MAX_INT:
            raise Invalid(f"the number of an image must be from 1 to {MAX_INT}")
        _check_alive(image.status)
        if image.visibility is Visibility.PUBLIC:
            self._policy.check(ctx, Action.PUBLICIZE_IMAGE)
        if not ctx.is_admin:
            image = replace(image, owner=ctx.tenant)
        self._image_quota.check(image)
        chosen = image.number is not None or image.id != ""
        created_at = image.created_at or now()
        image = replace(image, id=image.id or str(uuid.uuid4()), created_at=created_at, updated_at=created_at)
        image = replace(image, charged=self._charged(image.charged, image.status))
        row = rows.columns_of(image) | {"lease_until": leases.until(0 if image.copy_from is not None else lease)}
        with writing(self._engine) as connection:
            numbers.before_adding(connection, image.number)
            try:
                inserted: Any = connection.execute(insert(IMAGES).values(row))
            except IntegrityError as error:
                raise Duplicate(TAKEN) from error
            numbers.after_adding(connection, image.number)
            number = inserted.inserted_primary_key[0]
            if chosen and is_purged(connection, number, image.id):  # asked last: now no purge can be under way
                raise Duplicate(TAKEN)
            rows.write_sides(connection, number, image.locations, image.properties, image.tags)
            if self._quota.images:
                quota.check_images(connection, image.owner, self._quota.images)
            if self._quota.bytes and image.charged is not None:
                quota.check_bytes(connection, image.owner, image.charged, self._quota.bytes)
            return rows.one(connection, IMAGES.c.number == number)

    @retried
    def get(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        with reading(self._engine) as connection:
            return rows.visible(connection, ctx, image_id, deleted=deleted)

    @retried
    def find(self, ctx: Context, query: Query) -> Page:
        query = replace(query, limit=min(query.limit, MAX_PAGE))
        shape, values = shape_of(ctx, query), values_of(ctx, query)
        with reading(self._engine) as connection:
            found = numbers_of_page(connection, shape, values)
            images = rows.read_page(connection, found[: query.limit], brief=query.brief)
        after = position_of(images[-1], query.order) if len(found) > len(images) else None
        return Page(images=images, after=after)

    @retried
    def update(
        self,
        ctx: Context,
        image_id: str,
        change: ImageChange,
        *,
        expect: Status | None = None,
        holder: str | None = None,
    ) -> Image:
        given = change.given()
        if "charged" in given:
            given["charged"] = self._charged(given["charged"], given.get("status"))
        _check_alive(given.get("status"))
        try:
            self._check_rights(ctx, change)
        except NotAllowed:
            with reading(self._engine) as connection:
                _changeable(connection, ctx, image_id)  # who may not even see it is not told more than that
            raise
        expected = rows.named(image_id) & rows.ALIVE & changeable_by(ctx)
        if expect is not None:
            expected &= IMAGES.c.status == str(expect)
        if holder is not None:
            expected &= IMAGES.c.holder == holder
        with writing(self._engine) as connection:
            grows = bool(self._quota.bytes) and _grows(connection, image_id, given)
            if connection.execute(update(IMAGES).where(expected).values(_columns(given))).rowcount == 0:
                image = _changeable(connection, ctx, image_id)
                if expect not in (None, image.status):
                    raise WrongState(f"the image is {image.status}, not {expect}")
                raise WrongState("another request has taken the image over")
            image = rows.one(connection, rows.named(image_id), image_id)
            if given.keys() & rows.SIDES:
                self._image_quota.check(change.applied_to(image), image)
                rows.change_sides(connection, image, given)
                image = rows.one(connection, rows.named(image_id), image_id)
            if grows:
                quota.check_bytes(connection, image.owner, given["charged"], self._quota.bytes)
            return image

    @retried
    def remove(self, ctx: Context, image_id: str, *, lease: int = CLEANING, delay: int | None = None) -> Image:
        moment, held = now(), leases.held()
        status = Status.DELETED if delay is None else Status.PENDING_DELETE
        gone = {
            "status": case((held, str(Status.DELETED)), else_=str(status)),
            "deleted": True,
            "deleted_at": moment,
            "updated_at": moment,
            "holder": case((held, IMAGES.c.holder)),
            "lease_until": case((held, IMAGES.c.lease_until), else_=leases.until(lease if delay is None else delay)),
        }
        allowed = rows.named(image_id) & rows.ALIVE & (IMAGES.c.protected == false())
        foreign = self._policy.allows(ctx, Action.DELETE_FOREIGN_IMAGE)
        allowed &= visible_to(ctx) if foreign else changeable_by(ctx)
        with writing(self._engine) as connection:
            if connection.execute(update(IMAGES).where(allowed).values(gone)).rowcount == 0:
                image = rows.visible(connection, ctx, image_id) if foreign else _changeable(connection, ctx, image_id)
                raise Protected("the image is protected against deletion: update it first")
            image = rows.one(connection, rows.named(image_id), image_id)
            members.clear(connection, image)
            if not image.locations:
                leases.release(connection, rows.named(image_id))
                return replace(image, status=Status.DELETED)
            if leases.holder(connection, rows.named(image_id)) is not None:
                return replace(image, locations=())
            return image

    @retried
    def release(self, ctx: Context, image_id: str, *, holder: str | None = None) -> None:
        _check_admin(ctx)
        with writing(self._engine) as connection:
            leases.release(connection, rows.named(image_id) & leases.held_by(holder))
            rows.one(connection, rows.named(image_id), image_id)

    def claim_stalled(
        self, ctx: Context, holder: str, *, lease: int, limit: int, pending: bool = False
    ) -> tuple[Image, ...]:
        _check_admin(ctx)
        with reading(self._engine) as connection:
            stalled = leases.stalled(connection, limit, pending=pending)
        claimed = []
        for number, lease_until in stalled:
            with writing(self._engine) as connection:
                if leases.claim(connection, number, lease_until, holder, lease):
                    claimed.append(rows.one(connection, IMAGES.c.number == number))
        return tuple(claimed)

    @retried
    def members(self, ctx: Context, image_id: str) -> tuple[Member, ...]:
        with reading(self._engine) as connection:
            return members.of_image(connection, ctx, rows.visible(connection, ctx, image_id))

    @retried
    def memberships(self, ctx: Context, tenant: str) -> tuple[Member, ...]:
        with reading(self._engine) as connection:
            return members.of_tenant(connection, ctx, tenant)

    @retried
    def set_members(
        self, ctx: Context, image_id: str, wanted: Mapping[str, bool | None], *, replace: bool = False
    ) -> tuple[Member, ...]:
        with writing(self._engine) as connection:
            image = _to_share(connection, ctx, image_id, share=bool(wanted))
            members.change(connection, ctx, image, wanted, replace, self._first_answer, self._image_quota)
            return members.of_image(connection, ctx, image)

    @retried
    def set_member_status(self, ctx: Context, image_id: str, tenant: str, status: MemberStatus) -> Member:
        with writing(self._engine) as connection:
            return members.answer(connection, ctx, rows.visible(connection, ctx, image_id), tenant, status)

    @retried
    def drop_member(self, ctx: Context, image_id: str, tenant: str) -> None:
        with writing(self._engine) as connection:
            image = _to_share(connection, ctx, image_id, share=False)
            members.drop(connection, ctx, image, tenant)

    def _charged(self, charged: int | None, status: object) -> int | None:
        """With no quota, nobody asks for bytes that are on their way; but one may be set later."""
        return charged if self._quota.bytes or status is Status.ACTIVE else None

    def _check_rights(self, ctx: Context, change: ImageChange) -> None:
        """Raises NotAllowed for what takes more than to own the image."""
        if change.visibility is Visibility.PUBLIC:
            self._policy.check(ctx, Action.PUBLICIZE_IMAGE)
        if change.owner is not UNSET and not ctx.is_admin:
            raise NotAllowed("only an admin may give an image to another owner")


def _to_share(connection: Connection, ctx: Context, image_id: str, *, share: bool) -> Image:
    """An image that the caller may share; locked until the transaction ends, so that changes of its members come
    one after the other. With `share`, a private one is shared from now on."""
    visibility = IMAGES.c.visibility
    shared = case((visibility == str(Visibility.PRIVATE), str(Visibility.SHARED)), else_=visibility)
    allowed = rows.named(image_id) & rows.ALIVE & visible_to(ctx) & shareable_by(ctx)
    locked = update(IMAGES).where(allowed).values(visibility=shared if share else visibility)
    if connection.execute(locked).rowcount == 0:
        rows.visible(connection, ctx, image_id)
        raise NotAllowed("only the owner of an image, and members that may share it, give it members")
    return rows.one(connection, rows.named(image_id), image_id)


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """What an update sets in the table of images."""
    columns: dict[str, Any] = {name: rows.plain(value) for name, value in given.items() if name not in rows.SIDES}
    if "lease" in columns:
        lease = columns.pop("lease")
        columns["lease_until"] = leases.until(lease)
    if not given or given.keys() - SILENT:
        columns["updated_at"] = _updated_at()
    return columns


def _grows(connection: Connection, image_id: str, given: Mapping[str, Any]) -> bool:
    """Whether a change charges an image for more bytes than before."""
    charged = given.get("charged")
    return charged is not None and not quota.lowers(connection, rows.named(image_id), charged)


def _check_admin(ctx: Context) -> None:
    if not ctx.is_admin:
        raise NotAllowed("only the daemons and admins may do this")


def _updated_at() -> ColumnElement[datetime]:
    """Now, but never created_at: by that one sees whether an image has been updated."""
    moment = now()
    return case((IMAGES.c.created_at == moment, moment + TICK), else_=moment)


def _check_alive(status: object) -> None:
    if status in (Status.DELETED, Status.PENDING_DELETE):
        raise Invalid("an image cannot be added as deleted or updated to be so: it is removed")


def _changeable(connection: Connection, ctx: Context, image_id: str) -> Image:
    """Raises NotFound, or NotAllowed for an image that is another's."""
    image = rows.visible(connection, ctx, image_id)
    if not can_change(ctx, image):
        raise NotAllowed("the image belongs to another tenant")
    return image
