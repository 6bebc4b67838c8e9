# SPDX-License-Identifier: Apache-2.0
"""A source cut into parts that are sent side by side: S3's multipart uploads, Swift's segments.

A part is held in memory until it is sent, so that it can be sent again when a connection breaks. What may be
held is bounded twice: for one object by `parallel` parts, for the whole process by Buffers.

    with Parts(source, size=size, part_size=..., parallel=..., buffers=self._buffers) as parts:
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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from glance.core.errors import TooLarge
from glance.core.ports import Source

R = TypeVar("R")

MIB = 1024 * 1024
BLOCK = MIB  # bytes read from the source, and hashed, at a time
TURN = 256 * 1024  # bytes sent before other green threads get their turn
HELD = 256 * MIB  # bytes that the parts of all uploads of one store may have in memory
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


class Buffers:
    """At most `limit` bytes in memory for parts, however many uploads run; one object for the uploads of a store.

    First come, first served, and an upload asks for one part at a time, so all get their turn. Nobody who waits
    here has a part that is not on its way: sends end by their time limits and need nothing from here, so there
    is no deadlock; a client that stops sending holds one part. A part larger than the limit is let in alone.
    """

    @classmethod
    def of(cls, part_size: int) -> Self:
        """Those of a store: HELD bytes, or two parts if these are larger, so that one is read while one is sent."""
        return cls(max(HELD, 2 * part_size))

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition(threading.Lock())

    @property
    def used(self) -> int:
        """Bytes that are reserved now."""
        return self._used

    def reserve(self, size: int) -> None:
        """Wait until `size` bytes may be held. To be given back by release()."""
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                while self._waiting[0] is not me or (self._used and self._used + size > self._limit):
                    self._changed.wait()
                self._used += size
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()

    def release(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()


def part_size(base: int, size: int | None, before: int) -> int:
    """Bytes of the next part, when `before` bytes are cut already, so that MOST_PARTS are enough.

    Of known size, all parts are equal: `base` bytes, or as many whole MiB as it takes. Of unknown size, parts
    are of `base` bytes until GROWTH of them are cut, and grow with the whole from then on: with a `base` of
    5 MiB, 10,000 parts hold more than 6 TiB.
    """
    least = -(-size // MOST_PARTS) if size is not None else before // GROWTH
    return base if least <= base else -(-least // MIB) * MIB


class Parts:
    """The parts of one object on their way from `source`; to be used in `with`, by one thread.

    `size` is the number of bytes announced, if it was; `part_size` the bytes of a part unless there would be
    too many of them; `parallel` how many parts are held at a time, the one that is being read included.
    """

    def __init__(self, source: Source, *, size: int | None, part_size: int, parallel: int, buffers: Buffers) -> None:
        self._source = source
        self._size = size
        self._base = part_size
        self._parallel = max(parallel, 1)
        self._buffers = buffers
        self._cut = 0  # bytes of the parts that are read
        self._ahead = b""  # what was read to see whether more comes
        self._first: Part | None = None
        self._reserved = 0  # bytes for the part that is being read, or was read and is not on its way
        self._sending: list[int] = []  # bytes reserved for each part that is on its way
        self._changed = threading.Condition(threading.Lock())
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._first = None
        self._give_back()

    def whole(self, limit: int | None = None) -> Part | None:
        """The whole object, if it fits into one part (and into `limit` bytes); None: it must be sent in parts.

        Comes before send(). The bytes are held until the end of `with`. Raises what the source raises.
        """
        self._first = self._read(self._size)
        if len(self._first) == self._reserved:
            self._ahead = self._source.read(1)
        return self._first if not self._ahead and (limit is None or len(self._first) <= limit) else None

    def send(self, send: Callable[[int, Part], R]) -> list[R]:
        """Read to the end of the source and send every part; what send(number, part) returned, in order.

        Numbers count from 1; of an empty source there is no part. `send` is called in a thread of its own for
        each part. On the first error, of the source or of a part, no other part is begun, those on their way
        are waited for, and that error is raised. Raises TooLarge when MOST_PARTS do not hold the object.
        """
        results: dict[int, R] = {}
        number = 0
        try:
            while part := self._next():
                number += 1
                if number > MOST_PARTS:
                    raise TooLarge(f"{self._cut} bytes came, and {MOST_PARTS} parts do not hold them")
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
        """The next part; an empty one at the end. Raises what a part on its way has raised."""
        if self._first is not None:
            part, self._first = self._first, None
        else:
            part = self._read()
        if not part:
            self._give_back()
        return part

    def _read(self, most: int | None = None) -> Part:
        """Wait until a part, of at most `most` bytes if that is not 0, may be held, then read it."""
        size = part_size(self._base, self._size, self._cut)
        size = min(size, most or size)
        self._wait(self._parallel - 1, self._parallel * self._base - size)
        self._check()
        self._buffers.reserve(size)
        self._reserved = size
        part, self._ahead = Part([self._ahead] if self._ahead else []), b""
        while len(part) < size and (block := self._source.read(min(size - len(part), BLOCK))):
            part.add(block)
            self._check()
        self._cut += len(part)
        return part

    def _start(self, send: Callable[[int, Part], R], number: int, part: Part, results: dict[int, R]) -> None:
        """Hand the part, and what is reserved for it, to a thread."""
        reserved, self._reserved = self._reserved, 0

        def end() -> None:
            part.forget()
            self._buffers.release(reserved)
            with self._changed:
                self._sending.remove(reserved)
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
            self._sending.append(reserved)
        try:
            thread.start()
        except RuntimeError:  # it cannot run; after anything else, such as our own end while we wait, it does
            end()
            raise

    def _wait(self, count: int, size: int) -> None:
        """Until at most `count` parts are on their way, and they have at most `size` bytes, or none is."""
        with self._changed:
            while len(self._sending) > count or sum(self._sending) > max(size, 0):
                self._changed.wait()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None:
                self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _give_back(self) -> None:
        if self._reserved:
            reserved, self._reserved = self._reserved, 0
            self._buffers.release(reserved)
