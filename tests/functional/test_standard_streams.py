# SPDX-License-Identifier: Apache-2.0
"""Commands with standard streams that are closed, full, or no longer read: one line, no traceback, the right status."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests

from glance.cli.startup import _Output
from tests.functional.daemons import PROGRAMS, Installation
from tests.functional.live import PATIENCE, wait_until

pytestmark = pytest.mark.functional

FULL = "ERROR: cannot write to standard output: no space left on device\n"
CLOSED = "ERROR: cannot write to standard output: it is closed\n"


def run(
    installation: Installation, redirections: str, program: str, *words: str
) -> "subprocess.CompletedProcess[str]":
    """Run a program from a shell that redirects its streams; what is not redirected is captured."""
    line = f"{shlex.join(installation.command(program, *words))} {redirections}"
    return subprocess.run(
        ["sh", "-c", line], cwd=installation.folder, env=installation.environ, capture_output=True, text=True, timeout=60
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirections", "stderr"), [(">/dev/full", FULL), (">&-", CLOSED), ("<&- >&- 2>&-", ""), (">&- 2>/dev/full", "")]
)
def test_lost_output_of_every_command(installation: Installation, redirections: str, stderr: str) -> None:
    for path in PROGRAMS.iterdir():
        done = run(installation, redirections, path.name, "--version")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", stderr), path.name


@pytest.mark.parametrize(
    ("status", "program", "words"),
    [
        (1, "glance", "index -f --port {port}"),
        (1, "glance-upload", "--port {port} glance.conf name"),
        (1, "glance-control", "{folders} all status"),
        (1, "glance-manage", "usage"),
        (2, "glance-manage", "fsck"),
        (2, "glance-manage", "db version"),
    ],
)
def test_lost_results(running: Installation, status: int, program: str, words: str) -> None:
    arguments = words.format(port=running.api_port, folders=shlex.join(running.own_folders)).split()
    run(running, "", "glance", "--port", str(running.api_port), "add", "name=one", "--queued", "is_public=True")
    for redirection, message in ((">/dev/full", FULL), (">&-", CLOSED)):
        done = run(running, redirection, program, *arguments)
        assert (done.returncode, done.stderr) == (status, message)


def test_a_reader_that_has_left(running: Installation) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        for program, words in (
            ("glance-manage", ["usage"]),
            ("glance-control", [*running.own_folders, "all", "status"]),
        ):
            done = subprocess.run(
                running.command(program, *words), cwd=running.folder, env=running.environ, stdout=writer, stderr=subprocess.PIPE
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (141, b"")
    finally:
        os.close(writer)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_lost_messages_do_not_change_the_exit_status(running: Installation, redirection: str) -> None:
    port = f"--port={running.api_port}"
    assert run(running, redirection, "glance", port, "index", "--verbose", "--force").returncode == 0  # with a note
    assert run(running, redirection, "glance", port, "show", "nosuch").returncode == 1
    assert run(running, redirection, "glance-manage", "--nonsense").returncode == 2
    assert run(running, redirection, "glance-api", "nosuch.conf").returncode == 1


def test_closed_standard_input(running: Installation) -> None:
    for program, words, message in (
        ("glance-upload", ["--port", str(running.api_port), "-", "name"], "it is closed"),
        ("glance", ["--port", str(running.api_port), "add", "name=x", "--file", "-"], "it is closed"),
        (
            "glance-manage",
            ["user", "--users-file", "users", "add", "a", "--tenant", "a", "--password-stdin"],
            "it is closed",
        ),
        ("glance-manage", ["user", "--users-file", "users", "add", "a", "--tenant", "a"], "use --password-stdin"),
    ):
        done = run(running, "<&-", program, *words)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_a_full_output_keeps_no_daemon_from_being_stopped(installation: Installation) -> None:
    installation.start("registry")
    done = run(installation, ">/dev/full", "glance-control", *installation.own_folders, "registry", "stop")
    assert (done.returncode, done.stderr) == (1, FULL)
    assert installation.processes() == []


@pytest.mark.parametrize("redirections", ["<&-", "<&- >&- 2>&-"])
def test_daemons_that_are_started_without_streams_can_be_stopped(
    installation: Installation, redirections: str
) -> None:
    """The lock on the pid file must not be one of the descriptors 0 to 2, which a child process has anew."""
    done = run(installation, redirections, "glance-control", *installation.own_folders, "all", "start")
    assert done.returncode == (0 if redirections == "<&-" else 1)  # its output was lost
    assert installation.control("all", "status").returncode == 0
    done = run(installation, redirections, "glance-control", *installation.own_folders, "all", "reload")
    assert installation.control("all", "status").returncode == 0
    assert installation.control("all", "stop").returncode == 0
    assert installation.control("all", "status").returncode == 3


@pytest.mark.parametrize(("redirections", "reason"), [
    (">/dev/full", "no space left on device"), (">&-", "it is closed"), ("<&- >&- 2>&-", None),
])  # fmt: skip
def test_a_daemon_in_the_foreground_whose_log_is_lost(
    installation: Installation, redirections: str, reason: str | None
) -> None:
    line = f"exec {shlex.join(installation.command('glance-registry', 'glance.conf'))} {redirections}"
    daemon = subprocess.Popen(
        ["sh", "-c", line], cwd=installation.folder, env=installation.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    url = f"http://127.0.0.1:{installation.registry_port}/healthcheck"

    def answers() -> bool:
        try:
            return requests.get(url, timeout=PATIENCE).status_code == 200
        except requests.ConnectionError:
            return False

    wait_until(answers, "it answers", 40)
    assert answers()
    daemon.send_signal(signal.SIGTERM)
    output, messages = daemon.communicate(timeout=20)
    assert output == b""
    assert b"Traceback" not in messages
    lost = f"ERROR: lines of the log are lost: cannot write to standard output: {reason}\n" if reason else ""
    assert messages.decode().splitlines(keepends=True)[:1] == [lost] * bool(lost)


def test_standard_output_that_does_not_block() -> None:
    """As ssh and some terminals leave it: no data is lost, and there is no error."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(1_000_000)
    read = bytearray()

    def drain() -> None:
        time.sleep(0.1)
        with os.fdopen(reader, "rb", buffering=0) as file:
            while block := file.read(100_000):
                read.extend(block)

    thread = threading.Thread(target=drain)
    thread.start()
    with _Output(writer, "wb") as output:
        view = memoryview(data)
        while view:
            view = view[output.write(view) :]
    thread.join()
    assert bytes(read) == data


def test_signals_that_the_parent_has_blocked_or_ignored(installation: Installation) -> None:
    # A process of its own, since a preexec_fn would fork this one, which eventlet warns of.
    spoil = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    installation.configure(common="workers = 1")
    words = installation.command("glance-control", *installation.own_folders, "registry")
    for command in ("start", "reload", "stop"):
        done = subprocess.run(
            [sys.executable, "-c", spoil, *words, command],
            cwd=installation.folder,
            env=installation.environ,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "Traceback" not in installation.logs()
