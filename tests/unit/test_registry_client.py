# SPDX-License-Identifier: Apache-2.0
"""HttpRegistry before servers that answer wrongly, late, or not at all."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
import urllib3

from glance.core.context import Context
from glance.core.errors import (
    Conflict,
    Duplicate,
    NotFound,
    RegistryDown,
    RegistryFull,
    RegistryReadOnly,
    WrongState,
)
from glance.core.image import Image, ImageChange
from glance.core.query import Query
from glance.registry import pool
from glance.registry.client import HttpRegistry
from glance.wire import records

CTX = Context(is_admin=True)
KEPT = Image(id="71c675ab-d94f-49cd-a114-e12490b328d9", number=7, name="n")
RECORD = json.dumps(records.encode_image(KEPT)).encode()

# The nth request of all (from 0), its head → the bytes to send and whether to close the connection then.
Answer = Callable[[int, bytes], tuple[bytes, bool]]


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """Answers as it is told, and remembers the heads of the requests.

    `connections` is the number of those that came; `closed` is released for each that the server has closed.
    """

    def __init__(self, answer: Answer) -> None:
        self.heads: list[bytes] = []
        self.closed = threading.Semaphore(0)
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        return len(self._open)

    def close(self) -> None:
        for connection in (self._listener, *self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                head = line
                while (line := stream.readline()).strip():
                    head += line
                length = [row for row in head.lower().splitlines() if row.startswith(b"content-length:")]
                stream.read(int(length[0].split()[1]) if length else 0)
                self.heads.append(head)
                data, end = self._answer(len(self.heads) - 1, head)
                connection.sendall(data)
                if end:
                    break
        self.closed.release()


@contextmanager
def serving(answer: Answer, *, host: str = "127.0.0.1", timeout: float = 5) -> Iterator[tuple[HttpRegistry, Server]]:
    server = Server(answer)
    client = HttpRegistry(host, server.port, timeout=timeout)
    try:
        yield client, server
    finally:
        client.close()
        server.close()


def always(data: bytes, *, close: bool = False) -> Answer:
    return lambda _number, _head: (data, close)


@pytest.mark.parametrize("data", [
    http(b"{}"), http(b""), http(b"<html>"), http(b"[]"), http(b'{"records": []}'), http(b"\xff"), http(RECORD, "201 Created"),
    http(b"", "302 Found", "Location: http://127.0.0.1:1/"), http(b"no such page", "404 Not Found"),
    http(b"500\n\nsecret", "500 Internal Server Error", "X-Glance-Reason: error"), http(b"503\n\nsecret", "503 Busy", "X-Glance-Reason: registry-down"),
    b"SSH-2.0-server\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + RECORD[:50],
    http(b"x", "200 OK", "Content-Encoding: gzip"),
])  # fmt: skip
def test_what_is_no_answer_of_a_registry_is_as_none(data):
    with serving(always(data, close=True)) as (client, _):
        for call in (
            lambda: client.get(CTX, "7"),
            lambda: client.find(CTX, Query()),
            lambda: client.remove(CTX, "7"),
        ):
            with pytest.raises(RegistryDown) as down:
                call()
            assert "secret" not in str(down.value)


@pytest.mark.parametrize(
    ("status", "kind"), [("409", Duplicate), ("409", WrongState), ("409", Conflict), ("404", NotFound)]
)
def test_an_error_comes_back_as_itself(status, kind):
    body = f"{status} Status\n\nits text\n".encode()
    with serving(always(http(body, f"{status} Status", f"X-Glance-Reason: {kind.reason}"))) as (client, _):
        with pytest.raises(kind) as error:
            client.get(CTX, "7")
        assert type(error.value) is kind
        assert str(error.value) == "its text"


@pytest.mark.parametrize(
    ("kind", "text"),
    [(RegistryFull, "the database has no room left"), (RegistryReadOnly, "the database can only be read")],
)
def test_a_registry_that_can_only_be_read_is_known_by_its_reason(kind, text):
    reason = f"X-Glance-Reason: {kind.reason}"
    answer = http(b"503 Service Unavailable\n\nsecret", "503 Service Unavailable", reason)
    with serving(always(answer, close=True)) as (client, _):
        with pytest.raises(RegistryDown) as error:
            client.update(CTX, "7", ImageChange(name="new"))
        assert (type(error.value), str(error.value)) == (kind, text)


def test_a_kept_connection_is_used_again():
    with serving(always(http(RECORD))) as (client, server):
        for _ in range(3):
            assert client.get(CTX, "7") == KEPT
        assert server.connections == 1


@pytest.mark.parametrize("call", [
    lambda client: client.get(CTX, "7"), lambda client: client.add(CTX, KEPT), lambda client: client.remove(CTX, "7"),
    lambda client: client.update(CTX, "7", ImageChange(name="n")),
], ids=["get", "add", "remove", "update"])  # fmt: skip
def test_a_kept_connection_that_was_closed_meanwhile_is_no_error(call):
    with serving(always(http(RECORD), close=True)) as (client, server):
        for _ in range(3):
            assert call(client) == KEPT
            assert server.closed.acquire(timeout=5)
        assert (len(server.heads), server.connections) == (3, 3)


def closing_on_the_second(number: int, _: bytes) -> tuple[bytes, bool]:
    """As of a server that closes an idle connection in the moment in which a request comes in."""
    return (b"", True) if number == 1 else (http(RECORD), False)


def test_a_reading_request_that_meets_the_end_of_its_connection_is_sent_again():
    with serving(closing_on_the_second) as (client, server):
        assert client.get(CTX, "7") == KEPT
        assert client.get(CTX, "7") == KEPT
        assert len(server.heads) == 3


def test_a_writing_request_is_never_sent_twice():
    with serving(closing_on_the_second) as (client, server):
        assert client.add(CTX, KEPT) == KEPT
        with pytest.raises(RegistryDown):
            client.add(CTX, KEPT)
        assert len(server.heads) == 2


def test_a_registry_that_is_too_late_is_down():
    hold = threading.Event()

    def wait(_number: int, _head: bytes) -> tuple[bytes, bool]:
        hold.wait(10)
        return b"", True

    with serving(wait, timeout=0.2) as (client, server):
        started = time.monotonic()
        with pytest.raises(RegistryDown):
            client.get(CTX, "7")
        assert time.monotonic() - started < 2
        assert len(server.heads) == 1
        hold.set()


def test_a_host_that_does_not_take_the_connection_is_not_asked_twice(monkeypatch):
    asked = []

    def no_connection(*arguments: object, **_: object) -> socket.socket:
        asked.append(arguments)
        raise TimeoutError

    monkeypatch.setattr(urllib3.util.connection, "create_connection", no_connection)
    with pytest.raises(RegistryDown):
        HttpRegistry("127.0.0.1", 1).get(CTX, "7")
    assert len(asked) == 1


def test_all_addresses_of_a_host_are_tried(monkeypatch):
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: object, **options: object) -> list:
        assert host == "registry.example"
        return [*resolve("127.0.0.2", port, *rest, **options), *resolve("127.0.0.1", port, *rest, **options)]

    with serving(always(http(RECORD))) as (_, server):
        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        client = HttpRegistry("registry.example", server.port)
        assert client.get(CTX, "7") == KEPT  # nothing listens at the first address
        client.close()


def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch):
    """The server is about to close it, and a request that changes something could not be sent again."""
    with serving(always(http(RECORD))) as (client, server):
        assert client.add(CTX, KEPT) == client.add(CTX, KEPT)
        assert server.connections == 1
        monkeypatch.setattr(pool, "MAX_IDLE", -1)
        assert client.add(CTX, KEPT) == KEPT
        assert server.connections == 2


@pytest.fixture
def switching_often() -> Iterator[None]:
    """Let the interpreter change between threads after nearly every step of theirs."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_often")
