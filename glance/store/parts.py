# SPDX-License-Identifier: Apache-2.0
"""Cut a source into parts that are sent in parallel: S3's multipart uploads, Swift's segments.

A part stays in memory until it is sent, so that it can be sent again when a connection breaks. Memory is bounded
twice: one object holds at most `parallel` parts, and all uploads of a store together hold what MemoryBudget allows.

    with Parts(source, size=size, part_size=..., parallel=..., budget=self._budget) as parts:
        part = parts.whole()
        if part is not None:
            ...                                   # small: one request, `part` may be sent again and again
        else:
            results = parts.send(send_one)        # send_one(number, part) → result, called in several threads

Threads are those of `threading`: green ones where the server has made the standard library green.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from glance.core.errors import StoreBusy, TooLarge
from glance.core.ports import Source

R = TypeVar("R")

MIB = 1024 * 1024
BLOCK = MIB  # bytes read from the source, and hashed, at a time
TURN = 256 * 1024  # bytes sent before other green threads get their turn
BUDGET = 256 * MIB  # bytes that the parts of all uploads to one store may hold in memory
LEAST_PART = 5 * MIB  # bytes; the smallest part that S3 takes, except for the last one of an object
GUARANTEE = 10  # seconds that a new part has to receive its first LEAST_PART bytes without waiting for memory
MAX_WAIT = 60  # seconds that an upload waits for memory before it fails
MOST_PARTS = 10_000  # of one object: S3's limit
GROWTH = 1_250  # of unknown size: a part has at least this fraction of the bytes before it; see part_size()


class Part:
    """Bytes that are held until they are sent, in the blocks in which they came.

    They are never joined: that would copy all of them at once, and every green thread would have to wait for it.
    """

    def __init__(self, blocks: Iterable[bytes] = ()) -> None:
        self.blocks = list(blocks)
        self._size = sum(map(len, self.blocks))

    def __len__(self) -> int:
        return self._size

    def add(self, block: bytes) -> None:
        self.blocks.append(block)
        self._size += len(block)

    def views(self) -> Iterator[memoryview]:
        """All bytes, to be sent: of views, nobody copies the rest when the network takes a bit of them."""
        for block in self.blocks:
            view = memoryview(block)
            for at in range(0, len(block), TURN):
                yield view[at : at + TURN]
                time.sleep(0)

    def digest(self, algorithm: str) -> str:
        """In hex. This takes its time: to be called where it holds up nobody."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        for block in self.blocks:
            digest.update(block)
        return digest.hexdigest()

    def forget(self) -> None:
        """Free the memory, whoever still knows this part. It cannot be sent any more: it is too short then."""
        self.blocks.clear()


class Claim:
    """The memory of one part, from its first block until it is sent. Made by MemoryBudget.claim()."""

    def __init__(self, sender: str, least: int) -> None:
        self.sender = sender
        self.held = 0  # bytes
        self._least = least
        self._guaranteed_until = time.monotonic() + GUARANTEE

    @property
    def size(self) -> int:
        """Bytes that count against the budget: those held, and those guaranteed to a part that has just begun."""
        return max(self.held, self._least if time.monotonic() < self._guaranteed_until else 0)

    def complete(self, size: int) -> None:
        """State the final number of bytes."""
        self.held = size
        self._least = 0


