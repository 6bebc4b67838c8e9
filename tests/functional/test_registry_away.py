# SPDX-License-Identifier: Apache-2.0
"""A registry that is away for a while, or whose disk is full: whoever begins is told so, whoever has begun goes on."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation, answer_of, slow_upload
from tests.functional.test_trouble import HEAD, OCTETS, connect, stored, url, wait_for

pytestmark = [pytest.mark.functional, pytest.mark.slow]

UPLOADS = 50
SIZE = 100_000
AWAY = 8  # seconds
TMPFS = 2**20  # bytes


def half(number: int) -> bytes:
    return bytes([number]) * (SIZE // 2)


def finish(sock: socket.socket, number: int) -> None:
    sock.sendall(half(number))
    sock.shutdown(socket.SHUT_WR)


def test_a_restart_of_the_registry_loses_none_of_fifty_running_uploads(installation: Installation) -> None:
    """Neither those whose bytes have all come meanwhile, nor those whose bytes still come, though all leases end."""
    installation.configure(api="transfer_lease = 2")
    installation.start()
    with ExitStack() as stack:
        socks = [stack.enter_context(connect(installation)) for _ in range(UPLOADS)]
        for number, sock in enumerate(socks):
            sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % SIZE + half(number))
        running = url(installation, "/detail")
        wait_for(lambda: requests.get(running, timeout=10).text.count('"saving"') == UPLOADS, 30)
        os.kill(installation.pid("glance-registry"), signal.SIGKILL)
        for number, sock in enumerate(socks[: UPLOADS // 2]):
            finish(sock, number)
        refused = requests.post(url(installation), b"new", headers=OCTETS, timeout=10)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        time.sleep(AWAY)
        installation.start("registry")
        for number, sock in enumerate(socks[: UPLOADS // 2]):
            assert answer_of(sock).startswith(b"HTTP/1.1 200 "), number
        time.sleep(5)  # until leases are judged again
        for number, sock in list(enumerate(socks))[UPLOADS // 2 :]:
            finish(sock, number)
            assert answer_of(sock).startswith(b"HTTP/1.1 200 "), number
    images = requests.get(url(installation, "/detail"), timeout=10).json()["images"]
    contents = [requests.get(url(installation, f"/{image['id']}"), timeout=10).content for image in images]
    assert sorted(contents) == [half(number) * 2 for number in range(UPLOADS)]
    assert len(stored(installation)) == UPLOADS


# A database without room


@pytest.fixture
def small_database(installation: Installation) -> Iterator[Path]:
    """A folder of 1 MiB for the database."""
    folder = installation.folder / "db"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    text = installation.config.read_text()
    installation.config.write_text(text.replace("sqlite:///glance.sqlite", "sqlite:///db/glance.sqlite"))
    yield folder
    installation.end()
    subprocess.run(["umount", str(folder)], check=True)


def fill(installation: Installation, folder: Path) -> requests.Response:
    """Leave no room, neither on the disk nor in the files of the database; the answer to the first that found none."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass
    large = {**OCTETS, "x-image-meta-property-large": "x" * 10_000}
    for _ in range(200):
        answer = requests.post(url(installation), headers=large, timeout=30)
        if answer.status_code != 200:
            return answer
    raise AssertionError("there is room without end")


def test_a_full_database_is_503_that_says_so_and_running_uploads_outlive_it(
    installation: Installation, small_database: Path
) -> None:
    installation.start()
    kept = requests.post(url(installation), b"kept", headers=OCTETS, timeout=10).json()["image"]
    with slow_upload(installation, 1000) as sock:
        full = fill(installation, small_database)
        assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
        assert "the database has no room left" in full.text
        assert requests.post(url(installation), b"new", headers=OCTETS, timeout=30).status_code == 503
        assert requests.get(url(installation, f"/{kept['id']}"), timeout=10).content == b"kept"
        sock.sendall(b"x" * 500)
        sock.shutdown(socket.SHUT_WR)
        time.sleep(2)  # it has come to its last step
        (small_database / "filler").unlink()
        assert answer_of(sock).startswith(b"HTTP/1.1 200 ")
    later = requests.post(url(installation), b"later", headers=OCTETS, timeout=10)
    assert later.status_code == 200
    assert len(stored(installation)) == 3
    assert requests.delete(url(installation, f"/{kept['id']}"), timeout=10).status_code == 200
    assert len(stored(installation)) == 2
