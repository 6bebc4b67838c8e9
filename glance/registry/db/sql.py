# SPDX-License-Identifier: Apache-2.0
"""SqlRegistry: the Registry of core/ports.py over SQLAlchemy Core.

Every move of a status is one UPDATE with the status and the rights that are expected, so the database decides
races. A write transaction begins with a write, so that SQLite takes its lock at once and never has to upgrade one.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Engine, Row, case, delete, false, insert, select, update
from sqlalchemy.exc import IntegrityError

from glance.core.access import can_change
from glance.core.context import Context
from glance.core.errors import Duplicate, Invalid, NotAllowed, NotFound, Protected, WrongState
from glance.core.image import UNSET, Image, ImageChange, Member, MemberStatus, Status, Visibility
from glance.core.policy import Action, Policy
from glance.core.query import MAX_PAGE, Page, Query, position_of
from glance.core.values import MAX_INT, check_properties, is_uuid, shown
from glance.registry.db import leases, members
from glance.registry.db.engine import translated
from glance.registry.db.models import ImageRow, LocationRow, PropertyRow, TagRow, now
from glance.registry.db.query import changeable_by, select_page, visible_to

_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)  # surely fits into 64 bits
TICK = timedelta(microseconds=1)

IMAGES: Any = ImageRow.__table__
LOCATIONS: Any = LocationRow.__table__
PROPERTIES: Any = PropertyRow.__table__
TAGS: Any = TagRow.__table__

ALIVE = IMAGES.c.deleted == false()
SIDE_TABLES = frozenset({"locations", "properties", "tags", "dropped"})
KEPT = ("deleted", "holder", "lease_until")  # columns that are no fields of an image
IMAGE_COLUMNS = tuple(column.name for column in IMAGES.columns if column.name not in KEPT)
CLEANING = timedelta(seconds=60)  # that who deletes an image has to remove its bytes


class SqlRegistry:
    """`accept_members`: who is made a member has accepted, as before there was an answer to give."""

    def __init__(self, engine: Engine, *, policy: Policy | None = None, accept_members: bool = False) -> None:
        self._engine = engine
        self._policy = policy or Policy()
        self._first_answer = MemberStatus.ACCEPTED if accept_members else MemberStatus.PENDING

    def check(self) -> None:
        with translated(), self._engine.connect() as connection:
            connection.execute(select(IMAGES.c.number).limit(1))

    def add(self, ctx: Context, image: Image) -> Image:
        if image.number is not None and not 1 <= image.number <= MAX_INT:
            raise Invalid(f"the number of an image must be from 1 to {MAX_INT}")
        _check_alive(image.status)
        if image.visibility is Visibility.PUBLIC:
            self._policy.check(ctx, Action.PUBLICIZE_IMAGE)
        if not ctx.is_admin:
            image = replace(image, owner=ctx.tenant)
        created_at = image.created_at or now()
        row: dict[str, Any] = {name: getattr(image, name) for name in IMAGE_COLUMNS}
        row |= {
            "id": image.id or str(uuid.uuid4()),
            "status": str(image.status),
            "visibility": str(image.visibility),
            "created_at": created_at,
            "updated_at": created_at,
            "lease_until": now() if image.copy_from is not None else None,
        }
        if image.number is None:
            del row["number"]
        with translated():
            try:
                with self._engine.begin() as connection:
                    inserted: Any = connection.execute(insert(IMAGES).values(row))
                    number = inserted.inserted_primary_key[0]
                    _write_sides(connection, number, image.locations, image.properties, image.tags)
                    return _one(connection, IMAGES.c.number == number)
            except IntegrityError as error:
                raise Duplicate("an image of that identifier exists, or existed") from error

    def get(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        condition = _named(image_id) if deleted and ctx.is_admin else _named(image_id) & ALIVE
        with translated(), self._engine.connect() as connection:
            return _one(connection, condition & visible_to(ctx), image_id)

    def find(self, ctx: Context, query: Query) -> Page:
        query = replace(query, limit=min(query.limit, MAX_PAGE))
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(select_page(ctx, query)).all()
            images = _images(connection, rows[: query.limit])
        after = position_of(images[-1], query.order) if len(rows) > query.limit else None
        return Page(images=images, after=after)

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
        _check_alive(given.get("status"))
        try:
            self._check_rights(ctx, change)
        except NotAllowed:
            with translated(), self._engine.connect() as connection:
                _changeable(connection, ctx, image_id)  # who may not even see it is not told more than that
            raise
        expected = _named(image_id) & ALIVE & changeable_by(ctx)
        if expect is not None:
            expected &= IMAGES.c.status == str(expect)
        if holder is not None:
            expected &= IMAGES.c.holder == holder
        with translated(), self._engine.begin() as connection:
            if connection.execute(update(IMAGES).where(expected).values(_columns(given))).rowcount == 0:
                image = _changeable(connection, ctx, image_id)
                raise WrongState(f"image {image.number} is {image.status}, not {expect}, or in other hands")
            image = _one(connection, _named(image_id), image_id)
            if not given.keys() & SIDE_TABLES:
                return image
            _change_sides(connection, image, given)
            return _one(connection, _named(image_id), image_id)

    def remove(self, ctx: Context, image_id: str) -> Image:
        moment = now()
        gone = {
            "status": str(Status.DELETED),
            "deleted": True,
            "deleted_at": moment,
            "holder": None,
            "lease_until": moment + CLEANING,
        }
        allowed = _named(image_id) & ALIVE & (IMAGES.c.protected == false())
        foreign = self._policy.allows(ctx, Action.DELETE_FOREIGN_IMAGE)
        allowed &= visible_to(ctx) if foreign else changeable_by(ctx)
        with translated(), self._engine.begin() as connection:
            if connection.execute(update(IMAGES).where(allowed).values(gone)).rowcount == 0:
                image = _visible(connection, ctx, image_id) if foreign else _changeable(connection, ctx, image_id)
                raise Protected(f"image {image.number} is protected against deletion: update it first")
            image = _one(connection, _named(image_id), image_id)
            members.clear(connection, image)
            if not image.locations:
                leases.release(connection, _named(image_id))
            return image

    def release(self, ctx: Context, image_id: str) -> None:
        _check_admin(ctx)
        with translated(), self._engine.begin() as connection:
            if leases.release(connection, _named(image_id)) == 0:
                raise _not_found(image_id)

    def claim_stalled(self, ctx: Context, holder: str, *, lease: int, limit: int) -> tuple[Image, ...]:
        _check_admin(ctx)
        with translated():
            with self._engine.connect() as connection:
                stalled = leases.stalled(connection, limit)
            claimed = []
            for number, lease_until in stalled:
                with self._engine.begin() as connection:
                    if leases.claim(connection, number, lease_until, holder, lease):
                        claimed.append(_one(connection, IMAGES.c.number == number))
            return tuple(claimed)

    def members(self, ctx: Context, image_id: str) -> tuple[Member, ...]:
        with translated(), self._engine.connect() as connection:
            return members.of_image(connection, ctx, _visible(connection, ctx, image_id))

    def memberships(self, ctx: Context, tenant: str) -> tuple[Member, ...]:
        with translated(), self._engine.connect() as connection:
            return members.of_tenant(connection, ctx, tenant)

    def set_members(
        self, ctx: Context, image_id: str, wanted: Mapping[str, bool | None], *, replace: bool = False
    ) -> tuple[Member, ...]:
        with translated(), self._engine.begin() as connection:
            image = _to_share(connection, ctx, image_id, share=bool(wanted))
            members.change(connection, image, wanted, replace, self._first_answer)
            return members.of_image(connection, ctx, image)

    def set_member_status(self, ctx: Context, image_id: str, tenant: str, status: MemberStatus) -> Member:
        with translated(), self._engine.begin() as connection:
            return members.answer(connection, ctx, _visible(connection, ctx, image_id), tenant, status)

    def drop_member(self, ctx: Context, image_id: str, tenant: str) -> None:
        with translated(), self._engine.begin() as connection:
            image = _to_share(connection, ctx, image_id, share=False)
            members.drop(connection, image, tenant)

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
    allowed = _named(image_id) & ALIVE & visible_to(ctx) & (changeable_by(ctx) | members.may_share(ctx))
    locked = update(IMAGES).where(allowed).values(visibility=shared if share else visibility)
    if connection.execute(locked).rowcount == 0:
        _visible(connection, ctx, image_id)
        raise NotAllowed("only the owner of an image, and members that may share it, give it members")
    return _one(connection, _named(image_id), image_id)


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """What an update sets in the table of images. To renew a lease changes nothing of the image."""
    columns: dict[str, Any] = {name: _plain(value) for name, value in given.items() if name not in SIDE_TABLES}
    if "lease" in columns:
        lease = columns.pop("lease")
        columns["lease_until"] = None if lease is None else now() + timedelta(seconds=lease)
    if given.keys() != {"lease"}:
        columns["updated_at"] = _updated_at()
    return columns


def _check_admin(ctx: Context) -> None:
    if not ctx.is_admin:
        raise NotAllowed("only the daemons and admins may do this")


def _updated_at() -> ColumnElement[datetime]:
    """Now, but never created_at: by that one sees whether an image has been updated."""
    moment = now()
    return case((IMAGES.c.created_at == moment, moment + TICK), else_=moment)


def _check_alive(status: object) -> None:
    if status is Status.DELETED:
        raise Invalid("an image cannot be added as deleted or updated to be so: it is removed")


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Status | Visibility) else value


def _named(image_id: str) -> ColumnElement[bool]:
    """The condition that an image has this name: a number or a UUID. Other text the database is not asked for:
    not every one takes all of Unicode."""
    if _NUMBER.fullmatch(image_id):
        return cast(ColumnElement[bool], IMAGES.c.number == int(image_id))
    return cast(ColumnElement[bool], IMAGES.c.id == image_id) if is_uuid(image_id) else false()


def _not_found(image_id: str) -> NotFound:
    return NotFound(f"there is no image {shown(image_id)}")


def _visible(connection: Connection, ctx: Context, image_id: str) -> Image:
    return _one(connection, _named(image_id) & ALIVE & visible_to(ctx), image_id)


def _changeable(connection: Connection, ctx: Context, image_id: str) -> Image:
    """Raises NotFound, or NotAllowed for an image that is another's."""
    image = _visible(connection, ctx, image_id)
    if not can_change(ctx, image):
        raise NotAllowed(f"image {image.number} belongs to another tenant")
    return image


