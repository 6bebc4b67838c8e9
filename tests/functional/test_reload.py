# SPDX-License-Identifier: Apache-2.0
"""A daemon that is reloaded hands its sockets to a successor: no request fails, no transfer is cut."""

import errno
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation, answer_of, slow_upload
from tests.functional.live import PATIENCE, Wire, request, wait_until
from tests.servers.processes import free_port

pytestmark = [pytest.mark.functional, pytest.mark.slow]

CLIENTS = 8
DAEMONS = ("glance-api", "glance-registry")
LARGE = os.urandom(1024 * 1024) * 64  # more than fits between the two ends of a connection
HEADERS = {
    "Content-Type": "application/octet-stream",
    "x-image-meta-type": "raw",
    "x-image-meta-is_public": "1",
}


class Hammer:
    """One client, who asks and asks; whatever is not answered with what he expects is a failure."""

    def __init__(self, port: int, *, keep_alive: bool) -> None:
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []
        self._url = f"http://127.0.0.1:{port}/images"
        self._keep_alive = keep_alive
        self._number = 1

    def run(self, enough: threading.Event) -> None:
        with requests.Session() as session:
            session.headers["Connection"] = "keep-alive" if self._keep_alive else "close"
            while not enough.is_set():
                for step in (self._upload, self._head, self._get):
                    try:
                        answer = step(session)
                    except (requests.RequestException, AssertionError) as error:
                        self.failures.append(f"{step.__name__}: {error!r}")
                    else:
                        self.answered[answer.request.method] += 1

    def _upload(self, session: requests.Session) -> requests.Response:
        answer = session.post(self._url, data=b"small", headers=HEADERS, timeout=30)
        assert answer.status_code == 200, answer.text
        self._number = answer.json()["image"]["id"]
        return answer

    def _head(self, session: requests.Session) -> requests.Response:
        answer = session.head(f"{self._url}/{self._number}", timeout=30)
        assert answer.headers["x-image-meta-status"] == "active", answer.headers
        return answer

    def _get(self, session: requests.Session) -> requests.Response:
        answer = session.get(f"{self._url}/{self._number}", timeout=30)
        assert answer.content == b"small", answer.text
        return answer


@contextmanager
def hammering(port: int) -> Iterator[list[Hammer]]:
    hammers = [Hammer(port, keep_alive=number % 2 == 0) for number in range(CLIENTS)]
    enough = threading.Event()
    threads = [threading.Thread(target=hammer.run, args=(enough,)) for hammer in hammers]
    for thread in threads:
        thread.start()
    try:
        yield hammers
    finally:
        enough.set()
        for thread in threads:
            thread.join()


@contextmanager
def slow_download(installation: Installation) -> Iterator[Callable[[], bytes]]:
    """A download that has begun; the rest of its bytes when asked for."""
    url = f"http://127.0.0.1:{installation.api_port}/images"
    number = requests.post(url, data=LARGE, headers=HEADERS, timeout=PATIENCE).json()["image"]["id"]
    with requests.get(f"{url}/{number}", stream=True, timeout=PATIENCE) as answer:
        first = answer.raw.read(1000)
        yield lambda: first + answer.raw.read()


@pytest.mark.parametrize("workers", [0, 2])
def test_all_addresses_of_localhost_are_served_and_handed_over(installation: Installation, workers: int) -> None:
    installation.configure(
        common=f"workers = {workers}\nmetrics_host = localhost", api=f"metrics_port = {free_port()}"
    )
    text = installation.config.read_text().replace("bind_host = 127.0.0.1", "bind_host = localhost")
    installation.config.write_text(text)
    ports = [installation.api_port, installation.registry_port, int(re.findall(r"metrics_port = (\d+)", text)[0])]
    with socket.socket(socket.AF_INET6) as sock:
        has_ipv6 = sock.connect_ex(("::1", 1)) != errno.EADDRNOTAVAIL
    hosts = ["127.0.0.1", *(["[::1]"] if has_ipv6 else [])]

    def served() -> list[bool]:
        return [requests.get(f"http://{host}:{port}/", timeout=PATIENCE).ok for host in hosts for port in ports]

    installation.start()
    assert ("localhost is also ::1, where this machine cannot listen" in installation.logs()) is not has_ipv6
    pids = {name: installation.pid(name) for name in DAEMONS}
    assert all(served())
    for step in ("reload", "restart"):
        done = installation.control("all", step)
        assert done.returncode == 0, done.stderr
        assert all(installation.pid(name) != pids[name] for name in DAEMONS)
        assert all(served())
    done = installation.control("all", "stop")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("workers", "times"), [(0, 5), (2, 2)])
