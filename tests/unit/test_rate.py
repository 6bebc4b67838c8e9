# SPDX-License-Identifier: Apache-2.0
"""Requests per second of one client (serve/rate.py), by a clock that the test turns."""

import pytest

from glance.serve import rate
from glance.serve.rate import Rate, client_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def passed(limit: Rate, client: str, times: int) -> int:
    return sum(limit.wait(client) == 0 for _ in range(times))


def test_a_burst_and_then_as_many_as_the_seconds_bring():
    clock = Clock()
    limit = Rate(4, 10, clock=clock)
    assert passed(limit, "a", 50) == 10
    clock.now += 0.25
    assert passed(limit, "a", 50) == 1
    clock.now += 1
    assert passed(limit, "a", 50) == 4
    clock.now += 3600
    assert passed(limit, "a", 50) == 10


def test_who_waits_as_long_as_he_is_told_is_served():
    clock = Clock()
    limit = Rate(4, 1, clock=clock)
    assert limit.wait("a") == 0
    wait = limit.wait("a")
    assert wait == 0.25
    clock.now += wait
    assert limit.wait("a") == 0


def test_refused_requests_do_not_count():
    clock = Clock()
    limit = Rate(1, 1, clock=clock)
    assert passed(limit, "a", 1000) == 1
    clock.now += 1
    assert limit.wait("a") == 0


def test_clients_do_not_take_from_each_other():
    limit = Rate(1, 2, clock=Clock())
    assert [passed(limit, client, 5) for client in "abc"] == [2, 2, 2]


def test_who_has_not_asked_for_the_longest_time_is_forgotten(monkeypatch):
    monkeypatch.setattr(rate, "REMEMBERED", 3)
    limit = Rate(1, 1, clock=Clock())
    for client in "abcd":
        limit.wait(client)
    assert len(limit._free) == 3
    assert [passed(limit, client, 1) for client in "bcd"] == [0, 0, 0]  # and "b" is now the oldest
    assert passed(limit, "a", 1) == 1
    assert [passed(limit, client, 1) for client in "cd"] == [0, 0]
    assert passed(limit, "b", 1) == 1


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::ffff", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_a_client_is_an_address_or_a_network_of_64_bits(address, client):
    assert client_of(address) == client
