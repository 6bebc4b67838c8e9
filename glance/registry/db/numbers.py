# SPDX-License-Identifier: Apache-2.0
"""Numbers of images: each is given once, by the database or by who adds the image.

SQLite and MariaDB go on behind the largest number there is. PostgreSQL counts on its own: where a number was chosen,
it has to be told, and nobody may be given a number meanwhile.
"""

from sqlalchemy import Connection, text

LOCK = 0x676C616E6365  # of PostgreSQL's advisory locks; any number that nobody else in this database uses
SEQUENCE = "pg_get_serial_sequence('images', 'number')"


def before_adding(connection: Connection, chosen: int | None) -> None:
    """Let those who choose a number be alone until their transaction ends."""
    if connection.dialect.name == "postgresql":
        lock = "pg_advisory_xact_lock_shared" if chosen is None else "pg_advisory_xact_lock"
        connection.execute(text(f"SELECT {lock}({LOCK})"))


def after_adding(connection: Connection, chosen: int | None) -> None:
    """Count on behind the number that was chosen."""
    if chosen is not None and connection.dialect.name == "postgresql":
        last = f"COALESCE(pg_sequence_last_value({SEQUENCE}::regclass), 0)"
        connection.execute(text(f"SELECT setval({SEQUENCE}, GREATEST({last}, :chosen))"), {"chosen": chosen})
