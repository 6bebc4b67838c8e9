# SPDX-License-Identifier: Apache-2.0
"""A source in parts: order, bounds, growth, and what happens when something breaks."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glance.core.errors import BrokenUpload, StoreBusy, StoreDown, TooLarge
from glance.store import parts as module
from glance.store.parts import GROWTH, MIB, MOST_PARTS, MemoryBudget, Part, Parts, part_size
from tests.fakes.store import BytesSource

DATA = os.urandom(100_000)


def make_parts(source: BytesSource, **given: object) -> Parts:
    settings = {"size": None, "part_size": 1000, "parallel": 3, "budget": MemoryBudget(1_000_000)} | given
    return Parts(source, **settings)


class Backend:
    """Takes parts, and watches how many come at a time."""

    def __init__(self, *, fail_at: int = 0, pause: Callable[[int], float] = lambda number: 0) -> None:
        self.taken: dict[int, bytes] = {}
        self.most = 0
        self._now = 0
        self._fail_at = fail_at
        self._pause = pause
        self._lock = threading.Lock()

    def send(self, number: int, part: Part) -> str:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            time.sleep(self._pause(number))
            if number == self._fail_at:
                raise StoreDown(f"part {number}")
            self.taken[number] = b"".join(part.blocks)
            return f"etag-{number}"
        finally:
            with self._lock:
                self._now -= 1

    @property
    def data(self) -> bytes:
        return b"".join(self.taken[number] for number in sorted(self.taken))


# What is sent


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 5), st.integers(1, 400), st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_any_source_arrives_whole_and_in_order(data, size, parallel, limit, block):
    backend, budget = Backend(), MemoryBudget(limit)
    with make_parts(BytesSource(data, block=block), part_size=size, parallel=parallel, budget=budget) as parts:
        whole = parts.whole()
        assert (whole is None) == (len(data) > size)
        if whole is None:
            results = parts.send(backend.send)
            assert results == [f"etag-{number}" for number in range(1, -(-len(data) // size) + 1)]
        else:
            assert b"".join(whole.blocks) == data
    assert backend.data == (data if whole is None else b"")
    assert budget.used == 0


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000, 2001])
def test_all_parts_but_the_last_are_full_and_none_is_empty(size):
    backend = Backend()
    with make_parts(BytesSource(DATA[:size])) as parts:
        parts.send(backend.send)
    lengths = [len(backend.taken[number]) for number in sorted(backend.taken)]
    assert lengths[:-1] == [1000] * (len(lengths) - 1)
    assert backend.data == DATA[:size]
    assert all(lengths)


def test_what_is_larger_than_the_limit_for_one_request_is_no_whole():
    backend = Backend()
    with make_parts(BytesSource(DATA[:800])) as parts:
        assert parts.whole(limit=799) is None
        assert parts.send(backend.send) == ["etag-1"]
    assert backend.data == DATA[:800]
    with make_parts(BytesSource(DATA[:800])) as parts:
        assert b"".join(parts.whole(limit=800).blocks) == DATA[:800]


def test_results_are_in_order_whatever_ends_first():
    backend = Backend(pause=lambda number: 0.05 if number % 3 == 1 else 0)
    with make_parts(BytesSource(DATA[:12_000])) as parts:
        assert parts.send(backend.send) == [f"etag-{number}" for number in range(1, 13)]
    assert list(backend.taken) != sorted(backend.taken)


# Bounds


@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_parts_of_one_object_held_at_a_time(parallel):
    """The one that is being read counts."""
    budget, backend = MemoryBudget(1_000_000), Backend(pause=lambda number: 0.01)
    held = []

    class Watched(BytesSource):
        def read(self, size: int, /) -> bytes:
            held.append(budget.used)
            return super().read(size)

    with make_parts(Watched(DATA[:20_000]), parallel=parallel, budget=budget) as parts:
        parts.send(backend.send)
    assert max(held) == parallel * 1000
    assert backend.most <= parallel


def test_all_of_many_uploads_finish_within_the_budget():
    budget, backends, held = MemoryBudget(5000), [Backend(pause=lambda number: 0.001) for _ in range(12)], []

    class Watched(BytesSource):
        def read(self, size: int, /) -> bytes:
            held.append(budget.used)
            time.sleep(0.0005)
            return super().read(size)

    def upload(backend: Backend) -> None:
        sender = str(backends.index(backend) % 3)
        with make_parts(Watched(DATA[:20_500], block=400, sender=sender), budget=budget) as parts:
            parts.send(backend.send)

    threads = [threading.Thread(target=upload, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(backend.data == DATA[:20_500] for backend in backends)
    assert 4000 <= max(held) <= 5000
    assert budget.used == 0


def test_stalled_client_holds_one_part():
    budget, go_on, backend = MemoryBudget(3000), threading.Event(), Backend()

    class Stopping(BytesSource):
        def read(self, size: int, /) -> bytes:
            data = super().read(size)
            if not data:
                go_on.wait(30)
            return data

    def slow() -> None:
        with make_parts(Stopping(DATA[:4500], sender="slow"), budget=budget) as parts:
            parts.send(backend.send)

    thread = threading.Thread(target=slow)
    thread.start()
    while len(backend.taken) < 4 or budget.used > 1000:
        time.sleep(0.001)
    other = Backend()
    with make_parts(BytesSource(DATA), budget=budget) as parts:  # does not wait for the other
        parts.send(other.send)
    assert other.data == DATA
    go_on.set()
    thread.join(30)
    assert backend.data == DATA[:4500]


def test_interrupted_wait_leaves_no_claim():
    budget = MemoryBudget(1000)
    held = budget.claim("a", 1000)

    class Stop(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stop

    budget._changed.wait = stop
    with pytest.raises(Stop):
        budget.claim("b", 500)
    del budget._changed.wait
    budget.release(held)
    assert budget.used == 0
    budget.claim("b", 1000)
    assert budget.used == 1000


def test_slow_part_counts_only_what_it_has_received(monkeypatch):
    """A part that has not filled its guaranteed memory in time gives it back."""
    monkeypatch.setattr(module, "GUARANTEE", 0.05)
    budget = MemoryBudget(1000)
    slow = budget.claim("a", 1000)
    assert budget.used == 1000
    budget.extend(slow, 10, wait=True)
    fast = budget.claim("b", 900)  # waits for the guarantee to end
    assert budget.used == 10 + 900
    assert not budget.extend(slow, 200, wait=False)
    budget.release(fast)
    assert budget.extend(slow, 200, wait=False)


def test_guaranteed_memory_never_waits():
    budget = MemoryBudget(1000, max_wait=0)
    first, second = budget.claim("a", 500), budget.claim("b", 500)
    for _ in range(5):
        assert budget.extend(first, 100, wait=True)
        assert budget.extend(second, 100, wait=True)
    assert not budget.extend(first, 1, wait=False)
    with pytest.raises(StoreBusy):
        budget.extend(second, 1, wait=True)
    assert budget.used == 1000


def test_one_sender_gets_at_most_half():
    budget = MemoryBudget(1000, max_wait=0)
    for _ in range(5):
        budget.claim("a", 100)
    with pytest.raises(StoreBusy, match="try again later"):
        budget.claim("a", 100)
    for _ in range(5):
        budget.claim("b", 100)


def test_smaller_claim_passes_a_waiting_larger_one():
    budget = MemoryBudget(1000)
    held = budget.claim("a", 600)
    admitted = threading.Event()

    def claim_large() -> None:
        budget.claim("b", 900)
        admitted.set()

    waiting = threading.Thread(target=claim_large)
    waiting.start()
    while not budget._changed._waiters:
        time.sleep(0.001)
    small = budget.claim("c", 300)  # does not wait
    assert not admitted.is_set()
    budget.release(small)
    budget.release(held)
    waiting.join(10)
    assert admitted.is_set()


def test_slow_uploads_do_not_stop_another_sender(monkeypatch):
    """Many uploads that announce 1 TiB and send next to nothing leave the budget to another sender."""
    monkeypatch.setattr(module, "GUARANTEE", 0.05)
    budget, go_on = MemoryBudget(100 * 1000, max_wait=30), threading.Event()

    class Slow(BytesSource):
        def read(self, size: int, /) -> bytes:
            data = super().read(size)
            if not data:
                go_on.wait(30)
            return data

    def upload_slowly() -> None:
        source = Slow(DATA[:10], block=1, sender="attacker")
        with make_parts(source, size=1024**4, part_size=40_000, budget=budget) as parts:
            parts.whole()

    monkeypatch.setattr(module, "BLOCK", 100)
    monkeypatch.setattr(module, "MIB", 1)
    monkeypatch.setattr(module, "MOST_PARTS", 1024**4 // 40_000)
    threads = [threading.Thread(target=upload_slowly) for _ in range(30)]
    for thread in threads:
        thread.start()
    try:
        backend = Backend()
        with make_parts(BytesSource(DATA, sender="user"), part_size=10_000, budget=budget) as parts:
            parts.send(backend.send)
        assert backend.data == DATA
    finally:
        go_on.set()
        for thread in threads:
            thread.join(30)
    assert budget.used == 0


def test_parts_are_cut_early_when_memory_is_short(monkeypatch):
    """A part above the minimum is sent instead of waiting for memory, so that half-filled parts cannot deadlock."""
    monkeypatch.setattr(module, "LEAST_PART", 300)
    monkeypatch.setattr(module, "BLOCK", 100)
    budget, backend = MemoryBudget(2000, max_wait=10), Backend()
    other = budget.claim("b", 0)
    budget.extend(other, 1500, wait=True)
    with make_parts(BytesSource(DATA[:5050]), budget=budget, parallel=1) as parts:
        assert parts.whole() is None
        parts.send(backend.send)
    assert backend.data == DATA[:5050]
    lengths = [len(backend.taken[number]) for number in sorted(backend.taken)]
    assert set(lengths[:-1]) <= {401, 500, 501}


def test_early_cuts_leave_enough_parts(monkeypatch):
    """With every part cut at its minimum, an announced size still fits into MOST_PARTS parts."""
    for size in (10 * MIB, 60_000 * MIB, 1024**4, 5 * 1024**4):
        before = count = 0
        while before < size:
            before += module.least_part_size(10 * MIB, size, before, count)
            count += 1
        assert count <= MOST_PARTS


def test_part_larger_than_the_budget_is_sent_alone():
    backend = Backend()
    with make_parts(BytesSource(DATA[:5000]), budget=MemoryBudget(10)) as parts:
        parts.send(backend.send)
    assert backend.data == DATA[:5000]
    assert backend.most == 1


# Growth


@pytest.mark.parametrize("mib", [0, 1, 5, 1000, 50_000, 97_656, 97_657, 1024**2, 5 * 1024**2])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_of_known_size_ten_thousand_equal_parts_are_enough(mib, off):
    size = max(mib * MIB + off, 0)
    part = part_size(10 * MIB, size, 0)
    assert -(-size // part) <= MOST_PARTS
    assert part % MIB == 0
    assert part == 10 * MIB or (part - MIB) * MOST_PARTS < size
    assert part_size(10 * MIB, size, size // 2) == part


@pytest.mark.parametrize("base", [5, 8, 10, 64])
def test_of_unknown_size_ten_thousand_parts_hold_the_largest_object(base):
    sizes: list[int] = []
    cut = 0
    for _ in range(MOST_PARTS):
        sizes.append(part_size(base * MIB, None, cut))
        cut += sizes[-1]
    assert cut > 5 * 1024**4
    assert sizes == sorted(sizes)
    assert sizes[:GROWTH] == [base * MIB] * GROWTH
    assert sum(sizes[:-1]) < 5 * 1024**4 or sizes[2000] < 2 * sizes[0] + 10 * MIB


def test_parts_grow_and_then_fewer_are_held(monkeypatch):
    monkeypatch.setattr(module, "GROWTH", 4)
    monkeypatch.setattr(module, "MIB", 500)
    budget, backend, held = MemoryBudget(1_000_000), Backend(pause=lambda number: 0.002), []

    class Watched(BytesSource):
        def read(self, size: int, /) -> bytes:
            held.append(budget.used)
            return super().read(size)

    with make_parts(Watched(DATA), budget=budget) as parts:
        parts.send(backend.send)
    assert backend.data == DATA
    lengths = [len(backend.taken[number]) for number in sorted(backend.taken)]
    assert lengths[:8] == [1000, 1000, 1000, 1000, 1000, 1500, 2000, 2500]
    assert len(lengths) < 30
    assert max(held) <= part_size(1000, None, len(DATA))  # the largest: it goes alone


def test_more_parts_than_the_store_takes_are_an_error(monkeypatch):
    monkeypatch.setattr(module, "MOST_PARTS", 5)
    budget, backend = MemoryBudget(10_000), Backend()
    with make_parts(BytesSource(DATA[:5000]), size=100, budget=budget) as parts:
        parts.send(backend.send)
    assert len(backend.taken) == 5
    with (
        make_parts(BytesSource(DATA[:5001]), size=100, budget=budget) as parts,
        pytest.raises(TooLarge, match="5001"),
    ):
        parts.send(backend.send)
    assert budget.used == 0


# Errors


@pytest.mark.parametrize("sent", [0, 1, 999, 1000, 1001, 5500])
def test_a_source_that_raises_keeps_its_error(sent):
    budget, backend = MemoryBudget(10_000), Backend(pause=lambda number: 0.01)
    with (
        pytest.raises(BrokenUpload, match="the source was cut"),
        make_parts(BytesSource(DATA[:sent], cut=True), budget=budget) as parts,
    ):
        if parts.whole() is None:
            parts.send(backend.send)
    assert len(backend.taken) in (sent // 1000, 0)  # those on their way were waited for
    assert budget.used == 0


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("number", [1, 2, 7, 100])
def test_after_a_failed_part_no_other_is_begun(number, parallel):
    budget, backend = MemoryBudget(100_000), Backend(fail_at=number, pause=lambda at: 0 if at == number else 0.02)
    source = BytesSource(DATA)
    with (
        pytest.raises(StoreDown, match=f"part {number}"),
        make_parts(source, parallel=parallel, budget=budget) as parts,
    ):
        parts.send(backend.send)
    assert budget.used == 0
    assert backend.most <= parallel
    assert len(backend.taken) <= number + parallel


def test_the_first_error_is_the_one_that_is_raised():
    failed = threading.Event()

    class Late(BytesSource):
        reads = 0

        def read(self, size: int, /) -> bytes:
            self.reads += 1
            if self.reads == 4:  # the middle of the second part
                failed.wait(30)
                raise BrokenUpload("later")
            return super().read(size)

    def send(number: int, part: Part) -> None:
        try:
            raise StoreDown("first")
        finally:
            threading.Timer(0.05, failed.set).start()

    with pytest.raises(StoreDown, match="first"), make_parts(Late(DATA, block=600), part_size=1000) as parts:
        parts.send(send)


def test_what_breaks_a_thread_off_is_not_replaced_by_an_error():
    class Stop(BaseException):
        pass

    class Stopped(BytesSource):
        def read(self, size: int, /) -> bytes:
            raise Stop

    budget = MemoryBudget(10_000)
    with pytest.raises(Stop), make_parts(Stopped(), budget=budget) as parts:
        parts.send(Backend().send)
    assert budget.used == 0


def test_no_part_stays_in_memory_after_an_error():
    class Endless(BytesSource):
        def read(self, size: int, /) -> bytes:
            return DATA[:size]

    seen = []

    class Marker:
        pass

    def send(number: int, part: Part) -> None:
        marker = Marker()
        seen.append(weakref.ref(marker))
        raise StoreDown("no")

    gc.collect()
    gc.disable()
    try:
        with make_parts(Endless()) as parts:
            try:
                parts.send(send)
            except StoreDown:
                pass
            else:
                raise AssertionError
        del parts
        assert [reference() for reference in seen] == [None] * len(seen)
    finally:
        gc.enable()


def test_a_thread_that_cannot_start_is_an_error_like_another(monkeypatch):
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    budget = MemoryBudget(10_000)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="start"), make_parts(BytesSource(DATA), budget=budget) as parts:
        parts.send(Backend().send)
    assert budget.used == 0
