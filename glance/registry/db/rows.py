# SPDX-License-Identifier: Apache-2.0
"""Image ↔ rows: one in images, and those of its locations, properties and tags. Each function is one step of a
transaction of sql.py."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, false, insert, select

from glance.core.errors import NotFound
from glance.core.image import Image, Status, Visibility
from glance.core.values import check_properties, is_image_number, is_uuid, shown
from glance.registry.db.models import ImageRow, LocationRow, PropertyRow, TagRow, start_of

IMAGES: Any = ImageRow.__table__
LOCATIONS: Any = LocationRow.__table__
PROPERTIES: Any = PropertyRow.__table__
TAGS: Any = TagRow.__table__

ALIVE = IMAGES.c.deleted == false()
SIDES = frozenset({"locations", "properties", "tags", "dropped"})  # fields of a change for the other tables
KEPT = ("deleted", "holder", "lease_until")  # columns that are no fields of an image
COLUMNS = tuple(column.name for column in IMAGES.columns if column.name not in KEPT)


def named(image_id: str) -> ColumnElement[bool]:
    """The condition that an image has this name: a number or a UUID. Other text no database is asked for: not every
    one takes all of Unicode."""
    condition: ColumnElement[bool] = false()
    if is_image_number(image_id):
        condition = IMAGES.c.number == int(image_id)
    elif is_uuid(image_id):
        condition = IMAGES.c.id == image_id
    return condition


def one(connection: Connection, condition: ColumnElement[bool], image_id: str = "") -> Image:
    """Raises NotFound, with the name that was asked for."""
    row = connection.execute(select(IMAGES).where(condition)).one_or_none()
    if row is None:
        raise NotFound(f"there is no image {shown(image_id)}")
    return _images(connection, [row])[0]


def in_order(connection: Connection, numbers: list[int]) -> tuple[Image, ...]:
    """The images of these numbers, in their order."""
    if not numbers:
        return ()
    rows = {row.number: row for row in connection.execute(select(IMAGES).where(IMAGES.c.number.in_(numbers)))}
    return _images(connection, [rows[number] for number in numbers])


def columns_of(image: Image) -> dict[str, Any]:
    """What stands in the table of images. A number that is None is left to the database."""
    columns = {name: plain(getattr(image, name)) for name in COLUMNS}
    if image.number is None:
        del columns["number"]
    return columns


def plain(value: object) -> object:
    return str(value) if isinstance(value, Status | Visibility) else value


def write_sides(
    connection: Connection,
    number: int | None,
    locations: Iterable[str],
    properties: Mapping[str, str],
    tags: Iterable[str],
) -> None:
    own = [{"name": name, "value": value, "start": start_of(value)} for name, value in properties.items()]
    for table, rows in (
        (LOCATIONS, [{"position": i, "url": url} for i, url in enumerate(locations)]),
        (PROPERTIES, own),
        (TAGS, [{"tag": tag} for tag in tags]),
    ):
        if rows:
            connection.execute(insert(table), [{"image": number, **row} for row in rows])


def change_sides(connection: Connection, image: Image, given: Mapping[str, Any]) -> None:
    """`given` are the fields of a change. Raises TooMany, Invalid."""
    for name, table in (("locations", LOCATIONS), ("tags", TAGS)):
        if name in given:
            connection.execute(delete(table).where(table.c.image == image.number))
    new: Mapping[str, str] = given.get("properties", {})
    dropped: frozenset[str] = given.get("dropped", frozenset())
    check_properties({**{name: own for name, own in image.properties.items() if name not in dropped}, **new})
    replaced = [name for name in image.properties if name in new or name in dropped]
    if replaced:
        own = PROPERTIES.c.image == image.number
        connection.execute(delete(PROPERTIES).where(own, PROPERTIES.c.name.in_(replaced)))
    write_sides(connection, image.number, given.get("locations", ()), new, given.get("tags", ()))


def _images(connection: Connection, rows: list[Row[Any]]) -> tuple[Image, ...]:
    """With one query per side table."""
    numbers = [row.number for row in rows]
    locations: dict[int, list[str]] = {number: [] for number in numbers}
    properties: dict[int, dict[str, str]] = {number: {} for number in numbers}
    tags: dict[int, set[str]] = {number: set() for number in numbers}
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
