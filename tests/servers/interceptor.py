# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that stands before another one, passes requests on, and breaks those that a test names."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESET = "reset"  # close the connection, pass nothing on
LOST = "lost"  # pass the request on, then close without an answer
CUT = "cut"  # answer half of the body, then close
CORRUPT = "corrupt"  # pass on a body whose first byte is another one

BLOCK = 65_536
HOP = ("connection", "transfer-encoding", "keep-alive")


class Interceptor(ThreadingHTTPServer):
    """`rule(method, path)` says for each request what happens: None, a status, or one of the words above."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = port
        self.port = int(self.server_address[1])
        self.seen: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers
        self.answered: list[dict[str, str]] = []  # headers of the answers that were passed back
        self.rule: Callable[[str, str], int | str | None] = lambda method, path: None

    def break_once(self, method: str, part: str, how: int | str, *, after: int = 0, times: int = 1) -> None:
        """Break `times` requests of that method whose path has `part`, the first `after` not counted."""
        count = iter(range(10**9))

        def rule(asked: str, path: str) -> int | str | None:
            return how if asked == method and part in path and after <= next(count) < after + times else None

        self.rule = rule

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what we are here for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Interceptor

    def _handle(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        how = self.server.rule(self.command, self.path)
        if how == RESET:
            self.close_connection = True
            return
        if isinstance(how, int):
            for _ in self._body(None):
                pass
            self.send_response(how)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._pass_on(how)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    def _body(self, how: str | None) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length", 0))
        while left:
            block = self.rfile.read1(min(left, BLOCK))
            if not block:
                raise ConnectionError("the client broke off")
            left -= len(block)
            yield bytes([block[0] ^ 1]) + block[1:] if how == CORRUPT else block
            how = None

    def _pass_on(self, how: str | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            connection.endheaders()
            for block in self._body(how):
                connection.send(block)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if how == LOST:
            self.close_connection = True
            return
        self.server.answered.append(dict(answer.getheaders()))
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if how == CUT else body)
        self.close_connection = self.close_connection or how == CUT

    def log_message(self, *_: object) -> None:
        """The tests read `seen`."""


@contextmanager
def intercepting(port: int) -> Iterator[Interceptor]:
    """An Interceptor before that port of the loopback address."""
    with Interceptor(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
