# SPDX-License-Identifier: Apache-2.0
"""Pre-forked workers and the process that watches them, which itself runs no hub."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from glance.serve.signals import find_handled
from glance.serve.succession import Succession

LOG = logging.getLogger("glance.serve")

TICK = 0.05  # seconds between two looks at a successor
RESPAWN_PAUSE = 1.0  # seconds before a worker that died young is replaced

Serve = Callable[[Callable[[], None], int], None]  # (on_ready, orphaned): see green.Server.run


def supervise(
    count: int,
    sockets: Sequence[socket.socket],
    serve: Serve,
    on_ready: Callable[[], None],
    succession: Succession,
) -> None:
    """Keep `count` workers serving `sockets` until SIGTERM, SIGINT or SIGHUP, which all of them are sent, or until a
    successor serves, which they are told by SIGUSR2."""
    Supervisor(sockets, serve, succession).run(count, on_ready)


class Supervisor:
    def __init__(self, sockets: Sequence[socket.socket], serve: Serve, succession: Succession) -> None:
        self._sockets = sockets
        self._serve = serve
        self._succession = succession
        self._signals = (*find_handled(), signal.SIGCHLD)
        self._started: dict[int, tuple[int, float]] = {}  # pid → number of the worker, monotonic time of its start
        self._alive_reader, self._alive_writer = os.pipe2(os.O_CLOEXEC)  # closed by the kernel when we die

    def run(self, count: int, on_ready: Callable[[], None]) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        for number in range(1, count + 1):
            self._fork(number, writer)
        os.close(writer)
        for _ in range(count):
            if not os.read(reader, 1):
                raise OSError("the workers do not start")
        os.close(reader)
        on_ready()
        self._end(self._watch())

    def _watch(self) -> int:
        """Keep the workers alive, until the signal that ends them."""
        while True:
            number = self._next_signal()
            if number == signal.SIGCHLD:
                self._replace_dead()
            elif number == signal.SIGUSR2:
                self._succession.begin()
            elif number is not None:
                self._succession.abandon()
                self._succession.lifecycle.stops()
                return number
            elif self._succession.look():
                self._succession.lifecycle.leave()
                return signal.SIGUSR2

    def _next_signal(self) -> int | None:
        """None: there was none for a moment, and a successor is under way."""
        if not self._succession.under_way:
            return signal.sigwait(self._signals)
        found = signal.sigtimedwait(self._signals, TICK)
        return found.si_signo if found else None

    def _fork(self, number: int, ready: int | None = None) -> None:
        """Start the worker of that number, which writes a byte to `ready` when it accepts connections."""
        pid = os.fork()
        if pid:
            self._started[pid] = (number, time.monotonic())
            return

        def on_ready() -> None:
            if ready is not None:
                os.write(ready, b"!")
                os.close(ready)

        status = 1
        try:
            os.close(self._alive_writer)
            self._succession.lifecycle.worker_starts(number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))  # the others when they can be answered
            self._serve(on_ready, self._alive_reader)
            status = 0
        except BaseException:
            LOG.exception("a worker failed")
        finally:
            logging.shutdown()
            os._exit(status)

    def _replace_dead(self) -> None:
        for pid in self._reap():
            LOG.error("worker %d died and is replaced", pid)
            number, started = self._started.pop(pid)
            if time.monotonic() - started < RESPAWN_PAUSE:
                signal.sigtimedwait([], RESPAWN_PAUSE)  # a sleep; time.sleep() is green here
            self._fork(number)

    def _reap(self) -> list[int]:
        """The workers that have died, awaited."""
        dead = []
        for pid in list(self._started):
            if os.waitpid(pid, os.WNOHANG)[0]:
                dead.append(pid)
        return dead

    def _end(self, number: int) -> None:
        """Pass the signal on, and every further one, until all workers are gone."""
        for sock in self._sockets:
            sock.close()
        while self._started:
            if number != signal.SIGCHLD:
                for pid in self._started:
                    os.kill(pid, number)
            number = signal.sigwait(self._signals)
            for pid in self._reap():
                del self._started[pid]
