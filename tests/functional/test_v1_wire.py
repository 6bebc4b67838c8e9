# SPDX-License-Identifier: Apache-2.0
"""The Images API v1 over real connections: header names, expectations, transfers that break, clients of old."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.daemons import Installation, answer_of, slow_upload
from tests.servers.web import web_server

pytestmark = pytest.mark.functional

RAW = ("x-image-meta-disk_format: raw", "x-image-meta-container_format: bare")
OCTETS = "Content-Type: application/octet-stream"


@pytest.fixture(scope="module")
def running(running: Installation) -> Iterator[Installation]:
    running.control("all", "stop")
    running.configure(api="http_store_allowed_hosts = 127.0.0.1\nimage_size_cap = 10000000")
    running.start()
    yield running


def ask(port: int, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of the answer to a request of these lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall("\r\n".join([*lines, "Host: here", "Connection: close", "", ""]).encode() + body)
        head, _, rest = answer_of(sock).partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


def curl(*arguments: str | Path, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return subprocess.run(["curl", "--silent", *arguments], input=stdin, capture_output=True, timeout=60, check=False)


def url(running: Installation, path: str = "/v1/images") -> str:
    return f"http://127.0.0.1:{running.api_port}{path}"


def create(running: Installation, data: bytes = b"data") -> str:
    status, body = ask(
        running.api_port, "POST /v1/images HTTP/1.1", *RAW, OCTETS, f"Content-Length: {len(data)}", body=data
    )
    assert status == 201, body
    return json.loads(body)["image"]["id"]


def test_trap_28_a_download_that_ends_early_breaks_the_connection(running):
    """Whoever reads must see that bytes are missing; here they end at a third party's server."""
    with web_server() as web:
        headers = ("-H", RAW[0], "-H", RAW[1], "-H", f"x-image-meta-location: {web.url('cut')}")
        image = json.loads(curl("-X", "POST", *headers, url(running)).stdout)["image"]
        assert (image["status"], image["size"]) == ("active", 1_024_000)
        done = curl(url(running, f"/v1/images/{image['id']}"))
        assert done.returncode == 18  # of curl: the transfer closed with bytes outstanding
        assert len(done.stdout) < 1_024_000


@pytest.mark.parametrize(
    "name", ["x-image-meta-is_public", "x-image-meta-is-public", "X-IMAGE-META-IS_PUBLIC", "X-Image-Meta-Is_public"]
)
def test_trap_33_names_arrive_with_their_underscores(running, name):
    _, body = ask(running.api_port, "POST /v1/images HTTP/1.1", f"{name}: True", "x-image-meta-property-os_type: a")
    image = json.loads(body)["image"]
    assert (image["is_public"], image["properties"]) == (True, {"os_type": "a"})


def test_trap_39_an_upload_that_waits_for_its_100(running, tmp_path):
    data = tmp_path / "data"
    data.write_bytes(os.urandom(2_000_000))  # of such a size curl expects a 100 before it sends
    for extra in ((), ("-H", "Transfer-Encoding: chunked")):
        done = curl("-v", "-T", data, "-X", "POST", "-H", RAW[0], "-H", RAW[1], "-H", OCTETS, *extra, url(running))
        assert b"100 Continue" in done.stderr
        image = json.loads(done.stdout)["image"]
        assert image["checksum"] == hashlib.md5(data.read_bytes(), usedforsecurity=False).hexdigest()
        assert curl(url(running, f"/v1/images/{image['id']}")).stdout == data.read_bytes()


def test_an_upload_that_is_refused_is_not_waited_for(running):
    lines = ("POST /v1/images HTTP/1.1", OCTETS, "Content-Length: 5000000", "Expect: 100-continue")
    status, body = ask(running.api_port, *lines)
    assert (status, b"Invalid disk format" in body) == (400, True)


def test_the_cap_over_the_wire(running):
    declared = ("POST /v1/images HTTP/1.1", *RAW, OCTETS, "Content-Length: 10000001")
    assert ask(running.api_port, *declared)[0] == 400
    chunked = ("POST /v1/images HTTP/1.1", *RAW, OCTETS, "Transfer-Encoding: chunked")
    assert ask(running.api_port, *chunked, body=b"989681\r\n" + bytes(10_000_001) + b"\r\n0\r\n\r\n")[0] == 413


def test_a_body_that_breaks_off_kills_its_image(running):
    lines = ("POST /v1/images HTTP/1.1", *RAW, OCTETS, "x-image-meta-name: broken", "Content-Length: 1000")
    with socket.create_connection(("127.0.0.1", running.api_port), timeout=30) as sock:
        sock.sendall("\r\n".join([*lines, "Host: here", "", ""]).encode() + b"x" * 500)
        sock.shutdown(socket.SHUT_WR)
        assert answer_of(sock).startswith(b"HTTP/1.1 400")
    listed = json.loads(
        ask(running.api_port, "GET /v1/images/detail?is_public=none&changes-since=2011-03-04&name=broken HTTP/1.1")[1]
    )
    assert [image["status"] for image in listed["images"]] == ["killed"]


def test_the_slower_of_two_uploads_may_win_and_the_other_is_told_409(running):
    port = running.api_port
    with slow_upload(running) as first:
        listed = json.loads(ask(port, "GET /v1/images/detail?status=saving HTTP/1.1")[1])["images"]
        (image_id,) = (image["id"] for image in listed)
        lines = (f"PUT /v1/images/{image_id} HTTP/1.1", OCTETS, "Content-Length: 5")
        status, body = ask(port, *lines, body=b"other")
        assert (status, b"Image operation conflicts" in body) == (409, True)
        first.sendall(b"x" * 500)
        assert first.recv(100).startswith(b"HTTP/1.1 200")
    assert ask(port, f"GET /v1/images/{image_id} HTTP/1.1")[1] == b"x" * 1000


def test_head_and_get_over_the_wire(running):
    image_id = create(running, b"0123456789")
    status, body = ask(running.api_port, f"HEAD /v1/images/{image_id} HTTP/1.1")
    assert (status, body) == (200, b"")
    done = curl("-i", url(running, f"/v1/images/{image_id}"))
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert body == b"0123456789"
    lines = head.decode().split("\r\n")
    assert {"Content-Type: application/octet-stream", "Content-Length: 10", "X-Image-Meta-Is_public: False"} <= set(
        lines
    )


@pytest.mark.parametrize(("first", "status"), [
    ("BREW /v1/images HTTP/1.1", 501), ("get /v1/images HTTP/1.1", 501), ("TRACE /v1/images HTTP/1.1", 405), ("OPTIONS /v1/images HTTP/1.1", 204),
    ("GET /v1/images?name=%00 HTTP/1.1", 400), ("GET /v1/images/%00 HTTP/1.1", 400), ("GET /v1/shared-images/.. HTTP/1.1", 400),
    ("GET /v1/shared-images/nobody HTTP/1.1", 200), ("GET /v1/images/..%2f..%2fetc HTTP/1.1", 404), ("GET /v9/images HTTP/1.1", 300),
])  # fmt: skip
def test_odd_requests(running, first, status):
    assert ask(running.api_port, first)[0] == status


def test_v1_without_a_registry_is_503(installation):
    installation.start()
    installation.control("registry", "stop")
    for line in ("GET /v1/images HTTP/1.1", "POST /v1/images HTTP/1.1"):
        assert ask(installation.api_port, line)[0] == 503
    assert ask(installation.api_port, "GET /versions HTTP/1.1")[0] == 200
