# SPDX-License-Identifier: Apache-2.0
"""What of a query decides over the SQL that answers it, apart from the values in it.

Queries of one shape share the same statements, whose values are bound by name. statements.py keeps them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Boolean, String, bindparam
from sqlalchemy.types import TypeEngine

from glance.core.context import Context
from glance.core.image import MemberStatus, Visibility
from glance.core.query import FILTER_FIELDS, Comparison, Filter, Query, Sort
from glance.registry.db.models import Moment, start_of

TENANT = "tenant"
MAX_USUAL_ORDER = 3  # keys of an order: the requested one, created_at and id
LIMIT = "limit"  # of rows: one more than the page has, to see whether there are more

# Numbers are bound as the widest there are: a database may refuse one that is too large for a column.
_TYPES: Mapping[type, TypeEngine[Any]] = {str: String(), int: BigInteger(), bool: Boolean(), datetime: Moment}


@dataclass(frozen=True, slots=True)
class Criterion:
    """A filter without its values. `single`: it names one value. `rare`: it may fit few images of many."""

    field: str
    comparison: Comparison
    single: bool
    rare: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    everyone: bool
    tenant: bool  # whether the caller has one
    visibility: frozenset[Visibility]
    named: bool  # whether the query names them
    member_status: frozenset[MemberStatus] | None
    deleted: bool
    criteria: tuple[Criterion, ...]
    properties: int
    tags: int
    order: tuple[Sort, ...]
    after: tuple[bool, ...] | None  # of each value of query.after, whether there is one

    @property
    def conditions(self) -> int:
        """The number of conditions, twice that with deleted images: the statements then have twice as many parts."""
        count = len(self.criteria) + self.properties + self.tags + len(self.order[MAX_USUAL_ORDER:])
        return 2 * count if self.deleted else count


def shape_of(ctx: Context, query: Query) -> Shape:
    return Shape(
        everyone=ctx.is_admin and query.everyone,
        tenant=bool(ctx.tenant),
        visibility=frozenset(Visibility) if query.visibility is None else query.visibility,
        named=query.visibility is not None,
        member_status=query.member_status,
        deleted=query.deleted,
        criteria=tuple(map(_criterion_of, query.filters)),
        properties=len(query.properties),
        tags=len(query.tags),
        order=query.order,
        after=None if query.after is None else tuple(value is not None for value in query.after),
    )


def values_of(ctx: Context, query: Query) -> dict[str, Any]:
    """The values that the statements of the query's shape are executed with."""
    values: dict[str, Any] = {TENANT: ctx.tenant, LIMIT: query.limit + 1}
    for position, item in enumerate(query.filters):
        values[f"filter{position}"] = item.values[0] if _is_single(item) else list(item.values)
    for position, (name, value) in enumerate(query.properties.items()):
        values |= {f"property{position}": name, f"value{position}": value, f"start{position}": start_of(value)}
    for position, tag in enumerate(query.tags):
        values[f"tag{position}"] = tag
    for position, place in enumerate(query.after or ()):
        values[f"after{position}"] = place
    return values


def value_of(item: Criterion, position: int) -> BindParameter[Any]:
    """The value, or the list of values, of the filter at this position."""
    return bindparam(f"filter{position}", type_=_TYPES[FILTER_FIELDS[item.field]], expanding=not item.single)


def _criterion_of(item: Filter) -> Criterion:
    kind = FILTER_FIELDS[item.field]
    rare = item.comparison is not Comparison.NOT_IN and (kind is not bool or item.values == (True,))
    return Criterion(item.field, item.comparison, _is_single(item), rare)


def _is_single(item: Filter) -> bool:
    return len(item.values) == 1 and item.comparison is not Comparison.NOT_IN
