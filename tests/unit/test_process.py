# SPDX-License-Identifier: Apache-2.0
"""Pid files never name a stranger, and a child's last words arrive."""

import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glance.cli import process
from glance.cli.process import PidFile, PidFileError, Readiness, notify, wait_until, write_pid

Child = subprocess.Popen[bytes]
Spawn = Callable[..., Child]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts `cat`, which lives until its standard input is closed."""
    children: list[Child] = []

    def start(*descriptors: int) -> Child:
        children.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=descriptors))
        return children[-1]

    yield start
    for child in children:
        child.communicate()


@pytest.fixture
def pid_file(tmp_path: Path) -> PidFile:
    return PidFile(tmp_path / "glance-api.pid")


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SETTLE", 0.2)
    monkeypatch.setattr(process, "PROBE", 0.1)


def hold(pid_file: PidFile, spawn: Spawn) -> Child:
    """A child that holds the file as a daemon does."""
    claim = pid_file.claim()
    child = spawn(claim)
    write_pid(claim, child.pid)
    os.close(claim)
    return child


def test_a_daemon_is_found_as_long_as_it_lives(pid_file: PidFile, spawn: Spawn) -> None:
    child = hold(pid_file, spawn)
    assert pid_file.path.read_bytes() == b"%d\n" % child.pid
    with pid_file.find() as running:
        assert running.pid == child.pid
        assert not running.wait(0.1)
        running.signal(signal.SIGTERM)
        assert running.wait(5)
    child.communicate()
    assert pid_file.find() is None
    assert pid_file.remove_stale()
    assert not pid_file.path.exists()


def test_a_number_of_somebody_else_is_nobodys(pid_file: PidFile, spawn: Spawn) -> None:
    stranger = spawn()
    pid_file.path.write_text(f"{stranger.pid}\n")
    assert pid_file.find() is None
    assert pid_file.remove_stale()
    assert stranger.poll() is None


def test_a_locked_file_that_names_a_stranger_is_left_alone(pid_file: PidFile, spawn: Spawn) -> None:
    """As when a killed daemon's workers still hold it, and its number has been given to another process."""
    hold(pid_file, spawn)
    stranger = spawn()
    pid_file.path.write_text(f"{stranger.pid}\n")
    with pytest.raises(PidFileError, match="locked, but not by the process"):
        pid_file.find()
    assert not pid_file.remove_stale()
    assert pid_file.path.exists()
    assert stranger.poll() is None


@pytest.mark.parametrize("content", ["", "0\n", "-1\n", "99999999999999\n"])
def test_a_locked_file_without_a_usable_number(pid_file: PidFile, spawn: Spawn, content: str) -> None:
    hold(pid_file, spawn)
    pid_file.path.write_text(content)
    with pytest.raises(PidFileError):
        pid_file.find()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_file_system_without_locks_takes_no_pid_file(
    pid_file: PidFile, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(PidFileError, match=f"cannot lock the pid file {pid_file.path}: .*; keep it .*--pid-dir"):
        pid_file.claim()
    assert not pid_file.path.exists()
    pid_file.path.write_text("1\n")
    for act in (pid_file.find, pid_file.remove_stale):
        with pytest.raises(PidFileError, match="cannot lock"):
            act()
    assert pid_file.path.read_text() == "1\n"


def test_what_is_no_pid_file_is_refused_and_kept(pid_file: PidFile, tmp_path: Path) -> None:
    pid_file.path.write_text("my thesis\n")
    with pytest.raises(PidFileError, match="not a pid file"):
        pid_file.remove_stale()
    assert pid_file.path.read_text() == "my thesis\n"

    link = PidFile(tmp_path / "link.pid")
    link.path.symlink_to(pid_file.path)
    fifo = PidFile(tmp_path / "fifo.pid")
    os.mkfifo(fifo.path)
    folder = PidFile(tmp_path)
    for odd in (link, fifo, folder):
        with pytest.raises(PidFileError):
            odd.find()
        with pytest.raises(PidFileError):
            odd.remove_stale()
        with pytest.raises(PidFileError):
            odd.claim()


def test_a_file_is_claimed_once(pid_file: PidFile, spawn: Spawn) -> None:
    claim = pid_file.claim()
    with pytest.raises(PidFileError, match="somebody else"):
        pid_file.claim()
    pid_file.abandon(claim)
    os.close(claim)
    assert not pid_file.path.exists()
    assert oct(pid_file_mode(pid_file, spawn)) == "0o644"


def pid_file_mode(pid_file: PidFile, spawn: Spawn) -> int:
    before = os.umask(0o022)
    try:
        hold(pid_file, spawn)
    finally:
        os.umask(before)
    return pid_file.path.stat().st_mode & 0o777


def test_a_successor_keeps_its_file(pid_file: PidFile, spawn: Spawn) -> None:
    """After a reload the old daemon still lives, and what is done on its account must not touch the new file."""
    old = hold(pid_file, spawn)
    with pid_file.find() as running:
        running.forget()
        new = hold(pid_file, spawn)
        old.communicate()
        assert running.wait(5)
        running.forget()
    with pid_file.find() as running:
        assert running.pid == new.pid


def test_looking_does_not_take_the_lock_from_a_starter(pid_file: PidFile) -> None:
    claim = pid_file.claim()
    write_pid(claim, os.getpid())
    for _ in range(3):
        with pid_file.find() as running:
            assert running.pid == os.getpid()
    os.close(claim)
    assert pid_file.find() is None


def test_the_command_line_is_kept_beside_the_pid_file(pid_file: PidFile, spawn: Spawn) -> None:
    words = ["python3", "-m", "x", "a b", "caf\udce9", "ü"]
    claim = pid_file.claim()
    pid_file.record_command(claim, words)
    child = spawn(claim)
    write_pid(claim, child.pid)
    os.close(claim)
    with pid_file.find() as running:
        assert running.command() == words
        assert sorted(path.name for path in pid_file.path.parent.iterdir()) == [
            "glance-api.pid",
            "glance-api.pid.command",
        ]
        running.forget()
    assert list(pid_file.path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        '{"inode": 1, "command": ["a"]}',
        '{"inode": INODE, "command": "a"}',
        '{"inode": INODE, "command": [1]}',
    ],
)
def test_a_command_line_that_is_not_known(pid_file: PidFile, spawn: Spawn, content: str | None) -> None:
    """As after an upgrade, or in a file that was left by another daemon."""
    hold(pid_file, spawn)
    if content is not None:
        beside = pid_file.path.with_name("glance-api.pid.command")
        beside.write_text(content.replace("INODE", str(pid_file.path.stat().st_ino)))
    with pid_file.find() as running:
        assert running.command() == []
        running.record_command(["a", "b"])
        assert running.command() == ["a", "b"]


