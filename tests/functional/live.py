# SPDX-License-Identifier: Apache-2.0
"""tests/live_app.py in a process of its own, and a client that sends bytes as they are."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import glance

APP = Path(__file__).parents[1] / "live_app.py"
CODE = Path(glance.__file__).parents[1]
PATIENCE = 10  # seconds after which something does not happen any more


class Live:
    """The running application; to be ended."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._log = folder / "log"
        self._wires: list[Wire] = []
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(APP), *options],
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(CODE)},
                start_new_session=True,
            )
        line = self.process.stdout.readline()
        assert line, self.log()
        self.port, *self.side_ports = map(int, line.split())

    def connect(self, port: int | None = None) -> "Wire":
        self._wires.append(Wire(socket.create_connection(("127.0.0.1", port or self.port), timeout=PATIENCE)))
        return self._wires[-1]

    def ask(self, data: bytes) -> "Answer":
        """The answer to one request on a connection of its own."""
        with self.connect() as wire:
            wire.send(data)
            return wire.answer(head_only=data.startswith(b"HEAD "))

    def log(self) -> str:
        return self._log.read_text("utf-8")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """End all that is left of it."""
        for wire in self._wires:
            wire.sock.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self.process.stdout.close()


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Wire:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def no_more(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer, whole. Raises EOFError when the server closes instead."""
        head, _, self._buffer = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        answer = Answer(int(status), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)})
        if head_only or answer.status in (100, 204, 304):
            return answer
        if "content-length" in answer.headers:
            answer.body = self._take(int(answer.headers["content-length"]))
        elif answer.headers.get("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                answer.body += self._take(size)
                assert self._line() == b""
            assert self._line() == b""
        else:
            answer.body = self.rest()
        return answer

    def rest(self) -> bytes:
        """Everything until the server closes."""
        data, self._buffer = self._buffer, b""
        while block := self.sock.recv(65_536):
            data += block
        return data

    def is_closed(self) -> bool:
        """Whether the server closes now and sends nothing before."""
        try:
            return not self._buffer and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        return self._buffer

    def _line(self) -> bytes:
        line, _, self._buffer = self._until(b"\r\n").partition(b"\r\n")
        return line

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _more(self) -> None:
        block = self.sock.recv(65_536)
        if not block:
            raise EOFError(f"the server closed after {self._buffer!r}")
        self._buffer += block


def request(*lines: bytes, method: bytes = b"GET", target: bytes = b"/echo", body: bytes = b"") -> bytes:
    """A request with a Host header and these further lines."""
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), b"Host: here", *lines, b"", body])


def post(*lines: bytes, target: bytes = b"/echo", body: bytes = b"") -> bytes:
    return request(*lines, method=b"POST", target=target, body=body)


def chunked(body: bytes, *lines: bytes, target: bytes = b"/echo") -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, target=target, body=body)


def wait_until(happened: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """For what has no event to wait for, such as the end of another's child."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what}: that does not happen"
        time.sleep(0.02)
