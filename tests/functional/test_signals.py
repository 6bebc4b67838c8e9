# SPDX-License-Identifier: Apache-2.0
"""What a daemon makes of the signals, and of the process number, that it was started with."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation, answer_of, slow_upload
from tests.functional.live import PATIENCE, wait_until

pytestmark = pytest.mark.functional

START = 40  # seconds that a daemon may take on a busy machine


@contextmanager
def foreground(
    installation: Installation, *before: str, program: str = "glance-registry"
) -> Iterator["subprocess.Popen[bytes]"]:
    """A daemon that answers, started by a command that has the words `before` in front of it."""
    with (installation.folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [*before, *installation.command(program, "glance.conf")],
            cwd=installation.folder,
            env=installation.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: answers(installation.port_of(program)), "it answers", START)
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthcheck", timeout=PATIENCE).status_code == 200
    except requests.ConnectionError:
        return False


def log_of(installation: Installation) -> str:
    return (installation.folder / "daemon.log").read_text()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_daemon_survives_a_hang_up_that_it_was_started_to_ignore(installation: Installation, workers: int) -> None:
    installation.configure(registry=f"workers = {workers}")
    ignore = ("env", "--ignore-signal=INT,HUP")  # as `nohup … &` in a script has it
    with foreground(installation, *ignore) as daemon:
        old = daemon.pid
        os.kill(old, signal.SIGHUP)
        os.kill(old, signal.SIGINT)
        os.kill(old, signal.SIGUSR2)  # and so does its successor
        wait_until(lambda: daemon.poll() is not None, "a successor serves", START)
        assert answers(installation.registry_port)
        masters = [pid for pid in installation.processes() if parent_of(pid) not in installation.processes()]
        assert len(masters) == 1
        for pid in installation.processes():
            os.kill(pid, signal.SIGHUP)
            os.kill(pid, signal.SIGINT)
        assert answers(installation.registry_port)
        assert log_of(installation).count("finishing") == max(workers, 1)  # of the predecessor alone
        os.kill(masters[0], signal.SIGTERM)
        wait_until(lambda: not installation.processes(), "it ends")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_signals_that_are_not_ignored_end_it(installation: Installation, number: signal.Signals) -> None:
    with foreground(installation) as daemon:
        daemon.send_signal(number)
        assert daemon.wait(PATIENCE) == 0


def test_shutdown_works_on_what_glance_control_has_started_under_nohup(installation: Installation) -> None:
    words = [
        "env",
        "--ignore-signal=INT,HUP",
        *installation.command("glance-control", *installation.own_folders, "registry"),
    ]
    for command, said in (("start", "Starting"), ("reload", "answers"), ("shutdown", "Stopping")):
        done = subprocess.run(
            [*words, command], cwd=installation.folder, env=installation.environ, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert (done.returncode, done.stderr, said in done.stdout) == (0, "", True)
    wait_until(lambda: not installation.processes(), "it ends")


def test_a_scrubber_survives_a_hang_up_that_it_was_started_to_ignore(installation: Installation) -> None:
    installation.start("registry")
    with (installation.folder / "daemon.log").open("wb") as log:
        words = installation.command("glance-scrubber", "--daemon", "--config-file", "glance.conf")
        scrubber = subprocess.Popen(
            ["env", "--ignore-signal=HUP", *words], cwd=installation.folder, env=installation.environ, stdout=log, stderr=log
        )  # fmt: skip
    try:
        wait_until(lambda: "looks every" in log_of(installation), "it runs", START)
        scrubber.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            scrubber.wait(0.3)
        scrubber.send_signal(signal.SIGTERM)
        assert scrubber.wait(PATIENCE) == 0
    finally:
        scrubber.kill()
        scrubber.wait(PATIENCE)


# As the first process of a container


CONTAINER = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture
def _needs_containers() -> None:
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")


@contextmanager
def container(installation: Installation, program: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A container that runs a daemon: the process that ends with it, and its process 1, as seen from here."""
    with foreground(installation, *CONTAINER, program=program) as outside:
        yield outside, children_of(outside.pid)[0]


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def title_of(pid: int) -> str:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    return ""


@pytest.mark.usefixtures("_needs_containers")
def test_a_container_stays_when_its_daemon_is_replaced(installation: Installation) -> None:
    """With a transfer that only the predecessor can finish."""
    installation.start("registry")
    with container(installation, "glance-api") as (outside, init):
        assert title_of(init) == "glance-api: init"
        old = children_of(init)[0]
        with slow_upload(installation) as upload:
            for _ in range(2):
                before = children_of(init)
                os.kill(init, signal.SIGUSR2)
                wait_until(
                    lambda latest=before[-1]: title_of(latest) in ("glance-api: master (finishing)", ""),
                    "a successor serves",
                    START,
                )
                assert answers(installation.api_port)
            assert old in children_of(init)
            upload.sendall(b"x" * 500)
            assert answer_of(upload).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: len(children_of(init)) == 1, "predecessors have ended, and nothing is left of them")
        assert outside.poll() is None
        os.kill(init, signal.SIGTERM)
        assert outside.wait(PATIENCE) == 0


@pytest.mark.usefixtures("_needs_containers")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_container_ends_with_its_daemon(installation: Installation, workers: int) -> None:
    installation.configure(registry=f"workers = {workers}")
    with container(installation, "glance-registry") as (outside, init):
        first = children_of(init)
        os.kill(init, signal.SIGUSR2)
        wait_until(lambda: (found := children_of(init)) and not set(first) & set(found), "a successor serves", START)
        os.kill(children_of(init)[0], signal.SIGKILL)
        assert outside.wait(PATIENCE) == 128 + signal.SIGKILL


@pytest.mark.usefixtures("_needs_containers")
def test_a_crash_in_a_container_does_not_wait_for_what_a_predecessor_finishes(installation: Installation) -> None:
    installation.configure(common="graceful_shutdown_timeout = 1")
    installation.start("registry")
    with container(installation, "glance-api") as (outside, init), slow_upload(installation):
        os.kill(init, signal.SIGUSR2)
        wait_until(lambda: len(children_of(init)) == 2, "a successor serves", START)
        wait_until(lambda: "serves from now on" in log_of(installation), "it is announced", START)
        os.kill(max(children_of(init)), signal.SIGKILL)
        assert outside.wait(PATIENCE) == 128 + signal.SIGKILL


@pytest.mark.usefixtures("_needs_containers")
def test_a_container_whose_successor_does_not_start_goes_on(installation: Installation) -> None:
    with container(installation, "glance-registry") as (outside, init):
        installation.configure(registry="nonsense = 1")
        os.kill(init, signal.SIGUSR2)
        wait_until(lambda: "this process goes on" in log_of(installation), "it goes on", START)
        assert answers(installation.registry_port)
        os.kill(init, signal.SIGHUP)
        assert outside.wait(PATIENCE) == 0


@pytest.mark.usefixtures("_needs_containers")
def test_a_container_ends_with_the_status_of_a_daemon_that_does_not_start(installation: Installation) -> None:
    done = subprocess.run(
        [*CONTAINER, *installation.command("glance-registry", "nosuch.conf")], cwd=installation.folder, env=installation.environ, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: cannot read the configuration file")
