# SPDX-License-Identifier: Apache-2.0
"""Host names under which browsers may use a service."""

import socket

import pytest

from glance.core import hosts
from glance.core.hosts import AllowedHosts


def allowed(host: str, text: str = "") -> bool:
    return host in AllowedHosts(text, find_own_names=lambda: frozenset({"build7", "build7.example.net"}))


@pytest.mark.parametrize("host", [
    "localhost", "LocalHost:9292", "localhost.", "app.localhost", "127.0.0.1:9292", "192.0.2.7", "[::1]:9292", "[2001:db8::1]", "::1", "build7", "Build7.example.net:80",
])  # fmt: skip
def test_known_without_an_option(host):
    assert allowed(host)


@pytest.mark.parametrize("host", [
    "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:9292", "notlocalhost", "build7.evil.example", "", "a b", "[::1", "127.0.0.1:9292:1", "evil.example@localhost",
])  # fmt: skip
def test_unknown_without_an_option(host):
    assert not allowed(host)


def test_listed_names():
    text = "Images.example.org, *.lab.example.org"
    for host in ("images.example.org", "images.example.org:443", "a.lab.example.org", "a.b.lab.example.org"):
        assert allowed(host, text)
    for host in (
        "example.org",
        "lab.example.org",
        "xlab.example.org",
        "a.images.example.org",
        "*.lab.example.org.evil.example",
    ):
        assert not allowed(host, text)
    assert allowed("whatever.example", "*")


@pytest.mark.parametrize("text", ["http://a", "a:80", "a b", "*a", "a.*", "**", "ü", "a/b"])
def test_an_entry_that_is_not_a_host_name(text):
    with pytest.raises(ValueError, match="not a host name"):
        AllowedHosts(text)


def test_names_of_this_machine():
    name = socket.gethostname().lower()
    assert {name, name.partition(".")[0]} <= hosts.find_own_names()
    assert name in AllowedHosts()
