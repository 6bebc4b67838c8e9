# SPDX-License-Identifier: Apache-2.0
"""The answer to one request: status line, headers and framing, and the body by write() or by sendfile."""

import errno
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from email.utils import formatdate
from types import TracebackType
from typing import BinaryIO, TypeAlias

import eventlet
from eventlet import hubs

from glance.core.disk import read_at
from glance.core.pace import Pace
from glance.serve.head import Head

STEP = 256 * 1024  # bytes sent before others get their turn
NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})  # the file system lacks it

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # PEP 3333: bytes, shown as Latin-1

Blocking: TypeAlias = Callable[..., int]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None


def call_here(work: Callable[..., int], /, *arguments: object) -> int:
    return work(*arguments)


class ClientGoneError(Exception):
    """The client does not take the answer any more."""


class ClientStalledError(ClientGoneError):
    """The client is connected, but takes nothing or too little of the answer."""


class Output:
    """Used for one request. `sent` counts bytes of the body that the kernel has taken. `timeout` is the number of
    seconds that the client may take nothing; it is also the timeout of the socket."""

    def __init__(self, sock: socket.socket, pace: Pace | None = None, *, timeout: float | None = None) -> None:
        self.status = ""
        self.request_id = ""
        self.sent = 0
        self.head_sent = False
        self.keep_alive = False  # settled when the head is sent
        self.broken = False  # the answer has no honest end
        self._sock = sock
        self._pace = pace or Pace(0)
        self._sends_by: Callable[[int, int, int, int], int] = os.sendfile
        self._timeout = timeout
        self._head: Head | None = None
        self._may_keep: Callable[[], bool] = lambda: False
        self._headers: list[tuple[str, str]] = []
        self._length: int | None = None
        self._chunked = False

    def begin(self, head: Head, may_keep: Callable[[], bool]) -> None:
        """Answer this request; `may_keep` is asked when the head is sent."""
        self._head = head
        self._may_keep = may_keep

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None, /
    ) -> Callable[[bytes], None]:
        """As PEP 3333 has it. Raises ValueError for headers that would break out of their line."""
        if exc_info and self.head_sent and exc_info[1] is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.status and not exc_info:
            raise RuntimeError("start_response was called twice")
        self._length = None
        for name, value in [("status", status), *headers]:
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError(f"not a header: {name!r}: {value!r}")
            lower = name.lower()
            if lower == "content-length":
                self._length = int(value)
            elif lower == "x-openstack-request-id":
                self.request_id = value
        self.status = status
        self._headers = headers
        return self.write

    @property
    def has_length(self) -> bool:
        """Whether the application has told the length of its body."""
        return self._length is not None

    @property
    def complete(self) -> bool:
        """Whether as many bytes as were announced are sent, so that no more need be made."""
        return self.head_sent and self._length is not None and self.sent >= self._length

    def length_if_unknown(self, length: int) -> None:
        """Announce the length of a body that is known whole, unless a part of it was written already.

        RFC 9110 §8.6: 204 has no Content-Length, and 304 none but that of the answer to GET."""
        if self._length is None and not self.head_sent and self.status[:3] not in ("204", "304"):
            self._length = length
            self._headers = [*self._headers, ("Content-Length", str(length))]

    def write(self, block: bytes) -> None:
        if not block and self.head_sent:
            return
        if self._bodiless:
            block = b""
        elif self._length is not None:
            block = block[: self._length - self.sent]  # PEP 3333: never more than announced
        size = len(block)
        data = b"" if self.head_sent else self._make_head()
        if self._chunked and block:
            block = b"%x\r\n%b\r\n" % (size, block)
        if data and size < STEP:
            self._send(data + block)
        else:
            self._send(data)
            self._send(block)
        self.sent += size

    def finish(self) -> None:
        """The application has given all it has."""
        if not self.head_sent:
            self.write(b"")
        if self._chunked:
            self._send(b"0\r\n\r\n")
        self._check_length()

    def send_file(self, file: BinaryIO, blocking: Blocking = call_here, *, encrypted: bool = False) -> None:
        """Send as many bytes of the file as Content-Length says, from its current position.

        The kernel sends the file (sendfile) unless the connection is encrypted. Data in the page cache is sent at
        once. What has to come from the disk is read by `blocking`, so that other connections need not wait for it.
        """
        if not self._length or self._bodiless:
            self.finish()
            return
        self._send(self._make_head(), 0 if encrypted else socket.MSG_MORE)
        buffer = memoryview(bytearray(min(self._length, STEP))) if encrypted else memoryview(b"")
        offset = file.tell()
        since = 0
        while self.sent < self._length:
            most = min(self._length - self.sent, STEP)
            if encrypted:
                count = read_at(file.fileno(), buffer[:most], offset, blocking)
                self._send(buffer[:count])
            else:
                count = self._sendfile(file.fileno(), offset, most, blocking)
            if count == 0:
                break  # the file is shorter than it was
            offset += count
            self.sent += count
            since += count
            if since >= STEP:
                since = 0
                eventlet.sleep(0)
        self._check_length()

    def plain(self, status: str, text: str, *more: tuple[str, str]) -> None:
        """A short answer of the server itself, after which the connection is closed."""
        self.request_id = self.request_id or f"req-{uuid.uuid4()}"
        body = f"{status}\n\n{text}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("Content-Length", str(len(body))),
            ("X-Openstack-Request-Id", self.request_id),
            *more,
        ]
        self.status = ""
        self._may_keep = lambda: False
        self.start_response(status, headers)
        self.write(body)

    @property
    def _bodiless(self) -> bool:
        return (self._head is not None and self._head.method == "HEAD") or self.status[:3] in ("204", "304")

    def _check_length(self) -> None:
        if self._length is not None and self.sent != self._length and not self._bodiless:
            raise RuntimeError(f"{self._length} bytes were announced, {self.sent} sent")

    def _make_head(self) -> bytes:
        if not self.status:
            raise RuntimeError("a body without start_response")
        self.head_sent = True
        self.keep_alive = self._may_keep()
        one_one = self._head is None or self._head.version == (1, 1)
        lines = [f"HTTP/1.1 {self.status}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in self._headers]
        if self._length is None and not self._bodiless:
            if one_one:
                self._chunked = True
                lines.append("Transfer-Encoding: chunked")
            else:
                self.keep_alive = False
        if not self.keep_alive:
            lines.append("Connection: close")
        elif not one_one:
            lines.append("Connection: keep-alive")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send(self, data: bytes | memoryview, flags: int = 0) -> None:
        if not data:
            return
        before = time.monotonic()
        try:
            self._sock.sendall(memoryview(data), flags)  # a view: what is left after a part is not copied
        except TimeoutError:
            raise self._stalled() from None
        except OSError as error:
            raise ClientGoneError(str(error)) from error
        self._note(time.monotonic() - before, len(data))

    def _sendfile(self, descriptor: int, offset: int, count: int, blocking: Blocking) -> int:
        waited = 0.0  # for the client
        while True:
            call = call_here if _in_memory(descriptor, offset + count - 1) else blocking
            try:
                sent = call(self._sends_by, self._sock.fileno(), descriptor, offset, count)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno not in NO_SENDFILE or self._sends_by is _send_part:
                    raise ClientGoneError(str(error)) from error
                self._sends_by = _send_part
                continue
            else:
                self._note(waited, sent)
                return sent
            before = time.monotonic()
            try:
                hubs.trampoline(self._sock, write=True, timeout=self._timeout, timeout_exc=TimeoutError)
            except TimeoutError:
                raise self._stalled() from None
            except OSError as error:
                raise ClientGoneError(str(error)) from error
            waited += time.monotonic() - before

    def _note(self, seconds: float, count: int) -> None:
        try:
            self._pace.note(seconds, count)
        except TimeoutError as error:
            raise ClientStalledError(f"the client took {error} (least_rate)") from None

    def _stalled(self) -> ClientStalledError:
        return ClientStalledError(f"the client took nothing for {self._timeout:g} seconds (client_timeout)")


def _send_part(to: int, descriptor: int, offset: int, count: int) -> int:
    """Do what sendfile() does, for file systems that cannot."""
    return os.write(to, os.pread(descriptor, count, offset))


def _in_memory(descriptor: int, offset: int) -> bool:
    """Whether this byte of a file, and so most likely what is read before it, needs no disk. False where the file
    system does not tell."""
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:
        return False
