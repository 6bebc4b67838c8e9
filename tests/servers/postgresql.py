# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL of Debian's package, in a folder and on a port of its own."""

import secrets
import shutil
import subprocess
import time

import psycopg2

from tests.functional.debian import program
from tests.servers.processes import START_TIMEOUT, Processes, free_port
from tests.servers.unprivileged import own_folder, unprivileged

# Tests need no data after a power cut. Sorting is that of no machine: ours must not depend on it.
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=100", "autovacuum=off")
CLUSTER = ("-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=de", "--auth=scram-sha-256")


class Postgresql:
    """A running server. `kill` and `start` make it one that was restarted."""

    user = "glance"

    def __init__(self) -> None:
        """Install it, and make its files. Skips the test where that cannot be done."""
        self._server = program("postgres", "postgresql", needed=True)
        initdb = program("initdb", "postgresql", needed=True)
        self._control = program("pg_ctl", "postgresql", needed=True)
        self._folder = own_folder("postgresql")
        self._processes = Processes(self._folder)
        self._databases = 0
        self.port = free_port()
        self.password = secrets.token_hex(8)
        secret = self._folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        made = (initdb, "-D", self._data, "-U", self.user, "--no-sync", f"--pwfile={secret}", *CLUSTER)
        subprocess.run([*unprivileged(), *made], check=True, cwd=self._folder, capture_output=True)
        secret.unlink()

    def start(self) -> None:
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        place = ("-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), "-k", "")
        self._processes.start("postgresql", *unprivileged(), self._server, *place, *settings)
        self._processes.await_port(self.port)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._lets_in():
            self._processes.check()
            assert time.monotonic() < deadline, f"it lets nobody in\n{self.logs()}"
            time.sleep(0.05)

    def _lets_in(self) -> bool:
        """It listens before it does, to say that it is starting up."""
        try:
            psycopg2.connect(self._url("postgres")).close()
        except psycopg2.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End it; open connections are cut."""
        subprocess.run(
            [*unprivileged(), self._control, "stop", "-D", self._data, "-m", "fast"],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        self._processes.stop()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def logs(self) -> str:
        return self._processes.logs()

    def new_database(self) -> str:
        """The URL of an empty one."""
        self._databases += 1
        name = f"glance{self._databases}"
        connection = psycopg2.connect(self._url("postgres"))
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def _data(self) -> str:
        return str(self._folder / "data")
