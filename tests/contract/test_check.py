# SPDX-License-Identifier: Apache-2.0
"""Registry.check() on every kind of database: one that can only be read is not what a registry needs."""

import pytest
from sqlalchemy import Engine, event

from glance.core.errors import RegistryReadOnly
from glance.registry.db.migrate import version
from glance.registry.db.sql import SqlRegistry

# What a replica, or a server that takes no changes for a while, would make of each connection.
READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}


def test_a_database_that_can_be_written_to(sql: SqlRegistry, engine: Engine) -> None:
    before = version(engine)
    sql.check()
    assert version(engine) == before


def test_a_database_that_can_only_be_read(sql: SqlRegistry, engine: Engine) -> None:
    def forbid(connection: object, _: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(READ_ONLY[engine.dialect.name])
        cursor.close()
        connection.commit()  # type: ignore[attr-defined]

    engine.dispose()
    event.listen(engine, "connect", forbid)
    try:
        with pytest.raises(RegistryReadOnly, match=r"^the database can only be read$"):
            sql.check()
        assert version(engine) is not None
    finally:
        event.remove(engine, "connect", forbid)
        engine.dispose()
    sql.check()
