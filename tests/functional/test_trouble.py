# SPDX-License-Identifier: Apache-2.0
"""What must hold when something breaks: an active image is whole, a broken upload leaves nothing, answers come."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation, answer_of, slow_upload

pytestmark = pytest.mark.functional

OCTETS = {"Content-Type": "application/octet-stream", "x-image-meta-type": "raw", "x-image-meta-is_public": "1"}
HEAD = (
    b"POST /images HTTP/1.1\r\nHost: localhost\r\nx-image-meta-type: raw\r\nx-image-meta-is_public: true\r\n"
    b"Content-Type: application/octet-stream\r\n"
)
MIB = 1024 * 1024


def url(installation: Installation, path: str = "") -> str:
    return f"http://127.0.0.1:{installation.api_port}/images{path}"


def wait_for(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def newest(installation: Installation) -> dict[str, object]:
    def images() -> list[dict[str, object]]:
        return requests.get(url(installation, "/detail"), timeout=10).json()["images"]

    wait_for(lambda: bool(images()))  # a request that has just been sent may not have made its record yet
    return images()[-1]


def stored(installation: Installation) -> set[str]:
    return {path.name for path in (installation.folder / "images").rglob("*") if path.is_file()}


def open_files_below(pid: int, folder: Path) -> list[str]:
    """The files below a folder, unnamed ones included, that a process has open."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith(str(folder)):
                found.append(target)
    return found


def connect(installation: Installation) -> socket.socket:
    return socket.create_connection(("127.0.0.1", installation.api_port), timeout=30)


# Uploads that break off


@pytest.mark.parametrize("sent", [0, 1, 500_000, 999_999])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_client_that_goes_leaves_nothing(running: Installation, sent: int, end: str) -> None:
    before = stored(running)
    with connect(running) as sock:
        sock.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * sent)
        wait_for(lambda: newest(running)["status"] == "saving")
        if end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: newest(running)["status"] == "killed")
    assert stored(running) == before
    wait_for(lambda: open_files_below(running.pid("glance-api"), running.folder / "images") == [])


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n", b"5\r\nhel", b"-1\r\nx", b"zz\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
        b"1_0\r\n" + b"x" * 16, b"\r\n", b"fffffffffffffffff\r\n", b"5" + b" " * 9000 + b"\r\n",
    ],
)  # fmt: skip
def test_a_chunked_body_that_is_cut_or_wrong_leaves_nothing(running: Installation, body: bytes) -> None:
    before = stored(running)
    with connect(running) as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        sock.shutdown(socket.SHUT_WR)
        assert answer_of(sock).startswith(b"HTTP/1.1 400 ")
    assert newest(running)["status"] == "killed"
    assert stored(running) == before


def test_an_image_that_is_deleted_while_it_comes_leaves_nothing(running: Installation) -> None:
    before = stored(running)
    with slow_upload(running, 1000) as sock:
        number = newest(running)["id"]
        assert requests.delete(url(running, f"/{number}"), timeout=10).status_code == 200
        sock.sendall(b"x" * 500)
        sock.shutdown(socket.SHUT_WR)
        assert answer_of(sock).startswith(b"HTTP/1.1 404 ")
    assert stored(running) == before
    assert requests.head(url(running, f"/{number}"), timeout=10).status_code == 404


