# SPDX-License-Identifier: Apache-2.0
"""Connections to the registry daemon that are kept for further requests. Why urllib3: docs/decisions/008."""

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ProtocolError

CONNECT_TIMEOUT = 1.0  # seconds, for each address of the host
MAX_KEPT = 1000  # connections; as many as glance-api serves at a time
MAX_IDLE = 30.0  # seconds; less than servers wait, so that no request meets a server that is just closing
ESTABLISHED = 1  # TCP_INFO's first byte, tcp(7)

_NO_RETRIES = Retry(total=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Https:
    """TLS settings, as paths of PEM files: trusted authorities (None: those of the system) and our certificate."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None  # None: in the certificate's file

    def context(self) -> ssl.SSLContext:
        """Raises OSError for a file that cannot be read, or is none of these."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


class RegistryPool:
    """Thread-safe: each request has a connection of its own. `timeout` is the number of seconds that the server may
    be silent."""

    def __init__(self, host: str, port: int, *, timeout: float, https: Https | None = None) -> None:
        options: dict[str, Any] = {"timeout": Timeout(connect=CONNECT_TIMEOUT, read=timeout), "maxsize": MAX_KEPT}
        self._pool: HTTPConnectionPool
        if https is None:
            self._pool = _HttpPool(host, port, **options)
        else:
            self._pool = _HttpsPool(host, port, ssl_context=https.context(), **options)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> BaseHTTPResponse:
        """Return the response, read to its end.

        A GET is sent once more if its connection ends without a response: the server may have closed it just before.
        Others are not, since they may have been carried out. Raises urllib3.exceptions.HTTPError.
        """
        try:
            return self._send(method, path, headers, body)
        except ProtocolError:
            if method != "GET":
                raise
        return self._send(method, path, headers, body)

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> BaseHTTPResponse:
        return self._pool.urlopen(
            method,
            path,
            body,
            headers,
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            decode_content=False,
        )


class _Kept(HTTPConnection):
    _last_used = 0.0  # monotonic

    def request(self, *arguments: Any, **options: Any) -> None:
        self._last_used = time.monotonic()
        super().request(*arguments, **options)

    @property
    def is_connected(self) -> bool:
        """Whether urllib3 may use this connection again. Its own check polls the socket, which with eventlet is a
        switch to the hub before each request; the kernel knows at once."""
        if self.sock is None or time.monotonic() - self._last_used > MAX_IDLE:
            return False
        return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED


class _KeptHttps(_Kept, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Kept


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _KeptHttps
