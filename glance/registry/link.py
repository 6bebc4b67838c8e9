# SPDX-License-Identifier: Apache-2.0
"""Kept connections to one HTTP server, for short requests: of all that glance-api does, it asks the registry most."""

import socket
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from typing import NamedTuple

CONNECT_TIMEOUT = 1.0  # seconds
KEPT = 1000  # connections for further requests; as many as glance-api serves at a time
ESTABLISHED = 1  # TCP_INFO's first byte, tcp(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Https:
    """How to speak TLS: whom to trust (None: whom the system trusts), what to show of oneself. All are PEM files."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None  # None: in the certificate's file

    def context(self) -> ssl.SSLContext:
        """Raises OSError for a file that cannot be read, or is none of these."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes


class Link:
    """May be shared by threads; each request has a connection of its own. `timeout` is the number of seconds that
    the server may be silent."""

    def __init__(self, host: str, port: int, *, timeout: float, https: Https | None = None) -> None:
        self._host, self._port = host, port
        self._timeout = timeout
        self._https = https
        self._context: ssl.SSLContext | None = None
        self._kept: deque[HTTPConnection] = deque(maxlen=KEPT)  # the last used ones last

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            self._kept.pop().close()

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Raises OSError, HTTPException. A GET is asked once more when a kept connection turns out to be closed."""
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, method, path, headers, body)
            except (OSError, HTTPException) as error:
                if method != "GET" or isinstance(error, TimeoutError):
                    raise
        return self._exchange(self._connect(), method, path, headers, body)

    def _take(self) -> HTTPConnection | None:
        """A connection that the server has not closed."""
        while self._kept and not _is_open(self._kept[0]):
            self._kept.popleft().close()
        while self._kept:
            connection = self._kept.pop()
            if _is_open(connection):
                return connection
            connection.close()
        return None

    def _connect(self) -> HTTPConnection:
        if self._https is None:
            connection = HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT)
        else:
            self._context = self._context or self._https.context()
            connection = HTTPSConnection(self._host, self._port, timeout=CONNECT_TIMEOUT, context=self._context)
        connection.connect()
        connection.sock.settimeout(self._timeout)
        return connection

    def _exchange(
        self, connection: HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except BaseException:
            connection.close()  # half of an answer may stand in it
            raise
        if connection.sock is not None:  # None: the server did not want to keep it
            self._kept.append(connection)
        return answer


def _is_open(connection: HTTPConnection) -> bool:
    return connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
