# SPDX-License-Identifier: Apache-2.0
"""A file store without room, in the middle of an upload: who does not fit is told so, all others go on."""

import contextlib
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation, answer_of, slow_upload
from tests.functional.live import Wire, request
from tests.functional.test_trouble import HEAD, MIB, OCTETS, connect, newest, stored, url

pytestmark = pytest.mark.functional

TMPFS = 8 * MIB


@pytest.fixture
def small_disk(installation: Installation) -> Iterator[Path]:
    """A folder of 8 MiB for images."""
    folder = installation.folder / "images"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    installation.end()
    subprocess.run(["umount", str(folder)], check=True)


def used(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "unknown size"])
def test_a_disk_that_fills_up_in_an_upload_is_413_and_all_others_go_on(
    installation: Installation, small_disk: Path, chunked: bool
) -> None:
    installation.start()
    kept = requests.post(url(installation), bytes(MIB), headers=OCTETS, timeout=30).json()["image"]
    with slow_upload(installation, 1000) as other, connect(installation) as reader:
        Wire(reader).send(request(target=f"/images/{kept['id']}".encode()))
        large = (bytes(MIB) for _ in range(16)) if chunked else bytes(16 * MIB)
        full = requests.post(url(installation), data=large, headers=OCTETS, timeout=60)
        assert full.status_code == 413, full.text
        assert "room" in full.text
        assert newest(installation)["status"] == "killed"
        assert used(small_disk) == MIB  # of the one that fails nothing, of the slow one nothing yet
        other.sendall(b"x" * 500)
        other.shutdown(socket.SHUT_WR)
        assert answer_of(other).startswith(b"HTTP/1.1 200 ")
        assert len(Wire(reader).answer().body) == MIB
    assert len(stored(installation)) == 2
    assert requests.post(url(installation), bytes(4 * MIB), headers=OCTETS, timeout=30).status_code == 200
    assert requests.get(f"http://127.0.0.1:{installation.api_port}/healthcheck/ready", timeout=30).status_code == 200


def test_a_file_larger_than_the_server_may_have_is_413(installation: Installation) -> None:
    """The limit of a process (EFBIG), which a unit file or a shell may have set."""
    installation.start()
    resource.prlimit(installation.pid("glance-api"), resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
    with connect(installation) as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (8 * MIB))
        sock.sendall(bytes(3 * MIB))
        time.sleep(1)  # it has been tried to write them
        with contextlib.suppress(OSError):
            sock.sendall(bytes(MIB))
        assert answer_of(sock).startswith(b"HTTP/1.1 413 ")
    assert newest(installation)["status"] == "killed"
    assert stored(installation) == set()
    assert requests.post(url(installation), bytes(MIB), headers=OCTETS, timeout=30).status_code == 200
