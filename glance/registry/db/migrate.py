# SPDX-License-Identifier: Apache-2.0
"""Brings the schema of a database to the one that this version speaks, when the registry starts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from glance.core.errors import GlanceError, Invalid, RegistryDown
from glance.registry.db.engine import translated
from glance.registry.db.sqlite import file_of

LOG = logging.getLogger(__name__)

HEAD = "0005"  # the newest step in versions/ (a test compares): known here so that most starts need no Alembic


PATIENCE = 60  # seconds to wait for another daemon that changes the schema
LOCK = 0x676C616E6364  # of PostgreSQL's advisory locks; another one than in numbers.py


def prepare(engine: Engine) -> None:
    """Make the tables, or bring them up to date. Leaves no connection open, so that workers may be forked.

    Raises RegistryDown when the database cannot be reached, Invalid when its schema is not known here.
    """
    try:
        with explained(engine):
            if version(engine) != HEAD:
                _upgrade(engine)
    finally:
        engine.dispose()


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """What the database says → RegistryDown that an operator can read, with its address and without a password."""
    try:
        with translated():
            yield
    except RegistryDown as error:
        raise RegistryDown(f"the database {address(engine)} cannot be used: {_cause(error)}") from error


def address(engine: Engine) -> str:
    """The database, without a password, and without options, which may hold one."""
    file = file_of(engine.url)
    if file is not None:
        return f"sqlite:///{file.absolute()}"
    return engine.url.set(query={}).render_as_string(hide_password=True)


def version(engine: Engine) -> str | None:
    """The step that the database's schema stands at; None for a database without our tables."""
    with engine.connect() as connection:
        return _version(connection)


def touch(connection: Connection) -> None:
    """Write the step down once more. That the database can be changed shows only when it is; and of a full disk not
    before the end of the transaction."""
    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(engine: Engine) -> None:
    from alembic import command  # late: it takes a noticeable part of a start, and most starts need it not
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    try:
        with engine.connect() as connection:
            _wait_for_others(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except CommandError as error:
        raise Invalid(
            f"the schema of the database is not known to this version of Glance ({error}): install the version that "
            "made it, or name another database in sql_connection"
        ) from error
    except Exception:
        if version(engine) == HEAD:  # another daemon was faster
            return
        raise
    LOG.info("the schema of the database is now at step %s", HEAD)


def _wait_for_others(connection: Connection) -> None:
    """Let this connection alone change the schema, until its transaction ends; in MariaDB, until it is closed.

    Raises RegistryDown when others take too long."""
    match connection.dialect.name:
        case "sqlite":
            # Python's driver would begin no transaction for DDL, so a start that is cut off would leave some of the
            # tables; and taking the write lock first makes other daemons wait until all is there.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        case _:
            lock = f"SELECT GET_LOCK(CONCAT('glance schema of ', DATABASE()), {PATIENCE})"
            if connection.exec_driver_sql(lock).scalar() != 1:
                raise RegistryDown("another daemon has been changing the schema of the database for too long")
            connection.commit()  # else we would not see what the others did


def _cause(error: GlanceError) -> str:
    """What the driver said, on one line; SQL and parameters are not part of it."""
    cause = error.__cause__
    return " ".join(str(getattr(cause, "orig", cause)).split())
