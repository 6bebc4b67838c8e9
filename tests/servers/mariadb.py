# SPDX-License-Identifier: Apache-2.0
"""MariaDB of Debian's package, in a folder and on a port of its own."""

import secrets
import shutil
import subprocess
from pathlib import Path

import pymysql

from tests.functional.debian import program
from tests.servers.processes import Processes, free_port
from tests.servers.unprivileged import own_folder, unprivileged

# Tests need no data after a power cut. The character set is one that our tables must not depend on.
SETTINGS = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=OFF",
    "--innodb-fast-shutdown=2",
    "--character-set-server=latin1",
    "--skip-name-resolve",
    "--bind-address=127.0.0.1",
    "--sql-mode=",  # silent about values that do not fit, unless the connection wants to be told
)


class Mariadb:
    """A running server. `stop` and `start` make it one that was restarted."""

    user = "glance"

    def __init__(self) -> None:
        """Install it, and make its files. Skips the test where that cannot be done."""
        self._server = program("mariadbd", "mariadb-server-core", needed=True)
        program("my_print_defaults", "mariadb-client-core", needed=True)  # which the next one uses
        install = program("mariadb-install-db", "mariadb-server-core", needed=True)
        self._folder = own_folder("mariadb")
        self._processes = Processes(self._folder)
        self._databases = 0
        self.port = free_port()
        self.password = secrets.token_hex(8)
        made = (
            install,
            "--no-defaults",
            f"--datadir={self._data}",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        )
        done = subprocess.run(
            [*unprivileged(), *made], check=False, cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout.decode()
        users = self._folder / "users.sql"
        users.write_text(
            f"CREATE OR REPLACE USER {self.user}@127.0.0.1 IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {self.user}@127.0.0.1;\n"
        )

    def start(self) -> None:
        place = (f"--datadir={self._data}", f"--port={self.port}", f"--socket={self._folder}/socket")
        settings = (*SETTINGS, f"--init-file={self._folder}/users.sql")
        self._processes.start("mariadb", *unprivileged(), self._server, "--no-defaults", *place, *settings)
        self._processes.await_port(self.port)

    def stop(self) -> None:
        """End it; open connections are cut."""
        self._processes.stop()

    def remove(self) -> None:
        self._processes.stop()
        shutil.rmtree(self._folder)

    def logs(self) -> str:
        return self._processes.logs()

    def new_database(self) -> str:
        """The URL of an empty one."""
        self._databases += 1
        name = f"glance{self._databases}"
        with pymysql.connect(host="127.0.0.1", port=self.port, user=self.user, password=self.password) as connection:
            connection.cursor().execute(f"CREATE DATABASE {name}")
        return f"mysql://{self.user}:{self.password}@127.0.0.1:{self.port}/{name}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"
