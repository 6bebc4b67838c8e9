# SPDX-License-Identifier: Apache-2.0
"""Serve a WSGI application on green threads, drain, end: the functions that the daemons call."""

import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import eventlet
import eventlet.semaphore
from eventlet import hubs
from eventlet.greenio import GreenSocket

from glance.core.networks import Networks
from glance.serve import resolver
from glance.serve.connection import (
    CLIENT_TIMEOUT,
    KEEPALIVE_TIMEOUT,
    NO_PROXIES,
    Connection,
    Exchange,
    Service,
)
from glance.serve.rate import Occupancy, Rate
from glance.serve.signals import find_handled
from glance.serve.succession import Lifecycle, Succession
from glance.serve.threads import Threads
from glance.serve.tls import Tls
from glance.serve.workers import supervise

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger("glance.serve")

CONNECTIONS = 1000  # served at a time by one process; more wait in the backlog
SIDE_CONNECTIONS = 10
DESCRIPTORS = 4  # that one connection may need: itself, a file, one to the registry, some for all
NATIVE_THREADS = max(8, 4 * (os.cpu_count() or 1))
LAST_WORDS = 5  # seconds that broken-off requests get to clean up
TICK = 0.05  # seconds between two looks while draining, or while all connections are taken
ACCEPT_PAUSE = 0.1  # seconds after a connection could not be accepted, which may be for want of descriptors
# Seconds that who has been accepted may take to ask, however many wait: his request is on its way.
PATIENCE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may ask of a process; 0 means no limit. Timeouts are in seconds, and never 0."""

    connections_per_address: int = 0
    least_rate: int = 0  # bytes per second, on the average, that a client sends of a body or takes of an answer
    rate: int = 0  # requests per second, on the average
    burst: int = 1  # requests at once
    keepalive_timeout: float = KEEPALIVE_TIMEOUT  # that a connection may wait for a request
    client_timeout: float = CLIENT_TIMEOUT  # without a byte, in the middle of a request or of its answer
    trusted_proxies: Networks = NO_PROXIES  # behind these, X-Forwarded-For names the client


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Another application on sockets of its own, such as the metrics of the daemon. It has no TLS, and few of its
    connections are served at a time."""

    app: "WSGIApplication"
    sockets: Sequence[socket.socket]


def patch() -> None:
    """Make the standard library green. To be called before anything else is imported.

    `os` stays as it is: workers are forked and awaited without a hub.
    """
    eventlet.monkey_patch(os=False)
    resolver.install()


def run(
    app: "WSGIApplication",
    sockets: Sequence[socket.socket],
    *,
    workers: int = 0,
    grace: float,
    limits: Limits = NO_LIMITS,
    tls: Tls | None = None,
    observe: Callable[[Exchange], None] = lambda exchange: None,
    side: Side | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_start: Callable[[Threads], None] | None = None,
    lifecycle: Lifecycle | None = None,
) -> None:
    """Serve on listening sockets until a signal ends it. `on_ready` is called once connections are accepted,
    `on_start` in each process that accepts them, with its native threads, and `observe` after each exchange.

    SIGTERM, SIGINT: stop accepting, let running requests finish for `grace` seconds, then break them off.
    SIGHUP: the same without the limit. SIGHUP and SIGINT stay ignored if they are when this is called. SIGUSR2:
    start a successor, and when it serves, leave all new connections to it and answer one last request on each of
    ours. With `workers`, that many processes are forked and replaced when they die; they end when this one does,
    however it dies.
    """
    lifecycle = lifecycle or Lifecycle()
    succession = Succession([*sockets, *(side.sockets if side else ())], lifecycle)

    def server() -> Server:
        return Server(
            app,
            sockets,
            grace,
            limits=limits,
            tls=tls,
            observe=observe,
            side=side,
            on_start=on_start,
            lifecycle=lifecycle,
        )

    if workers:
        supervise(workers, sockets, lambda ready, orphaned: server().run(ready, orphaned), on_ready, succession)
    else:
        server().run(on_ready, None, succession)