def test_of_two_uploads_to_one_image_one_wins(running: Installation) -> None:
    for _ in range(10):
        number = requests.post(url(running), headers=OCTETS, timeout=10).json()["image"]["id"]
        bodies = [bytes([value]) * 300_000 for value in (1, 2)]
        answers: dict[int, int] = {}

        def put(
            index: int, number: object = number, bodies: list[bytes] = bodies, answers: dict[int, int] = answers
        ) -> None:
            answers[index] = requests.put(
                url(running, f"/{number}"), bodies[index], headers=OCTETS, timeout=10
            ).status_code

        threads = [threading.Thread(target=put, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers.values()) == [200, 409]
        (winner,) = (index for index, status in answers.items() if status == 200)
        assert requests.get(url(running, f"/{number}"), timeout=10).content == bodies[winner]


# Daemons that end


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_ends_in_an_upload_leaves_no_bytes(installation: Installation, number: signal.Signals) -> None:
    installation.configure(common="graceful_shutdown_timeout = 1")
    installation.start()
    whole = requests.post(url(installation), b"whole", headers=OCTETS, timeout=10).json()["image"]
    with slow_upload(installation):
        pid = installation.pid("glance-api")
        os.kill(pid, number)
        wait_for(lambda: not Path(f"/proc/{pid}").exists() or pid not in installation.processes())
    assert stored(installation) == {"1"}
    installation.start("api")
    assert requests.get(url(installation, f"/{whole['id']}"), timeout=10).content == b"whole"
    if number == signal.SIGTERM:
        assert newest(installation)["status"] == "killed"


def test_an_upload_that_ends_within_the_grace_time_is_kept(installation: Installation) -> None:
    installation.start()
    with slow_upload(installation, 1000) as sock:
        os.kill(installation.pid("glance-api"), signal.SIGTERM)
        time.sleep(0.5)
        sock.sendall(b"x" * 500)
        assert answer_of(sock).startswith(b"HTTP/1.1 200 ")
    assert (installation.folder / "images/1").read_bytes() == b"x" * 1000


# A registry that is away


def test_a_registry_that_is_away_is_503_within_a_second_and_no_restart_is_needed(installation: Installation) -> None:
    installation.start()
    assert requests.post(url(installation), b"kept", headers=OCTETS, timeout=10).status_code == 200
    for _ in range(2):
        assert installation.control("registry", "stop").returncode == 0
        for method, path in (("GET", ""), ("GET", "/1"), ("HEAD", "/1"), ("DELETE", "/1"), ("POST", "")):
            started = time.monotonic()
            response = requests.request(method, url(installation, path), headers=OCTETS, timeout=10)
            assert (response.status_code, "Retry-After" in response.headers) == (503, True)
            assert time.monotonic() - started < 1
        installation.start("registry")
        assert requests.get(url(installation, "/1"), timeout=10).content == b"kept"


def test_a_registry_that_goes_during_an_upload(installation: Installation) -> None:
    installation.configure(api="registry_patience = 1")
    installation.start()
    with slow_upload(installation, 1000) as sock:
        os.kill(installation.pid("glance-registry"), signal.SIGKILL)
        sock.sendall(b"x" * 500)
        sock.shutdown(socket.SHUT_WR)
        assert answer_of(sock).startswith(b"HTTP/1.1 503 ")
    installation.start("registry")
    assert newest(installation)["status"] == "saving"


def test_a_registry_that_hangs_is_503_in_time(installation: Installation) -> None:
    installation.configure(api="registry_timeout = 1")
    installation.start()
    pid = installation.pid("glance-registry")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert requests.get(url(installation), timeout=10).status_code == 503
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: requests.get(url(installation), timeout=10).status_code == 200)


# A disk that is full


@pytest.fixture
def small_disk(installation: Installation) -> Iterator[Path]:
    folder = installation.folder / "images"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    installation.end()
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_is_413_and_nothing_is_left(installation: Installation, small_disk: Path, chunked: bool) -> None:
    installation.start()
    first = requests.post(url(installation), b"x" * MIB, headers=OCTETS, timeout=10).json()["image"]
    body = iter([b"x" * MIB] * 12) if chunked else b"x" * (12 * MIB)
    response = requests.post(url(installation), body, headers=OCTETS, timeout=30)
    assert response.status_code == 413
    assert str(small_disk) not in response.text
    assert newest(installation)["status"] == "killed"
    assert [path.name for path in small_disk.iterdir()] == ["1"]
    assert requests.post(url(installation), b"x" * (6 * MIB), headers=OCTETS, timeout=10).status_code == 200
    assert requests.get(url(installation, f"/{first['id']}"), timeout=10).content == b"x" * MIB


def test_a_disk_that_fills_stops_only_who_needs_more(installation: Installation, small_disk: Path) -> None:
    installation.start()
    with slow_upload(installation, 1000) as sock:
        assert requests.post(url(installation), b"x" * (12 * MIB), headers=OCTETS, timeout=30).status_code == 413
        sock.sendall(b"x" * 500)
        sock.shutdown(socket.SHUT_WR)
        assert answer_of(sock).startswith(b"HTTP/1.1 200 ")


# Many at once


def test_others_are_served_while_a_client_is_slow(running: Installation) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            sock = stack.enter_context(connect(running))
            sock.sendall(HEAD + b"Content-Length: 1000000\r\n\r\nx")
        assert requests.get(url(running), timeout=5).status_code == 200


def test_memory_does_not_grow_with_the_size_of_an_image(running: Installation) -> None:
    """A deterministic bound, far above what one upload needs and far below the image."""
    status = Path(f"/proc/{running.pid('glance-api')}/status")

    def peak() -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    requests.post(url(running), b"warm up", headers=OCTETS, timeout=10)
    before = peak()
    block = b"x" * MIB
    response = requests.post(url(running), iter([block] * 400), headers=OCTETS, timeout=60)
    number = response.json()["image"]["id"]
    with requests.get(url(running, f"/{number}"), stream=True, timeout=60) as down:
        assert sum(map(len, down.iter_content(MIB))) == 400 * MIB
    requests.delete(url(running, f"/{number}"), timeout=10)
    assert peak() - before < 32 * MIB