def _one(connection: Connection, condition: ColumnElement[bool], image_id: str = "") -> Image:
    row = connection.execute(select(IMAGES).where(condition)).one_or_none()
    if row is None:
        raise _not_found(image_id)
    return _images(connection, [row])[0]


def _images(connection: Connection, rows: Iterable[Row[Any]]) -> tuple[Image, ...]:
    """Rows → images, with one query per side table."""
    rows = list(rows)
    numbers = [row.number for row in rows]
    locations: dict[int, list[str]] = {number: [] for number in numbers}
    properties: dict[int, dict[str, str]] = {number: {} for number in numbers}
    tags: dict[int, set[str]] = {number: set() for number in numbers}
    if numbers:
        for side in _side(connection, LOCATIONS, numbers, LOCATIONS.c.position):
            locations[side.image].append(side.url)
        for side in _side(connection, PROPERTIES, numbers, PROPERTIES.c.name):
            properties[side.image][side.name] = side.value
        for side in _side(connection, TAGS, numbers, TAGS.c.tag):
            tags[side.image].add(side.tag)
    return tuple(
        Image(
            **{
                **{name: value for name, value in row._mapping.items() if name not in KEPT},
                "status": Status(row.status),
                "visibility": Visibility(row.visibility),
                "locations": tuple(locations[row.number]),
                "properties": properties[row.number],
                "tags": frozenset(tags[row.number]),
            }
        )
        for row in rows
    )