def test_the_command_line_of_a_daemon_that_has_no_title_yet(pid_file: PidFile) -> None:
    """As older versions have left it."""
    claim = pid_file.claim()
    words = [sys.executable, "-m", "this"]
    child = subprocess.Popen(
        [*words[:1], "-i", *words[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[claim],
    )
    write_pid(claim, child.pid)
    os.close(claim)
    with pid_file.find() as running:
        assert wait_until(lambda: running.command() == [sys.executable, "-i", "-m", "this"], 5)
    child.communicate()


def test_what_is_stale_goes_with_its_command_line(pid_file: PidFile) -> None:
    claim = pid_file.claim()
    pid_file.record_command(claim, ["a"])
    os.close(claim)
    assert pid_file.remove_stale()
    assert list(pid_file.path.parent.iterdir()) == []


def child_that(code: str, readiness: Readiness) -> Child:
    environ = os.environ | {"NOTIFY_SOCKET": readiness.address, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", f"from glance.cli.process import notify\n{code}"], env=environ)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("notify('READY=1\\nSTATUS=fine')", None),
        ("notify('STATUS=the port is taken'); raise SystemExit(1)", "the port is taken"),
        ("raise SystemExit(4)", "it ended with exit status 4"),
        ("import os; os.kill(os.getpid(), 9)", "it was killed by signal 9"),
        ("notify('noise'); import time; time.sleep(60)", "it did not get ready in time"),
    ],
)
def test_a_child_says_how_it_is(code: str, problem: str | None) -> None:
    readiness = Readiness()
    child = child_that(code, readiness)
    try:
        seconds = 0.5 if "sleep" in code else 20
        assert readiness.wait(child, time.monotonic() + seconds) == problem
    finally:
        child.kill()
        child.wait()
        readiness.close()
    assert not Path(readiness.address).parent.exists()


@pytest.mark.parametrize("folder", ["x" * 120, "nosuch"])
def test_a_directory_for_the_socket_that_cannot_be_used(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path is too long for a socket, or there is none at all: the socket has an abstract name then."""
    if folder != "nosuch":
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(process.tempfile, "tempdir", str(tmp_path / folder))
    readiness = Readiness()
    try:
        assert readiness.address.startswith("@glance-")
        child = child_that("notify('READY=1')", readiness)
        assert readiness.wait(child, time.monotonic() + 20) is None
        child.wait()
    finally:
        readiness.close()
    assert list(tmp_path.glob("*/*")) == []


@pytest.mark.parametrize(("user", "heard"), [(os.geteuid(), True), (os.geteuid() + 1, False), (None, False)])
def test_only_messages_of_the_own_user_are_heard(user: int | None, heard: bool) -> None:
    credentials = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", 1, user or 0, 0))
    assert process._is_from_own_user([credentials] if user is not None else []) is heard


def test_notify_knows_abstract_names_and_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"glance-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("READY=1")
        assert listener.recv(100) == b"READY=1"
    notify("READY=1")  # nobody listens any more
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
