# SPDX-License-Identifier: Apache-2.0
"""The numbers of a page's images, by the shorter of the two ways of query.py.

Each condition that has an index of its own is counted, but only up to FEW, where a database stops: to ask costs
little, also when the answer is no.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from glance.registry.db.shape import Shape
from glance.registry.db.statements import MOST, get_statements

# Images. Of a million, what fits more than these is one in five hundred: a page of twenty is found in order among
# ten thousand.
FEW = 2000


def numbers_of_page(connection: Connection, shape: Shape, values: Mapping[str, Any]) -> list[int]:
    """In their order; one more than the page has, if there are more."""
    statements = get_statements(shape)
    counts = statements.count(connection, {**values, MOST: FEW + 1})
    candidates, shared = counts[: len(statements.candidates)], counts[len(statements.candidates) :]
    fewest = min(candidates, default=FEW + 1)
    if fewest <= FEW:
        return statements.page_of_few(connection, dict(values), candidates.index(fewest))
    return statements.page_in_order(connection, dict(values), few_shared=all(count <= FEW for count in shared))
