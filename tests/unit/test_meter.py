# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest

from glance.core.errors import BrokenUpload, Mismatch, TooLarge
from glance.core.inline import Inline, InlineLane
from glance.core.meter import Meter
from tests.fakes.store import BytesSource

DATA = bytes(range(256)) * 10
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


def drained(meter: Meter, size: int = 1000) -> bytes:
    return b"".join(iter(lambda: meter.read(size), b""))


@pytest.mark.parametrize("block", [1, 7, 255, 10_000])
@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_it_counts_and_hashes_what_goes_by(data, block):
    meter = Meter(BytesSource(data, block=block), algorithms=("md5", "sha256"))
    assert drained(meter) == data
    assert meter.count == len(data)
    assert meter.digests() == {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}


def test_promises_that_are_kept():
    assert drained(Meter(BytesSource(DATA), size=len(DATA), checksum=MD5, limit=len(DATA))) == DATA


@pytest.mark.parametrize("promise", [
    {"size": len(DATA) - 1}, {"size": len(DATA) + 1}, {"size": 0}, {"checksum": "0" * 32}, {"checksum": ""},
])  # fmt: skip
def test_a_broken_promise_stands_in_place_of_the_end(promise):
    meter = Meter(BytesSource(DATA), **promise)
    for _ in range(2):  # whoever asks again is not told that all is well
        with pytest.raises(Mismatch):
            drained(meter)


def test_the_limit_is_kept_before_the_block_is_passed_on():
    meter = Meter(BytesSource(DATA, block=100), limit=250)
    assert len(meter.read(1000) + meter.read(1000)) == 200
    with pytest.raises(TooLarge, match="250"):
        meter.read(1000)


def test_a_source_that_is_cut_is_cut_here_too():
    meter = Meter(BytesSource(DATA, cut=True), size=len(DATA), checksum=MD5)
    with pytest.raises(BrokenUpload):
        drained(meter)


class Recorded(Inline):
    """Threads whose lanes tell what they are asked for."""

    def __init__(self) -> None:
        self.deeds: list[str] = []

    def lane(self, work):
        lane = InlineLane(work)
        lane.finish = lambda: self.deeds.append("finish")
        lane.abandon = lambda: self.deeds.append("abandon")
        return lane


def test_lanes_are_finished_at_the_end_and_abandoned_by_close():
    threads = Recorded()
    meter = Meter(BytesSource(DATA, threads=threads))
    assert meter.threads is threads
    drained(meter)
    assert threads.deeds == ["finish", "finish"]
    meter.close()
    assert threads.deeds[2:] == ["abandon", "abandon"]
