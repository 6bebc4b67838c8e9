# SPDX-License-Identifier: Apache-2.0
"""The statements that answer queries of one shape.

Building and compiling a statement takes longer than most databases need to answer it, so statements are kept. They
take 0.3 to 1 MiB per shape, more the more conditions a shape has, and clients choose the shapes. So both are bounded:
the number of shapes whose statements are kept, and the number of conditions of such a shape. Anything that SQLAlchemy
compiles is kept with the statements of its shape, not in the cache of the engine, which only bounds the number.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Select, bindparam, func, select

from glance.core.image import Visibility
from glance.registry.db.models import LISTED
from glance.registry.db.query import (
    IMAGES,
    condition_of,
    having_property,
    having_tag,
    page_in_order,
    page_of_few,
    served_in_order,
    shared_with_me,
)
from glance.registry.db.shape import Shape

MAX_KEPT_SHAPES = 64
MAX_KEPT_CONDITIONS = 4
MOST = "most"  # the parameter of the count: the number of images at which counting stops


class Statements:
    """The statements of one shape. Each is built when it is first needed.

    `candidates` select the numbers of images that may be few: one statement for each condition of the query that an
    index serves, though not in the order of the list."""

    def __init__(self, shape: Shape, *, kept: bool) -> None:
        self._shape = shape
        self._options: dict[str, Any] = {"compiled_cache": {} if kept else None}
        self._pages: dict[Hashable, Select[Any]] = {}
        self.candidates = _make_candidates(shape)
        self._count = _make_count(shape, self.candidates)

    def count(self, connection: Connection, values: dict[str, Any]) -> list[int]:
        """Count the images of each candidate, and then those that are shared with the caller if the list has them."""
        return [] if self._count is None else list(self._execute(connection, self._count, values).one())

    def page_in_order(self, connection: Connection, values: dict[str, Any], *, few_shared: bool) -> list[int]:
        """Return the numbers of a page's images, read in the order of the list."""
        statement = self._page(few_shared, lambda: page_in_order(self._shape, few_shared))
        return list(self._execute(connection, statement, values).scalars())

    def page_of_few(self, connection: Connection, values: dict[str, Any], candidate: int) -> list[int]:
        """Return the numbers of a page's images, taken from all of one candidate."""
        statement = self._page(("few", candidate), lambda: page_of_few(self._shape, self.candidates[candidate]))
        return list(self._execute(connection, statement, values).scalars())

    def _page(self, key: Hashable, build: Callable[[], Select[Any]]) -> Select[Any]:
        if key not in self._pages:
            self._pages[key] = build()
        return self._pages[key]

    def _execute(self, connection: Connection, statement: Select[Any], values: dict[str, Any]) -> CursorResult[Any]:
        return connection.execute(statement, values, execution_options=self._options)


def get_statements(shape: Shape) -> Statements:
    """Return the statements of a shape: those that are kept, or new ones that are used once."""
    if shape.conditions > MAX_KEPT_CONDITIONS:
        return Statements(shape, kept=False)
    return _get_kept(shape)


@lru_cache(MAX_KEPT_SHAPES)
def _get_kept(shape: Shape) -> Statements:
    return Statements(shape, kept=True)


def _make_count(shape: Shape, candidates: tuple[Select[Any], ...]) -> Select[Any] | None:
    counted = list(candidates)
    if shape.tenant and not shape.everyone and Visibility.SHARED in shape.visibility:
        counted.append(shared_with_me(shape))
    cut = [candidate.limit(bindparam(MOST)).subquery() for candidate in counted]
    return select(*(select(func.count()).select_from(few).scalar_subquery() for few in cut)) if cut else None


def _make_candidates(shape: Shape) -> tuple[Select[Any], ...]:
    fields: dict[str, list[Any]] = {}
    for position, item in enumerate(shape.criteria):
        if item.rare and not served_in_order(shape, item):
            fields.setdefault(item.field, []).append(condition_of(item, position))
    # Without correlation: inside another SELECT from images, this one is not about the same image.
    return (
        *(
            select(IMAGES.c.number).where(*_make_prefix(shape, name), *conditions).correlate(None)
            for name, conditions in fields.items()
        ),
        *map(having_property, range(shape.properties)),
        *map(having_tag, range(shape.tags)),
    )


def _make_prefix(shape: Shape, field: str) -> list[Any]:
    """Return the conditions on the columns that precede the field in its index."""
    if field not in (*LISTED, "created_at"):
        return []
    return [
        IMAGES.c.deleted.in_((False, True) if shape.deleted else (False,)),
        IMAGES.c.visibility.in_(sorted(map(str, shape.visibility))),
    ]
