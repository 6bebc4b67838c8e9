# SPDX-License-Identifier: Apache-2.0
"""Image ↔ rows: one in images, and those of its locations, properties and tags. Each function is one step of a
transaction of sql.py."""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal,
    literal_column,
    select,
    union_all,
)

from glance.core.context import Context
from glance.core.errors import NotFound
from glance.core.image import Image, Status, Visibility
from glance.core.query import ITEM_TEXT, MAX_PAGE_TEXT
from glance.core.values import check_properties, is_image_number, is_uuid, shown
from glance.registry.db.models import ImageRow, LocationRow, PropertyRow, TagRow, start_of
from glance.registry.db.rights import visible_to

IMAGES: Any = ImageRow.__table__
LOCATIONS: Any = LocationRow.__table__
PROPERTIES: Any = PropertyRow.__table__
TAGS: Any = TagRow.__table__

ALIVE = IMAGES.c.deleted == false()
SIDES = frozenset({"locations", "properties", "tags", "dropped"})  # fields of a change for the other tables
KEPT = ("deleted", "holder", "lease_until")  # columns that are no fields of an image
FIRST_ROWS = 32  # rows that are read at first for a page; all of them if it has the usual length
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
    return _one(connection, _RECORDS.where(condition), {}, image_id)


def visible(connection: Connection, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
    """The image of this name, if the caller may see it. Raises NotFound."""
    by_number = is_image_number(image_id)
    if not by_number and not is_uuid(image_id):
        raise _not_found(image_id)
    statement = _visible(by_number, deleted, ctx.is_admin, None if ctx.is_admin else ctx.tenant)
    return _one(connection, statement, {"name": int(image_id) if by_number else image_id}, image_id)


def read_page(connection: Connection, numbers: list[int], *, brief: bool) -> tuple[Image, ...]:
    """Return the images of these numbers, in their order: the first, and as many more as MAX_PAGE_TEXT allows.

    `brief`: without locations, properties and tags."""
    page: list[Row[Any]] = []
    text = 0
    for row in _iter_rows(connection, numbers, _BRIEF_PAGE if brief else _PAGE):
        text += int(row.text)
        if page and text > MAX_PAGE_TEXT:
            break
        page.append(row)
    return _images(connection, page, brief=brief) if page else ()


def _iter_rows(connection: Connection, numbers: list[int], statement: Select[Any]) -> Iterator[Row[Any]]:
    """Yield the rows of these numbers, in their order. To measure text takes as long as to read it, so few images are
    measured at first, and more only if a page has room for these."""
    start, count = 0, FIRST_ROWS
    while start < len(numbers):
        some = numbers[start : start + count]
        rows = {row.number: row for row in connection.execute(statement, {"numbers": some})}
        yield from (rows[number] for number in some)
        start, count = start + count, 4 * count


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
    """`given` are the fields of a change. Raises Invalid."""
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


def _not_found(image_id: str) -> NotFound:
    return NotFound(f"there is no image {shown(image_id)}")


def _one(connection: Connection, statement: Select[Any], values: Mapping[str, Any], image_id: str) -> Image:
    row = connection.execute(statement, values).one_or_none()
    if row is None:
        raise _not_found(image_id)
    return _images(connection, [row])[0]


# To build a statement takes longer than most databases need to answer it: these are built once.

_RECORDS = select(*(IMAGES.c[name] for name in COLUMNS))


def _text(table: Any, *columns: Any) -> ColumnElement[int]:
    """Select the number of characters that an image has in another table."""
    length = sum((func.char_length(column) for column in columns), literal(ITEM_TEXT))
    own = select(func.coalesce(func.sum(length), 0)).where(table.c.image == IMAGES.c.number)
    return own.scalar_subquery()


_COPY_FROM_TEXT = func.coalesce(func.char_length(IMAGES.c.copy_from), 0)
_TEXT = (
    _COPY_FROM_TEXT
    + _text(LOCATIONS, LOCATIONS.c.url)
    + _text(PROPERTIES, PROPERTIES.c.name, PROPERTIES.c.value)
    + _text(TAGS, TAGS.c.tag)
)
_OF_NUMBERS = IMAGES.c.number.in_(bindparam("numbers", expanding=True))
_PAGE = _RECORDS.add_columns(_TEXT.label("text")).where(_OF_NUMBERS)
_BRIEF_PAGE = _RECORDS.add_columns(_COPY_FROM_TEXT.label("text")).where(_OF_NUMBERS)


@lru_cache(512)
def _visible(by_number: bool, deleted: bool, is_admin: bool, tenant: str | None) -> Select[Any]:
    column = IMAGES.c.number if by_number else IMAGES.c.id
    statement = _RECORDS.where(column == bindparam("name"), visible_to(Context(is_admin=is_admin, tenant=tenant)))
    return statement if deleted else statement.where(ALIVE)


def _side(table: Any, position: Any, name: Any, value: Any) -> Select[Any]:
    own = table.c.image.in_(bindparam("numbers", expanding=True))
    return select(table.c.image, literal_column(f"'{table.name}'").label("side"), position, name, value).where(own)


_NO_POSITION: Any = literal_column("0").label("position")
_NO_NAME: Any = literal_column("''").label("name")
_SIDES = union_all(
    _side(LOCATIONS, LOCATIONS.c.position, _NO_NAME, LOCATIONS.c.url.label("value")),
    _side(PROPERTIES, _NO_POSITION, PROPERTIES.c.name, PROPERTIES.c.value),
    _side(TAGS, _NO_POSITION, _NO_NAME, TAGS.c.tag.label("value")),
)


def _images(connection: Connection, rows: list[Row[Any]], *, brief: bool = False) -> tuple[Image, ...]:
    """Make images of rows that begin with COLUMNS, with one query for what is in other tables; none if `brief`."""
    numbers = [row.number for row in rows]
    locations: dict[int, list[tuple[int, str]]] = {number: [] for number in numbers}
    properties: dict[int, dict[str, str]] = {number: {} for number in numbers}
    tags: dict[int, set[str]] = {number: set() for number in numbers}
    for number, side, position, name, value in () if brief else connection.execute(_SIDES, {"numbers": numbers}):
        if side == LOCATIONS.name:
            locations[number].append((position, value))
        elif side == PROPERTIES.name:
            properties[number][name] = value
        else:
            tags[number].add(value)
    return tuple(
        Image(
            **{
                **dict(zip(COLUMNS, row, strict=False)),
                "status": Status(row.status),
                "visibility": Visibility(row.visibility),
                "locations": tuple(url for _, url in sorted(locations[row.number])),
                "properties": dict(sorted(properties[row.number].items())),
                "tags": frozenset(tags[row.number]),
            }
        )
        for row in rows
    )
