# SPDX-License-Identifier: Apache-2.0
"""Bytes that count against a quota, and of which nobody knows how many will come (docs/decisions/007-quotas.md)."""

from collections.abc import Callable

from glance.core.errors import OverQuota
from glance.core.ports import Source, Threads

FIRST = 2**20  # bytes that are charged ahead at first; from then on as many as there have been
MOST = 2**30


class Allowance:
    """A Source whose bytes are passed on only when they have been charged.

    `charged` of them are already; `charge` is given how many it shall be in all, and raises OverQuota when they do
    not fit. Then fewer are asked for, until it is those alone that have come: what fits exactly is taken."""

    def __init__(self, source: Source, charged: int, charge: Callable[[int], None]) -> None:
        self.threads: Threads = source.threads
        self.sender = source.sender
        self._source = source
        self._charged = charged
        self._charge = charge
        self._count = 0
        self._most = MOST

    def read(self, size: int, /) -> bytes:
        """Raises what `charge` raises."""
        block = self._source.read(size)
        self._count += len(block)
        if self._count > self._charged:
            self._grow(self._count - self._charged)
        return block

    def _grow(self, missing: int) -> None:
        step = max(FIRST, min(self._charged, self._most), missing)
        while True:
            try:
                self._charge(self._charged + step)
                break
            except OverQuota:
                if step == missing:
                    raise
                self._most = step // 2
                step = missing if step <= FIRST else max(step // 2, missing)
        self._charged += step
