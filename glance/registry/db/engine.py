# SPDX-License-Identifier: Apache-2.0
"""The connection to the database, its transactions, and its errors.

SQLite, PostgreSQL and MariaDB differ here, in migrate.py, and in how numbers are given (numbers.py); nowhere else.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from glance.core.errors import Invalid, RegistryDown, RegistryFull, RegistryReadOnly
from glance.registry.db.sqlite import prepare_sqlite

P = ParamSpec("P")
R = TypeVar("R")

LOG = logging.getLogger(__name__)

TIMEOUT: Final = 10  # seconds in which a server must take a connection
LOCK_TIMEOUT: Final = 5  # seconds to wait for the end of another's transaction
ATTEMPTS: Final = 5  # for a transaction that was undone
PAUSE: Final = 0.05  # seconds, at most, before the second attempt; before each further one twice as many

# The drivers that let other requests go on while a database thinks (docs/decisions/004-database-drivers.md).
_DRIVERS: Final[Mapping[str, str]] = {
    "postgres": "postgresql+psycopg2",
    "postgresql": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
# Values that do not fit are errors. Planning for other machines than these would take PostgreSQL longer than a page.
_MARIADB: Final = (
    f"SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = {LOCK_TIMEOUT}"
)
_POSTGRESQL: Final = f"-c lock_timeout={LOCK_TIMEOUT}s -c jit=off -c client_encoding=utf8"
_ARGUMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    "psycopg2": {"connect_timeout": TIMEOUT, "tcp_user_timeout": TIMEOUT * 1000, "options": _POSTGRESQL},
    "pymysql": {"connect_timeout": TIMEOUT, "init_command": _MARIADB},
}
# What all statements of a transaction read is of one moment.
_SNAPSHOT: Final[Mapping[str, str]] = {
    "sqlite": "BEGIN",
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "mysql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "mariadb": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}
# Errors after which nothing of the transaction is left, and which come by chance. PostgreSQL: serialization failure
# and deadlock; MariaDB: deadlock, and a row that has changed since it was read.
_CHANCE: Final = frozenset({"40001", "40P01", 1213, 1020})
# A disk without room. PostgreSQL, MariaDB (temporary files, tables), SQLite.
_FULL: Final = frozenset({"53100", 1021, 1114, "SQLITE_FULL"})
# A replica, a server or a transaction that takes no changes. PostgreSQL, MariaDB; what SQLite says only begins so.
_READ_ONLY: Final = frozenset({"25006", 1036, 1290, 1792})
_READ_ONLY_FILE: Final = "SQLITE_READONLY"


class Undone(RegistryDown):
    """The transaction was undone by chance, and may be tried again."""


def connect(sql_connection: str, idle_timeout: int = 3600) -> Engine:
    """An Engine for an SQLAlchemy URL; connects at the first use, so that a process may fork before.

    `idle_timeout` is the number of seconds after which a connection is renewed. Raises Invalid for a URL that
    names no database we can speak to.
    """
    try:
        url = make_url(sql_connection)
        if "@" in (url.host or ""):  # then this is the end of the password, and no message may have it
            raise Invalid("sql_connection is not a database URL: in a password, write @ as %40")
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, pool_recycle=idle_timeout)
            prepare_sqlite(engine)
            return engine
        engine = create_engine(
            url,
            pool_recycle=idle_timeout,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # writers wait for each other's rows, and then see them
            connect_args=dict(_ARGUMENTS.get(url.get_driver_name(), {})),
        )
    except (ArgumentError, NoSuchModuleError) as error:
        raise Invalid(f"sql_connection is not a database URL that is known here: {error}") from error
    except ImportError as error:
        raise Invalid(
            f"the driver of the database is not installed ({error}): glance-image-service[postgresql] and "
            "glance-image-service[mariadb] bring one"
        ) from error
    except ValueError:  # its text would repeat what follows the colon: of the password, when that holds an "@"
        raise Invalid("sql_connection is not a database URL: what follows the host's colon is no port") from None
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction in which everything is seen as at one moment."""
    with translated(), engine.connect() as connection:
        connection.exec_driver_sql(_SNAPSHOT[engine.dialect.name])
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed at its end, or undone when an error leaves it."""
    with translated(), engine.begin() as connection:
        yield connection


@contextmanager
def translated() -> Iterator[None]:
    """What the database says → RegistryDown; SQL and addresses go to the log, not to the caller."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        LOG.error("database: %s", error.orig if isinstance(error, DBAPIError) else error)
        raise _error(error) from error


def retried(method: Callable[P, R]) -> Callable[P, R]:
    """For what is one transaction, and nothing beside it: do it again when that was undone by chance."""

    @wraps(method)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        for number in range(1, ATTEMPTS):
            try:
                return method(*args, **kwargs)
            except Undone:
                time.sleep(random.uniform(0, PAUSE * 2**number))
        return method(*args, **kwargs)

    return attempt


def _error(error: DBAPIError | PoolTimeoutError) -> RegistryDown:
    if isinstance(error, DBAPIError):
        code = _code(error)
        if code in _FULL:
            return RegistryFull()
        if code in _READ_ONLY or str(code).startswith(_READ_ONLY_FILE):
            return RegistryReadOnly()
        if _was_undone(error):
            return Undone("the database does not answer")
    return RegistryDown("the database does not answer")


def _was_undone(error: DBAPIError) -> bool:
    """Whether it is certain that nothing was committed, and likely that another attempt succeeds.

    A connection that is lost while a statement runs takes its transaction with it. While COMMIT runs, which is none
    to SQLAlchemy, nobody knows."""
    return _code(error) in _CHANCE or (error.connection_invalidated and error.statement is not None)


def _code(error: DBAPIError) -> object:
    """What the database says it is: psycopg2 and sqlite3 have that in an attribute, PyMySQL first."""
    original: Any = error.orig
    named = getattr(original, "pgcode", None) or getattr(original, "sqlite_errorname", None)
    return named or next(iter(original.args), None)
