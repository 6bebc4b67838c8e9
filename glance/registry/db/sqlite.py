# SPDX-License-Identifier: Apache-2.0
"""How SQLite is opened: one file, readable by few, its commits durable, its readers never waiting."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, event

from glance.core.errors import Invalid

BUSY_TIMEOUT = 5000  # milliseconds that SQLite waits for another process to end its transaction
FILE_MODE = 0o640


def prepare_sqlite(engine: Engine) -> None:
    """Raises Invalid for a database in memory."""
    database = engine.url.database or ":memory:"
    if ":memory:" in database:
        raise Invalid("sql_connection must name a file: a database in memory ends with its connection")
    file = file_of(engine.url)
    if file is not None:
        event.listen(engine, "do_connect", lambda *_: _make_file(file))
    event.listen(engine, "connect", _set_up)


def file_of(url: URL) -> Path | None:
    """Of an SQLite database; None for others, and for a URI, which may also say that no file is to be made."""
    database = url.database or ""
    return Path(database) if url.get_backend_name() == "sqlite" and not database.startswith("file:") else None


def _make_file(path: Path) -> None:
    """A database that SQLite makes itself would be readable by everybody."""
    with suppress(OSError):  # exists, or cannot be made: sqlite3 says so itself
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))


def _set_up(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # what is committed survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Readers then do not wait for the writer. The mode stays with the file; asking for it again is cheap.

    While another process writes to a new file that is not switched yet, SQLite refuses at once, whatever the
    busy_timeout; so the waiting is done here.
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
