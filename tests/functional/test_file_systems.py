# SPDX-License-Identifier: Apache-2.0
"""Real daemons on file systems that lack what others have."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_trouble import OCTETS, stored, url
from tests.servers.fuse import Fuse

pytestmark = pytest.mark.functional

DATA = bytes(range(256)) * 100


@pytest.fixture
def poor_disk(installation: Installation) -> Iterator[Path]:
    """The directory of images is on a file system without hard links, O_TMPFILE, RENAME_NOREPLACE and fsync of names."""
    folder = installation.folder / "images"
    made = Fuse(folder, link="EPERM", rename_noreplace="EINVAL", fsyncdir="EINVAL")
    yield folder
    installation.end()
    made.close()


def test_images_on_a_file_system_that_lacks_abilities(installation: Installation, poor_disk: Path) -> None:
    installation.start()
    assert requests.post(url(installation), DATA, headers=OCTETS, timeout=30).status_code == 200
    assert requests.get(url(installation, "/1"), timeout=30).content == DATA
    assert requests.get(f"http://127.0.0.1:{installation.api_port}/healthcheck/ready", timeout=30).status_code == 200
    assert stored(installation) == {"1"}
    done = installation.run("glance-manage", "store-check", "file")
    assert (done.returncode, done.stderr) == (0, "")
    assert "optional abilities ...................... ok: it works, with these consequences\n" in done.stdout
    for words in ("O_TMPFILE", "no hard links", "RENAME_NOREPLACE", "fsync of directories"):
        assert words in done.stdout
    assert installation.run("glance-manage", "fsck", "--older-than", "0").returncode == 0
    assert requests.delete(url(installation, "/1"), timeout=30).status_code == 200
    assert stored(installation) == set()


def test_pid_files_on_a_file_system_without_locks(installation: Installation) -> None:
    mounted = Fuse(installation.folder / "run", flock="ENOLCK")
    try:
        done = installation.control("registry", "start")
        assert done.returncode == 1
        path = installation.folder / "run/glance-registry.pid"
        assert f"cannot lock the pid file {path}: " in done.stdout + done.stderr
        assert "--pid-dir" in done.stdout + done.stderr
        assert not path.exists()
    finally:
        mounted.close()


def test_a_file_of_users_that_is_mounted(installation: Installation) -> None:
    volume, path = installation.folder / "volume", installation.folder / "users.json"
    command = ("glance-manage", "user", "--users-file", str(path))
    assert installation.run(*command, "add", "one", "--tenant", "t", "--token").returncode == 0
    before = path.read_bytes()
    volume.write_bytes(before)
    volume.chmod(0o600)
    if subprocess.run(["mount", "--bind", volume, path], capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file on another")
    try:
        done = installation.run(*command, "add", "two", "--tenant", "t", "--token")
        assert done.returncode == 1
        assert done.stderr.startswith(f"ERROR: {path} cannot be replaced, since it is mounted there as a file: ")
        assert path.read_bytes() == before
        assert [entry.name for entry in installation.folder.iterdir() if "users" in entry.name] == ["users.json"]
    finally:
        subprocess.run(["umount", path], check=True)
