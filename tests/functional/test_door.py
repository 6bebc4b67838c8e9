# SPDX-License-Identifier: Apache-2.0
"""The door of both daemons over raw sockets: requests that are made to be misread, to flood, or to hold the door open.

test_http.py and test_serving.py look at the server alone, in more forms; here the daemons stand behind it, and what counts
is what became of the images: none of a request that was refused, none of what was hidden in its body.
"""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.functional.live import Answer, Wire, wait_until
from tests.functional.test_identity import tokens

pytestmark = pytest.mark.functional

CAP = 1_000_000  # bytes of an image
HOST = b"Host: here\r\n"
API = (
    b"POST /images HTTP/1.1\r\n"
    + HOST
    + b"Content-Type: application/octet-stream\r\nx-image-meta-type: raw\r\nx-image-meta-is_public: 1\r\n"
)
REGISTRY = b"POST /images HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
RECORD = b'{"image": {"type": "raw", "is_public": true, "name": "%b"}}'
POST = {  # what makes an image, but for the length of its body; that body; what makes one named "hidden"
    "api": (API, b"hello", API + b"x-image-meta-name: hidden\r\nContent-Length: 0\r\n\r\n"),
    "registry": (REGISTRY, RECORD % b"", REGISTRY + b"Content-Length: %d\r\n\r\n%b" % (len(RECORD % b"hidden"), RECORD % b"hidden")),
}  # fmt: skip

