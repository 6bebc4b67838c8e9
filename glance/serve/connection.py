# SPDX-License-Identifier: Apache-2.0
"""One client's connection: requests in, answers out, as PEP 3333 and RFC 9112 have it."""

import logging
import math
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import eventlet

from glance.core.disk import read_at
from glance.core.networks import Networks
from glance.core.pace import Pace
from glance.serve import head as heads
from glance.serve.forwarded import find_client
from glance.serve.input import Input
from glance.serve.output import Blocking, ClientGoneError, ClientStalledError, Output, call_here
from glance.serve.rate import Occupancy, Rate, client_of
from glance.serve.tls import Tls

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

LOG = logging.getLogger("glance.serve")
ACCESS = logging.getLogger("glance.access")

HEAD_TIMEOUT = 20  # seconds from the first byte of a head to its last
KEEPALIVE_TIMEOUT = 75  # seconds that a connection may wait for a request; balancers close theirs after 60
CLIENT_TIMEOUT = 60  # seconds without a byte, in either direction, that end a request
LINGER = 1  # seconds for which the rest of a refused body is taken and thrown away
DRAIN = 64 * 1024  # bytes of an unread body that are taken to keep the connection
RECEIVE = 64 * 1024  # bytes asked for while reading heads
TURN = 256 * 1024  # bytes received before others get their turn
NO_PROXIES = Networks()
CLIENT_KEY = "glance.client_address"  # in the environ


class HeadTimeoutError(TimeoutError):
    """The head of a request has not arrived in time."""