def test_no_request_of_eight_clients_fails_and_no_transfer_is_cut(
    installation: Installation, workers: int, times: int
) -> None:
    installation.configure(common=f"workers = {workers}\nleast_rate = 0")  # of transfers that wait for us
    installation.start()
    pids = {installation.pid(name) for name in DAEMONS}
    with slow_download(installation) as rest, slow_upload(installation) as upload:
        with hammering(installation.api_port) as hammers:
            for _ in range(times):
                done = installation.control("all", "reload")
                assert done.returncode == 0, done.stderr
                pids |= {installation.pid(name) for name in DAEMONS}
        upload.sendall(b"x" * 500)
        assert answer_of(upload).startswith(b"HTTP/1.1 200 ")
        assert rest() == LARGE
    assert [failure for hammer in hammers for failure in hammer.failures] == []
    assert all(hammer.answered[method] > times for hammer in hammers for method in ("POST", "HEAD", "GET"))
    assert len(pids) == 2 + 2 * times
    assert "Traceback" not in installation.logs()
    latest = {installation.pid(name) for name in DAEMONS}
    assert installation.control("all", "stop").returncode == 0
    assert not latest & set(installation.processes())


def connect(port: int) -> Wire:
    return Wire(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_connection_of_before_gets_one_more_answer(installation: Installation, workers: int) -> None:
    """Whoever was accepted may be sending at the moment of the handover, also on a connection that he has kept."""
    installation.configure(common=f"workers = {workers}")
    installation.start()
    old = installation.pid("glance-api")
    ask = request(target=b"/healthcheck")
    with connect(installation.api_port) as kept, connect(installation.api_port) as silent:
        kept.send(ask)
        assert "connection" not in kept.answer().headers
        done = installation.control("api", "reload")
        assert done.stdout == (
            f"Reloading glance-api  pid: {old}  signal: 12\n"
            f"glance-api (pid {installation.pid('glance-api')}) answers, {old} finishes what it has\n"
        )
        assert old in installation.processes()
        for wire in (kept, silent):
            wire.send(ask)
            answer = wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert wire.is_closed()
    wait_until(lambda: old not in installation.processes(), "the old one ends")
    assert requests.get(f"http://127.0.0.1:{installation.api_port}/images", timeout=PATIENCE).status_code == 200


def test_stop_does_not_wait_for_what_a_predecessor_finishes(installation: Installation) -> None:
    installation.start()
    old = installation.pid("glance-api")
    with slow_upload(installation) as upload:
        assert installation.control("api", "reload").returncode == 0
        assert installation.control("api", "stop").returncode == 0
        assert installation.control("api", "status").returncode == 3
        assert old in installation.processes()
        upload.sendall(b"x" * 500)
        assert answer_of(upload).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_successor_that_does_not_start_changes_nothing(installation: Installation, workers: int) -> None:
    installation.configure(registry=f"workers = {workers}")
    installation.start()
    pid = installation.pid("glance-registry")
    database = "sql_connection = sqlite:////nowhere/glance.sqlite"
    text = installation.config.read_text()
    installation.config.write_text(text.replace("sql_connection = sqlite:///glance.sqlite", database))
    done = installation.control("registry", "reload")
    assert done.returncode == 1
    log = installation.folder / "log/glance-registry.log"
    assert done.stderr == f"glance-registry (pid {pid}) goes on: its successor did not start. Log: {log}\n"
    assert "the successor did not start, this process goes on: the database" in log.read_text()
    assert installation.pid("glance-registry") == pid
    url = f"http://127.0.0.1:{installation.api_port}/images"
    assert requests.get(url, timeout=PATIENCE).json() == {"images": []}
    installation.config.write_text(text)
    assert installation.control("registry", "reload").returncode == 0
    assert installation.pid("glance-registry") != pid
    assert requests.get(url, timeout=PATIENCE).json() == {"images": []}


def test_a_successor_may_listen_elsewhere(installation: Installation) -> None:
    port = free_port()
    installation.configure(api=f"metrics_port = {port}")
    installation.start()
    old, installation.api_port = installation.api_port, free_port()
    installation.configure()
    assert installation.control("api", "reload").returncode == 0
    for url in (f"http://127.0.0.1:{installation.api_port}/images", f"http://127.0.0.1:{port}/metrics"):
        assert requests.get(url, timeout=PATIENCE).status_code == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old))


