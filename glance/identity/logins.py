# SPDX-License-Identifier: Apache-2.0
"""Limits on password logins: how many may fail, and how many are checked at a time.

A check costs some tens of milliseconds of CPU time and 16 MiB, and anybody can cause one. So checks have native
threads of their own with a short queue, and failures are counted per client address and per user name. Counting per
name alone would let an attacker lock a user out, so a name that many logins fail for is never refused: such a login
needs an address without recent failures, and uses up all that this address may fail.
"""

import hashlib
import logging
import math
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from glance.core.errors import IdentityUnavailable, TooManyAttempts
from glance.core.inline import INLINE
from glance.core.ports import Threads
from glance.serve.rate import client_of

LOG = logging.getLogger(__name__)

BURST = 20  # logins of one address that may fail at once
PER_MINUTE = 6  # further ones
NAME_FACTOR = 5  # times as many may fail for one name, over all addresses
CHECKERS = max(1, min(2, (os.cpu_count() or 1) // 2))  # passwords checked at a time by one process
WAITING = 16  # checks that may wait; with CHECKERS fewer than BURST, so that only failures lead to 429
WAITING_FAMILIAR = 32  # the same for names at addresses from which they have logged in before
REMEMBERED = 10_000  # entries of a table; the least recently used one is dropped


class Budgets:
    """Failures left to each key: `burst` at once, and one more every `interval` seconds.

    An entry appears only with a password check, so with the defaults filling the table takes longer than an entry
    lives: a budget cannot be regained by pushing its entry out.
    """

    def __init__(self, burst: int, interval: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._interval = interval
        self._clock = clock
        self._full_at: OrderedDict[bytes, float] = OrderedDict()  # key → when it has its whole burst again

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: bytes, cost: int = 1) -> float:
        """Return the seconds until `key` has `cost` failures left; 0 if it has them."""
        missing = self._full_at.get(key, 0.0) - self._clock()
        return max(missing - (self._burst - cost) * self._interval, 0.0)

    def spend(self, key: bytes, cost: int = 1) -> None:
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now) + cost * self._interval
        self._full_at[key] = min(full_at, now + self._burst * self._interval)
        _keep_recent(self._full_at, key)

    def give_back(self, key: bytes, cost: int = 1) -> None:
        if key in self._full_at:
            self._full_at[key] -= cost * self._interval
            if self._full_at[key] <= self._clock():
                del self._full_at[key]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that may be checked: the budgets that it draws on."""

    name: bytes
    source: bytes  # the address, or the name at this address if that has logged in before
    pair: bytes
    cost: int

    @property
    def is_familiar(self) -> bool:
        """Return True if this name has logged in from this address before."""
        return self.source == self.pair


class FailureLimit:
    """Limits failed logins per client address and per user name. Not thread-safe.

    A name at an address from which it has logged in before has a budget of its own, so that it suffers neither from
    others at that address nor from others who try its name. Keys are digests: a long name takes no more memory.
    """

    def __init__(
        self, burst: int = BURST, per_minute: int = PER_MINUTE, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        interval = 60 / per_minute if per_minute else 0.0
        self._burst = burst
        self._sources = Budgets(burst, interval, clock)
        self._names = Budgets(burst * NAME_FACTOR, interval, clock)
        self._familiar: OrderedDict[bytes, None] = OrderedDict()
        self._salt = secrets.token_bytes(16)

    def examine(self, name: str, address: str) -> Attempt:
        """Return the attempt if it may be made now. Raises TooManyAttempts."""
        name_key, pair = self._digest("name", name), self._digest("pair", address, name)
        if pair in self._familiar:
            attempt = Attempt(name_key, pair, pair, 1)
        else:
            cost = self._burst if self._names.wait(name_key) else 1
            attempt = Attempt(name_key, self._digest("address", address), pair, cost)
        if wait := math.ceil(self._sources.wait(attempt.source, attempt.cost)):
            raise TooManyAttempts(f"too many failed logins: try again in {wait} s", retry_after=wait)
        return attempt

    def begin(self, attempt: Attempt) -> None:
        """Count the attempt as failed until it is known to have succeeded, so that parallel ones do not overshoot."""
        self._sources.spend(attempt.source, attempt.cost)
        self._names.spend(attempt.name)

    def cancel(self, attempt: Attempt) -> None:
        """Forget an attempt that has not failed."""
        self._sources.give_back(attempt.source, attempt.cost)
        self._names.give_back(attempt.name)

    def succeed(self, attempt: Attempt) -> None:
        self.cancel(attempt)
        self._familiar[attempt.pair] = None
        _keep_recent(self._familiar, attempt.pair)

    def is_exhausted(self, attempt: Attempt) -> bool:
        return self._sources.wait(attempt.source) > 0

    def _digest(self, *parts: str) -> bytes:
        text = "\0".join(parts).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=16, key=self._salt).digest()


class PasswordLogins:
    """Runs password checks, one for all requests with the same name and password that come meanwhile."""

    def __init__(self, limit: FailureLimit) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._running: dict[bytes, Future[bool]] = {}
        self._offered: Threads = INLINE  # by the server, and those made of them
        self._threads: Threads = INLINE

    def check(self, key: bytes, name: str, address: str, threads: Threads, verify: Callable[[], bool]) -> bool:
        """Return what `verify` returns. `key` stands for name and password, `threads` are those of the server.

        Raises TooManyAttempts, and IdentityUnavailable if too many checks are waiting.
        """
        client = _client(address)
        with self._lock:
            future = self._running.get(key)
            attempt = None
            if future is None:
                attempt = self._limit.examine(name, client)
                if len(self._running) >= CHECKERS + _places(attempt, threads):
                    raise IdentityUnavailable("too many logins at the moment: try again later")
                self._limit.begin(attempt)
                future = self._running[key] = Future()
        if attempt is None:
            return future.result()
        matches: bool | None = None
        try:
            matches = self._apart(threads).call(verify)
            future.set_result(matches)
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            self._end(key, attempt, matches, client)
        return matches

    def _end(self, key: bytes, attempt: Attempt, matches: bool | None, client: str) -> None:
        with self._lock:
            del self._running[key]
            if matches:
                self._limit.succeed(attempt)
            elif matches is None:  # the check itself failed
                self._limit.cancel(attempt)
            elif self._limit.is_exhausted(attempt):
                LOG.warning("too many failed logins from %s: its next ones are refused for a time", client)

    def _apart(self, threads: Threads) -> Threads:
        """Return threads of our own in this process, which may have been forked since the last call."""
        with self._lock:
            if threads is not self._offered:
                self._offered, self._threads = threads, threads.separate(CHECKERS)
            return self._threads


def _places(attempt: Attempt, threads: Threads) -> int:
    """Return how many checks may wait. Inline, a waiting check would hold one of the server's threads."""
    if threads is INLINE:
        return 0
    return WAITING_FAMILIAR if attempt.is_familiar else WAITING


def _client(address: str) -> str:
    try:
        return client_of(address)
    except ValueError:  # another server's name of a Unix socket
        return address


def _keep_recent(table: OrderedDict[bytes, float] | OrderedDict[bytes, None], key: bytes) -> None:
    table.move_to_end(key)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
