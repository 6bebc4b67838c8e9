# SPDX-License-Identifier: Apache-2.0
"""TLS before a server that speaks none: certificates of an authority of the tests' own, and what ends TLS."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import trustme

BLOCK = 65_536
TICK = 0.05  # seconds between two looks whether all shall end
LIMIT = 30  # seconds that one side may make the other wait


class Authority:
    """Signs certificates. `file` holds its own, for those who trust it."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._authority = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def context(self, name: str = "127.0.0.1", *, not_after: datetime | None = None) -> ssl.SSLContext:
        """For a server of that name or address."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name, not_after=not_after).configure_cert(made)
        return made


@contextmanager
def tls_before(port: int, context: ssl.SSLContext, *, listen: int = 0) -> Iterator[int]:
    """Take TLS on a port of the loopback address, `listen` or a free one, and pass on what comes to `port`."""
    with socket.create_server(("127.0.0.1", listen)) as listener:
        ended = threading.Event()
        threads: list[threading.Thread] = []

        def accept() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    client, _ = listener.accept()
                    threads.append(threading.Thread(target=_serve, args=(client, context, port, ended)))
                    threads[-1].start()

        listener.settimeout(TICK)
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def _serve(client: socket.socket, context: ssl.SSLContext, port: int, ended: threading.Event) -> None:
    """One connection. Clients that refuse a certificate, or speak no TLS, are what we are here for."""
    client.settimeout(LIMIT)
    with (
        client,
        suppress(OSError),
        context.wrap_socket(client, server_side=True) as secure,
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as server,
    ):
        while not ended.is_set():
            ready = [secure] if secure.pending() else select.select([secure, server], [], [], TICK)[0]
            for source in ready:
                block = source.recv(BLOCK)
                if not block:
                    return
                (server if source is secure else secure).sendall(block)