def test_threads_share_the_kept_connections():
    """In each round, all threads find the connections of the last one, which the server has closed meanwhile."""
    threads = 8
    with serving(always(http(RECORD), close=True)) as (client, server), ThreadPoolExecutor(threads) as executor:
        for _ in range(60):
            together = threading.Barrier(threads)

            def ask(together: threading.Barrier = together) -> Image:
                together.wait(10)
                return client.get(CTX, "7")

            asked = [executor.submit(ask) for _ in range(threads)]
            assert [done.result() for done in asked] == [KEPT] * threads
            for _ in range(threads):
                assert server.closed.acquire(timeout=5)


def test_the_request_id_goes_along():
    ctx = Context(request_id="req-of-a-caller")
    with serving(always(http(RECORD))) as (client, server):
        client.get(ctx, "7")
        assert b"X-Openstack-Request-Id: req-of-a-caller\r\n" in server.heads[0]


def test_the_address_that_one_listens_on_means_this_host():
    with serving(always(http(RECORD)), host="0.0.0.0") as (client, server):
        assert client.get(CTX, "7") == KEPT
        assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in server.heads[0]


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(always(http(RECORD))) as (client, _):
        assert client.get(CTX, "7") == KEPT


@pytest.mark.parametrize("name", ["", ".", "..", "7/../8", "\ud800"])
def test_a_name_that_would_be_another_path_is_not_asked_for(name):
    with serving(always(http(RECORD))) as (client, server):
        with pytest.raises(NotFound):
            client.get(CTX, name)
        assert server.heads == []


@pytest.mark.parametrize(
    ("name", "segment"), [("7?x", "7%3Fx"), ("%37", "%2537"), ("7 ", "7%20"), ("é", "%C3%A9"), ("7#", "7%23")]
)
def test_other_names_are_encoded(name: str, segment: str) -> None:
    with serving(always(http(RECORD))) as (client, server):
        client.get(CTX, name)
        assert server.heads[0].startswith(f"GET /records/{segment} HTTP/1.1\r\n".encode())


def test_a_brief_list_is_requested_by_a_header_that_an_older_registry_ignores():
    with serving(always(http(b'{"records": [], "after": null}'))) as (client, server):
        client.find(CTX, Query(brief=True))
        request_line, _, headers = server.heads[0].partition(b"\r\n")
        assert request_line == b"GET /records?query=%7B%7D HTTP/1.1"
        assert b"X-Glance-Brief: true\r\n" in headers


def test_requests_are_utf_8():
    with serving(always(http(RECORD))) as (client, server):
        client.update(CTX, "7", ImageChange(name="漢"))
        length = len('{"name": "漢"}'.encode())
        assert b"Content-Length: %d\r\n" % length in server.heads[0]