# What follows the request line and the fields above; {n} is the length of {body}, {x} the same in hex, {chunked} in chunks.
FORMS: dict[str, tuple[int, list[bytes]]] = {
    "a length and a coding": (400, [
        b"Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}", b"Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n\r\n{body}",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}",
    ]),
    "another coding": (501, [
        b"Transfer-Encoding: %b\r\n\r\n{chunked}" % coding for coding in
        (b"xchunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"chunked\r\nTransfer-Encoding: chunked", b"identity\r\nTransfer-Encoding: chunked", b"")
    ]),
    "a coding behind a space": (400, [b"Transfer-Encoding : chunked\r\n\r\n{chunked}", b"Transfer-Encoding\t: chunked\r\nContent-Length: {n}\r\n\r\n{body}"]),
    "odd lengths": (400, [
        b"Content-Length: %b\r\n\r\n{body}" % length for length in
        (b"{n}\r\nContent-Length: 1", b"1\r\nContent-Length: {n}", b"+{n}", b"-{n}", b"{n},{n}", b"{n} {n}", b"0x{x}", b"1_0", b"\xd9\xa5", b"{n};", b"", b"9" * 20, b"9" * 5000)
    ]),
    "lines that are no headers": (400, [
        b"%b\r\nContent-Length: {n}\r\n\r\n{body}" % line for line in
        (b"Content-Length : {n}", b"garbage", b": no name", b"X-A: a\rX-B: evil", b"X-A: a\nX-B: evil", b"X\x00: a", b"X: \x00", b"X\xc3\xbc: a")
    ]),
    "folded lines": (400, [
        b"%b\r\nContent-Length: {n}\r\n\r\n{body}" % line for line in
        (b"x-image-meta-name: b\r\n Set-Cookie: e=1", b"x-image-meta-name: b\r\n\tContent-Length: 0", b"X:\r\n y")
    ]),
    "two values of what has one": (400, [
        b"x-image-meta-name: a\r\nx-image-meta-name: b\r\nContent-Length: {n}\r\n\r\n{body}", b"Host: there\r\nContent-Length: {n}\r\n\r\n{body}",
        b"x-image-meta-is-public: 0\r\nContent-Length: {n}\r\nx-image-meta-is_public: 0\r\n\r\n{body}",
    ]),
    "chunks of another grammar": (400, [
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks for chunks in
        (b"-1\r\n{body}\r\n0\r\n\r\n", b"0x{x}\r\n{body}\r\n0\r\n\r\n", b"+{x}\r\n{body}\r\n0\r\n\r\n", b"1_0\r\n{body}\r\n0\r\n\r\n", b"zz\r\n{body}\r\n0\r\n\r\n", b"\r\n{body}\r\n0\r\n\r\n",
         b"400000000000000000\r\n{body}\r\n0\r\n\r\n", b"{x}\r\n{body}junk\r\n0\r\n\r\n", b"{x}\r\n{body}0\r\n\r\n", b"{x}\n{body}\n0\n\n", b"{x};a\nb\r\n{body}\r\n0\r\n\r\n")
    ]),
    "lines of a body without an end": (400, [
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks for chunks in
        (b"1" * 100_000, b"{x};" + b"a" * 100_000, b"{x}\r\n{body}\r\n0\r\n" + b"T" * 100_000, b"{x}\r\n{body}\r\n0\r\n" + b"T: t\r\n" * 20_000)
    ]),
    "heads that are too large": (431, [
        b"X: y\r\n" * 200 + b"Content-Length: {n}\r\n\r\n{body}", b"X: " + b"y" * 17_000 + b"\r\nContent-Length: {n}\r\n\r\n{body}",
        (b"X: " + b"y" * 15_000 + b"\r\n") * 5 + b"Content-Length: {n}\r\n\r\n{body}",
    ]),
    "another expectation": (417, [b"Expect: the-unexpected\r\nContent-Length: {n}\r\n\r\n{body}"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def running(running: Installation) -> Installation:
    running.configure(api=f"image_size_cap = {CAP}")
    assert running.control("api", "restart").returncode == 0
    return running


def port_of(installation: Installation, daemon: str) -> int:
    return installation.api_port if daemon == "api" else installation.registry_port


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def ask(port: int, data: bytes, source: str = "127.0.0.1") -> Answer:
    """The answer to one request on a connection of its own."""
    with connect(port, source) as sock:
        wire = Wire(sock)
        wire.send(data)
        return wire.answer(head_only=data.startswith(b"HEAD "))


def get(port: int, target: str, *lines: str) -> Answer:
    return ask(port, "\r\n".join([f"GET {target} HTTP/1.1", "Host: here", *lines, "", ""]).encode())


def images(port: int) -> list[dict[str, object]]:
    answer = get(port, "/images/detail")
    assert answer.status == 200, answer
    return json.loads(answer.body)["images"]


def filled(form: bytes, body: bytes) -> bytes:
    values = {b"{n}": b"%d" % len(body), b"{x}": b"%x" % len(body), b"{chunked}": b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), b"{body}": body}  # fmt: skip
    for mark, value in values.items():
        form = form.replace(mark, value)
    return form


@pytest.mark.parametrize("daemon", POST)
@pytest.mark.parametrize("name", FORMS)
def test_forms_that_are_refused(running: Installation, daemon: str, name: str) -> None:
    """One answer, and the connection is closed; there is no image of it, nor of what stands behind it."""
    port, (head, body, hidden) = port_of(running, daemon), POST[daemon]
    before = [image for image in images(port) if image["status"] != "killed"]
    expected, forms = FORMS[name]
    for form in forms:
        with connect(port) as sock:
            wire = Wire(sock)
            wire.send(head + filled(form, body) + hidden)
            answer = wire.answer()
            assert (answer.status, answer.headers["connection"], wire.is_closed()) == (expected, "close", True), form
            assert len(answer.body) < 1000
    assert [image for image in images(port) if image["status"] != "killed"] == before


@pytest.mark.parametrize("daemon", POST)
def test_the_same_forms_are_taken_when_they_are_right(running: Installation, daemon: str) -> None:
    """So that the test before this one can fail."""
    port, (head, body, hidden) = port_of(running, daemon), POST[daemon]
    for form in (b"Content-Length: {n}\r\n\r\n{body}", b"Transfer-Encoding: chunked\r\n\r\n{chunked}"):
        before = len(images(port))
        with connect(port) as sock:
            wire = Wire(sock)
            wire.send(head + filled(form, body) + hidden)
            assert [wire.answer().status, wire.answer().status] == [200, 200]
        assert [image["name"] for image in images(port)[before:]] == [None if daemon == "api" else "", "hidden"]


@pytest.mark.parametrize("daemon", POST)
@pytest.mark.parametrize("form", [
    b"Content-Length: 1000\r\n\r\n{body}", b"Transfer-Encoding: chunked\r\n\r\n{x}\r\n{body}\r\n", b"Transfer-Encoding: chunked\r\n\r\nfff\r\n{body}",
    b"Transfer-Encoding: chunked\r\n\r\n{x}\r\n{body}\r\n0\r\n",
])  # fmt: skip
def test_a_body_that_is_cut_makes_no_image(running: Installation, daemon: str, form: bytes) -> None:
    port, (head, body, _) = port_of(running, daemon), POST[daemon]
    before = [image for image in images(port) if image["status"] != "killed"]
    with connect(port) as sock:
        wire = Wire(sock)
        wire.send(head + filled(form, body))
        wire.no_more()
        assert wire.answer().status == 400
    assert [image for image in images(port) if image["status"] != "killed"] == before


@pytest.mark.parametrize("daemon", POST)
def test_a_line_without_end_costs_no_memory(running: Installation, daemon: str) -> None:
    port = port_of(running, daemon)
    images(port)
    before = memory(running.pid(f"glance-{daemon}"))
    for start in (b"1", b"1;", b"0\r\n"):
        with connect(port) as sock:
            wire = Wire(sock)
            wire.send(POST[daemon][0] + b"Transfer-Encoding: chunked\r\n\r\n" + start)
            sender = threading.Thread(target=send_without_end, args=(wire,))
            sender.start()
            assert wire.answer().status == 400
            sender.join(30)
            assert not sender.is_alive()
    assert memory(running.pid(f"glance-{daemon}")) - before < 16 * 1024


def test_unfinished_json_bodies_take_bounded_memory(running: Installation) -> None:
    """Those of two addresses, which have half of the budget each; short bodies are read meanwhile."""
    port, size = running.registry_port, 1024 * 1024
    head = b"POST /images HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    before = memory(running.pid("glance-registry"))
    with ExitStack() as stack:
        for number in range(80):
            sock = stack.enter_context(connect(port, f"127.0.0.{number % 2 + 1}"))
            with suppress(ConnectionError):  # it is refused already
                sock.sendall(head % size + b" " * (size - 1))
        grown = memory(running.pid("glance-registry")) - before
        assert grown < 60 * 1024, f"{grown} KiB more"
        long = head % size + b" " * size
        wait_until(lambda: ask(port, long, "127.0.0.3").status == 503, "the budget is used up")
        refused = ask(port, long, "127.0.0.3")
        assert (refused.status, refused.headers["retry-after"], b"unfinished" in refused.body) == (503, "5", True)
        assert ask(port, head % 2 + b"{}", "127.0.0.3").status == 400
    wait_until(lambda: ask(port, head % size + b" " * size).status == 400, "the budget is free again")


def memory(pid: int) -> int:
    """KiB of a process."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])


def send_without_end(wire: Wire) -> None:
    try:
        while True:
            wire.send(b"x" * 65_536)
    except OSError:
        pass


@pytest.mark.parametrize(("daemon", "head", "status"), [
    ("api", API.replace(b"/images", b"/nothing"), 404), ("api", API.replace(b"/images", b"/v9/images"), 300), ("api", API.replace(b"raw", b"none"), 400),
    ("registry", REGISTRY.replace(b"/images", b"/nothing"), 404), ("registry", REGISTRY, 413),
])  # fmt: skip
def test_an_upload_that_is_refused_early_is_not_read_to_its_end(running: Installation, daemon: str, head: bytes, status: int) -> None:  # fmt: skip
    with connect(port_of(running, daemon)) as sock:
        wire = Wire(sock)
        wire.send(head + b"Content-Length: 1000000000000\r\n\r\n")
        sender = threading.Thread(target=send_without_end, args=(wire,))
        sender.start()
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        sender.join(30)
        assert not sender.is_alive()


@pytest.mark.parametrize(("target", "lines", "status"), [
    ("POST /images", b"x-image-meta-type: none\r\n", 400), ("POST /images", b"x-image-meta-type: raw\r\nContent-Length: 1000001\r\n", 413),
    ("PUT /images/999999", b"", 404), ("PUT /images/{active}", b"", 409), ("POST /v1/images", b"x-image-meta-disk_format: raw\r\n", 400),
    ("PUT /v1/images/11111111-1111-4111-8111-111111111111", b"", 404), ("POST /nothing", b"", 404),
])  # fmt: skip
def test_nobody_is_told_to_send_what_will_be_refused(running: Installation, target: str, lines: bytes, status: int) -> None:  # fmt: skip
    active = json.loads(ask(running.api_port, filled(API + b"Content-Length: {n}\r\n\r\n{body}", b"hello")).body)[
        "image"
    ]["id"]
    length = b"" if b"Content-Length" in lines else b"Content-Length: 5\r\n"
    head = (
        f"{target.format(active=active)} HTTP/1.1\r\n".encode() + HOST + b"Content-Type: application/octet-stream\r\n"
    )
    assert ask(running.api_port, head + lines + length + b"Expect: 100-continue\r\n\r\n").status == status


# Who holds the door open


@pytest.mark.parametrize("daemon", POST)
def test_silent_connections_keep_nobody_out(running: Installation, daemon: str) -> None:
    """More of them than are served at a time."""
    port = port_of(running, daemon)
    with ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(connect(port))
        assert get(port, "/images").status == 200


def test_one_address_cannot_take_all_connections(installation: Installation) -> None:
    """By heads that never end. Other loopback addresses are other clients."""
    installation.configure(common="connections_per_address = 20")
    installation.start()
    with ExitStack() as stack:
        for _ in range(40):
            sock = stack.enter_context(connect(installation.api_port, "127.0.0.2"))
            sock.sendall(b"GET /images HTTP/1.1\r\nX: ")
        request = b"GET /images HTTP/1.1\r\n" + HOST + b"\r\n"
        assert ask(installation.api_port, request, "127.0.0.2").status == 503
        assert ask(installation.api_port, request, "127.0.0.3").status == 200


# Targets, contexts, ranges


@pytest.mark.parametrize("daemon", POST)
@pytest.mark.parametrize(("head", "status"), [
    (b"GET http://evil/images HTTP/1.1\r\nHost: here", 200), (b"GET http://evil@here/images HTTP/1.1\r\nHost: here", 400), (b"GET ftp://here/images HTTP/1.1\r\nHost: here", 400),
    (b"GET /images HTTP/1.1", 400), (b"GET /images HTTP/1.1\r\nHost: a\r\nHost: a", 400), (b"GET /images HTTP/1.1\r\nHost: a b", 400), (b"GET /images", 400),
    (b"GET /images HTTP/0.9\r\nHost: here", 400), (b"GET /images%00 HTTP/1.1\r\nHost: here", 400), (b"GET /images/%00 HTTP/1.1\r\nHost: here", 400), (b"GET /%2e%2e%2fimages HTTP/1.1\r\nHost: here", 404),
    (b"GET /images/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: here", 404), (b"GET /images/%252e%252e HTTP/1.1\r\nHost: here", 404), (b"GET /../images HTTP/1.1\r\nHost: here", 404),
    (b"GET //images HTTP/1.1\r\nHost: here", 200), (b"GET /images;x HTTP/1.1\r\nHost: here", 404), (b"GET /images?a?b&c;d HTTP/1.1\r\nHost: here", 200), (b"GET /images# HTTP/1.1\r\nHost: here", 400),
    (b"GET /%ff HTTP/1.1\r\nHost: here", 400), (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: here", 414), (b"TRACE /images HTTP/1.1\r\nHost: here", 404), (b"CONNECT here:80 HTTP/1.1\r\nHost: here", 400),
    (b"get /images HTTP/1.1\r\nHost: here", 404), (b"GET /images/1 HTTP/1.1\r\nHost: here\r\nX-HTTP-Method-Override: DELETE", 404),
], ids=lambda value: ascii(value)[2:60])  # fmt: skip
def test_odd_targets(running: Installation, daemon: str, head: bytes, status: int) -> None:
    if head.startswith(b"GET /images/1 "):
        head = head.replace(b"/1 ", b"/999999 ")
    answer = ask(port_of(running, daemon), head + b"\r\n\r\n")
    assert (answer.status, b"Traceback" in answer.body) == (status, False)


@pytest.mark.parametrize("daemon", POST)
@pytest.mark.parametrize("data", [b"GET /\r\n", b"GET / HTTP/1.0\n\n", b"\x16\x03\x01\x02\x00\x01"], ids=ascii)
def test_probes_of_other_protocols_are_answered_at_once(running: Installation, daemon: str, data: bytes) -> None:
    with connect(port_of(running, daemon)) as sock:
        sock.settimeout(10)  # a head may take 20 seconds
        wire = Wire(sock)
        wire.send(data)
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"], wire.is_closed()) == (400, "close", True)


@pytest.mark.parametrize("daemon", POST)
def test_head_and_options(running: Installation, daemon: str) -> None:
    port, lines = port_of(running, daemon), b" HTTP/1.1\r\n" + HOST + b"\r\n"
    for target in (b"/", b"/images", b"/images/detail", b"/healthcheck", b"/healthcheck/ready"):
        with connect(port) as sock:
            wire = Wire(sock)
            wire.send(b"GET " + target + lines + b"HEAD " + target + lines + b"OPTIONS " + target + lines)
            get, head, options = wire.answer(), wire.answer(head_only=True), wire.answer()
        varying = ("date", "x-openstack-request-id")
        assert [(name, value) for name, value in get.headers.items() if name not in varying] == [
            (name, value) for name, value in head.headers.items() if name not in varying
        ]
        assert (get.status, head.status, options.status) == (200, 200, 204)
        assert "content-length" not in options.headers
        assert options.headers["allow"] == ("GET, HEAD, POST" if target == b"/images" else "GET, HEAD")
    answer = ask(port, b"OPTIONS *" + lines)
    assert (answer.status, answer.body) == (204, b"")
    assert {"GET", "HEAD", "POST", "PUT", "DELETE"} <= set(answer.headers["allow"].split(", "))


def test_each_of_many_requests_on_a_connection_is_of_its_own_caller(installation: Installation) -> None:
    callers = {
        name: headers["X-Auth-Token"] for name, headers in tokens(installation).items() if name in ("alice", "bob")
    }
    installation.start()

    def request(method: str, token: str | None, *lines: str) -> bytes:
        known = [] if token is None else [f"X-Auth-Token: {token}"]
        return "\r\n".join([f"{method} /v1/images HTTP/1.1", "Host: here", *known, *lines, "", ""]).encode()

    for name, token in callers.items():
        assert ask(installation.api_port, request("POST", token, f"x-image-meta-name: {name}")).status == 201
    refused = request("POST", "nobody", "Content-Length: 5", "Expect: 100-continue")
    assert ask(installation.api_port, refused).status == 401
    with connect(installation.api_port) as sock:
        wire = Wire(sock)
        for _ in range(300):
            wire.send(b"".join(request("GET", token) for token in (*callers.values(), None)))
            for name in callers:
                assert [image["name"] for image in json.loads(wire.answer().body)["images"]] == [name]
            assert wire.answer().status == 401


@pytest.fixture(scope="module")
def numbers(running: Installation) -> Iterator[dict[int, int]]:
    """The numbers of images of 10 bytes and of none."""
    made = {}
    for size in (10, 0):
        head = API + b"Transfer-Encoding: chunked\r\n\r\n" + (b"a\r\n0123456789\r\n" if size else b"") + b"0\r\n\r\n"
        made[size] = json.loads(ask(running.api_port, head).body)["image"]["id"]
    yield made


@pytest.mark.parametrize(("size", "lines", "status", "body"), [
    (10, ["Range: bytes=0-0"], 206, b"0"), (10, ["Range: bytes=9-"], 206, b"9"), (10, ["Range: bytes=-3"], 206, b"789"), (10, ["Range: bytes=5-99999999999999999999"], 206, b"56789"),
    (10, ["Range: bytes=-0"], 416, None), (10, ["Range: bytes=10-"], 416, None), (10, ["Range: bytes=99999999999999999999-"], 416, None), (10, ["Range: bytes=5-2"], 200, b"0123456789"),
    (10, ["Range: bytes=" + ",".join(["0-0"] * 3000)], 200, b"0123456789"), (10, ["Range: bytes=0-0,-1"], 200, b"0123456789"), (10, ["Range: octets=0-0"], 200, b"0123456789"),
    (10, ["Range: bytes=0-0", 'If-Range: "x"'], 200, b"0123456789"), (10, ["Range: bytes=\u0663-"], 200, b"0123456789"), (10, ["Range: bytes=0-0", "Range: bytes=1-1"], 200, b"0123456789"),
    (0, ["Range: bytes=0-0"], 416, None), (0, ["Range: bytes=-1"], 416, None), (0, [], 200, b""), (0, ["Range: bytes=1-0"], 200, b""),
])  # fmt: skip
def test_ranges(running: Installation, numbers: dict[int, int], size: int, lines: list[str], status: int, body: bytes | None) -> None:  # fmt: skip
    answer = get(running.api_port, f"/images/{numbers[size]}", *lines)
    assert answer.status == status
    assert body is None or answer.body == body
