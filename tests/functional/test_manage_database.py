# SPDX-License-Identifier: Apache-2.0
"""glance-manage db_sync and db_version: the schema, made before the registry starts or beside it."""

import pytest

from glance.registry.db.migrate import HEAD
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional


def test_the_schema_is_made_before_the_registry_starts(installation: Installation) -> None:
    done = installation.run("glance-manage", "db_version")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "ERROR: sqlite:///glance.sqlite is not under migration control: glance-manage db_sync makes the tables\n"
    )
    assert not (installation.folder / "glance.sqlite").exists()
    done = installation.run("glance-manage", "db_sync")
    assert (done.returncode, done.stdout) == (0, f"The schema of sqlite:///glance.sqlite is at step {HEAD}\n")
    installation.start()
    assert "the schema of the database is now" not in installation.logs()  # there was nothing left to do
    with installation.client() as client:
        client.add_image({"name": "kept", "type": "raw", "is_public": True}, b"abc")
        assert installation.run("glance-manage", "db_sync").returncode == 0
        assert installation.run("glance-manage", "db_version").stdout == f"{HEAD}\n"
        assert [image["name"] for image in client.get_images()] == ["kept"]


def test_another_database_by_its_url(installation: Installation) -> None:
    url = ("--sql-connection", f"sqlite:///{installation.folder}/other.sqlite")
    assert installation.run("glance-manage", "db_sync", *url).returncode == 0
    assert installation.run("glance-manage", "db_version", *url).stdout == f"{HEAD}\n"
    assert not (installation.folder / "glance.sqlite").exists()


@pytest.mark.parametrize("command", ["db_sync", "db_version"])
@pytest.mark.parametrize(("url", "told"), [
    ("nonsense", "sql_connection is not a database URL"), ("postgresql://glance:geheim@127.0.0.1:1/glance", "cannot be used: "),
])  # fmt: skip
def test_a_database_that_is_none(installation: Installation, command: str, url: str, told: str) -> None:
    done = installation.run("glance-manage", command, "--sql-connection", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERROR: ")
    assert told in done.stderr
    assert "geheim" not in done.stderr
