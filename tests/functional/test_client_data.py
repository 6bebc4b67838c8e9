# SPDX-License-Identifier: Apache-2.0
"""The data that the commands send: slow pipes are stored whole, files that change meanwhile are noticed."""

import fcntl
import json
import os
import pty
import re
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.functional.live import wait_until
from tests.servers.proxy import Proxy, Request

pytestmark = pytest.mark.functional

SIZE = 50_000_000  # bytes, more than the sockets on the way hold
BLOCKS = [b"a" * 10, b"b" * 100_000, b"c" * 5]


@contextmanager
def slow_pipe() -> Iterator[int]:
    """The non-blocking end of a pipe; each of BLOCKS is written when the one before has been read for a while."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            for block in BLOCKS:
                file.write(block)
                wait_until(lambda: fcntl.ioctl(file, termios.FIONREAD, bytes(4)) == bytes(4), "the block is read")
                time.sleep(0.2)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield reader
    finally:
        os.close(reader)
        thread.join()


def stored(running: Installation, name: str) -> tuple[object, object]:
    """The status and size of the one public image of that name."""
    with running.client() as client:
        (image,) = (image for image in client.get_images_detailed() if image["name"] == name)
    return image["status"], image["size"]


def commands(running: Installation, port: int, name: str, file: str) -> dict[str, list[str]]:
    server = "--port", str(port)
    queued = json.loads(running.glance("add", f"name={name}", "is_public=True", "--queued", "--json").stdout)["id"]
    return {
        "add": running.command("glance", *server, "add", f"name={name} added", "is_public=True", "--file", file),
        "upload": running.command("glance", *server, "upload", str(queued), file),
        "glance-upload": running.command("glance-upload", *server, file, f"{name} uploaded"),
    }


def image_name(command: str, name: str) -> str:
    return {"add": f"{name} added", "upload": name, "glance-upload": f"{name} uploaded"}[command]


@pytest.mark.parametrize("command", ["add", "upload", "glance-upload"])
def test_a_non_blocking_standard_input_is_stored_whole(running: Installation, command: str) -> None:
    name = f"slow {command}"
    words = commands(running, running.api_port, name, "-")[command]
    with slow_pipe() as stdin:
        done = subprocess.run(
            words, env=running.environ, cwd=running.folder, stdin=stdin, capture_output=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert stored(running, image_name(command, name)) == ("active", sum(map(len, BLOCKS)))


def test_a_non_blocking_standard_input_with_a_progress_bar(running: Installation) -> None:
    words = commands(running, running.api_port, "bar", "-")["add"]
    ours, theirs = pty.openpty()
    with slow_pipe() as stdin:
        child = subprocess.Popen(words, env=running.environ, stdin=stdin, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        output = child.communicate(timeout=60)[0]
    os.close(ours)
    assert (child.returncode, output[:29]) == (0, b"Added new image with ID: " + output[25:29])
    assert stored(running, "bar added") == ("active", sum(map(len, BLOCKS)))


# Files that change while they are sent


@pytest.fixture
def proxy(running: Installation) -> Iterator[Proxy]:
    made = Proxy("127.0.0.1", running.api_port)
    yield made
    made.close()


def run_while(
    running: Installation, proxy: Proxy, command: str, name: str, change: Callable[[], object]
) -> "subprocess.CompletedProcess[str]":
    """Run a command whose file changes when its head, and no more of it than sockets hold, has been sent."""
    words = commands(running, proxy.port, name, "disk.img")[command]

    def rule(request: Request) -> None:
        assert request.length == SIZE
        change()

    proxy.rule = rule
    return subprocess.run(words, env=running.environ, cwd=running.folder, capture_output=True, timeout=60, text=True)


@pytest.fixture
def file(running: Installation) -> Path:
    path = running.folder / "disk.img"
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    return path


@pytest.mark.parametrize("command", ["add", "upload", "glance-upload"])
def test_a_file_that_shrinks_makes_no_image(running: Installation, proxy: Proxy, file: Path, command: str) -> None:
    name = f"shrinking {command}"
    done = run_while(running, proxy, command, name, lambda: os.truncate(file, 1000))
    assert (done.returncode, done.stdout) == (1, "")
    said = rf"disk\.img shrank during the transfer: it ended \d+ bytes before its size of {SIZE}"
    before, after = {
        "add": (r"Failed to add image\. Got error: ", r"\. A record of the image may remain; its status is killed\."),
        "upload": (
            r"Failed to upload image\. Got error: ", r"\. If the transfer had begun, the status of the image is killed now\.",
        ),
        "glance-upload": ("ERROR: ", ""),
    }[command]  # fmt: skip
    assert re.fullmatch(f"{before}{said}{after}\n", done.stderr)
    wait_until(lambda: stored(running, image_name(command, name))[0] == "killed", "the image is killed")
    assert all(path.stat().st_size < 1_000_000 for path in (running.folder / "images").iterdir())


@pytest.mark.parametrize("command", ["add", "upload", "glance-upload"])
def test_a_file_that_grows_is_stored_as_it_was_at_the_start(
    running: Installation, proxy: Proxy, file: Path, command: str
) -> None:
    name = f"growing {command}"
    done = run_while(running, proxy, command, name, lambda: os.truncate(file, SIZE + 7))
    assert done.returncode == 0
    assert done.stderr == f"disk.img grew during the transfer: only its first {SIZE} bytes were sent\n"
    assert stored(running, image_name(command, name)) == ("active", SIZE)


# Text


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([b"disk.img", b"gr\xfc\xdfe"], 2, r"'gr\udcfc\udcdfe' is not in UTF-8"),
        ([b"disk.img", b"x", b"--kernel", b"\xff"], 2, r"'\udcff' is not in UTF-8"),
        ([b"disk.img", b"one\ntwo"], 1, r"name must not contain line ends or other control characters, as 'one\ntwo' does"),
        ([b"disk.img", b" x"], 1, "name must not begin or end with a space, as ' x' does: HTTP would drop it"),
    ],
)  # fmt: skip
def test_glance_upload_refuses_text_that_it_cannot_send(
    running: Installation, file: Path, words: list[bytes], status: int, text: str
) -> None:
    command = [os.fsencode(word) for word in running.command("glance-upload", "--port", str(running.api_port))]
    done = subprocess.run(
        [*command, *words], env=running.environ, cwd=running.folder, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (status, b"")
    assert text in done.stderr.decode().splitlines()[-1]


def test_a_password_that_is_not_utf_8(running: Installation) -> None:
    done = running.glance("index", OS_USERNAME="alice", OS_PASSWORD=os.fsdecode(b"\xff"))
    assert (done.returncode, done.stderr) == (
        1, "Failed to list images. Got error: the name and the password of a user must be valid UTF-8\n",
    )  # fmt: skip
