# SPDX-License-Identifier: Apache-2.0
"""The steps of the schema, oldest first; migrate.HEAD names the newest.

MariaDB ends a transaction at every change of a table: there, a step that is cut off has left what it did so far. So
each step can be taken again from its beginning, and finds done what is done.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op


def text_of(length: int) -> sa.String:
    """Text that is compared, and sorted, by the numbers of its characters, whatever the database's own language."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def options() -> dict[str, str]:
    """How a table is made: in MariaDB, and MySQL, with all of Unicode, of which "a" is not "A", nor "a "."""
    dialect: Any = op.get_context().dialect
    if dialect.name not in ("mysql", "mariadb"):
        return {}
    collate = "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"
    chosen = {"engine": "InnoDB", "charset": "utf8mb4", "collate": collate, "row_format": "DYNAMIC"}
    return {f"{dialect.name}_{name}": value for name, value in chosen.items()}


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column, unless it is there."""
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
