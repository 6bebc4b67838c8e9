# SPDX-License-Identifier: Apache-2.0
"""A ReadStore for http:// and https:// URLs of third parties.

Uses http.client, because the connection must go to an address that the guard has judged, with the name kept for the
Host header and for TLS.
"""

import http.client
import io
import logging
import re
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, BinaryIO

from glance.core.errors import BlobMissing, Invalid, StoreDown
from glance.core.pace import Pace
from glance.store.blob import StreamBlob
from glance.store.guard import PORTS, Guard, Target, resolve_redirect
from glance.store.proxy import Proxy
from glance.wire.large_head import LargeHeadResponse

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LOG = logging.getLogger(__name__)

MAX_HOPS = 5  # redirects that are followed
BLOCK = 256 * 1024  # bytes read at a time
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_STATUS_LINE = 1024  # bytes
LEAST_RATE = 1024  # bytes per second, on the average, of a server that is waited for
WHOLE = frozenset({200, 203})  # 203: a proxy on the way has changed the headers
GONE = frozenset({404, 410, 416})
GATEWAY = frozenset({407, 502, 503, 504})  # of a proxy that does not reach the server
# One text for closed, silent and foreign ports: the reason of a failed copy must not map a network. The log has more.
UNREACHABLE = "the server of the image cannot be reached, or does not answer"
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "glance", "Connection": "close"}

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:([0-9]{1,18})|\*)", re.ASCII)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r?\n)")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


class _Unreachable(StoreDown):
    """No connection, or no answer in time. Asking in another way would not help."""


