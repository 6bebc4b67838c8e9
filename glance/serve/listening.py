# SPDX-License-Identifier: Apache-2.0
"""Listen on all addresses of a host: `localhost`, for one, is 127.0.0.1 and ::1."""

import errno
import logging
import socket
from contextlib import ExitStack
from typing import Any, NamedTuple

from glance.serve.succession import Legacy

LOG = logging.getLogger("glance.serve")

LOOPBACK = ("127.0.0.1", "::1")  # of localhost, whatever /etc/hosts lists (RFC 6761)
# A host may have addresses that this machine lacks, such as ::1 where IPv6 is switched off.
LACKING = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Endpoint(NamedTuple):
    """An address and a port to listen on."""

    family: int
    kind: int
    protocol: int
    address: tuple[Any, ...]  # as bind() takes it
    only_ipv6: bool  # IPv4 has a socket of its own

    def bind(self) -> socket.socket:
        """Return a socket that is bound to this endpoint. Raises OSError, also when the port is another's.

        Not eventlet.listen(): that sets SO_REUSEPORT, with which a second daemon would share the port in silence.
        """
        sock = socket.socket(self.family, self.kind, self.protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.only_ipv6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(self.address)
        except OSError:
            sock.close()
            raise
        return sock


def listen(host: str, port: int, *, backlog: int, legacy: Legacy | None = None) -> list[socket.socket]:
    """Listen on every address of the host, with the sockets of the predecessor where it has left some.

    Addresses that this machine lacks are left out, with a warning, unless it has none of them. Raises OSError.
    """
    failure: OSError | None = None
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for endpoint in _resolve(host, port):
            sock = legacy.take(endpoint.address) if legacy is not None else None
            try:
                sock = sock or endpoint.bind()
            except OSError as error:
                if error.errno not in LACKING:
                    raise
                failure = error
                LOG.warning("%s is also %s, where this machine cannot listen", host, endpoint.address[0])
                continue
            opened.enter_context(sock)
            sock.listen(backlog)
            sockets.append(sock)
        if not sockets:
            raise failure or OSError(errno.EADDRNOTAVAIL, "the host has no address")
        opened.pop_all()
    return sockets


def is_free(host: str, port: int) -> bool:
    """Return True if no process listens on any address of the host."""
    try:
        endpoints = _resolve(host, port)
    except OSError:
        return True
    for endpoint in endpoints:
        try:
            endpoint.bind().close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
    return True


def _resolve(host: str, port: int) -> list[Endpoint]:
    """Return the endpoints of a host and a port, each once. Raises OSError."""
    names = LOOPBACK if host.lower().removesuffix(".") == "localhost" else (host,)
    found = [
        entry
        for name in names
        for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ]
    mixed = len({entry[0] for entry in found}) > 1
    endpoints = (
        Endpoint(family, kind, protocol, address, mixed and family == socket.AF_INET6)
        for family, kind, protocol, _, address in found
    )
    return list({endpoint.address: endpoint for endpoint in endpoints}.values())
