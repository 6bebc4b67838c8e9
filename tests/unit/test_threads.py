# SPDX-License-Identifier: Apache-2.0
"""Native threads under the green ones of this process, whose standard library is not patched."""

import gc
import threading
import time
from collections.abc import Callable

import eventlet
import pytest
from eventlet import patcher
from greenlet import GreenletExit

from glance.core.inline import INLINE
from glance.serve.threads import BLOCKS, DEPTH, Threads

PATIENCE = 5


@pytest.fixture(scope="module")
def native() -> Threads:
    return Threads(3)


@pytest.fixture(params=["native", "inline"])
def threads(request: pytest.FixtureRequest, native: Threads):
    return native if request.param == "native" else INLINE


@pytest.fixture(autouse=True)
def in_time():
    with eventlet.Timeout(PATIENCE):
        yield


class Gate:
    """Work that waits, in its native thread, until it is let."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, block: bytes) -> None:
        self.entered.release()
        assert self._open.wait(PATIENCE)
        self.seen.append(block)

    def open(self) -> None:
        self._open.set()


def settle() -> None:
    """Let all green threads run until they wait."""
    for _ in range(5):
        eventlet.sleep(0)


# Inline or not


def test_blocks_are_seen_in_order(threads):
    seen: list[bytes] = []
    lane = threads.lane(seen.append)
    blocks = [b"%d" % number for number in range(1000)]
    for block in blocks:
        lane.put(block)
    lane.finish()
    assert seen == blocks


def test_an_error_of_the_work_comes_back(threads):
    seen = []

    def work(block: bytes) -> None:
        seen.append(block)
        if block == b"bad":
            raise ZeroDivisionError

    lane = threads.lane(work)
    with pytest.raises(ZeroDivisionError):
        for block in (b"good", b"bad", b"late", b"late", b"late"):
            lane.put(block)
        lane.finish()
    lane.abandon()
    lane.abandon()
    assert b"bad" in seen


@pytest.mark.parametrize(
    "deeds", [["abandon"], ["finish"], ["finish", "finish"], ["finish", "abandon"], ["abandon", "abandon", "finish"]]
)
def test_the_end_of_a_lane(threads, deeds):
    for put in (False, True):
        lane = threads.lane(lambda block: None)
        if put:
            lane.put(b"x")
        for deed in deeds:
            getattr(lane, deed)()


def test_a_call_returns_or_raises(threads):
    assert threads.call(divmod, 7, 2) == (3, 1)
    assert threads.call(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        threads.call(divmod, 7, 0)
    with pytest.raises(SystemExit):  # of the work, not of the thread
        threads.call(exit_now)
    assert threads.call(str) == ""


def exit_now() -> None:
    raise SystemExit


# Native only


def test_the_work_is_done_elsewhere(native):
    assert native.call(threading.get_ident) != threading.get_ident()
    found = []
    lane = native.lane(lambda block: found.append(threading.get_ident()))
    lane.put(b"x")
    lane.finish()
    assert found[0] != threading.get_ident()


def test_a_blocked_call_blocks_no_green_thread(native):
    event = threading.Event()
    waiting = eventlet.spawn(native.call, event.wait, PATIENCE)
    settle()
    assert not waiting.dead
    event.set()
    assert waiting.wait() is True


def test_a_lane_takes_so_many_blocks_and_no_more(native):
    gate = Gate()
    lane = native.lane(gate)
    put: list[int] = []

    def fill() -> None:
        for number in range(20):
            lane.put(b"%d" % number)
            put.append(number)

    filling = eventlet.spawn(fill)
    settle()
    assert gate.entered.acquire(timeout=PATIENCE)
    settle()
    assert DEPTH - 1 <= len(put) <= DEPTH
    gate.open()
    filling.wait()
    lane.finish()
    assert gate.seen == [b"%d" % number for number in range(20)]


def test_many_lanes_share_the_blocks_that_may_wait(native):
    gc.collect()  # lanes that earlier tests left in reference cycles would take a share
    lanes = [native.lane(len) for _ in range(BLOCKS // DEPTH)]
    assert native.depth == DEPTH
    lanes += [native.lane(len) for _ in range(BLOCKS)]
    assert native.depth == 1
    for lane in lanes:
        lane.put(b"x")
    for lane in lanes:
        lane.finish()
    del lane, lanes
    assert native.depth == DEPTH


def test_one_block_of_a_lane_at_a_time(native):
    inside = threading.Lock()

    def work(block: bytes) -> None:
        assert inside.acquire(blocking=False)
        inside.release()

    lane = native.lane(work)
    for _ in range(500):
        lane.put(b"x")
    lane.finish()


def test_many_lanes_share_few_threads(native):
    seen: dict[int, list[bytes]] = {number: [] for number in range(20)}
    idents = set()

    def fill(number: int) -> None:
        def work(block: bytes) -> None:
            idents.add(threading.get_ident())
            seen[number].append(block)

        lane = native.lane(work)
        for block in range(50):
            lane.put(b"%d" % block)
        lane.finish()

    for thread in [eventlet.spawn(fill, number) for number in seen]:
        thread.wait()
    assert set(map(tuple, seen.values())) == {tuple(b"%d" % block for block in range(50))}
    assert len(idents - {threading.get_ident()}) == len(idents) <= 3


def test_abandon_waits_for_the_block_at_hand_and_forgets_the_rest(native):
    gate = Gate()
    lane = native.lane(gate)
    for block in (b"at hand", b"pending", b"pending"):
        lane.put(block)
    assert gate.entered.acquire(timeout=PATIENCE)
    abandoning = eventlet.spawn(lane.abandon)
    settle()
    assert not abandoning.dead
    gate.open()
    abandoning.wait()
    assert gate.seen == [b"at hand"]


def test_nothing_is_done_after_an_error(native):
    seen = []

    def work(block: bytes) -> None:
        seen.append(block)
        raise ZeroDivisionError

    lane = native.lane(work)
    with pytest.raises(ZeroDivisionError):
        for _ in range(100):
            lane.put(b"x")
    assert len(seen) <= DEPTH
    lane.abandon()


@pytest.mark.parametrize("wait", [
    lambda native, gate, lane: lane.finish(), lambda native, gate, lane: [lane.put(b"x") for _ in range(20)], lambda native, gate, lane: native.call(gate, b"x"),
], ids=["finish", "put", "call"])  # fmt: skip
def test_a_green_thread_that_is_killed_while_it_waits_disturbs_nobody(native, wait: Callable[..., object]):
    gate = Gate()
    lane = native.lane(gate)
    lane.put(b"first")
    order = []

    def victim() -> None:
        try:
            wait(native, gate, lane)
        except GreenletExit:
            order.append("killed")
            lane.abandon()
            order.append("abandoned")
            eventlet.sleep(0.05)  # a wake-up meant for the wait above must not end this
            order.append("slept")

    killed = eventlet.spawn(victim)
    settle()
    assert gate.entered.acquire(timeout=PATIENCE)
    eventlet.spawn_after(0, gate.open)
    killed.kill()
    settle()
    while "slept" not in order:
        eventlet.sleep(0.01)
    assert order == ["killed", "abandoned", "slept"]
    assert b"first" in gate.seen
    assert native.call(divmod, 7, 2) == (3, 1)


def test_a_wake_up_that_comes_late_does_not_end_another_sleep(native):
    gate = Gate()
    slept = []

    def victim() -> None:
        try:
            native.call(gate, b"x")
        except GreenletExit:
            started = time.monotonic()
            eventlet.sleep(0.1)
            slept.append(time.monotonic() - started)

    killed = eventlet.spawn(victim)
    settle()
    assert gate.entered.acquire(timeout=PATIENCE)
    eventlet.spawn_after(0.02, gate.open)
    eventlet.kill(killed)
    while not slept:
        eventlet.sleep(0.01)
    assert slept[0] > 0.09


def test_threads_are_started_at_the_first_use():
    count = patcher.original("threading").active_count
    before = count()
    unused = Threads(5)
    assert count() == before
    assert unused.call(str) == ""
    assert count() == before + 5


def test_separate_threads_share_nothing_but_the_waker():
    threads = Threads(1)
    apart, gate = threads.separate(1), Gate()
    blocked = eventlet.spawn(apart.call, gate, b"slow")
    settle()
    assert gate.entered.acquire(timeout=PATIENCE)
    assert threads.call(divmod, 7, 2) == (3, 1)
    assert apart.waker is threads.waker
    gate.open()
    blocked.wait()