class MemoryBudget:
    """At most `limit` bytes of memory for the parts of all uploads to one store.

    Memory is claimed as data arrives, block by block, so a slow upload cannot hold what it does not fill. What
    keeps the uploads from blocking each other with half-filled parts is the guarantee: a new part is admitted only
    if its first `least` bytes fit, and these then never wait. A part that has not received them within GUARANTEE
    seconds counts with what it holds. When memory is short, parts are sent as soon as they have `least` bytes.

    One sender gets at most half of the limit, so that the other half remains for others. A claim that does not fit
    yet lets smaller ones pass. A claim larger than the limit is admitted when there is no other.
    """

    def __init__(self, limit: int, *, max_wait: float = MAX_WAIT) -> None:
        self._limit = limit
        self._max_wait = max_wait
        self._claims: set[Claim] = set()
        self._changed = threading.Condition(threading.Lock())

    @classmethod
    def for_part_size(cls, part_size: int) -> Self:
        """Make the budget of a store: BUDGET, or more where two senders could not hold two large parts each."""
        return cls(max(BUDGET, 4 * part_size))

    @property
    def used(self) -> int:
        """Bytes that are claimed now."""
        return sum(claim.size for claim in list(self._claims))

    def claim(self, sender: str, least: int) -> Claim:
        """Wait until a part of `least` bytes may begin. Raises StoreBusy after `max_wait` seconds."""
        with self._changed:
            self._wait_for_room(sender, least)
            claim = Claim(sender, least)
            self._claims.add(claim)
            return claim

    def extend(self, claim: Claim, size: int, *, wait: bool) -> bool:
        """Claim `size` more bytes. Without `wait`, return False if they do not fit now.

        Raises StoreBusy after `max_wait` seconds."""
        with self._changed:
            growth = max(claim.held + size - claim.size, 0)
            if wait:
                self._wait_for_room(claim.sender, growth)
            elif not self._has_room(claim.sender, growth):
                return False
            claim.held += size
            return True

    def complete(self, claim: Claim, size: int) -> None:
        """Reduce the claim of a part that is read to its end to its `size` in bytes."""
        with self._changed:
            claim.complete(size)
            self._changed.notify_all()

    def release(self, claim: Claim) -> None:
        """Free the memory of a part. Does nothing when that has been done already."""
        with self._changed:
            self._claims.discard(claim)
            self._changed.notify_all()

    def _wait_for_room(self, sender: str, size: int) -> None:
        deadline = time.monotonic() + self._max_wait
        while not self._has_room(sender, size):
            left = deadline - time.monotonic()
            if left <= 0:
                raise StoreBusy("too many uploads are running; try again later")
            self._changed.wait(min(left, 1))  # guarantees end without a notice

    def _has_room(self, sender: str, size: int) -> bool:
        if not size:
            return True
        sizes = [(claim.sender, claim.size) for claim in self._claims]
        used = sum(size for _, size in sizes)
        share = sum(size for other, size in sizes if other == sender)
        fits = used + size <= self._limit or not used
        return fits and (share + size <= self._limit // 2 or not share)


def part_size(base: int, size: int | None, before: int) -> int:
    """Return the bytes of the next part, when `before` bytes are cut already, so that MOST_PARTS are enough.

    Of known size, all parts are equal: `base` bytes, or as many whole MiB as it takes. Of unknown size, parts
    are of `base` bytes until GROWTH of them are cut, and grow with the whole from then on: with a `base` of
    5 MiB, 10,000 parts hold more than 6 TiB.
    """
    return max(base, _round_up(-(-size // MOST_PARTS) if size is not None else before // GROWTH, base))


def least_part_size(base: int, size: int | None, before: int, parts: int) -> int:
    """Return the bytes that the next part needs at least, after `parts` parts with `before` bytes in all.

    A part with fewer bytes is refused by S3, or would make the remaining parts too large."""
    least = min(base, LEAST_PART)
    if size is None:
        return max(least, _round_up(before // GROWTH, least))
    left = max(size - before, 0)
    return max(min(least, left), _round_up(-(-left // max(MOST_PARTS - parts, 1)), least))


def _round_up(size: int, least: int) -> int:
    """Return `size` in whole MiB, or `least` if that is enough."""
    return least if size <= least else -(-size // MIB) * MIB


class Parts:
    """The parts of one object on their way from `source`; to be used in `with`, by one thread.

    `size` is the number of bytes announced, if it was; `part_size` the bytes of a part unless there would be
    too many of them, or memory is short; `parallel` how many parts are held at a time, including the one that is
    being read.
    """

    def __init__(
        self, source: Source, *, size: int | None, part_size: int, parallel: int, budget: MemoryBudget
    ) -> None:
        self._source = source
        self._size = size
        self._base = part_size
        self._parallel = max(parallel, 1)
        self._budget = budget
        self._cut = 0  # bytes of the parts that are read
        self._count = 0  # parts that are read
        self._ahead = b""  # what was read to see whether more comes
        self._first: Part | None = None
        self._claim: Claim | None = None  # of the part that is being read, or was read and is not on its way
        self._sending: list[Claim] = []  # of the parts on their way
        self._changed = threading.Condition(threading.Lock())
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._first = None
        self._release()

    def whole(self, limit: int | None = None) -> Part | None:
        """Return the whole object if it fits into one part (and into `limit` bytes), or None if it must be cut.

        Comes before send(). The part is held until the end of `with`. Raises what the source raises; StoreBusy.
        """
        self._first, ended = self._read(self._size)
        if not ended:
            self._ahead = self._source.read(1)
            ended = not self._ahead
        return self._first if ended and (limit is None or len(self._first) <= limit) else None

    def send(self, send: Callable[[int, Part], R]) -> list[R]:
        """Read to the end of the source and send every part. Return what send(number, part) returned, in order.

        Numbers count from 1; an empty source has no parts. `send` is called in a thread of its own for each part.
        On the first error, of the source or of a part, no other part is begun, those on their way are waited for,
        and that error is raised. Raises TooLarge when MOST_PARTS do not hold the object; StoreBusy.
        """
        results: dict[int, R] = {}
        number = 0
        try:
            while part := self._next():
                number += 1
                if number > MOST_PARTS:
                    raise TooLarge(f"{self._cut} bytes were received, more than {MOST_PARTS} parts can hold")
                self._start(send, number, part, results)
                del part  # it belongs to its thread now
        except Exception as error:
            self._fail(error)
        finally:
            self._wait(0, 0)
        try:
            self._check()
        finally:
            self._error = None  # its traceback holds us and a part: no circle may keep them in memory
        return [results[at] for at in sorted(results)]

    def _next(self) -> Part:
        """Return the next part; an empty one at the end. Raises what a part on its way has raised."""
        if self._first is not None:
            part, self._first = self._first, None
        else:
            part, _ = self._read()
        if not part:
            self._release()
        return part

    def _read(self, most: int | None = None) -> tuple[Part, bool]:
        """Read the next part, of at most `most` bytes if that is not 0, as memory allows.

        Return it, and True if the source has ended."""
        least = least_part_size(self._base, self._size, self._cut, self._count)
        size = max(part_size(self._base, self._size, self._cut), least)
        size = min(size, most or size)
        self._wait(self._parallel - 1, self._parallel * self._base - size)
        self._check()
        self._claim = claim = self._budget.claim(self._source.sender, least)
        part, self._ahead = Part([self._ahead] if self._ahead else []), b""
        ended = False
        while len(part) < size and not ended:
            wanted = min(size - len(part), BLOCK)
            if not self._budget.extend(claim, len(part) + wanted - claim.held, wait=len(part) < least):
                break
            block = self._source.read(wanted)
            if block:
                part.add(block)
            ended = not block
            self._check()
        self._budget.complete(claim, len(part))
        self._cut += len(part)
        self._count += 1
        return part, ended

    def _start(self, send: Callable[[int, Part], R], number: int, part: Part, results: dict[int, R]) -> None:
        """Hand the part and its memory to a thread."""
        claim, self._claim = self._claim, None
        assert claim is not None

        def end() -> None:
            part.forget()
            self._budget.release(claim)
            with self._changed:
                self._sending.remove(claim)
                self._changed.notify_all()

        def run() -> None:
            try:
                results[number] = send(number, part)
            except BaseException as error:
                self._fail(error)
            finally:
                end()

        thread = threading.Thread(target=run, name=f"part-{number}", daemon=True)
        with self._changed:
            self._sending.append(claim)
        try:
            thread.start()
        except RuntimeError:  # it cannot run; after anything else, such as our own end while we wait, it does
            end()
            raise

    def _wait(self, count: int, size: int) -> None:
        """Wait until at most `count` parts are on their way, and they have at most `size` bytes, or none is."""
        with self._changed:
            while len(self._sending) > count or sum(claim.held for claim in self._sending) > max(size, 0):
                self._changed.wait()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None:
                self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _release(self) -> None:
        if self._claim is not None:
            self._budget.release(self._claim)
            self._claim = None
