# SPDX-License-Identifier: Apache-2.0
"""The client of a request that came through proxies, and the addresses of those that are believed."""

import pytest

from glance.core.networks import Networks
from glance.serve.forwarded import find_client

PROXIES = Networks("10.0.0.0/24, 192.0.2.1, 2001:db8:1::/48")


@pytest.mark.parametrize(("peer", "forwarded_for", "client"), [
    ("10.0.0.1", "198.51.100.7", "198.51.100.7"), ("10.0.0.1", "", "10.0.0.1"), ("10.0.0.1", " 198.51.100.7 ", "198.51.100.7"),
    ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"), ("10.0.0.1", "203.0.113.9,198.51.100.7", "198.51.100.7"),
    ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2, 192.0.2.1", "198.51.100.7"), ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
    ("10.0.0.1", "2001:db8::7", "2001:db8::7"), ("10.0.0.1", "2001:DB8:0::7", "2001:db8::7"), ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
    ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"), ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"), ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
    ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"), ("2001:db8:1::5", "198.51.100.7", "198.51.100.7"),
])  # fmt: skip
def test_the_last_address_that_is_no_trusted_proxy_is_the_client(peer, forwarded_for, client):
    assert find_client(peer, forwarded_for, PROXIES) == client


@pytest.mark.parametrize("peer", ["198.51.100.1", "10.0.1.1", "2001:db8:2::1", "unix", ""])
def test_others_are_not_believed(peer):
    assert find_client(peer, "203.0.113.9, 10.0.0.2", PROXIES) == peer
    assert find_client(peer, "203.0.113.9", Networks()) == peer


@pytest.mark.parametrize("entry", [
    "", "unknown", "_hidden", "198.51.100", "198.51.100.256", "198.51.100.7.", "198.51.100.7:", "198.51.100.7:999999", "[198.51.100.7", "2001:db8::7]", "[]",
    "2001:db8:::7", "fe80::1%eth0", "198.51.100.7 203.0.113.9", '"198.51.100.7"', "for=198.51.100.7", "0x0a000001", "١.1.1.1", "1" * 10_000,
])  # fmt: skip
def test_an_entry_that_is_no_address_ends_the_search_at_who_reported_it(entry):
    assert find_client("10.0.0.1", entry, PROXIES) == "10.0.0.1"
    assert find_client("10.0.0.1", f"203.0.113.9, {entry}", PROXIES) == "10.0.0.1"
    assert find_client("10.0.0.1", f"203.0.113.9, {entry}, 10.0.0.2", PROXIES) == "10.0.0.2"
    assert find_client("10.0.0.1", f"{entry}, 198.51.100.7", PROXIES) == "198.51.100.7"


@pytest.mark.parametrize("text", ["10.0.0.1/24", "proxy.example.org", "10.0.0.0/33", "10.0.0.1 10.0.0.2", "*"])
def test_what_is_no_address_and_no_network_is_an_error(text):
    with pytest.raises(ValueError, match=text.split()[0].replace("*", r"\*")):
        Networks(f"192.0.2.1, {text}")


def test_no_networks_are_false():
    assert not Networks("")
    assert not Networks(" , ")
    assert Networks("::/0")
