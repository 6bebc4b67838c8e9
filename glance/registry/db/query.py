# SPDX-License-Identifier: Apache-2.0
"""Shape of a query → SELECT of the numbers of one page's images; the SQL twin of access.is_listed().

A page costs as many steps in indexes as it has images, however many there are in all. There are two ways to that.

Usually the list is read in its order. It is the union of disjoint parts, each of which one index delivers sorted:
what one visibility, or one owner, has, and of that, for a page in the middle, what equals the last image in the
first keys and lies behind it in the next. Each part is cut to a page before they are merged.

But what few images fit is not looked for in that order: it is fetched whole by an index of its own, and sorted.
rare.py tells what is few.

No database has to guess which index to take: a part shows it the conditions that one index serves, and hides all
others (_hidden).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, case, false, or_, select, true, union_all

from glance.core.image import Visibility
from glance.core.query import Comparison, Sort
from glance.registry.db.models import LISTED, ImageRow, MemberRow, PropertyRow, TagRow
from glance.registry.db.shape import LIMIT, TENANT, Criterion, Shape, value_of

IMAGES = cast(Table, ImageRow.__table__)
MEMBERS = cast(Table, MemberRow.__table__)
PROPERTIES = cast(Table, PropertyRow.__table__)
TAGS = cast(Table, TagRow.__table__)
ALL_ROWS = 2**31 - 1  # a LIMIT that cuts nothing, but makes a database evaluate what is inside on its own

Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Scope:
    """One part of what a caller may list. An index begins with the columns of `index`."""

    index: Condition
    rest: tuple[Condition, ...] = ()
    shared: bool = False  # with the caller, by its owner


def page_in_order(shape: Shape, few_shared: bool) -> Select[Any]:
    """`few_shared`: what is shared with the caller is few images."""
    parts = []
    for scope in _scopes(shape):
        if scope.shared and few_shared:
            parts.append(_sorted_few(shape, shared_with_me(shape), and_(scope.index, *scope.rest)))
        else:
            parts.extend(_in_order(shape, scope))
    if not parts:
        return select(IMAGES.c.number).where(false())
    merged = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(merged.c.number).order_by(*_order_by(merged.c, shape.order)).limit(bindparam(LIMIT))


def page_of_few(shape: Shape, few: Select[Any]) -> Select[Any]:
    """`few` selects the numbers of all images that one of the conditions leaves over."""
    listed = or_(false(), *(and_(scope.index, *scope.rest) for scope in _scopes(shape)))
    return select(_sorted_few(shape, few, listed).subquery().c.number)


def shared_with_me(shape: Shape) -> Select[Any]:
    """Select the numbers of images whose member the caller is."""
    mine = select(MEMBERS.c.image).where(MEMBERS.c.member == bindparam(TENANT))
    if shape.member_status is None:
        return mine
    return mine.where(MEMBERS.c.status.in_(sorted(map(str, shape.member_status))))


def condition_of(item: Criterion, position: int) -> Condition:
    column: Any = IMAGES.c[item.field]
    value = value_of(item, position)
    match item.comparison:
        case Comparison.IN:
            return cast(Condition, column == value) if item.single else column.in_(value)
        case Comparison.NOT_IN:
            return or_(column.is_(None), column.not_in(value))
        case Comparison.LESS:
            return cast(Condition, column < value)
        case Comparison.LESS_OR_EQUAL:
            return cast(Condition, column <= value)
        case Comparison.MORE:
            return cast(Condition, column > value)
        case Comparison.MORE_OR_EQUAL:
            return cast(Condition, column >= value)


def having_property(position: int) -> Select[Any]:
    """The numbers of images that have the query's property at this position."""
    return select(PROPERTIES.c.image).where(
        PROPERTIES.c.name == bindparam(f"property{position}"),
        PROPERTIES.c.start == bindparam(f"start{position}"),
        PROPERTIES.c.value == bindparam(f"value{position}"),
    )


def having_tag(position: int) -> Select[Any]:
    return select(TAGS.c.image).where(TAGS.c.tag == bindparam(f"tag{position}"))


def served_in_order(shape: Shape, item: Criterion) -> bool:
    """Whether an index delivers what fits sorted as the list is."""
    if not (item.comparison is Comparison.IN and item.single):
        return False
    rest = [sort.key for sort in shape.order if sort.key != item.field]
    return item.field == "owner" or (item.field in LISTED and rest == ["created_at", "id"])


