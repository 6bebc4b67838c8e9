# SPDX-License-Identifier: Apache-2.0
"""A plain web server of third parties: honest, without Range, redirecting, slow, lying and broken, by path."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, unquote, urlsplit

DATA = bytes(range(256)) * 4000  # 1,024,000 bytes


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Web"

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = unquote(parts.path).strip("/").replace("/", "_")
        getattr(self, "answer_" + self.server.names.get(name, name), self.answer_nothing)()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def answer_nothing(self) -> None:
        self._send(404, b"no such thing")

    def answer_gone(self) -> None:
        self._send(410, b"")

    def answer_broken(self) -> None:
        self._send(500, b"")

    def answer_ranged(self) -> None:
        self._send_part(DATA)

    def answer_file(self) -> None:
        """One of those that a test has put here."""
        data = self.server.files.get(self.query["name"])
        self._send(404, b"") if data is None else self._send_part(data)

    def answer_whole(self) -> None:
        self._send(200, DATA)

    def answer_get_only(self) -> None:
        """As URLs that are signed for GET answer to HEAD, or servers that do not know it."""
        if self.command == "HEAD":
            self._head(int(self.query.get("status", "403")), {"Content-Length": "0"})
        else:
            getattr(self, f"answer_{self.query.get('then', 'ranged')}")()

    def answer_drops_head(self) -> None:
        """Close the connection without an answer to HEAD."""
        if self.command == "HEAD":
            self.close_connection = True
        else:
            self.answer_ranged()

    def answer_head_of_0(self) -> None:
        """Announce no data to HEAD, whatever there is."""
        if self.command == "HEAD":
            self._head(200, {"Content-Length": "0"})
        else:
            getattr(self, f"answer_{self.query.get('then', 'ranged')}")()

    def answer_empty(self) -> None:
        """An image of no bytes, where no range can be satisfied."""
        ranged = "Range" in self.headers
        self._send(416 if ranged else 200, b"", {"Content-Range": "bytes */0"} if ranged else {})

    def answer_changed_on_the_way(self) -> None:
        self._send(203, DATA)

    def answer_endless(self) -> None:
        """Ignore Range, and send far more than anyone wants to read."""
        self._head(200, {"Content-Length": str(10**12)})
        if self.command == "GET":
            with suppress(OSError):
                while not self.server.ended.is_set():
                    self.wfile.write(DATA)
                    self.server.sent += len(DATA)
        self.close_connection = True

    def answer_chunked(self) -> None:
        self._head(200, {"Transfer-Encoding": "chunked"})
        if self.command == "GET":
            for start in range(0, len(DATA), 100_000):
                block = DATA[start : start + 100_000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            self.wfile.write(b"0\r\n\r\n")

    def answer_cut(self) -> None:
        self._head(200, {"Content-Length": str(len(DATA))})
        if self.command == "GET":
            self.wfile.write(DATA[:500_000])
        self.close_connection = True

    def answer_stalls(self) -> None:
        self._head(200, {"Content-Length": str(len(DATA))})
        if self.command == "GET":
            self.wfile.write(DATA[:1000])
            self.wfile.flush()
        self.server.ended.wait(10)

    def answer_drips(self) -> None:
        """A byte now and then, without an end; first of the head, if that is asked for."""
        if "head" in self.query:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        else:
            self._head(200, {"Content-Length": str(len(DATA))})
        with suppress(OSError):
            while not self.server.ended.wait(0.05):
                self.wfile.write(b"x")
                self.wfile.flush()
        self.close_connection = True

    def answer_silent(self) -> None:
        self.server.ended.wait(10)
        self.close_connection = True

    def answer_grows(self) -> None:
        """One length to HEAD, another to GET."""
        self._send(200, DATA if self.command == "GET" else DATA[:-1])

    def answer_to(self) -> None:
        self._send(int(self.query.get("status", "302")), b"", {"Location": self.query["url"]})

    def answer_to_raw(self) -> None:
        """Redirect to a URL that is sent as it is, in UTF-8 and unescaped."""
        self.send_response(302)
        self.wfile.write(b"".join(self._headers_buffer) + b"Location: " + self.query["url"].encode() + b"\r\n\r\n")
        self._headers_buffer = []
        self.close_connection = True

    def answer_hops(self) -> None:
        left = int(self.query["n"])
        self._send(302, b"", {"Location": f"/hops?n={left - 1}" if left > 1 else "/ranged"})

    def answer_nonsense(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.close_connection = True

    def _send_part(self, data: bytes) -> None:
        """The bytes that are asked for; all where none are."""
        asked = self.headers.get("Range")
        if asked is None:
            self._send(200, data)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        shown = int(first) + int(self.query.get("shift", "0"))
        self._send(206, part, {"Content-Range": f"bytes {shown}-{shown + len(part) - 1}/{len(data)}"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Web(http.server.ThreadingHTTPServer):
    """`requests` are (method, path, headers) in the order in which they came; `files` lie at file?name=NAME."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.files: dict[str, bytes] = {}
        self.names = {"Bild für alle": "ranged"}  # paths that are no Python names, and what answers there
        self.sent = 0  # bytes of endless answers
        self.ended = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, *_: object) -> None:
        """A client that leaves is what some tests are about."""

    def wait_for_requests(self, count: int) -> None:
        deadline = time.monotonic() + 5
        while len(self.requests) < count and time.monotonic() < deadline:
            time.sleep(0.01)


@contextmanager
def web_server() -> Iterator[Web]:
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
