# SPDX-License-Identifier: Apache-2.0
"""SqlRegistry: the Registry of core/ports.py over SQLAlchemy Core.

Every move of a status is one UPDATE with the status that is expected, so the database decides races. A write
transaction begins with a write, so that SQLite takes its lock at once and never has to upgrade one.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from glance.core.context import Context
from glance.core.errors import Duplicate, Invalid, NotFound, WrongState
from glance.core.image import MAX_PAGE, Image, ImageChange, Page, Query, Status, Visibility
from glance.core.values import MAX_INT, check_properties, shown
from glance.registry.db.engine import translated
from glance.registry.db.models import ImageRow, LocationRow, PropertyRow, TagRow

DIGITS = 18  # of a number that surely fits into 64 bits

IMAGES: Any = ImageRow.__table__
LOCATIONS: Any = LocationRow.__table__
PROPERTIES: Any = PropertyRow.__table__
TAGS: Any = TagRow.__table__

ALIVE = IMAGES.c.status != str(Status.DELETED)
SIDE_TABLES = frozenset({"locations", "properties", "tags"})
IMAGE_COLUMNS = tuple(column.name for column in IMAGES.columns)


class SqlRegistry:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, ctx: Context, image: Image) -> Image:
        if image.number is not None and not 1 <= image.number <= MAX_INT:
            raise Invalid(f"the number of an image must be from 1 to {MAX_INT}")
        _check_alive(image.status)
        row: dict[str, Any] = {name: getattr(image, name) for name in IMAGE_COLUMNS}
        row |= {
            "id": image.id or str(uuid.uuid4()),
            "status": str(image.status),
            "visibility": str(image.visibility),
            "created_at": image.created_at or _now(),
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

    def get(self, ctx: Context, image_id: str) -> Image:
        with translated(), self._engine.connect() as connection:
            return _one(connection, _named(image_id) & ALIVE, image_id)

    def find(self, ctx: Context, query: Query) -> Page:
        limit = min(query.limit, MAX_PAGE)
        statement = select(IMAGES).where(ALIVE, IMAGES.c.number > query.after)
        if query.visibility is not None:
            statement = statement.where(IMAGES.c.visibility == str(query.visibility))
        statement = statement.order_by(IMAGES.c.number).limit(limit + 1)
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(statement).all()
            images = _images(connection, rows[:limit])
        return Page(images=images, after=images[-1].number if len(rows) > limit else None)

    def update(self, ctx: Context, image_id: str, change: ImageChange, *, expect: Status | None = None) -> Image:
        given = change.given()
        _check_alive(given.get("status"))
        columns = {name: _plain(value) for name, value in given.items() if name not in SIDE_TABLES}
        condition = _named(image_id) & ALIVE
        expected = condition if expect is None else condition & (IMAGES.c.status == str(expect))
        with translated(), self._engine.begin() as connection:
            statement = update(IMAGES).where(expected).values(**columns, updated_at=_now())
            if connection.execute(statement).rowcount == 0:
                image = _one(connection, condition, image_id)
                raise WrongState(f"image {image.number} is {image.status}, not {expect}")
            image = _one(connection, condition, image_id)
            if not given.keys() & SIDE_TABLES:
                return image
            _change_sides(connection, image, given)
            return _one(connection, condition, image_id)

    def remove(self, ctx: Context, image_id: str) -> Image:
        gone = {"status": str(Status.DELETED), "deleted_at": _now()}
        with translated(), self._engine.begin() as connection:
            statement = update(IMAGES).where(_named(image_id), ALIVE).values(gone)
            if connection.execute(statement).rowcount == 0:
                raise _not_found(image_id)
            return _one(connection, _named(image_id), image_id)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _check_alive(status: object) -> None:
    if status is Status.DELETED:
        raise Invalid("an image cannot be added as deleted or updated to be so: it is removed")


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Status | Visibility) else value


def _named(image_id: str) -> ColumnElement[bool]:
    """The condition that an image has this name: a number or a UUID."""
    named: ColumnElement[bool] = IMAGES.c.id == image_id
    if image_id.isascii() and image_id.isdigit() and len(image_id) <= DIGITS:
        named = IMAGES.c.number == int(image_id)
    return named


def _not_found(image_id: str) -> NotFound:
    return NotFound(f"there is no image {shown(image_id)}")


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
                **row._mapping,
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
    if "locations" in given:
        connection.execute(delete(LOCATIONS).where(LOCATIONS.c.image == image.number))
    named: Mapping[str, str] = given.get("properties", {})
    check_properties({**image.properties, **named})
    replaced = [name for name in named if name in image.properties]
    if replaced:
        own = PROPERTIES.c.image == image.number
        connection.execute(delete(PROPERTIES).where(own, PROPERTIES.c.name.in_(replaced)))
    _write_sides(connection, image.number, given.get("locations", ()), named, ())


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
