# SPDX-License-Identifier: Apache-2.0
"""Resolve host names with the resolver of the system, without stopping other green threads.

eventlet has a DNS client of its own, which ignores /etc/nsswitch.conf and puts IPv6 addresses first whatever
/etc/gai.conf says. The system's resolver blocks, so green threads have it called in native ones.
"""

import functools
import socket
from collections.abc import Callable
from typing import Any

import greenlet
from eventlet import hubs, patcher
from eventlet.green import socket as green_socket

from glance.serve.threads import Threads

LOOKUPS = 16  # that run at a time in one process; more wait

_original: Any = patcher.original("socket")


class Resolver:
    """Calls functions that block on name resolution. There is one hub to a process that serves."""

    def __init__(self) -> None:
        self._hub: object = None
        self._threads = Threads(LOOKUPS)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the function in a native thread, or here where no other green thread would have to wait for it."""
        if greenlet.getcurrent().parent is None or _is_address(args[0] if args else kwargs.get("host")):
            return function(*args, **kwargs)
        if self._hub is not hubs.get_hub():  # threads wake the hub that they were made in
            self._hub = hubs.get_hub()
            self._threads = Threads(LOOKUPS)
        return self._threads.call(function, *args, **kwargs)


def install() -> None:
    """Have the whole process resolve names in this way. Call this after eventlet has patched the socket module."""
    resolver = Resolver()
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
        function = getattr(_original, name)
        green = functools.partial(resolver.call, function)
        for module in (socket, green_socket):  # create_connection() of the first is a function of the second
            setattr(module, name, functools.update_wrapper(green, function))


def _is_address(host: object) -> bool:
    """Return True if looking up the host needs no query."""
    if not isinstance(host, str):
        return host is None
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False
