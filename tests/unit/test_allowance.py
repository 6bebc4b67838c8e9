# SPDX-License-Identifier: Apache-2.0
"""A source whose bytes are charged before they are passed on (core/allowance.py)."""

import io

import pytest

from glance.core.allowance import FIRST, MOST, Allowance
from glance.core.errors import OverQuota, RegistryDown
from glance.core.inline import INLINE

BLOCK = 64 * 1024


class Body:
    threads = INLINE
    sender = ""

    def __init__(self, size: int) -> None:
        self.read = io.BytesIO(bytes(size)).read


class Quota:
    """Grants up to `most` bytes in all, and notes what it was asked for."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.granted = 0
        self.asked: list[int] = []

    def charge(self, total: int) -> None:
        self.asked.append(total)
        if total > self.most:
            raise OverQuota("no more")
        self.granted = total


def drain(source: Allowance) -> int:
    count = 0
    while block := source.read(BLOCK):
        count += len(block)
    return count


@pytest.mark.parametrize("most", [0, 1, BLOCK, FIRST - 1, FIRST, FIRST + 1, 5 * FIRST + 77, 8 * FIRST])
@pytest.mark.parametrize("more", [0, 1, BLOCK, 3 * FIRST])
def test_what_fits_exactly_comes_through_and_no_byte_more(most, more):
    quota = Quota(most)
    source = Allowance(Body(most + more), 0, quota.charge)
    if more == 0:
        assert drain(source) == most == min(quota.granted, most)
    else:
        with pytest.raises(OverQuota):
            drain(source)
        assert quota.granted <= most


def test_no_byte_is_passed_on_that_is_not_charged():
    quota = Quota(2**62)
    source = Allowance(Body(20 * FIRST), 0, quota.charge)
    passed = 0
    while block := source.read(BLOCK):
        passed += len(block)
        assert passed <= quota.granted <= max(2 * passed, FIRST)


def test_what_was_announced_is_not_asked_for_again():
    quota = Quota(0)
    assert drain(Allowance(Body(FIRST), FIRST, quota.charge)) == FIRST
    assert quota.asked == []


def test_it_asks_seldom():
    """Doubling, and in steps of 1 GiB at most; few attempts more when the quota comes near."""
    quota = Quota(2**62)
    drain(Allowance(Body(100 * FIRST), 0, quota.charge))
    assert len(quota.asked) == 8
    Allowance(Body(1), 0, quota.charge).read(1)
    charged = [4 * MOST]
    source = Allowance(Body(2), 4 * MOST, charged.append)
    source._count = 4 * MOST
    source.read(1)
    assert charged[-1] == 5 * MOST
    near = Quota(99 * FIRST)
    drain(Allowance(Body(99 * FIRST), 0, near.charge))
    assert len(near.asked) < 60


def test_other_errors_end_the_upload():
    def away(_: int) -> None:
        raise RegistryDown("away")

    with pytest.raises(RegistryDown):
        drain(Allowance(Body(1), 0, away))
