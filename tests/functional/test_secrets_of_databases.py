# SPDX-License-Identifier: Apache-2.0
"""The password of the database shows nowhere, whatever is wrong with it; nor does what a broken configuration holds."""

from pathlib import Path

import pytest
import requests
from sqlalchemy import MetaData, make_url

from glance.registry.db.engine import connect, reading
from tests.functional.daemons import Installation
from tests.functional.test_trouble import OCTETS, url
from tests.functional.traces import MARK, hold, logged, said_by_commands
from tests.servers.processes import free_port

pytestmark = [pytest.mark.functional, pytest.mark.slow]

WRONG = f"{MARK}-database-4e8a"
# URLs with a mistake that is easily made in them. {port} is one where nobody listens.
MISTAKES = {
    "refused": f"postgresql://glance:{WRONG}@127.0.0.1:{{port}}/glance",
    "refused, MariaDB": f"mysql://glance:{WRONG}@127.0.0.1:{{port}}/glance",
    "password as an option": f"postgresql://glance@127.0.0.1:{{port}}/glance?password={WRONG}",
    "password as an option, MariaDB": f"mysql://glance@127.0.0.1:{{port}}/glance?password={WRONG}",
    "passphrase as an option": f"postgresql://glance:{WRONG}@127.0.0.1:{{port}}/glance?sslpassword={WRONG}",
    "unknown option": f"postgresql://glance:{WRONG}@127.0.0.1:{{port}}/glance?colour=blue",
    "no colon": f"postgresql//glance:{WRONG}@127.0.0.1:{{port}}/glance",
    "@ in the password": f"postgresql://glance:pass@{WRONG}@127.0.0.1:{{port}}/glance",
    "/ in the password": f"postgresql://glance:{WRONG}/x@127.0.0.1:{{port}}/glance",
    "unknown database": f"oracel://glance:{WRONG}@127.0.0.1:{{port}}/glance",
    "SQLite with a user": f"sqlite://glance:{WRONG}@/glance.sqlite",
}


def use(installation: Installation, sql_connection: str) -> None:
    installation.configure()
    text = installation.config.read_text()
    installation.config.write_text(text.replace("sqlite:///glance.sqlite", sql_connection))


def rows(address: str) -> list[str]:
    """All that lies in a database."""
    engine = connect(address)
    metadata = MetaData()
    metadata.reflect(engine)
    with reading(engine) as connection:
        found = [str(row) for table in metadata.sorted_tables for row in connection.execute(table.select())]
    engine.dispose()
    return found


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_database_with_a_password(installation: Installation, kind: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(kind)
    address = server.new_database()
    use(installation, address)
    assert installation.control("--debug", "all", "start").returncode == 0
    told = []
    for asked in (
        requests.post(url(installation), b"bytes", headers=OCTETS, timeout=20),
        requests.get(url(installation, "/detail"), timeout=20),
        requests.get(f"http://127.0.0.1:{installation.registry_port}/images/detail", timeout=20),
        requests.get(f"http://127.0.0.1:{installation.api_port}/v1/images/detail", timeout=20),
    ):
        assert asked.status_code == 200
        told.append(f"{asked.headers} {asked.text}")
    told += said_by_commands(installation, "fsck", "sync", "purge")
    stored = rows(address)
    assert any("file://" in row for row in stored)

    server.stop()  # in the middle of it all
    try:
        for path in (url(installation), f"http://127.0.0.1:{installation.registry_port}/healthcheck/ready"):
            answer = requests.get(path, timeout=60)
            assert answer.status_code == 503
            told.append(f"{answer.headers} {answer.text}")
        told += said_by_commands(installation, "usage", "sync")
    finally:
        server.start()

    use(installation, make_url(address).set(password=WRONG).render_as_string(hide_password=False))
    refused = installation.control("--debug", "registry", "restart")
    assert refused.returncode == 1
    told += [refused.stdout + refused.stderr, *said_by_commands(installation, "version", "check", "purge")]
    assert any("127.0.0.1" in text and "***" in text for text in told)  # the address is told, but for the password
    assert hold({server.password, WRONG, MARK}, told + stored, installation) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_address(installation: Installation, mistake: str) -> None:
    use(installation, MISTAKES[mistake].format(port=free_port()))
    started = installation.control("--debug", "all", "start")
    assert started.returncode == 1
    told = [started.stdout + started.stderr, *said_by_commands(installation, "version")]
    assert all("ERROR: " in text for text in told[1:])
    assert not [text for text in told if "Traceback" in text]
    assert hold({WRONG, MARK}, told, installation) == []


@pytest.mark.parametrize("lines", [f"registry_key {MARK}", f"{MARK}", f"[{MARK}", f"registry_key: x\n{MARK} {MARK}"])
def test_lines_that_are_none_are_told_by_their_number(installation: Installation, lines: str) -> None:
    installation.configure(common=lines)
    started = installation.control("--debug", "all", "start")
    assert started.returncode == 1
    told = [started.stdout + started.stderr, *said_by_commands(installation, "usage", "version")]
    assert any("neither [section] nor option = value" in text for text in told)
    assert not [text for text in told if MARK in text]
    logs = Path(installation.folder, "log")
    assert not [path for path in logs.rglob("*") if path.is_file() and MARK in path.read_text()]


def test_what_is_looked_for_after_every_test_is_found(installation: Installation) -> None:
    """Else the fixtures would look for nothing."""
    key, password = f"{MARK}-key", f"{MARK}-password"
    installation.configure(common=f"registry_key = {key}\ncert_file = /not/secret")
    (installation.folder / "log").mkdir()
    log = installation.folder / "log/glance-api.log"
    for text, found in ((f"{key}\n", ["glance-api.log"]), (f"a {password}.", []), ("/not/secret", [])):
        log.write_text(text)
        assert logged(installation) == found
    use(installation, f"postgresql://glance:{password}@127.0.0.1/glance")
    log.write_text(f"a {password}.")
    assert logged(installation) == ["glance-api.log"]
    log.unlink()
