# SPDX-License-Identifier: Apache-2.0
"""The steps of the schema, oldest first; migrate.HEAD names the newest.

MariaDB ends a transaction at every change of a table: there, a step that is cut off has left what it did so far. So
each step can be taken again from its beginning, and finds done what is done.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column, unless it is there."""
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