def _side(connection: Connection, table: Any, numbers: list[int], order: Any) -> Iterable[Row[Any]]:
    return connection.execute(select(table).where(table.c.image.in_(numbers)).order_by(table.c.image, order))


def _change_sides(connection: Connection, image: Image, given: Mapping[str, Any]) -> None:
    for name, table in (("locations", LOCATIONS), ("tags", TAGS)):
        if name in given:
            connection.execute(delete(table).where(table.c.image == image.number))
    named: Mapping[str, str] = given.get("properties", {})
    dropped: frozenset[str] = given.get("dropped", frozenset())
    check_properties({**{name: own for name, own in image.properties.items() if name not in dropped}, **named})
    replaced = [name for name in image.properties if name in named or name in dropped]
    if replaced:
        own = PROPERTIES.c.image == image.number
        connection.execute(delete(PROPERTIES).where(own, PROPERTIES.c.name.in_(replaced)))
    _write_sides(connection, image.number, given.get("locations", ()), named, given.get("tags", ()))


def _write_sides(
    connection: Connection,
    number: int | None,
    locations: Iterable[str],
    properties: Mapping[str, str],
    tags: Iterable[str],
) -> None:
    for table, rows in (
        (LOCATIONS, [{"image": number, "position": i, "url": url} for i, url in enumerate(locations)]),
        (PROPERTIES, [{"image": number, "name": name, "value": value} for name, value in properties.items()]),
        (TAGS, [{"image": number, "tag": tag} for tag in tags]),
    ):
        if rows:
            connection.execute(insert(table), rows)