def test_reload_does_not_change_how_a_daemon_was_started(installation: Installation) -> None:
    installation.start("registry")
    pid = installation.pid("glance-registry")
    done = installation.control("registry", "reload", "--debug")
    assert done.returncode == 1
    assert "use restart" in done.stderr
    assert installation.pid("glance-registry") == pid


@pytest.mark.parametrize("pause", [0, 0.7])
@pytest.mark.parametrize("workers", [0, 2])
def test_who_is_stopped_during_a_handover_leaves_nobody(
    installation: Installation, workers: int, pause: float
) -> None:
    installation.configure(common=f"workers = {workers}")
    installation.start("registry")
    pid = installation.pid("glance-registry")
    os.kill(pid, signal.SIGUSR2)
    time.sleep(pause)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: pid not in installation.processes(), "it ends")
    installation.control("registry", "stop")  # a successor that was faster serves, and can be stopped
    wait_until(lambda: not installation.processes(), "no successor is left")
    installation.start("registry")


class Systemd:
    """What a daemon in the foreground tells the one who started it, by a real socket."""

    def __init__(self, installation: Installation, *options: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(installation.folder / "notify"))
        self._sock.settimeout(PATIENCE)
        with (installation.folder / "daemon.log").open("wb") as log:
            self.process = subprocess.Popen(
                installation.command("glance-registry", "--config-file", str(installation.config), *options),
                cwd=installation.folder,
                env=installation.environ | {"NOTIFY_SOCKET": str(installation.folder / "notify")},
                stdout=log,
                stderr=log,
            )

    def told(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._sock.recv(4096).decode().splitlines())

    def __enter__(self) -> "Systemd":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.mark.parametrize("workers", [0, 2])
def test_systemd_is_told_what_happens(installation: Installation, workers: int) -> None:
    installation.configure(registry=f"workers = {workers}")
    with Systemd(installation) as systemd:
        url = f"http://127.0.0.1:{installation.registry_port}"
        assert systemd.told() == {"READY": "1", "STATUS": url}
        before = time.monotonic_ns() // 1000
        systemd.process.send_signal(signal.SIGUSR2)
        told = systemd.told()
        assert told.pop("RELOADING") == "1"
        assert before < int(told.pop("MONOTONIC_USEC")) < time.monotonic_ns() // 1000
        assert told == {}
        told = systemd.told()
        assert told.pop("READY") == "1"
        successor = int(told.pop("MAINPID"))
        assert told == {}
        assert systemd.process.wait(PATIENCE) == 0
        stat = Path(f"/proc/{successor}/stat").read_text()
        assert int(stat.rpartition(")")[2].split()[1]) != systemd.process.pid
        assert requests.get(f"{url}/healthcheck", timeout=PATIENCE).status_code == 200
        os.kill(successor, signal.SIGTERM)
        assert systemd.told() == {"STOPPING": "1"}
        wait_until(lambda: not installation.processes(), "all of them end")


def test_systemd_is_told_of_a_reload_that_failed(installation: Installation) -> None:
    with Systemd(installation) as systemd:
        assert systemd.told()["READY"] == "1"
        installation.configure(registry="nonsense = 1")
        systemd.process.send_signal(signal.SIGUSR2)
        assert systemd.told()["RELOADING"] == "1"
        assert systemd.told() == {"READY": "1"}
        assert systemd.process.poll() is None
