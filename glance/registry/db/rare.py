# SPDX-License-Identifier: Apache-2.0
"""The numbers of a page's images, by the shorter of the two ways of query.py.

Each condition that has an index of its own is counted, but only up to FEW, where a database stops: to ask costs
little, also when the answer is no.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from glance.core.image import Visibility
from glance.registry.db.models import LISTED
from glance.registry.db.query import (
    IMAGES,
    STATEMENTS,
    condition_of,
    having_property,
    having_tag,
    page_in_order,
    page_of_few,
    served_in_order,
    shared_with_me,
)
from glance.registry.db.shape import Shape

# Images. Of a million, what fits more than these is one in five hundred: a page of twenty is found in order among
# ten thousand.
FEW = 2000
_MOST = "most"


def numbers_of_page(connection: Connection, shape: Shape, values: Mapping[str, Any]) -> list[int]:
    """In their order; one more than the page has, if there are more."""
    candidates = _candidates(shape)
    statement = _count(shape)
    counts = [] if statement is None else list(connection.execute(statement, {**values, _MOST: FEW + 1}).one())
    fewest = min(counts[: len(candidates)], default=FEW + 1)
    if fewest <= FEW:
        page = page_of_few(shape, candidates[counts.index(fewest)])
    else:
        page = page_in_order(shape, few_shared=all(count <= FEW for count in counts[len(candidates) :]))
    return list(connection.execute(page, values).scalars())


@lru_cache(STATEMENTS)
def _count(shape: Shape) -> Select[Any] | None:
    counted = list(_candidates(shape))
    if shape.tenant and not shape.everyone and Visibility.SHARED in shape.visibility:
        counted.append(shared_with_me(shape))
    cut = [candidate.limit(bindparam(_MOST)).subquery() for candidate in counted]
    return select(*(select(func.count()).select_from(few).scalar_subquery() for few in cut)) if cut else None


@lru_cache(STATEMENTS)
def _candidates(shape: Shape) -> tuple[Select[Any], ...]:
    """The numbers of images that may be few, for each condition of the query that an index serves, though not in the
    order of the list."""
    fields: dict[str, list[Any]] = {}
    for position, item in enumerate(shape.criteria):
        if item.rare and not served_in_order(shape, item):
            fields.setdefault(item.field, []).append(condition_of(item, position))
    # Without correlation: inside another SELECT from images, this one is not about the same image.
    return (
        *(
            select(IMAGES.c.number).where(*_prefix(shape, name), *conditions).correlate(None)
            for name, conditions in fields.items()
        ),
        *map(having_property, range(shape.properties)),
        *map(having_tag, range(shape.tags)),
    )


def _prefix(shape: Shape, field: str) -> list[Any]:
    """What stands before the field in its index."""
    if field not in (*LISTED, "created_at"):
        return []
    return [
        IMAGES.c.deleted.in_((False, True) if shape.deleted else (False,)),
        IMAGES.c.visibility.in_(sorted(map(str, shape.visibility))),
    ]