class HttpStore:
    """A ReadStore of third parties' images.

    `timeout` is the number of seconds without a byte after which a server counts as down. With a `proxy`, which
    resolves the names, the guard must not resolve them.
    """

    schemes = frozenset({"http", "https"})

    def __init__(
        self, guard: Guard, *, connect_timeout: float = 5, timeout: float = 30, proxy: Proxy | None = None
    ) -> None:
        self._guard = guard
        self._proxy = proxy
        self._tls = ssl.create_default_context()
        self._connect_timeout = connect_timeout
        self._timeout = timeout

    def examine(self, location: str) -> int | None:
        """Check a URL that a user wants to register and return the size of its data, or None if it is unknown.

        Raises Invalid, also if the data is missing or its server does not answer: always with one text, so that
        a network cannot be searched by it.
        """
        try:
            return self._find_size(location)
        except (BlobMissing, StoreDown) as error:
            LOG.warning("a location is refused: %s", error)
            raise Invalid("this location does not answer as an image would") from error

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> StreamBlob:
        """As core/ports.py has it; Invalid for a URL that may not be fetched (any more).

        A server that ignores Range is read from its beginning.
        """
        wanted: dict[str, str] = {}
        if (start or length is not None) and length != 0:
            wanted["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        answer = self._ask("GET", location, wanted, good=WHOLE | {206} if wanted else WHOLE)
        try:
            if answer.status == 206:
                size, total = _announced(answer), _total_of_part(answer, start)
                if size is None or (length is not None and size != length):
                    raise StoreDown("the server sends another part than it was asked for")
            else:
                total = _announced(answer)
                if total is not None and start > total:
                    raise BlobMissing("the server of the image has fewer bytes than the image")
                _skip(answer, start)
                size = length if length is not None else None if total is None else max(total - start, 0)
            return StreamBlob(answer.read1, size=size, total=total, close=answer.close)
        except BaseException:
            answer.close()
            raise

    def _find_size(self, location: str) -> int | None:
        """Ask by HEAD, and by GET for one byte if HEAD fails or announces no data.

        URLs may be signed for GET alone, and there are servers without HEAD and those that announce 0 bytes to it.
        """
        try:
            with closing(self._ask("HEAD", location, {})) as answer:
                if size := _announced(answer):
                    return size
        except _Unreachable:
            raise
        except (BlobMissing, StoreDown) as error:
            LOG.info("a location is asked for by GET, its server does not answer HEAD: %s", error)
        with closing(self._ask("GET", location, {"Range": "bytes=0-0"}, good=WHOLE | {206, 416})) as answer:
            if answer.status == 206:
                return _total_of_part(answer, 0)
            if answer.status in WHOLE:  # the server ignores Range; its data is not read
                return _announced(answer)
        with closing(self._ask("GET", location, {})) as answer:  # no byte has the number 0
            return _announced(answer)

    def _ask(
        self, method: str, location: str, headers: dict[str, str], *, good: frozenset[int] = WHOLE
    ) -> http.client.HTTPResponse:
        """Return an answer with one of the `good` statuses, after some redirects, each judged anew.

        Raises Invalid, BlobMissing, StoreDown."""
        for _ in range(MAX_HOPS + 1):
            answer = self._exchange(self._guard.judge(location), method, headers)
            if answer.status in good:
                return answer
            answer.close()
            if answer.status in REDIRECTS and answer.headers.get("Location"):
                # http.client decodes header lines as Latin-1, whatever they are.
                location = resolve_redirect(location, answer.headers["Location"].encode("latin-1"))
                continue
            if answer.status in GONE:
                raise BlobMissing("the server of the image has no such data")
            raise StoreDown(f"the server of the image answered {answer.status}")
        raise StoreDown(f"the server of the image redirects more than {MAX_HOPS} times")

    def _exchange(self, target: Target, method: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.response_class = LargeHeadResponse  # another Glance sends a header for each property of an image
        path, headers = target.path, HEADERS | {"Host": _authority(target)} | headers
        try:
            sock = self._connected(target)
        except (OSError, http.client.HTTPException, ValueError) as error:
            LOG.warning("%s cannot be reached%s: %s", _describe(target), self._through(), _describe_error(error))
            raise _Unreachable(UNREACHABLE) from error
        if self._proxy is not None and target.scheme == "http":
            path, headers = f"http://{_authority(target)}{path}", headers | self._proxy.headers
        try:
            with sock:
                connection.sock = _Paced(sock)
                connection.request(method, path, headers=headers)
                # The answer reads from a file of its own on the socket, which its close() closes at last.
                answer = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            LOG.warning("%s does not answer%s: %s", _describe(target), self._through(), _describe_error(error))
            kind = _Unreachable if isinstance(error, TimeoutError) else StoreDown
            raise kind(UNREACHABLE) from error
        if self._proxy is not None and answer.status in GATEWAY:
            answer.close()
            LOG.warning("%s does not answer%s: status %d", _describe(target), self._through(), answer.status)
            raise _Unreachable(UNREACHABLE)
        return answer

    def _through(self) -> str:
        """Return what a line of the log says of the proxy."""
        return f" through {self._proxy.address} (http_store_proxy)" if self._proxy else ""

    def _connected(self, target: Target) -> socket.socket:
        if self._proxy is None:
            sock = _connect(target.addresses, target.port, self._connect_timeout)
        else:
            sock = _connect(_resolve(self._proxy), self._proxy.port, self._connect_timeout)
        try:
            if target.scheme == "https":
                if self._proxy is not None:
                    sock.settimeout(self._timeout)
                    _open_tunnel(sock, self._proxy, target)
                sock.settimeout(self._connect_timeout)
                sock = self._tls.wrap_socket(sock, server_hostname=target.host)
            sock.settimeout(self._timeout)
        except BaseException:
            with suppress(OSError):
                sock.close()
            raise
        return sock


def _resolve(proxy: Proxy) -> list[str]:
    found = socket.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _open_tunnel(sock: socket.socket, proxy: Proxy, target: Target) -> None:
    """Have the proxy connect to the target (RFC 9110 §9.3.6). Raises OSError, HTTPException."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = {"Host": f"{host}:{target.port}", "User-Agent": HEADERS["User-Agent"], **proxy.headers}
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    with _Paced(sock).makefile("rb") as answer:  # TLS servers wait for the client: nothing else is read here
        found = _STATUS_LINE.match(answer.readline(MAX_STATUS_LINE))
        http.client.parse_headers(answer)
    if found is None or not found[1].startswith(b"2"):
        raise OSError(f"the proxy answered {found[1].decode() if found else 'no HTTP'}")


def _connect(addresses: Sequence[str], port: int, timeout: float) -> socket.socket:
    """Connect to the first address that accepts, each of which gets a fair share of the time that is left.

    Raises OSError, that of the last address."""
    deadline = time.monotonic() + timeout
    failure = OSError("no address to connect to")
    for tried, address in enumerate(addresses):
        left = max(deadline - time.monotonic(), 0.01)  # 0 would mean not to wait at all
        try:
            return socket.create_connection((address, port), left / (len(addresses) - tried))
        except OSError as error:
            failure = error
    raise failure


class _Paced:
    """As much of a socket as http.client needs. Whoever sends too slowly, be it the head, raises TimeoutError."""

    def __init__(self, sock: socket.socket) -> None:
        self.sendall = sock.sendall
        self.close = sock.close
        self._sock = sock

    def makefile(self, _: str) -> BinaryIO:
        return io.BufferedReader(_PacedFile(self._sock.makefile("rb", buffering=0)))


class _PacedFile(io.RawIOBase):
    def __init__(self, file: socket.SocketIO) -> None:
        self._file = file
        self._pace = Pace(LEAST_RATE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        before = time.monotonic()
        count = self._file.readinto(buffer)
        self._pace.note(time.monotonic() - before, count or 0)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _describe(target: Target) -> str:
    """Return scheme, host and port for the log; the path may hold a signature."""
    return f"{target.scheme}://{_authority(target)}"


def _describe_error(error: Exception) -> str:
    """Return the error's type and text for the log, without what a server sent."""
    return f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__


def _authority(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == PORTS[target.scheme] else f"{host}:{target.port}"


def _announced(answer: http.client.HTTPResponse) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def _total_of_part(answer: http.client.HTTPResponse, start: int) -> int | None:
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != start:
        raise StoreDown("the server sends another part than it was asked for")
    return None if found[3] is None else int(found[3])


def _skip(answer: http.client.HTTPResponse, count: int) -> None:
    try:
        while count:
            block = answer.read(min(count, BLOCK))
            if not block:
                raise StoreDown("the server of the image broke off")
            count -= len(block)
    except (OSError, http.client.HTTPException) as error:
        raise StoreDown("the server of the image broke off") from error