def _connections() -> int:
    """As many as there are descriptors for."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if limit == resource.RLIM_INFINITY else max(1, min(CONNECTIONS, limit // DESCRIPTORS))


def _listener(sock: socket.socket) -> GreenSocket:
    """Return the socket as one whose accept() never waits: it would hold a slot that others could use."""
    listener = sock if isinstance(sock, GreenSocket) else GreenSocket(sock)
    listener.setblocking(False)
    return listener


class Acceptor:
    """Accepts connections from listening sockets and serves them, at most `places` at a time."""

    def __init__(self, service: Service, places: int) -> None:
        self.service = service
        self.connections: dict[Connection, Any] = {}  # each with its green thread
        self._slots = eventlet.semaphore.Semaphore(places)

    def accept(self, listener: GreenSocket) -> None:
        """Accept forever. A slot is taken first, so that no connection is accepted that could not be served."""
        while True:
            hubs.trampoline(listener, read=True)
            if self._slots.locked():
                self.service.crowded = True
                self._make_room()
            while not self._slots.acquire(timeout=TICK):  # given back by _serve()
                self._make_room()
            self.service.crowded = False
            try:
                sock, address = listener.accept()
                eventlet.spawn_n(self._serve, Connection(GreenSocket(sock), address, self.service))
                eventlet.sleep(0)  # a flood of connections must not keep those that are there from going on
            except BlockingIOError:  # another worker was faster
                self._slots.release()
            except Exception as error:
                self._slots.release()
                LOG.error("cannot accept a connection: %s", error)
                eventlet.sleep(ACCEPT_PAUSE)

    def end_idle(self) -> None:
        """End the connections that wait for a request."""
        for connection in list(self.connections):
            with suppress(OSError):  # gone already
                connection.end_if_idle()

    def _make_room(self) -> None:
        """With all slots taken, the oldest connection that waits for a request, and not only just so, has to go."""
        latest = time.monotonic() - PATIENCE
        for connection in self.connections:
            if connection.idle_since is not None and connection.idle_since < latest:
                with suppress(OSError):
                    connection.end_if_idle()
                return

    def _serve(self, connection: Connection) -> None:
        self.connections[connection] = eventlet.getcurrent()
        occupancy = self.service.occupancy
        counted = not connection.is_proxied  # a proxy's requests are counted instead, each for its own client
        try:
            if counted and not occupancy.enter(connection.client):
                connection.refuse(f"more than {occupancy.most} connections from one address")
            else:
                connection.run()
        except Exception:
            LOG.exception("a connection failed")
        finally:
            del self.connections[connection]
            if counted:
                occupancy.leave(connection.client)
            self._slots.release()


class Server:
    """One process that serves."""

    def __init__(
        self,
        app: "WSGIApplication",
        sockets: Sequence[socket.socket],
        grace: float,
        *,
        limits: Limits = NO_LIMITS,
        tls: Tls | None = None,
        observe: Callable[[Exchange], None] = lambda exchange: None,
        side: Side | None = None,
        on_start: Callable[[Threads], None] | None = None,
        lifecycle: Lifecycle,
    ) -> None:
        self._lifecycle = lifecycle
        self._succession: Succession | None = None
        self._side = side
        self._limits = limits
        self._on_start = on_start
        self._sockets = [_listener(sock) for sock in sockets]
        self._grace = grace
        self._threads = Threads(NATIVE_THREADS)
        service = Service(
            app=app,
            environ={"glance.threads": self._threads, "glance.single_headers": True},  # heads.SINGLE
            tls=tls,
            keepalive_timeout=limits.keepalive_timeout,
            client_timeout=limits.client_timeout,
            least_rate=limits.least_rate,
            observe=observe,
            blocking=self._threads.call,
            rate=Rate(limits.rate, limits.burst) if limits.rate else None,
            occupancy=Occupancy(limits.connections_per_address),
            trusted_proxies=limits.trusted_proxies,
        )
        self._main = Acceptor(service, _connections())
        self._deadline: float | None = None  # monotonic; None: no end in sight
        self._stopping = eventlet.Event()

    def run(self, on_ready: Callable[[], None], orphaned: int | None, succession: Succession | None = None) -> None:
        """Serve and drain. `orphaned`: a descriptor whose end of file means that the parent is gone. Without a
        `succession` it is the parent who starts successors."""
        self._succession = succession
        if orphaned is not None:
            hubs.use_hub()  # one of our own: a hub from before the fork would share its epoll with all workers
            eventlet.spawn_n(self._watch_parent, orphaned)
        self._threads.waker  # noqa: B018 - made now, while there are descriptors to be had
        threading.current_thread()  # eventlet imports modules at the first call; an error is logged with this
        eventlet.spawn_n(self._watch_signals)
        acceptors = [eventlet.spawn(self._main.accept, sock) for sock in self._sockets]
        if self._side is not None:
            # Not drained: its clients get their answer at once, or can ask again.
            service = Service(
                app=self._side.app,
                keepalive_timeout=self._limits.keepalive_timeout,
                client_timeout=self._limits.client_timeout,
                least_rate=self._limits.least_rate,
            )
            side = Acceptor(service, SIDE_CONNECTIONS)
            acceptors += [eventlet.spawn(side.accept, _listener(sock)) for sock in self._side.sockets]
        eventlet.sleep(0)
        if self._on_start is not None:
            self._on_start(self._threads)
        on_ready()
        self._stopping.wait()
        for acceptor in acceptors:
            acceptor.kill()  # now: a successor is to have who comes next
        for sock in self._sockets:
            sock.close()
        eventlet.sleep(0)  # who was accepted last is among our connections from here on
        self._drain()

    def _watch_signals(self) -> None:
        """Signals wake the hub through a pipe: a handler alone would wait until something else does."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        handled = find_handled()
        for number in handled:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        while True:
            hubs.trampoline(reader, read=True)
            for caught in os.read(reader, 64):
                if caught == signal.SIGUSR2:
                    self._hand_over()
                else:
                    self._stop(None if caught == signal.SIGHUP else self._grace)

    def _hand_over(self) -> None:
        if self._stopping.ready():
            return
        if self._succession is None:
            self._leave()
        elif not self._succession.under_way:
            self._succession.begin()
            eventlet.spawn_n(self._await_successor, self._succession)

    def _await_successor(self, succession: Succession) -> None:
        while succession.under_way:
            if succession.look():
                self._leave()
            eventlet.sleep(TICK)

    def _leave(self) -> None:
        """A successor serves. A client that keeps its connection may be sending at this very moment, so each gets
        one more answer, which says that the connection ends."""
        self._main.service.succeeded = True
        self._lifecycle.leave()
        self._stopping.send()

    def _watch_parent(self, descriptor: int) -> None:
        hubs.trampoline(descriptor, read=True)
        LOG.error("the parent process is gone")
        self._stop(self._grace)

    def _stop(self, grace: float | None) -> None:
        if grace is not None:  # further signals may shorten the time, and never prolong it
            deadline = time.monotonic() + grace
            self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        self._main.service.draining = True
        if not self._stopping.ready():
            if self._succession is not None:
                self._succession.abandon()
                self._lifecycle.stops()
            self._stopping.send()

    def _drain(self) -> None:
        LOG.info("finishing %d connections", len(self._main.connections))
        while self._main.connections and (self._deadline is None or time.monotonic() < self._deadline):
            if self._main.service.draining:
                self._main.end_idle()
            eventlet.sleep(TICK)
        for running in list(self._main.connections.values()):
            eventlet.kill(running)
        last = time.monotonic() + LAST_WORDS
        while self._main.connections and time.monotonic() < last:
            eventlet.sleep(TICK)
        sys.stdout.flush()
