# SPDX-License-Identifier: Apache-2.0
"""glance-upload: what it prints, and what it says when something is wrong."""

import ast
import os
import pty
import re
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from glance.cli.upload import printed
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional


def record_of(output: str) -> dict[str, object]:
    head, _, record = output.partition("{")
    assert head == "Stored image. Got identifier: "
    value = ast.literal_eval("{" + record)
    assert list(value) == sorted(value)
    return value


def test_a_file(running: Installation) -> None:
    (running.folder / "disk.img").write_bytes(b"x" * 100_000)
    done = running.upload("--type=machine", "disk.img", "Bücher 日本", "--kernel", "1", "--ramdisk", "2")
    assert (done.returncode, done.stderr) == (0, "")
    record = record_of(done.stdout)
    assert record["name"] == "Bücher 日本"
    assert record["properties"] == {"kernel_id": "1", "ramdisk_id": "2"}
    assert (record["size"], record["status"], record["type"], record["is_public"]) == (
        100_000,
        "active",
        "machine",
        True,
    )
    assert done.stdout.count("\n ") == 11
    with running.client() as client:
        meta, chunks = client.get_image(record["id"])
        assert meta["name"] == "Bücher 日本"
        assert b"".join(chunks) == b"x" * 100_000


def test_standard_input(running: Installation) -> None:
    done = running.upload("-", "from a pipe", stdin=b"abc" * 1000)
    assert done.returncode == 0
    assert record_of(done.stdout)["size"] == 3000
    assert record_of(running.upload("-", "empty").stdout)["size"] == 0


def test_a_locale_that_has_no_such_letters(running: Installation) -> None:
    running.environ["PYTHONIOENCODING"] = "ascii"
    try:
        done = running.upload("-", "日本", stdin=b"abc")
    finally:
        del running.environ["PYTHONIOENCODING"]
    assert done.returncode == 0
    assert record_of(done.stdout)["name"] == "日本"


def test_the_server_refuses(running: Installation) -> None:
    (running.folder / "large.img").write_bytes(b"x" * 20_000_000)
    done = running.upload("--type", "zz", "large.img", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"ERROR: Invalid image type 'zz'.*\n", done.stderr)


def test_no_server(installation: Installation) -> None:
    done = installation.upload("-", "x")
    assert done.returncode == 1
    assert done.stderr == (
        f"ERROR: no server at 127.0.0.1:{installation.api_port}: is Glance running? "
        f"Start it there with: glance-control all start\n"
    )


def test_no_such_file(installation: Installation) -> None:
    done = installation.upload("nosuch.img", "x")
    assert done.returncode == 1
    assert done.stderr == "ERROR: cannot read nosuch.img: no such file or directory\n"
    done = installation.upload(".", "x")
    assert (done.returncode, done.stderr) == (1, "ERROR: cannot read .: is a directory\n")


@pytest.mark.parametrize("words", [[], ["file"], ["file", "name", "more"], ["--port", "٣", "file", "name"]])
def test_wrong_usage(installation: Installation, words: list[str]) -> None:
    done = installation.run("glance-upload", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: glance-upload")


@contextmanager
def full_server() -> Iterator[int]:
    """Says that its disk is full, to whoever comes; its port."""

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(
                b"HTTP/1.1 413 Request Entity Too Large\r\nX-Glance-Reason: store-full\r\n"
                b"Content-Type: text/plain\r\nContent-Length: 14\r\nConnection: close\r\n\r\nno space left."
            )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_a_full_disk_on_the_server(installation: Installation) -> None:
    with full_server() as port:
        done = installation.run("glance-upload", "--port", str(port), "-", "x", stdin=b"x" * 20_000_000)
    assert done.returncode == 1
    assert done.stderr == (
        "ERROR: the server has no room left for this image (no space left.): free some there and try again\n"
    )


def test_a_progress_bar_on_a_terminal(running: Installation) -> None:
    (running.folder / "bar.img").write_bytes(b"x" * 5_000_000)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    try:
        command = running.command("glance-upload", "--port", str(running.api_port), "bar.img", "x")
        child = subprocess.Popen(
            command, cwd=running.folder, env=running.environ, stdout=subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:
            pass  # the terminal's other end has been closed
        output = child.communicate(timeout=30)[0].decode()
    finally:
        os.close(ours)
    assert child.returncode == 0
    assert b"bar.img: " in shown
    assert b"4.77M" in shown
    assert record_of(output)["size"] == 5_000_000


def test_interrupted(running: Installation) -> None:
    command = running.command("glance-upload", "--port", str(running.api_port), "-", "never")
    child = subprocess.Popen(
        command, cwd=running.folder, env=running.environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdin.write(b"x" * 200_000)  # more than a pipe holds: it has been read, so the upload has begun
    child.stdin.flush()
    child.send_signal(signal.SIGINT)
    errors = child.communicate(timeout=20)[1]
    assert child.returncode == 130
    assert errors == b"ERROR: interrupted: the image is not stored\n"
    deadline = time.monotonic() + 5
    while status_of("never", running) == "saving" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status_of("never", running) == "killed"


def status_of(name: str, running: Installation) -> object:
    with running.client() as client:
        return next(image["status"] for image in client.get_images_detailed() if image["name"] == name)


def test_a_record_is_printed_as_in_2011() -> None:
    assert printed({"name": "a " * 100, "deleted": False, "properties": {"b": "2", "a": "1"}, "id": 1}) == (
        "{'deleted': False,\n 'id': 1,\n 'name': '" + "a " * 100 + "',\n 'properties': {'a': '1', 'b': '2'}}"
    )


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "http://127.0.0.1", "http://127.0.0.1:{port}/"])
def test_the_host_in_other_words(running: Installation, form: str) -> None:
    done = running.upload("--host", form.format(port=running.api_port), "-", "x", stdin=b"abc")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--host", "http://h/v1"], "argument --host: expected a host such as"),
        (["--host", "h:1:2"], "argument --host: expected a host such as"),
        (["--host", ""], "argument --host: expected a host such as"),
        (["--host", "h:1"], "--host names the port 1 and --port "),
    ],
)
def test_what_is_no_host(running: Installation, words: list[str], text: str) -> None:
    done = running.upload(*words, "-", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"glance-upload: error: {text}")


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("[::1]", "no server at [::1]:{port}: is Glance running?"),
        ("::1", "no server at [::1]:{port}: is Glance running?"),
        ("https://127.0.0.1", "no trustworthy TLS server at 127.0.0.1:{port}: is Glance running?"),
    ],
)
def test_hosts_where_nobody_is(running: Installation, host: str, text: str) -> None:
    done = running.upload("--host", host, "-", "x", stdin=b"abc")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ERROR: {text.format(port=running.api_port)}")
