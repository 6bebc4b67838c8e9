# SPDX-License-Identifier: Apache-2.0
"""A proxy on the loopback address that stands before a real server and breaks what a test wants broken.

It passes on one request per connection. For each it asks its `rule`, which names what to do with it.
"""

import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

BLOCK = 64 * 1024
HEAD_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Request:
    number: int  # of all requests, from 1
    method: str
    target: str  # path and query
    length: int  # bytes of the body


@dataclass(frozen=True)
class Answer:
    """Do not pass it on, but answer so, before (else after) the body was read."""

    status: int
    body: bytes = b""
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class CutRequest:
    """Pass on that many bytes of the body, then break both connections; a whole request is answered before that, so
    that nothing of it is still under way when the client hears of the break."""

    after: int


@dataclass(frozen=True)
class CutAnswer:
    """Pass the request on, and that many bytes of the answer, head included, then break the connection."""

    after: int


class Stall:
    """Take the request and say nothing until the proxy is closed."""


Deed = Answer | CutRequest | CutAnswer | Stall | None


class Proxy:
    """Listens at `url` until closed; `rule(request)` says what to do, None: pass it on."""

    def __init__(self, host: str, port: int) -> None:
        self.rule: Callable[[Request], Deed] = lambda request: None
        self.requests: list[Request] = []
        self._server = (host, port)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)

    def count(self, method: str, pattern: str = "") -> int:
        """Requests that came, of that method and with that regular expression in their target."""
        return sum(request.method == method and bool(re.search(pattern, request.target)) for request in self.requests)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head, rest = _head(client)
            if not head:
                return
            request = self._seen(head)
            deed = self.rule(request)
            if isinstance(deed, Answer):
                _answer(client, request, rest, head, deed)
            elif isinstance(deed, Stall):
                self._closed.wait()
            else:
                self._pass_on(client, head, rest, request, deed)

    def _seen(self, head: bytes) -> Request:
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        found = re.search(rb"\r\ncontent-length: *([0-9]+)", head, re.IGNORECASE)
        with self._lock:
            request = Request(len(self.requests) + 1, method, target, int(found[1]) if found else 0)
            self.requests.append(request)
        return request

    def _pass_on(
        self, client: socket.socket, head: bytes, rest: bytes, request: Request, deed: CutRequest | CutAnswer | None
    ) -> None:
        with socket.create_connection(self._server) as server:
            server.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"\r\n\r\n")
            if b"100-continue" in head.lower():
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = request.length if not isinstance(deed, CutRequest) else min(deed.after, request.length)
            while left:
                block = rest[:left] or client.recv(min(BLOCK, left))
                rest = b""
                if not block:
                    return
                server.sendall(block)
                left -= len(block)
            if isinstance(deed, CutRequest):
                if deed.after >= request.length:
                    server.recv(BLOCK)
                _reset(client)
                return
            _relay(server, client, deed.after if isinstance(deed, CutAnswer) else None)


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        block = client.recv(BLOCK)
        if not block or len(data) > HEAD_LIMIT:
            return b"", b""
        data += block
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _answer(client: socket.socket, request: Request, rest: bytes, head: bytes, answer: Answer) -> None:
    """Says it at once where the client waits for leave to send its body, else when the body was read."""
    left = 0 if b"100-continue" in head.lower() and not rest else request.length - len(rest)
    while left > 0 and (block := client.recv(min(BLOCK, left))):
        left -= len(block)
    lines = (f"HTTP/1.1 {answer.status} So", f"Content-Length: {len(answer.body)}", "Connection: close")
    body = b"" if request.method == "HEAD" else answer.body
    client.sendall("\r\n".join((*lines, *answer.headers, "", "")).encode() + body)


def _relay(server: socket.socket, client: socket.socket, most: int | None) -> None:
    block = b""
    while b"\r\n\r\n" not in block:
        more = server.recv(BLOCK)
        if not more:
            return
        block += more
        while block.startswith(b"HTTP/1.1 100") and b"\r\n\r\n" in block:  # that was said already
            block = block.partition(b"\r\n\r\n")[2]
    while block:
        if most is not None and len(block) >= most:
            client.sendall(block[:most])
            _reset(client)
            return
        client.sendall(block)
        most = None if most is None else most - len(block)
        block = server.recv(BLOCK)


def _reset(client: socket.socket) -> None:
    """Close with RST, so that the other side sees an error and no end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