def _scopes(shape: Shape) -> Iterator[Scope]:
    """What the caller's list is made of: disjoint conditions, each of which begins as an index does."""
    whole = {Visibility.PUBLIC}
    if shape.named:
        whole.add(Visibility.COMMUNITY)
    if shape.everyone:
        whole |= {Visibility.PRIVATE, Visibility.SHARED}
    mine = IMAGES.c.owner == bindparam(TENANT)
    foreign = IMAGES.c.owner.is_(None) | (IMAGES.c.owner != bindparam(TENANT))
    for deleted in (False, True) if shape.deleted else (False,):
        for visibility in sorted(shape.visibility):
            index = (IMAGES.c.deleted == (true() if deleted else false())) & (IMAGES.c.visibility == str(visibility))
            if visibility in whole:
                yield Scope(index)
            elif shape.tenant:
                yield Scope(index & mine)
                if visibility is Visibility.SHARED:
                    yield Scope(index, (foreign, IMAGES.c.number.in_(shared_with_me(shape))), shared=True)


def _in_order(shape: Shape, scope: Scope) -> Iterator[Select[Any]]:
    served = [condition_of(item, n) for n, item in enumerate(shape.criteria) if served_in_order(shape, item)]
    hidden = _hidden(and_(*scope.rest, *_filters(shape)))
    for region, depth in _regions(shape):
        part = _selected(shape).where(scope.index, region, *served, hidden)
        yield part.order_by(*_order_by(IMAGES.c, shape.order, depth)).limit(bindparam(LIMIT))


def _sorted_few(shape: Shape, few: Select[Any], listed: Condition) -> Select[Any]:
    behind = or_(*(region for region, _ in _regions(shape)))
    fitting = _selected(shape).where(IMAGES.c.number.in_(few), _hidden(and_(listed, behind, *_filters(shape))))
    found = fitting.limit(ALL_ROWS).subquery()
    return select(found).order_by(*_order_by(found.c, shape.order)).limit(bindparam(LIMIT))


def _selected(shape: Shape) -> Select[Any]:
    return select(*dict.fromkeys((IMAGES.c.number, *(IMAGES.c[item.key] for item in shape.order))))


def _hidden(condition: Condition) -> Condition:
    """The same to the result, but nothing to choose an index by.

    PostgreSQL expects that nearly all rows differ from a value. Of an equality it expects the opposite, and would
    rather sort all that it finds than read in order until a page is full."""
    return case((condition, 1), else_=0) != 0


def _regions(shape: Shape) -> Iterator[tuple[Condition, int]]:
    """What lies behind query.after, in disjoint conditions; without it, the first key's nulls and its values.

    With each, the number of keys that are all null or never null in it."""
    if shape.after is None:
        column = IMAGES.c[shape.order[0].key]
        for condition in (column.is_(None), column.is_not(None)) if column.nullable else (true(),):
            yield condition, 1
        return
    same: list[Condition] = []
    for position, (item, known) in enumerate(zip(shape.order, shape.after, strict=True)):
        column = IMAGES.c[item.key]
        value: Any = bindparam(f"after{position}") if known else None
        for behind in _behind(column, item.descending, value):
            yield and_(*same, behind), len(same) + 1
        same.append(column.is_(None) if value is None else column == value)


def _behind(column: Any, descending: bool, value: Any) -> Iterator[Condition]:
    if value is None:
        if not descending:
            yield column.is_not(None)
    elif not descending:
        yield column > value
    else:
        yield column < value
        if column.nullable:
            yield column.is_(None)


def _order_by(columns: Any, order: tuple[Sort, ...], depth: int = 0) -> Iterator[Any]:
    """None before all values, whatever the database would do with it; the first `depth` keys need no such care."""
    for position, item in enumerate(order):
        column = columns[item.key]
        if IMAGES.c[item.key].nullable and position >= depth:
            known = column.is_not(None)
            yield known.desc() if item.descending else known
        yield column.desc() if item.descending else column


def _filters(shape: Shape) -> Iterator[Condition]:
    yield true()
    for position, item in enumerate(shape.criteria):
        yield condition_of(item, position)
    for position in range(shape.properties):
        yield _has(having_property(position).where(PROPERTIES.c.image == IMAGES.c.number))
    for position in range(shape.tags):
        yield _has(having_tag(position).where(TAGS.c.image == IMAGES.c.number))


def _has(rows: Select[Any]) -> Condition:
    """Whether there is the one row that there can be. For EXISTS, PostgreSQL would hash all that fit of the table."""
    return rows.scalar_subquery().is_not(None)