class FileWrapper:
    """`wsgi.file_wrapper`: a file that the server itself sends if the application returns it unread.

    Iterating it yields the content. A file of the operating system is then read by `blocking` where it needs the
    disk; other objects only have to have read()."""

    def __init__(self, file: BinaryIO, block: int = 64 * 1024, *, blocking: Blocking = call_here) -> None:
        self.file = file
        self._block = block
        self._blocking = blocking

    @property
    def is_real(self) -> bool:
        """Return True if the operating system knows the file, so that the kernel can send it."""
        try:
            return self.file.fileno() >= 0
        except (AttributeError, OSError, ValueError):
            return False

    def __iter__(self) -> Iterator[bytes]:
        if not self.is_real:
            yield from iter(lambda: self.file.read(self._block), b"")
            return
        offset, buffer = self.file.tell(), memoryview(bytearray(self._block))
        while count := read_at(self.file.fileno(), buffer, offset, self._blocking):
            offset += count
            yield bytes(buffer[:count])

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and its answer, when both are over. Bytes are those of the bodies; what was refused before it was
    understood has no method and no path."""

    method: str
    path: str
    status: str  # three digits; "" when there was no answer
    seconds: float
    received: int
    sent: int
    broken: bool  # ended before the announced end


@dataclass(slots=True, kw_only=True)
class Service:
    """What all connections of a process share."""

    app: "WSGIApplication"
    environ: dict[str, Any] = field(default_factory=dict)  # added to every request's environ
    draining: bool = False  # no request after the running one
    crowded: bool = False  # somebody waits to be accepted: no connection is kept
    succeeded: bool = False  # so it is when another process serves, but each connection gets one more answer
    tls: Tls | None = None
    keepalive_timeout: float = KEEPALIVE_TIMEOUT  # seconds
    client_timeout: float = CLIENT_TIMEOUT  # seconds
    least_rate: int = 0  # bytes per second that a client must send or take; 0: any
    rate: Rate | None = None  # of requests of one client
    occupancy: Occupancy = field(
        default_factory=Occupancy
    )  # connections, and requests through proxies, of one client
    trusted_proxies: Networks = NO_PROXIES
    observe: Callable[[Exchange], None] = lambda exchange: None
    blocking: Blocking = call_here  # calls a function where it may wait for the disk
    file_wrapper: Callable[..., FileWrapper] = field(init=False)

    def __post_init__(self) -> None:
        self.file_wrapper = partial(FileWrapper, blocking=self.blocking)

    @property
    def is_ending(self) -> bool:
        """Whether connections are closed after the request at hand."""
        return self.draining or self.crowded or self.succeeded


class Connection:
    """`run()` serves the client until either side has enough.

    `idle_since` is the monotonic time from which on it has waited for a request; None while one is served.
    `address` is that of the connection. If it is a trusted proxy's (`is_proxied`), each request has a client of its
    own, for the access log and for the limits."""

    def __init__(self, sock: socket.socket, address: tuple[Any, ...], service: Service) -> None:
        self.idle_since: float | None = time.monotonic()
        self._sock = sock
        self.address = str(address[0]) if address else "unix"
        self.client = client_of(self.address)
        self.is_proxied = self.address in service.trusted_proxies
        self._local = sock.getsockname()
        self._service = service
        self._buffer = b""  # received
        self._at = 0  # how much of it is used
        self._is_silent = False  # the client stopped sending in the middle of a request
        self._received = 0  # bytes since others had their turn
        self._pace = Pace(service.least_rate)  # of what is received
        self._sock.settimeout(service.client_timeout)

    def run(self) -> None:
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._service.tls is not None and not self._begin_tls(self._service.tls):
                return
            while self._exchange():
                self.idle_since = time.monotonic()
                eventlet.sleep(0)  # green sockets do not yield while data is there: others want their turn
        except OSError as error:  # a client that leaves is news, not a fault
            LOG.debug("%s left: %s", self.address, error)
        finally:
            self._sock.close()

    def refuse(self, reason: str) -> None:
        """End the connection without a look at what the client wants."""
        try:
            if self._service.tls is None:
                self._refuse(self._output(), heads.RefusedError("503 Service Unavailable", reason))
                self._linger()
        finally:
            self._sock.close()

    def _begin_tls(self, tls: Tls) -> bool:
        """Whether the client speaks TLS; who does not is told so."""
        timeout = eventlet.Timeout(HEAD_TIMEOUT, TimeoutError("the TLS handshake took too long"))
        try:
            if self._sock.recv(1, socket.MSG_PEEK) not in (b"", heads.TLS_RECORD):
                self._output().plain("400 Bad Request", "this port speaks HTTPS, not HTTP")
                self._linger()
                return False
            self._sock = tls.wrap(self._sock)
            self._sock.settimeout(self._service.client_timeout)
            self._sock.do_handshake()  # type: ignore[attr-defined]
        except ClientGoneError:
            return False
        finally:
            timeout.cancel()
        return True

    def end_if_idle(self) -> None:
        """Close the connection unless it is in the middle of a request."""
        if self.idle_since is not None:
            self._sock.shutdown(socket.SHUT_RD)  # the waiting receive returns b""

    # The connection as its body sees it (input.Receiver).

    def receive(self, most: int) -> bytes:
        block = self._buffer[self._at : self._at + most]
        self._at += len(block)
        return block or self._recv(most)

    def receive_line(self, most: int) -> bytes:
        end = self._buffer.find(b"\r\n", self._at, self._at + most + 2)
        if end < 0:
            end = self._receive_line_end(most)
        line = self._buffer[self._at : end]
        self._at = end + 2
        return line

    def _receive_line_end(self, most: int) -> int:
        """Receive the rest of a line, and return where it ends in the buffer. Each byte is searched once."""
        received = bytearray(self._buffer[self._at :])
        end = searched = -1
        try:
            while end < 0:
                if len(received) > most + 1:
                    raise ValueError(f"a line of the body has more than {most} bytes")
                searched = len(received)
                received += self._recv(RECEIVE)
                end = received.find(b"\r\n", max(searched - 1, 0), most + 2)
        finally:
            self._buffer, self._at = bytes(received), 0
        return end

    def give_way(self) -> None:
        eventlet.sleep(0)

    def _recv(self, most: int) -> bytes:
        """Receive 1 to `most` bytes, and yield to other connections now and then.

        Raises ConnectionError at the end of the connection, TimeoutError if the client is silent or too slow."""
        before = time.monotonic()
        try:
            block = self._sock.recv(most)
        except HeadTimeoutError:
            raise
        except TimeoutError:
            self._is_silent = True
            silence = f"{self._service.client_timeout:g} seconds (client_timeout)"
            raise TimeoutError(f"the client sent nothing for {silence}") from None
        if not block:
            raise ConnectionError("the client closed the connection")
        if self.idle_since is None:
            try:
                self._pace.note(time.monotonic() - before, len(block))
            except TimeoutError as error:
                raise TimeoutError(f"the client sent {error} (least_rate)") from None
        self._received += len(block)
        if self._received >= TURN:
            self._received = 0
            eventlet.sleep(0)
        return block

    @property
    def _is_ending(self) -> bool:
        return self._is_silent or self._service.is_ending

    def _output(self) -> Output:
        return Output(self._sock, Pace(self._service.least_rate), timeout=self._service.client_timeout)

    def _exchange(self) -> bool:
        """One request and its answer. True: another may follow."""
        output = self._output()
        started = time.monotonic()
        try:
            data = self._receive_head()
            if data is None:
                return False
            started = time.monotonic()
            head = heads.parse(data)
        except heads.RefusedError as refused:
            self._refuse_head(output, refused)
            self._log(output, None, None, started, self.address)
            self._linger()
            return False
        address, client = self.address, self.client
        if self.is_proxied:
            forwarded_for = head.fields.get(b"x-forwarded-for", b"").decode("latin-1")
            address = find_client(address, forwarded_for, self._service.trusted_proxies)
            client = client_of(address)
        body = Input(self, head.length, self._continuer(head, output))
        output.begin(head, lambda: head.keep_alive and not self._is_ending and _drainable(body, head))
        try:
            with self._admitted(client, output) as admitted:
                if admitted:
                    self._answer(head, body, output, address)
        except ClientStalledError as stalled:
            LOG.info("%s %s for %s is broken off: %s", head.method, ascii(head.path), address, stalled)
            output.broken = True
        except ClientGoneError as gone:
            LOG.debug("%s left: %s", self.address, gone)
            output.broken = True
        finally:
            self._log(output, head, body, started, address)
        if output.keep_alive and not body.finished:
            self._drain(body)
        if not body.finished and not output.broken:
            self._linger()
        return output.keep_alive and body.finished and not output.broken

    def _receive_head(self) -> bytes | None:
        """The bytes up to the empty line; None when the client has no further request."""
        try:
            self._buffer = self._buffer[self._at :].lstrip(b"\r\n")  # RFC 9112 §2.2 forgives an empty line
            self._at = 0
            if not self._buffer:
                self._sock.settimeout(self._service.keepalive_timeout)
                while not (self._buffer or self._service.draining):
                    self._buffer = self._recv(RECEIVE).lstrip(b"\r\n")
                self._sock.settimeout(self._service.client_timeout)
        except (ConnectionError, TimeoutError):
            return None
        if not self._buffer:
            return None
        self.idle_since = None
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            try:
                end = self._receive_head_end()
            except ConnectionError:
                return None
        if end < 0 or end > heads.MAX_HEAD:
            raise heads.RefusedError("431 Request Header Fields Too Large", f"a head over {heads.MAX_HEAD} bytes")
        self._at = end + 4
        return self._buffer[:end]

    def _receive_head_end(self) -> int:
        """Receive the rest of a head, and return where its empty line is in the buffer, or -1 if it is too long."""
        head = heads.PartialHead(self._buffer)
        timeout = eventlet.Timeout(HEAD_TIMEOUT, HeadTimeoutError("the head of the request took too long"))
        try:
            while (end := head.find_end()) < 0 and len(head.data) <= heads.MAX_HEAD:
                head.data += self._recv(RECEIVE)
        except TimeoutError as error:
            raise heads.RefusedError("408 Request Timeout", str(error)) from None
        finally:
            timeout.cancel()
        self._buffer = bytes(head.data)
        return end

    def _continuer(self, head: heads.Head, output: Output) -> Callable[[], None]:
        def send_continue() -> None:
            if head.expects_continue and not output.head_sent:
                self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

        return send_continue

    def _answer(self, head: heads.Head, body: Input, output: Output, address: str) -> None:
        result: Iterable[bytes] = ()
        try:
            try:
                result = self._service.app(self._environ(head, body, address), output.start_response)
                if isinstance(result, FileWrapper) and result.is_real and output.has_length:
                    encrypted = self._service.tls is not None  # the kernel cannot encrypt for us
                    output.send_file(result.file, self._service.blocking, encrypted=encrypted)
                else:
                    if isinstance(result, list | tuple):
                        output.length_if_unknown(sum(map(len, result)))
                    for block in result:
                        output.write(block)
                        if output.complete:
                            break
                    output.finish()
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except ClientGoneError:
            raise
        except Exception:
            LOG.exception("%s %s failed", head.method, ascii(head.path))
            if output.head_sent:
                output.broken = True  # the client notices by the missing end
            else:
                output.plain("500 Internal Server Error", "the server failed; its log says why")

    @contextmanager
    def _admitted(self, client: str, output: Output) -> Iterator[bool]:
        """Yield True if the client's limits allow a request; otherwise it has been answered."""
        service = self._service
        excess = self._check_rate(client)
        if excess is not None:
            output.plain(excess.status, str(excess), *excess.headers)
            yield False
        elif self.is_proxied:
            try:
                allowed = service.occupancy.enter(client)
                if not allowed:
                    text = f"more than {service.occupancy.most} requests at a time from your address"
                    output.plain("503 Service Unavailable", text)
                yield allowed
            finally:
                service.occupancy.leave(client)
        else:
            yield True

    def _refuse_head(self, output: Output, refused: heads.RefusedError) -> None:
        """Answer a head that is refused. It counts for the rate of its client like any other request.

        Behind a trusted proxy the client is not known, and its requests must not count for the proxy: the proxy's own
        health checks would be refused."""
        excess = None if self.is_proxied else self._check_rate(self.client)
        self._refuse(output, excess or refused)

    def _check_rate(self, client: str) -> heads.RefusedError | None:
        """Count a request, and return the reason to refuse it, or None if it is within the client's rate."""
        wait = self._service.rate.wait(client) if self._service.rate is not None else 0
        if not wait:
            return None
        seconds = math.ceil(wait)
        text = f"too many requests from your address: try again in {seconds} s"
        return heads.RefusedError("429 Too Many Requests", text, ("Retry-After", str(seconds)))

    def _refuse(self, output: Output, refused: heads.RefusedError) -> None:
        try:
            output.plain(refused.status, str(refused), *refused.headers)
        except ClientGoneError as gone:
            LOG.debug("%s left: %s", self.address, gone)

    def _drain(self, body: Input) -> None:
        """Take the unread rest of a small body, so that the next request can be read."""
        timeout = eventlet.Timeout(LINGER, TimeoutError())
        try:
            body.read()
        except (OSError, ValueError):
            pass
        finally:
            timeout.cancel()

    def _linger(self) -> None:
        """Closing while bytes lie unread makes the kernel reset the connection, and the client may lose the
        answer over it: so say that nothing more comes, and take for a moment what is on its way."""
        timeout = eventlet.Timeout(LINGER, TimeoutError())
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while self._sock.recv(RECEIVE):
                eventlet.sleep(0)
        except OSError:
            pass
        finally:
            timeout.cancel()

    def _environ(self, head: heads.Head, body: Input, address: str) -> "WSGIEnvironment":
        """REMOTE_ADDR is the address of the connection, CLIENT_KEY that of the client behind trusted proxies."""
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": head.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": head.path,
            "QUERY_STRING": head.query,
            "REQUEST_URI": head.target,
            "SERVER_NAME": str(self._local[0]),
            "SERVER_PORT": str(self._local[1]),
            "SERVER_PROTOCOL": f"HTTP/1.{head.version[1]}",
            "REMOTE_ADDR": self.address,
            CLIENT_KEY: address,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http" if self._service.tls is None else "https",
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": self._service.file_wrapper,
            **self._service.environ,
        }
        for name, value in head.fields.items():
            key = name.decode("ascii").upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = "HTTP_" + key
            environ[key] = value.decode("latin-1")
        return environ

    def _log(self, output: Output, head: heads.Head | None, body: Input | None, started: float, address: str) -> None:
        """One line per request; its target is shown with everything odd escaped."""
        target = "-" if head is None else f"{head.method} {head.path}{'?' if head.query else ''}{head.query}"
        exchange = Exchange(
            method=head.method if head else "",
            path=head.path if head else "",
            status=output.status[:3],
            seconds=time.monotonic() - started,
            received=body.received if body else 0,
            sent=output.sent,
            broken=output.broken,
        )
        ACCESS.info(
            '%s "%s" %s %d %.3f %s%s',
            address,
            ascii(target)[1:-1].replace('"', r"\x22"),
            exchange.status or "-",
            exchange.sent,
            exchange.seconds,
            output.request_id or "-",
            " broken off" if exchange.broken else "",
        )
        self._service.observe(exchange)


def _drainable(body: Input, head: heads.Head) -> bool:
    """Whether the connection can be kept: nothing of the body is left, or so little that it can be taken."""
    if body.finished:
        return True
    waits = head.expects_continue and body.untouched  # the client may send the body, or may not
    return body.left is not None and body.left <= DRAIN and not waits
