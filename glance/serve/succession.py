# SPDX-License-Identifier: Apache-2.0
"""A successor: the same program, started anew by the process that serves, whose listening sockets it inherits.

Both share one queue of connections that wait to be accepted, so none is lost. The successor says through a pipe that
it serves; only then does its predecessor stop accepting. Why so: docs/decisions/006-graceful-restart.md.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from glance.serve.signals import find_handled

ENVIRON = "GLANCE_SUCCESSION"  # descriptors: of the pipe, then of the sockets
PATIENCE = 30.0  # seconds that a successor may take until it serves
SERVES = "serves"


class Lifecycle:
    """What becomes of a daemon, for who wants to tell others. `kept` are descriptors that a successor is to have
    beside the sockets. With workers, the process that watches them is told; leave() is told to each."""

    kept: tuple[int, ...] = ()

    def worker_starts(self, number: int) -> None:
        """This process is a worker; they are numbered from 1."""

    def begins_handover(self) -> None:
        """A successor is being started."""

    def handed_over(self, pid: int) -> None:
        """That process serves from now on."""

    def goes_on(self, reason: str) -> None:
        """The successor did not start."""

    def leave(self) -> None:
        """A successor serves; this process finishes what it has."""

    def stops(self) -> None:
        """A signal has asked for the end."""


class Legacy:
    """What a predecessor left."""

    def __init__(self, pipe: int, sockets: Iterable[int]) -> None:
        self._pipe = pipe
        self._sockets = [socket.socket(-1, -1, -1, fileno=number) for number in sockets]

    def take(self, address: tuple[Any, ...]) -> socket.socket | None:
        """The socket that listens there."""
        for sock in self._sockets:
            if sock.getsockname() == address:
                self._sockets.remove(sock)
                return sock
        return None

    def settle(self, word: str) -> None:
        """Tell the predecessor that we serve, or why we do not; close what nobody has taken. If it was told to stop
        in this very moment, so are we."""
        try:
            os.write(self._pipe, word.encode())
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)
        os.close(self._pipe)
        while self._sockets:
            self._sockets.pop().close()


def inherit() -> Legacy | None:
    """What the predecessor left; None: there is none. To be called first, with no other thread.

    From here on this process is a child of init: whoever watches it learns of its end at once, and not when the
    predecessor ends.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until it can be answered; its default would be the end
    words = os.environ.pop(ENVIRON, "").split()
    if not words:
        return None
    if os.fork():
        os._exit(0)
    pipe, *sockets = map(int, words)
    for number in (pipe, *sockets):
        os.set_inheritable(number, False)
    os.write(pipe, b"%d\n" % os.getpid())
    return Legacy(pipe, sockets)


class Succession:
    """The predecessor's part. One successor is started at a time."""

    def __init__(self, sockets: Sequence[socket.socket], lifecycle: Lifecycle) -> None:
        self._sockets = sockets
        self.lifecycle = lifecycle
        self._reader: int | None = None
        self._child = 0  # ends as soon as it has made the successor
        self._heard = b""
        self._deadline = 0.0  # monotonic

    @property
    def under_way(self) -> bool:
        return self._reader is not None

    def begin(self) -> None:
        """Start a successor, unless one is being started."""
        if self.under_way:
            return
        self.lifecycle.begins_handover()
        self._heard = b""
        self._deadline = time.monotonic() + PATIENCE
        self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._child = self._spawn(writer)
        except OSError as error:
            self._fail(f"{sys.executable}: {error.strerror}")
        finally:
            os.close(writer)

    def look(self) -> bool:
        """Whether the successor serves; to be asked again and again while it is under way."""
        ended = self._hear()
        pid, _, word = self._heard.decode("utf-8", "replace").partition("\n")
        if word == SERVES:
            self.lifecycle.handed_over(int(pid))
            self._forget()
            return True
        if ended:
            self._fail(word or "it ended without a word")
        elif time.monotonic() >= self._deadline:
            self._fail(f"it does not serve after {PATIENCE:.0f} seconds")
        return False

    def abandon(self) -> None:
        """End a successor that does not serve yet."""
        if not self.under_way:
            return
        self._hear()
        pid = self._heard.partition(b"\n")[0]
        with suppress(ProcessLookupError):
            if pid:
                os.kill(int(pid), signal.SIGTERM)
            elif self._child:  # and if it has just been made: it cannot tell us so, and ends
                os.kill(self._child, signal.SIGKILL)
        self._forget()

    def _spawn(self, writer: int) -> int:
        shared = [sock.fileno() for sock in self._sockets]
        words = [sys.executable, *sys.orig_argv[1:]]
        numbers = (writer, *shared, *self.lifecycle.kept)
        return os.posix_spawn(
            sys.executable,
            words,
            {**os.environ, ENVIRON: " ".join(map(str, (writer, *shared)))},
            file_actions=[(os.POSIX_SPAWN_DUP2, number, number) for number in numbers],  # which clears close-on-exec
            setsigmask=[],
            setsigdef=find_handled(),  # and no others: a signal that is ignored stays so
        )

    def _hear(self) -> bool:
        """Take what it says; whether it has ended."""
        assert self._reader is not None
        try:
            while block := os.read(self._reader, 4096):
                self._heard += block
        except BlockingIOError:
            return False
        return True

    def _fail(self, reason: str) -> None:
        self.abandon()
        self.lifecycle.goes_on(reason)

    def _forget(self) -> None:
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None
        if self._child:
            os.waitpid(self._child, 0)
            self._child = 0
