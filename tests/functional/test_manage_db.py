# SPDX-License-Identifier: Apache-2.0
"""glance-manage db, on SQLite; tests/contract/test_schema.py has what all databases have in common."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from glance.registry.db.engine import connect
from glance.registry.db.migrate import HEAD
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional


@pytest.fixture
def url(installation: Installation) -> str:
    return f"sqlite:///{installation.folder}/glance.sqlite"


@pytest.fixture
def db(installation: Installation, url: str) -> Callable[[str], tuple[int, str]]:
    """Run a deed; its exit status and what it says, but for the address of the database."""

    def run(deed: str) -> tuple[int, str]:
        done = installation.run("glance-manage", "db", deed)
        first, *rest = (done.stdout + done.stderr).splitlines()
        assert first == f"Database: {url}"
        return done.returncode, "\n".join(rest)

    return run


def test_from_nothing_to_a_schema_that_somebody_changes(db, url):
    assert db("version") == (0, f"Step: none, there are no tables\nThis version of Glance: {HEAD}")
    status, said = db("check")
    assert (status, "there are no tables yet" in said) == (2, True)
    assert db("sync") == (0, f"Step {HEAD}: made now")
    assert db("sync") == (0, f"Step {HEAD}: nothing to do")
    assert db("version") == (0, f"Step: {HEAD}\nThis version of Glance: {HEAD}")
    assert db("check") == (0, f"Step {HEAD}: all is as it should be")
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_images_checksum"))
    engine.dispose()
    said = f"index ix_images_checksum of table images is missing\nStep {HEAD}: 1 difference"
    assert db("check") == (1, said)


def test_to_look_makes_no_file(db, installation):
    db("version")
    db("check")
    assert not (installation.folder / "glance.sqlite").exists()


def test_older_and_newer_schemas(db, url):
    db("sync")
    for step, todo in (("0001", "glance-manage db sync brings it up to date"), ("9999", "a newer version made it")):
        engine = connect(url)
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{step}'"))
        engine.dispose()
        assert db("check") == (1, f"Step {step}, this version of Glance has {HEAD}: {todo}")
    status, said = db("sync")
    assert (status, "install the version that made it" in said) == (2, True)


def test_a_database_that_is_none(db, installation):
    Path(installation.folder / "glance.sqlite").write_text("not a database at all, but a text" * 100)
    for deed in ("sync", "version", "check"):
        status, said = db(deed)
        assert (status, said.startswith("ERROR: the database sqlite:///")) == (2, True)
        assert "not a database" in said


def test_purge_while_the_daemons_run(installation):
    installation.start()
    with installation.client() as client:
        for _ in range(3):
            client.add_image({"name": "x", "type": "raw", "is_public": True}, b"bytes")
        client.delete_image(3)
        client.delete_image(1)
        young = installation.run("glance-manage", "purge")
        assert (young.returncode, young.stdout) == (0, "Purged 0 images, deleted at least 30 days ago\n")
        done = installation.run("glance-manage", "purge", "--age-in-days", "0")
        assert (done.returncode, done.stdout) == (0, "Purged 2 images, deleted at least 0 days ago\n")
        assert client.add_image({"name": "x", "type": "raw", "is_public": True}, b"bytes")["id"] == 4
    assert installation.run("glance-manage", "fsck", "--older-than", "0").returncode == 0


def test_purge_of_what_is_not_there(installation):
    done = installation.run("glance-manage", "purge")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no tables, and this version of Glance needs step" in done.stderr
    assert not (installation.folder / "glance.sqlite").exists()
    done = installation.run("glance-manage", "purge", "--age-in-days", "-1")
    assert done.returncode == 2


def test_the_names_of_old(installation):
    assert installation.run("glance-manage", "db_sync").stdout.endswith(f"Step {HEAD}: made now\n")
    assert f"Step: {HEAD}\n" in installation.run("glance-manage", "db_version").stdout
