# SPDX-License-Identifier: Apache-2.0
"""The connection to the database."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from glance.core.errors import Invalid, RegistryDown

LOG = logging.getLogger(__name__)

BUSY_TIMEOUT = 5000  # milliseconds that SQLite waits for another process to end its transaction
FILE_MODE = 0o640


def connect(sql_connection: str, idle_timeout: int = 3600) -> Engine:
    """An Engine for an SQLAlchemy URL; connects at the first use, so that a process may fork before.

    `idle_timeout` is the number of seconds after which a connection is renewed. Raises Invalid for a URL that
    names no database we can speak to.
    """
    try:
        url = make_url(sql_connection)
        engine = create_engine(url, pool_recycle=idle_timeout, pool_pre_ping=url.get_backend_name() != "sqlite")
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise Invalid(f"sql_connection is not a database URL that is known here: {error}") from error
    except ValueError:  # its text would repeat what follows the colon: of the password, when that holds an "@"
        raise Invalid("sql_connection is not a database URL: what follows the host's colon is no port") from None
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, url.database or ":memory:")
    return engine


@contextmanager
def translated() -> Iterator[None]:
    """What the database says → RegistryDown; SQL and addresses go to the log, not to the caller."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        LOG.error("database: %s", error.orig if isinstance(error, DBAPIError) else error)
        raise RegistryDown("the database does not answer") from error


def _prepare_sqlite(engine: Engine, database: str) -> None:
    if ":memory:" in database:
        raise Invalid("sql_connection must name a file: a database in memory ends with its connection")
    if not database.startswith("file:"):  # a URI may also say that no file is to be made
        event.listen(engine, "do_connect", lambda *_: _make_file(Path(database)))
    event.listen(engine, "connect", _set_up_sqlite)


def _make_file(path: Path) -> None:
    """A database that SQLite makes itself would be readable by everybody."""
    with suppress(OSError):  # exists, or cannot be made: sqlite3 says so itself
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))


def _set_up_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # what is committed survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Readers then do not wait for the writer. The mode stays with the file; asking for it again is cheap.

    Processes that switch a new file at the same moment fail at once, whatever their busy_timeout: each holds the
    lock that the other waits for, and SQLite will not let them wait for ever.
    """
    end = time.monotonic() + BUSY_TIMEOUT / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)
