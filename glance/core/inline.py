# SPDX-License-Identifier: Apache-2.0
"""Threads for a server that offers none: the work is done at once, where it is asked for."""

from collections.abc import Callable

from glance.core.ports import P, R


class InlineLane:
    def __init__(self, work: Callable[[bytes], object]) -> None:
        self._work = work

    def put(self, block: bytes, /) -> None:
        self._work(block)

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class Inline:
    def lane(self, work: Callable[[bytes], object], /) -> InlineLane:
        return InlineLane(work)

    def call(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return work(*args, **kwargs)

    def separate(self, count: int, /) -> "Inline":
        return self


INLINE = Inline()
