# SPDX-License-Identifier: Apache-2.0
"""Limits per client: requests per second, with a burst that is forgiven, and how many at a time.

A client is an address; in IPv6 a network of 64 bits, which is what one household or one machine is given."""

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

REMEMBERED = 10_000  # clients; who has not asked for the longest time is forgotten
NETWORK = 64  # bits


def client_of(address: str) -> str:
    """What all connections of one client have in common."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, NETWORK), strict=False))


class Occupancy:
    """Counts what each client has at a time; `most` is the limit, 0 means no limit."""

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._counts: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """Count one more, and return False if that is over the limit. Call leave() in either case."""
        self._counts[client] += 1
        return not self.most or self._counts[client] <= self.most

    def leave(self, client: str) -> None:
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]


class Rate:
    """At most `per_second` requests in the long run, and `burst` at once. One entry of a dict for each client: the
    moment from which on he has all of his burst again."""

    def __init__(self, per_second: int, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second
        self._ahead = (burst - 1) * self._interval
        self._clock = clock
        self._free: OrderedDict[str, float] = OrderedDict()

    def wait(self, client: str) -> float:
        """Seconds until he may ask; 0: he may now, and has."""
        now = self._clock()
        free = max(self._free.get(client, now), now)
        if free - now > self._ahead:
            self._free.move_to_end(client)
            return free - now - self._ahead
        self._free[client] = free + self._interval
        self._free.move_to_end(client)
        if len(self._free) > REMEMBERED:
            self._free.popitem(last=False)
        return 0.0
