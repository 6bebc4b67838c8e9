# SPDX-License-Identifier: Apache-2.0
"""`glance download` and `upload` with real daemons: files, pipes, disks; connections that break, bytes that are wrong."""

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.functional.live import wait_until
from tests.servers.fuse import Fuse
from tests.servers.proxy import Answer, CutAnswer, CutRequest, Deed, Proxy, Request, Stall

pytestmark = pytest.mark.functional

DATA = os.urandom(5_000_000)
HEAD_AND = 1_000_000  # bytes of an answer, head included, after which it is cut


@pytest.fixture
def image_id(running: Installation) -> str:
    """An image with DATA."""
    return str(json.loads(running.glance("add", "name=data", "--json", stdin=DATA).stdout)["id"])


@pytest.fixture
def queued(running: Installation) -> str:
    """An image without bytes."""
    return str(json.loads(running.glance("add", "name=data", "--queued", "--json").stdout)["id"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def proxy(running: Installation) -> Iterator[Proxy]:
    made = Proxy("127.0.0.1", running.api_port)
    yield made
    made.close()


def status(running: Installation, image_id: str) -> str:
    return str(json.loads(running.glance("show", "--json", image_id).stdout)["status"])


class Cutter:
    """Does it to the first so many downloads."""

    def __init__(self, count: int, deed: Deed) -> None:
        self._left = count
        self._deed = deed

    def __call__(self, request: Request) -> Deed:
        if request.method != "GET" or not self._left:
            return None
        self._left -= 1
        return self._deed


# Download


@pytest.mark.parametrize("old", [None, b"what was there before"])
def test_into_a_file(running: Installation, image_id: str, place: Path, old: bytes | None) -> None:
    file = place / "disk.img"
    if old is not None:
        file.write_bytes(old)
    done = running.glance("download", image_id, str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_bytes() == DATA
    assert list(place.iterdir()) == [file]


@pytest.mark.parametrize("words", [[], ["-"]])
def test_to_standard_output(running: Installation, image_id: str, words: list[str]) -> None:
    command = running.command("glance", "-p", str(running.api_port), "download", image_id, *words)
    done = subprocess.run(command, env=running.environ, capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (DATA, b"")


def test_through_a_symbolic_link(running: Installation, image_id: str, place: Path) -> None:
    (place / "link").symlink_to("real")
    assert running.glance("download", image_id, str(place / "link")).returncode == 0
    assert (place / "link").is_symlink()
    assert (place / "real").read_bytes() == DATA


def test_into_a_pipe(running: Installation, image_id: str, place: Path) -> None:
    """What is no file is written as it is, and never replaced."""
    os.mkfifo(place / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((place / "pipe").read_bytes()))
    reader.start()
    done = running.glance("download", image_id, str(place / "pipe"))
    reader.join(10)
    assert (done.returncode, found) == (0, [DATA])
    assert (place / "pipe").is_fifo()
    assert running.glance("download", image_id, "/dev/null").returncode == 0


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("{download} /dev/stdout | cat > out", DATA),
        ("{download} /dev/stdout > out", DATA),
        ("echo before > out; {download} /dev/stdout >> out; echo after >> out", b"before\n" + DATA + b"after\n"),
        ("{download} /dev/fd/9 9> out", DATA),
        ("{download} /proc/self/fd/9 9> out", DATA),
        ("{download} >(cat > out; echo > done); until [ -e done ]; do sleep 0.05; done", DATA),
        ("ln -s /dev/stdout link; {download} link > out", DATA),
    ],
)
def test_a_descriptor_is_written_to_as_it_is(
    running: Installation, image_id: str, place: Path, script: str, expected: bytes
) -> None:
    download = shlex.join(running.command("glance", "-p", str(running.api_port), "download", image_id))
    command = ["bash", "-ec", script.format(download=download)]
    done = subprocess.run(command, env=running.environ, cwd=place, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (place / "out").read_bytes() == expected
    assert {path.name for path in place.iterdir()} <= {"out", "done", "link"}


def test_a_pipe_is_opened_before_the_server_is_asked(running: Installation, queued: str, place: Path) -> None:
    """Its reader would otherwise wait for ever when there is nothing to download."""
    os.mkfifo(place / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((place / "pipe").read_bytes()))
    reader.start()
    assert running.glance("download", queued, str(place / "pipe")).returncode == 1
    reader.join(10)
    assert found == [b""]


@pytest.mark.parametrize("name", ["x" * 205, "x" * 255, "ß" * 127])
def test_a_name_as_long_as_may_be(running: Installation, image_id: str, place: Path, proxy: Proxy, name: str) -> None:
    proxied = "-U", proxy.url, "download", "--retries=1", image_id, str(place / name)
    refused = Answer(503, b"503 So\n\naway")
    proxy.rule = lambda request: (
        None if request.method == "HEAD" else CutAnswer(HEAD_AND) if proxy.count("GET") == 1 else refused
    )
    done = running.glance(*proxied)
    (part,) = place.iterdir()
    assert (done.returncode, done.stderr.startswith(f"What came is kept in {part}: ")) == (1, True)
    assert len(os.fsencode(part.name)) <= 255
    proxy.rule = lambda request: None
    done = running.glance(*proxied)
    assert done.returncode == 0
    assert re.fullmatch(rf"\d+ bytes lie in {part} already\n", done.stderr)
    assert [path.name for path in place.iterdir()] == [name]
    assert (place / name).read_bytes() == DATA


@pytest.mark.parametrize(("path", "text"), [
    ("/dev/full", "no space left on device"), ("/dev", "is a directory"), ("/proc/disk.img", "no such file or directory"),
    ("nowhere/disk.img", "no such file or directory"), ("x" * 256, "file name too long"), ("/dev/fd/0", "it is open for reading only"),
    ("/dev/fd/77", "bad file descriptor"),
])  # fmt: skip
def test_a_file_that_cannot_be_written(running: Installation, image_id: str, path: str, text: str) -> None:
    done = running.glance("download", image_id, path, stdin=b"")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"cannot write (.*/)?{path.rsplit('/')[-1]}: {text}\n", done.stderr)


def test_an_image_without_bytes(running: Installation, queued: str, place: Path) -> None:
    done = running.glance("download", queued, str(place / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Failed to download image\. Got error: .*queued.*\n", done.stderr)
    assert list(place.iterdir()) == []


def test_an_empty_image(running: Installation, place: Path) -> None:
    image_id = json.loads(running.glance("add", "name=empty", "--json").stdout)["id"]
    done = running.glance("download", image_id, str(place / "file"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "file").read_bytes() == b""


def test_a_terminal_gets_no_bytes(running: Installation, image_id: str) -> None:
    ours, theirs = pty.openpty()
    try:
        command = running.command("glance", "-p", str(running.api_port), "download", image_id)
        done = subprocess.run(command, env=running.environ, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 1
    assert done.stderr == b"Image data is not written to a terminal: name a FILE, or redirect standard output\n"


# Connections that break


@pytest.mark.parametrize("to", ["file", "-"])
def test_a_broken_connection_is_made_again(
    running: Installation, image_id: str, place: Path, proxy: Proxy, to: str
) -> None:
    proxy.rule = Cutter(2, CutAnswer(HEAD_AND))
    command = running.command("glance", "-U", proxy.url, "download", image_id, to)
    done = subprocess.run(command, env=running.environ, cwd=place, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (done.stdout if to == "-" else (place / to).read_bytes()) == DATA
    assert proxy.count("GET") == 3


def test_the_same_command_goes_on(running: Installation, image_id: str, place: Path, proxy: Proxy) -> None:
    file, part = place / "disk.img", place / f"disk.img.{image_id}.part"
    file.write_bytes(b"old")
    refused = Answer(503, b"The store is away", ("X-Glance-Reason: store-down",))
    proxy.rule = lambda request: (
        None if request.method == "HEAD" else CutAnswer(HEAD_AND) if proxy.count("GET") == 1 else refused
    )
    done = running.glance("-U", proxy.url, "download", "--retries=1", image_id, str(file))
    assert done.returncode == 1
    assert done.stderr == (
        f"What came is kept in {part}: the same command goes on there\nFailed to download image. Got error: The store is away\n"
    )
    assert file.read_bytes() == b"old"
    size = part.stat().st_size
    assert 0 < size < HEAD_AND
    assert DATA.startswith(part.read_bytes())
    proxy.rule = lambda request: None
    done = running.glance("-U", proxy.url, "download", image_id, str(file))
    assert (done.returncode, done.stderr) == (0, f"{size} bytes lie in {part} already\n")
    assert file.read_bytes() == DATA
    assert list(place.iterdir()) == [file]


def test_what_is_whole_already_needs_its_name_only(
    running: Installation, image_id: str, place: Path, proxy: Proxy
) -> None:
    (place / f"disk.img.{image_id}.part").write_bytes(DATA)
    done = running.glance("-U", proxy.url, "download", image_id, str(place / "disk.img"))
    assert (done.returncode, proxy.count("GET")) == (0, 0)
    assert (place / "disk.img").read_bytes() == DATA


def test_an_interruption(running: Installation, image_id: str, place: Path, proxy: Proxy) -> None:
    """The part of one that has hardly begun is not worth its place."""
    proxy.rule = lambda request: Stall() if request.method == "GET" else None
    child = subprocess.Popen(
        running.command("glance", "-U", proxy.url, "download", image_id, str(place / "disk.img")),
        env=running.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: proxy.count("GET"), "a download")
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[1] == "interrupted\n"
    assert child.returncode == 130
    assert list(place.iterdir()) == []


def test_two_at_once(running: Installation, image_id: str, place: Path) -> None:
    part = place / f"disk.img.{image_id}.part"
    with part.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = running.glance("download", image_id, str(place / "disk.img"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Somebody else downloads this image to {place / 'disk.img'} at this moment\n"
    assert list(place.iterdir()) == [part]


def make_link(part: Path, other: Path) -> None:
    other.write_bytes(b"")
    part.symlink_to(other)


def make_hard_link(part: Path, other: Path) -> None:
    other.write_bytes(b"")
    part.hardlink_to(other)


def make_writable(part: Path, other: Path) -> None:
    part.write_bytes(b"")
    part.chmod(0o620)


def make_foreign(part: Path, other: Path) -> None:
    part.write_bytes(b"")
    os.chown(part, 54321, -1)


@pytest.mark.parametrize(("make", "told"), [
    (make_link, "is a symbolic link"), (make_hard_link, "has another name"), (make_writable, "can be written by other users"),
    (make_foreign, "belongs to another user"), (lambda part, other: os.mkfifo(part, 0o600), "is not a file"),
])  # fmt: skip
def test_a_part_that_others_have_put_there(
    running: Installation, image_id: str, place: Path, make: Callable[[Path, Path], None], told: str
) -> None:
    if make is make_foreign and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    part, other = place / f"disk.img.{image_id}.part", place / "other"
    make(part, other)
    done = running.glance("download", image_id, str(place / "disk.img"))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{re.escape(str(part))} {told}.*: delete it, and the download begins anew\n", done.stderr)
    assert not (place / "disk.img").exists()
    assert not other.exists() or other.read_bytes() == b""


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_part_is_private_and_a_file_has_its_usual_mode(
    running: Installation, image_id: str, place: Path, proxy: Proxy, mask: int
) -> None:
    refused = Answer(503, b"The store is away", ("X-Glance-Reason: store-down",))
    proxy.rule = lambda request: (
        None if request.method == "HEAD" else CutAnswer(HEAD_AND) if proxy.count("GET") == 1 else refused
    )
    before = os.umask(mask)
    try:
        for _ in range(2):
            running.glance("-U", proxy.url, "download", "--retries=1", image_id, str(place / "disk.img"))
            (found,) = place.iterdir()
            assert found.stat().st_mode & 0o777 == (0o666 & ~mask if found.name == "disk.img" else 0o600)
            proxy.rule = lambda request: None
        assert found.name == "disk.img"
    finally:
        os.umask(before)


# File systems that lack an ability


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_a_file_system_without_locks(running: Installation, image_id: str, place: Path, error: str) -> None:
    mounted = Fuse(place / "mnt", flock=error)
    try:
        done = running.glance("download", image_id, str(place / "mnt/disk.img"))
        assert (done.returncode, done.stderr) == (0, "")
        assert (place / "mnt/disk.img").read_bytes() == DATA
        assert [path.name for path in (place / "mnt").iterdir()] == ["disk.img"]
    finally:
        mounted.close()


@pytest.fixture
def bind_mounted(place: Path) -> Iterator[Path]:
    """A path where another file is mounted, as containers do with volumes that are files."""
    volume, path = place / "volume", place / "disk with blank.img"
    volume.write_bytes(b"old and longer " * len(DATA))
    path.touch()
    if subprocess.run(["mount", "--bind", volume, path], capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file on another")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_file_that_is_mounted_is_written_in_place(running: Installation, image_id: str, bind_mounted: Path) -> None:
    done = running.glance("download", image_id, str(bind_mounted))
    assert (done.returncode, done.stderr) == (0, "")
    assert bind_mounted.with_name("volume").read_bytes() == DATA
    assert {path.name for path in bind_mounted.parent.iterdir()} == {"volume", bind_mounted.name}


def test_a_file_that_is_mounted_is_said_to_be_incomplete(
    running: Installation, image_id: str, bind_mounted: Path, proxy: Proxy
) -> None:
    refused = Answer(409, b"no more of it")
    proxy.rule = lambda request: (
        None if request.method == "HEAD" else CutAnswer(HEAD_AND) if proxy.count("GET") == 1 else refused
    )
    done = running.glance("-U", proxy.url, "download", "--retries=1", image_id, str(bind_mounted))
    assert done.returncode == 1
    assert f"{bind_mounted} is a mount point, which no other file can replace: it is incomplete now\n" in done.stderr


# Bytes that are wrong


@contextmanager
def damaged(running: Installation) -> Iterator[None]:
    """One bit of the bytes that were stored last is wrong."""
    stored = max((running.folder / "images").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert stored.read_bytes() == DATA
    stored.chmod(0o600)
    stored.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    yield
    stored.unlink()


def test_a_corrupt_download(running: Installation, image_id: str, place: Path) -> None:
    (place / "disk.img").write_bytes(b"old")
    with damaged(running):
        done = running.glance("download", image_id, str(place / "disk.img"))
        command = running.command("glance", "-p", str(running.api_port), "download", image_id)
        piped = subprocess.run(command, env=running.environ, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"Failed to download image\. Got error: the MD5 of the bytes is \w{32}, that of the image \w{32}\n",
        done.stderr,
    )
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"disk.img": b"old"}
    assert piped.returncode == 1
    assert b"the MD5 of the bytes is" in piped.stderr


@pytest.mark.parametrize("begun", [b"of something else", DATA + b"x"])
def test_a_part_that_is_no_part(running: Installation, image_id: str, place: Path, begun: bytes) -> None:
    part = place / f"disk.img.{image_id}.part"
    part.write_bytes(begun)
    done = running.glance("download", image_id, str(place / "disk.img"))
    assert done.returncode == 1
    assert not part.exists()
    assert running.glance("download", image_id, str(place / "disk.img")).returncode == 0
    assert (place / "disk.img").read_bytes() == DATA


# Upload


@pytest.mark.parametrize("words", [["data.img"], ["-"], []])
def test_an_upload(running: Installation, queued: str, words: list[str]) -> None:
    (running.folder / "data.img").write_bytes(DATA)
    with (running.folder / "data.img").open("rb") as file:
        file.seek(1)
        done = running.glance("upload", queued, *words, stdin=file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Uploaded image {queued}\n", "")
    record = json.loads(running.glance("show", "--json", queued).stdout)
    assert (record["status"], record["size"]) == ("active", len(DATA) - (words != ["data.img"]))


def test_an_upload_by_a_pipe(running: Installation, queued: str) -> None:
    done = running.glance("upload", "-v", queued, stdin=DATA)
    assert done.returncode == 0
    assert f"{'size':>30} => {len(DATA)}\n" in done.stdout


def test_what_has_its_bytes_takes_no_others(running: Installation, image_id: str) -> None:
    done = running.glance("upload", image_id, stdin=b"other")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Failed to upload image. Got error: Image operation conflicts: the image is active, and takes bytes only while it is queued\n"
    )
    assert status(running, image_id) == "active"


def test_an_upload_that_breaks(running: Installation, queued: str, proxy: Proxy) -> None:
    (running.folder / "data.img").write_bytes(DATA)
    proxy.rule = lambda request: CutRequest(HEAD_AND) if request.method == "PUT" else None
    done = running.glance("-U", proxy.url, "upload", queued, "data.img")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"Failed to upload image\. Got error: .*\. If the transfer had begun, the status of the image is killed now\.\n",
        done.stderr,
    )
    wait_until(lambda: status(running, queued) == "killed", "the image is killed")


def test_an_upload_from_a_terminal(running: Installation, queued: str) -> None:
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "rb", buffering=0) as terminal:
            done = running.glance("upload", queued, stdin=terminal)
    finally:
        os.close(ours)
    assert done.returncode == 1
    assert "this is a terminal" in done.stderr


# Progress


@pytest.mark.parametrize("command", ["upload", "download", "add"])
def test_a_terminal_sees_the_progress(
    running: Installation, image_id: str, queued: str, place: Path, command: str
) -> None:
    (place / "bar.img").write_bytes(DATA)
    words = {
        "upload": [queued, "bar.img"], "download": [image_id, "bar.img"], "add": ["name=x", "--file", "bar.img"],
    }[command]  # fmt: skip
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    try:
        child = subprocess.Popen(
            running.command("glance", "-p", str(running.api_port), command, *words),
            env=running.environ, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the terminal's other end is closed at last
            while part := os.read(ours, 65_536):
                shown += part
        output = child.communicate(timeout=30)[0]
    finally:
        os.close(ours)
    assert child.returncode == 0, shown
    assert b"bar.img: 100%" in shown
    assert b"%" not in output
