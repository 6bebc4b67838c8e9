# SPDX-License-Identifier: Apache-2.0
"""The first process of a container: the parent of the daemon, which stays when a successor replaces the daemon.

A container ends with its process 1. So a daemon that is started as process 1 forks, and serves in its child; the
parent passes signals on, waits for all processes that have lost their parent, as a successor has, and ends with the
daemon. Why: docs/decisions/006-graceful-restart.md.
"""

import os
import signal
from collections.abc import Iterator

from glance.cli.title import set_title
from glance.serve.signals import find_handled

DESCRIPTOR = "GLANCE_INIT_DESCRIPTOR"  # tells a daemon where it announces the process that replaces it


def fork_from_init(name: str) -> None:
    """As process 1, return in a child process only, and watch that child in this one until it ends.

    Any other process just returns.
    """
    if os.getpid() != 1:
        return
    signals = (*find_handled(), signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    daemon = os.fork()
    if daemon == 0:
        os.close(reader)
        os.environ[DESCRIPTOR] = str(writer)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return
    os.close(writer)
    os.set_blocking(reader, False)
    set_title(name, "init")
    os._exit(_Init(daemon, reader).run(signals))


def announce(descriptor: int, pid: int) -> None:
    """Tell process 1 which process is the daemon from now on."""
    os.write(descriptor, b"%d\n" % pid)


class _Init:
    def __init__(self, daemon: int, reader: int) -> None:
        self._daemon = daemon  # the one whose end is the end of the container
        self._known = {daemon}  # it, and predecessors that finish their requests
        self._reader = reader
        self._status: int | None = None  # of the daemon, once it has ended

    def run(self, signals: tuple[signal.Signals, ...]) -> int:
        """Watch until no process is left, and return the exit status of the daemon."""
        while True:
            number = signal.sigwait(signals)
            self._hear()
            if number == signal.SIGCHLD:
                try:
                    for pid, status in self._reap():
                        self._note_end(pid, status)
                except ChildProcessError:
                    return 1 if self._status is None else self._status
            elif number == signal.SIGUSR2:  # a predecessor does not start successors
                self._send(self._daemon, number)
            else:
                self._send_all(number)

    def _hear(self) -> None:
        """Take announcements; one is at most 11 bytes, and is written in one piece."""
        try:
            announced = os.read(self._reader, 4096)
        except BlockingIOError:
            return
        for word in announced.split():
            self._daemon = int(word)
            self._known.add(self._daemon)

    def _reap(self) -> Iterator[tuple[int, int]]:
        """Yield the pid and wait status of the children that have ended. Raises ChildProcessError if none is left."""
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended

    def _note_end(self, pid: int, status: int) -> None:
        self._known.discard(pid)
        if pid == self._daemon:
            code = os.waitstatus_to_exitcode(status)
            self._status = code if code >= 0 else 128 - code
            if self._status:  # it crashed: end soon, so that the container is restarted
                self._send_all(signal.SIGTERM)

    def _send_all(self, number: int) -> None:
        for pid in self._known:
            self._send(pid, number)

    def _send(self, pid: int, number: int) -> None:
        """A process that is known has not been waited for yet, so that its number is still its own."""
        if pid in self._known:
            os.kill(pid, number)
