# SPDX-License-Identifier: Apache-2.0
"""A forward proxy on the loopback address: absolute-form requests and CONNECT, with its own idea of host names."""

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

BLOCK = 65_536
LIMIT = 30  # seconds


class ForwardProxy:
    """Records the `targets` that it was asked for, as (method, host, port), and the heads of requests to it.

    `names` are host names and the (host, port) that they lead to; others lead where they say. With `user`, written as
    name:password, only requests with these credentials are served. `refuses` makes it answer 403 to everything.
    """

    def __init__(self, user: str = "") -> None:
        self.user = user
        self.refuses = False
        self.names: dict[str, tuple[str, int]] = {}
        self.targets: list[tuple[str, str, int]] = []
        self.heads: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.url = f"http://{user}@127.0.0.1:{self.port}" if user else self.address
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(5)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(LIMIT)
            data = b""
            while b"\r\n\r\n" not in data:
                block = client.recv(BLOCK)
                if not block:
                    return
                data += block
            head, _, rest = data.partition(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            self._answer(client, head.decode("latin-1").split("\r\n"), rest)

    def _answer(self, client: socket.socket, lines: list[str], rest: bytes) -> None:
        method, target, version = lines[0].split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host, port = parts.hostname or "", parts.port or 80
        self.targets.append((method, host, port))
        wanted = f"basic {base64.b64encode(self.user.encode()).decode()}".lower()
        given = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("proxy-authorization:")]
        if self.user and [each.lower() for each in given] != [wanted]:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        if self.refuses:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with socket.create_connection(self.names.get(host, (host, port)), LIMIT) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
                kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
                server.sendall(
                    "\r\n".join([f"{method} {path} {version}", *kept, "Connection: close", "", ""]).encode()
                )
            server.sendall(rest)
            upward = threading.Thread(target=_copy, args=(client, server), daemon=True)
            upward.start()
            _copy(server, client)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            upward.join(LIMIT)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(BLOCK):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def forward_proxy(user: str = "") -> Iterator[ForwardProxy]:
    proxy = ForwardProxy(user)
    try:
        yield proxy
    finally:
        proxy.close()
