# SPDX-License-Identifier: Apache-2.0
"""A Glance comes back from its backup as docs/operation.md has it, whatever was done while the copies were made."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_trouble import OCTETS, url

pytestmark = [pytest.mark.functional, pytest.mark.slow]


def put(installation: Installation, data: bytes) -> int:
    made = requests.post(url(installation), data, headers=OCTETS, timeout=20)
    assert made.status_code == 200, made.text
    return made.json()["image"]["id"]


def bytes_of(installation: Installation, number: int) -> requests.Response:
    return requests.get(url(installation, f"/{number}"), timeout=20)


def copy_database(source: Path, target: Path) -> None:
    """As `.backup` of sqlite3 does."""
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(target)) as copy:
        database.backup(copy)


def test_back_from_a_backup(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> None:
    backup = tmp_path_factory.mktemp("backup")
    database, images = installation.folder / "glance.sqlite", installation.folder / "images"
    installation.start()
    data = {put(installation, blob): blob for blob in (os.urandom(5000), os.urandom(6000))}
    kept, deleted = data
    copy_database(database, backup / "glance.sqlite")
    assert requests.delete(url(installation, f"/{deleted}"), timeout=20).status_code == 200
    late = put(installation, b"after the copy of the database")
    shutil.copytree(images, backup / "images")
    assert installation.control("all", "stop").returncode == 0

    shutil.rmtree(images)
    for file in installation.folder.glob("glance.sqlite*"):
        file.unlink()
    shutil.copytree(backup / "images", images)
    copy_database(backup / "glance.sqlite", database)
    installation.start("registry")
    mended = installation.run("glance-manage", "fsck", "--older-than", "0", "--delete", "--repair")
    assert mended.returncode == 1, mended.stdout + mended.stderr
    assert installation.run("glance-manage", "fsck", "--older-than", "0").returncode == 0
    installation.start("api")
    assert bytes_of(installation, kept).content == data[kept]
    assert "killed" in bytes_of(installation, deleted).text
    assert put(installation, b"its number is given again") == late
    assert bytes_of(installation, late).content == b"its number is given again"
    assert installation.run("glance-manage", "verify").returncode == 0
