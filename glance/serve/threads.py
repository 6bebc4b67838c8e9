# SPDX-License-Identifier: Apache-2.0
"""Native threads for work that would stop all green ones: hashing, writing, fsync.

Under eventlet `threading` is green, and whatever blocks in it blocks every request. Here a fixed number of real
threads take work from a queue; a green thread that has to wait sleeps in the hub until a byte in a pipe wakes
it. A lane is one piece of work with blocks queued for it in order, at most one thread at a time. The more lanes there
are, the fewer blocks wait in each. So memory and threads stay bounded however many uploads run, and nobody polls.
"""

import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, ParamSpec, TypeVar

import greenlet
from eventlet import hubs, patcher

_threading: Any = patcher.original("threading")
_queue: Any = patcher.original("queue")

P = ParamSpec("P")
R = TypeVar("R")

DEPTH = 8  # blocks that wait in one lane, at most
BLOCKS = 256  # blocks that wait in all lanes, where each may have one
STALE = 64 * 1024  # wake-up bytes read at a time


class Sleeper:
    """One sleep of one green thread. A wake-up that comes late, when it sleeps for another reason, is none."""

    def __init__(self) -> None:
        self.thread = greenlet.getcurrent()
        self.asleep = False


class Waker:
    """Lets native threads wake green ones of the hub that the Waker was made in."""

    def __init__(self) -> None:
        self._ready: deque[Sleeper] = deque()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._hub = hubs.get_hub()
        self._hub.add(self._hub.READ, self._reader, self._on_readable, self._on_readable, lambda: None)

    def wake(self, sleeper: Sleeper) -> None:
        """From a native thread: end a sleep."""
        self._ready.append(sleeper)
        with suppress(BlockingIOError):  # the pipe is full of wake-ups: the hub will come by anyway
            os.write(self._writer, b"!")

    def sleep(self, sleeper: Sleeper) -> None:
        """From a green thread: sleep until wake(), if it has not come yet."""
        sleeper.asleep = True
        try:
            self._hub.switch()
        finally:
            sleeper.asleep = False

    def _on_readable(self, _: object) -> None:
        with suppress(BlockingIOError):
            os.read(self._reader, STALE)
        while self._ready:
            self._hub.schedule_call_global(0, self._resume, self._ready.popleft())

    @staticmethod
    def _resume(sleeper: Sleeper) -> None:
        if sleeper.asleep:
            sleeper.thread.switch()


class Threads:
    """`count` native threads, started at the first use, so that a process may fork before.

    Raises RuntimeError where the system starts no thread.
    """

    def __init__(self, count: int, waker: Waker | None = None) -> None:
        self._count = count
        self._work: Any = None
        self._waker = waker
        self._lanes: weakref.WeakSet[Lane] = weakref.WeakSet()

    def lane(self, work: Callable[[bytes], object], /) -> "Lane":
        lane = Lane(work, self)
        self._lanes.add(lane)
        return lane

    @property
    def depth(self) -> int:
        """Blocks that may wait in one lane."""
        return max(1, min(DEPTH, BLOCKS // (len(self._lanes) or 1)))

    def call(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        task = _Call(self.waker, lambda: work(*args, **kwargs))
        self.submit(task.run)
        return task.wait()

    def separate(self, count: int, /) -> "Threads":
        return Threads(count, self.waker)

    @property
    def waker(self) -> Waker:
        if self._waker is None:
            self._waker = Waker()
        return self._waker

    def submit(self, task: Callable[[], None]) -> None:
        if self._work is None:
            work = _queue.SimpleQueue()
            for number in range(self._count):
                name = f"native-{number}"
                _threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()
            self._work = work  # not before: without a thread nobody would ever take work from it
        self._work.put(task)

    @staticmethod
    def _run(work: Any) -> None:
        while True:
            task = work.get()
            task()
            del task  # it holds a block of bytes, and the next may be long in coming


class _Call(Generic[R]):
    """One function on its way through a native thread."""

    def __init__(self, waker: Waker, work: Callable[[], R]) -> None:
        self._waker = waker
        self._work = work
        self._sleeper = Sleeper()
        self._done = False
        self._result: R
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
        self._done = True
        self._waker.wake(self._sleeper)

    def wait(self) -> R:
        while not self._done:
            self._waker.sleep(self._sleeper)
        if self._error is not None:
            raise self._error
        return self._result


class Lane:
    """Blocks queued for one piece of work. Used by one green thread at a time."""

    def __init__(self, work: Callable[[bytes], object], threads: Threads) -> None:
        self._work = work
        self._threads = threads
        self._waker = threads.waker
        self._lock: Any = _threading.Lock()  # held for a few instructions only, so the hub may take it
        self._blocks: deque[bytes] = deque()
        self._running = False
        self._sleeper: Sleeper | None = None
        self._wanted = 0  # the sleeper goes on when no more blocks than this are pending
        self._error: BaseException | None = None

    def put(self, block: bytes, /) -> None:
        self._wait(self._threads.depth - 1)
        self._raise()
        with self._lock:
            self._blocks.append(block)
            start = not self._running
            self._running = True
        if start:
            self._threads.submit(self._run)

    def finish(self) -> None:
        self._wait(0)
        self._raise()

    def abandon(self) -> None:
        with self._lock:
            self._blocks.clear()
        self._wait(0)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _wait(self, pending: int) -> None:
        while True:
            with self._lock:
                if len(self._blocks) + self._running <= pending:  # the block at hand counts as pending
                    self._sleeper = None
                    return
                sleeper = self._sleeper = Sleeper()
                self._wanted = pending
            self._waker.sleep(sleeper)

    def _run(self) -> None:
        """In a native thread: one block, then to the end of the queue, so that all lanes get their turn."""
        with self._lock:
            block = self._blocks.popleft() if self._blocks else None
        if block is not None:
            try:
                self._work(block)
            except BaseException as error:
                with self._lock:
                    self._error = error
                    self._blocks.clear()
            del block
        with self._lock:
            again = self._running = bool(self._blocks)
            sleeper = None
            if len(self._blocks) + self._running <= self._wanted:
                sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            self._waker.wake(sleeper)
        if again:
            self._threads.submit(self._run)
