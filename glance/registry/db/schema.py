# SPDX-License-Identifier: Apache-2.0
"""The schema of a database, for operators: its step, and whether it is the one that the models describe.

Somebody may have changed it by hand; or a step was cut off, where a database has no transactions for that."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine

from glance.core.errors import RegistryDown
from glance.registry.db import migrate
from glance.registry.db.engine import connect
from glance.registry.db.models import Base
from glance.registry.db.sqlite import file_of


class Schema:
    """`sql_connection` is an SQLAlchemy URL. All methods raise RegistryDown; the constructor raises Invalid."""

    newest = migrate.HEAD  # the step of this version

    def __init__(self, sql_connection: str) -> None:
        self._engine = connect(sql_connection)

    @property
    def address(self) -> str:
        """Of the database, without a password."""
        return migrate.address(self._engine)

    def step(self) -> str | None:
        """None: there are no tables. No file is made to find that out."""
        file = file_of(self._engine.url)
        if file is not None and not file.exists():
            return None
        with migrate.explained(self._engine):
            return migrate.version(self._engine)

    def engine(self) -> Engine:
        """Of a database with the schema of this version. Raises RegistryDown for another one, too."""
        if (step := self.step()) != self.newest:
            is_so = f"is at step {step}" if step else "has no tables"
            raise RegistryDown(
                f"the database {self.address} {is_so}, and this version of Glance needs step {self.newest}: run "
                "glance-manage db sync"
            )
        return self._engine

    def upgrade(self) -> None:
        """Raises Invalid, too, for a step that is not known here."""
        migrate.prepare(self._engine)

    def differences(self) -> list[str]:
        """Of its tables from the models, in words. Other tables in the same database do not count."""
        from alembic.autogenerate import compare_metadata  # late, as in migrate.py
        from alembic.migration import MigrationContext

        with migrate.explained(self._engine), self._engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"include_name": _is_ours})
            return [words for found in compare_metadata(context, Base.metadata) for words in _words(found)]


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or name in Base.metadata.tables


def _words(found: Any) -> Iterator[str]:
    """Of one entry of Alembic's: a tuple, or a list of such about one column."""
    if isinstance(found, list):
        for each in found:
            yield from _words(each)
        return
    deed, *rest = found
    verb, _, kind = deed.partition("_")
    if verb == "modify":
        _, table, column, _, is_so, should_be = rest
        yield f"{kind} of column {table}.{column} is {is_so}, and should be {should_be}"
    else:
        table = f" of table {rest[1] if kind == 'column' else rest[0].table}" if kind != "table" else ""
        yield f"{kind} {rest[-1].name}{table} {'is missing' if verb == 'add' else 'should not be there'}"
