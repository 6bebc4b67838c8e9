# SPDX-License-Identifier: Apache-2.0
"""Query → SELECT; the SQL twin of core/access.py.

A list is the union of disjoint parts, each of which one index delivers already sorted: what one visibility or one
owner has, and of that, for a page in the middle, what equals the last image in the first keys and lies behind it
in the next. Each part is cut to a page before they are merged. So a page costs as many index look-ups as there
are parts, however many images there are.
"""

from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Table, and_, false, or_, select, true, union_all

from glance.core.context import Context
from glance.core.image import Visibility
from glance.core.query import Comparison, Filter, Query, Sort, Value
from glance.registry.db.models import ImageRow, MemberRow, PropertyRow, TagRow

IMAGES = cast(Table, ImageRow.__table__)
MEMBERS = cast(Table, MemberRow.__table__)
PROPERTIES = cast(Table, PropertyRow.__table__)
TAGS = cast(Table, TagRow.__table__)

Condition = ColumnElement[bool]


def select_page(ctx: Context, query: Query) -> Select[Any]:
    """The rows of one page, and one more if there is more."""
    order = query.order
    filters = and_(true(), *_filters(query))
    parts = [
        select(IMAGES)
        .where(scope, region, filters)
        .order_by(*_order_by(IMAGES.c, order, depth))
        .limit(query.limit + 1)
        for scope in _scopes(ctx, query)
        for region, depth in _regions(query, order)
    ]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return select(IMAGES).where(false())
    merged = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(merged).order_by(*_order_by(merged.c, order)).limit(query.limit + 1)


def visible_to(ctx: Context) -> Condition:
    """The twin of access.can_see()."""
    if ctx.is_admin:
        return true()
    visibility = IMAGES.c.visibility
    return or_(
        visibility.in_((str(Visibility.PUBLIC), str(Visibility.COMMUNITY))),
        *(
            [IMAGES.c.owner == ctx.tenant, (visibility == str(Visibility.SHARED)) & _member(ctx)]
            if ctx.tenant
            else []
        ),
    )


def changeable_by(ctx: Context) -> Condition:
    """The twin of access.can_change()."""
    if ctx.is_admin:
        return true()
    return IMAGES.c.owner == ctx.tenant if ctx.tenant else false()


def _member(ctx: Context, status: object = None) -> Condition:
    mine = select(MEMBERS.c.image).where(MEMBERS.c.member == ctx.tenant)
    return IMAGES.c.number.in_(mine if status is None else mine.where(MEMBERS.c.status == str(status)))


def _scopes(ctx: Context, query: Query) -> Iterator[Condition]:
    """What the caller's list is made of: disjoint conditions that begin as the indexes do."""
    wanted = query.visibility if query.visibility is not None else frozenset(Visibility)
    for deleted in (False, True) if query.deleted else (False,):
        alive = IMAGES.c.deleted == (true() if deleted else false())
        whole, own = _split(ctx, query, wanted)
        for visibility in whole:
            yield alive & (IMAGES.c.visibility == str(visibility))
        if not ctx.tenant:
            continue
        if own:
            yield alive & (IMAGES.c.owner == ctx.tenant) & IMAGES.c.visibility.in_([str(item) for item in own])
        if Visibility.SHARED in own:
            foreign = IMAGES.c.owner.is_(None) | (IMAGES.c.owner != ctx.tenant)
            shared = IMAGES.c.visibility == str(Visibility.SHARED)
            yield alive & shared & foreign & _member(ctx, query.member_status)


def _split(ctx: Context, query: Query, wanted: frozenset[Visibility]) -> tuple[list[Visibility], list[Visibility]]:
    """The visibilities of which the caller may list all images, and those of which only some."""
    whole = {Visibility.PUBLIC}
    if query.visibility is not None:
        whole.add(Visibility.COMMUNITY)
    if ctx.is_admin and query.everyone:
        whole |= {Visibility.PRIVATE, Visibility.SHARED}
    return sorted(wanted & whole), sorted(wanted - whole)


def _regions(query: Query, order: tuple[Sort, ...]) -> Iterator[tuple[Condition, int]]:
    """What lies behind query.after, in disjoint conditions; without it, the first key's nulls and its values.

    With each, the number of keys that are all null or never null in it."""
    if query.after is None:
        column = IMAGES.c[order[0].key]
        for condition in (column.is_(None), column.is_not(None)) if column.nullable else (true(),):
            yield condition, 1
        return
    same: list[Condition] = []
    for item, value in zip(order, query.after, strict=True):
        column = IMAGES.c[item.key]
        for behind in _behind(column, item.descending, value):
            yield and_(*same, behind), len(same) + 1
        same.append(column.is_(None) if value is None else column == value)


def _behind(column: Any, descending: bool, value: Value) -> Iterator[Condition]:
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


def _filters(query: Query) -> Iterator[Condition]:
    for item in query.filters:
        yield _filter(item)
    for name, value in query.properties.items():
        own = PROPERTIES.c.image == IMAGES.c.number
        yield select(PROPERTIES).where(own, PROPERTIES.c.name == name, PROPERTIES.c.value == value).exists()
    for tag in sorted(query.tags):
        yield select(TAGS).where(TAGS.c.image == IMAGES.c.number, TAGS.c.tag == tag).exists()


def _filter(item: Filter) -> Condition:
    column = IMAGES.c[item.field]
    first = item.values[0] if item.values else None
    match item.comparison:
        case Comparison.IN:
            return column == first if len(item.values) == 1 else column.in_(item.values)
        case Comparison.NOT_IN:
            return or_(column.is_(None), column.not_in(item.values))
        case Comparison.LESS:
            return column < first
        case Comparison.LESS_OR_EQUAL:
            return column <= first
        case Comparison.MORE:
            return column > first
        case Comparison.MORE_OR_EQUAL:
            return column >= first
