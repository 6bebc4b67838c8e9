# SPDX-License-Identifier: Apache-2.0
"""URLs that users name: what is closed by default, in every spelling, and what an operator may open."""

import ipaddress
import socket
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.core.errors import Invalid, StoreDown
from glance.store import guard
from glance.store.guard import PORTS, Guard, resolve_redirect
from tests.fuzz.targets import names_resolved

PUBLIC, OTHER = "93.184.215.14", "1.1.1.1"


@pytest.fixture
def resolve(monkeypatch):
    """Names and what they resolve to; returns the list of names that were asked for."""
    names: dict[str, list[str]] = {
        "public.example": [PUBLIC],
        "two.example": [PUBLIC, "10.0.0.1"],
        "inside.example": ["127.0.0.1"],
    }
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        if not any(letter.isalpha() for letter in host) or ":" in host:
            names.setdefault(host, [host])
        if host not in names:
            raise socket.gaierror("unknown")
        return [(0, 0, 0, "", (address, port)) for address in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def refused(url: str, allowed: Iterable[str] = ()) -> str:
    with pytest.raises(Invalid) as error:
        Guard(allowed).judge(url)
    return str(error.value)


def test_a_public_url(resolve):
    target = Guard().judge("https://Public.example:8443/images/a.img?x=1&y=%20")
    assert (target.scheme, target.host, target.port, target.path) == (
        "https",
        "public.example",
        8443,
        "/images/a.img?x=1&y=%20",
    )
    assert target.addresses == (PUBLIC,)


@pytest.mark.parametrize(
    ("url", "port", "path"), [("http://public.example", 80, "/"), ("https://public.example/#f", 443, "/")]
)
def test_defaults(resolve, url, port, path):
    target = Guard().judge(url)
    assert (target.port, target.path) == (port, path)


INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.1", "198.18.0.1", "192.0.2.1",
    "168.63.129.16", "192.0.0.9", "192.0.0.192", "192.88.99.1", "198.51.100.1", "203.0.113.1", "0.1.2.3", "100.100.100.200",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[fe80::1]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]",
    "[64:ff9b::7f00:1]", "[64:ff9b::a00:1]", "[2002:7f00:1::]", "[2002:a00:1::1]", "[2001:db8::1]", "[100::1]", "[fec0::1]",
    "[3fff::1]", "[3fff:fff::1]", "[5f00::1]", "[64:ff9b:1::1]", "[2001:1::1]", "[2001:4:112::1]", "[2001:20::1]", "[2001:30::1]", "[2001:1ff::1]",
    "[64:ff9b::a83f:8110]", "[2002:a83f:8110::]", "[::ffff:168.63.129.16]", "[::1:2:3]", "[4000::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", INSIDE)
def test_what_is_not_public_is_closed(resolve, host):
    assert refused(f"http://{host}/latest/meta-data/") == refused("http://unknown.example/")


@pytest.mark.parametrize("host", INSIDE)
def test_closed_addresses_are_closed_even_if_they_cannot_be_bound(resolve, monkeypatch, host):
    """That this machine can bind an address, as it can any multicast one, is not what closes it."""
    monkeypatch.setattr(guard, "is_local", lambda address: False)
    refused(f"http://{host}/")


@pytest.mark.parametrize("host", INSIDE)
def test_the_list_of_closed_networks_does_not_depend_on_python(resolve, monkeypatch, host):
    """What the ipaddress of another version says is not what closes an address."""
    monkeypatch.setattr(guard, "is_local", lambda address: False)
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
        monkeypatch.setattr(kind, "is_reserved", False)
        monkeypatch.setattr(kind, "is_multicast", False)
    refused(f"http://{host}/")


@pytest.mark.parametrize("host", ["168.63.129.17", "192.0.1.1", "192.88.98.1", "[2001:200::1]", "[3ffe::1]"])
def test_neighbours_of_closed_networks_are_open(resolve, host):
    assert Guard().judge(f"http://{host}/").addresses == (host.strip("[]"),)


@pytest.mark.parametrize("host", ["64:ff9b::5db8:d70e", "2002:5db8:d70e::1", "2001:0:4136:e378:8000:63bf:a247:28f1"])
def test_an_address_that_wraps_a_public_one_is_as_open_as_that(resolve, host):
    assert Guard().judge(f"http://[{host}]/").addresses == (host,)


@pytest.mark.parametrize(("url", "told"), [
    ("http://user:password@public.example/", "user name"), ("http://public.example\\@x/", "backslashes"), ("http:public.example", "http:// or"),
])  # fmt: skip
def test_what_is_wrong_with_a_url_is_said(resolve, url, told):
    assert told in refused(url)


def test_a_name_without_addresses_is_refused(resolve, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    refused("http://public.example/")


CODED = [
    "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "0x7f.1", "00000177.0.0.1", "127.0.0.0x1",
    "93.184.215.14.", "１２７.0.0.1", "127。0。0。1", "[::ffff:127.0.0.1%25lo]", "[fe80::1%25eth0]", "ⓛocalhost", "0", "1.2.3",
]  # fmt: skip


@pytest.mark.parametrize("host", CODED)
def test_coded_addresses_are_refused_unresolved(resolve, host):
    refused(f"http://{host}/")
    assert resolve == []


@pytest.mark.parametrize("url", [
    "http://good@127.0.0.1/", "http://127.0.0.1#@public.example/", "http://127.0.0.1\\@public.example/", "http://public.example\\.evil/",
    "http://user:password@public.example/", "http:///x", "http:public.example", "//public.example/x", "public.example", "",
    "ftp://public.example/", "file:///etc/passwd", "http://public.example:0/", "http://public.example:99999/", "http://public.example:x/",
    "http://public.example /", " http://public.example/", "http://public.example/\r\nX: y", "http://public.example/\0", "http://[::1/", "http://.[2606:4700::1111]/", "http://[2606:4700::1111]x/",
    "HTTP://127.0.0.1/", "http://a..b/", "http://public.example../", "http://./", "http://-/", "http://public.example/\x7f", "http://public.example/\ud800",
    "http://public.example/" + "ü" * 700, "http://pub lic.example/", "http://públic.example/", "http://" + "a" * 300 + "/", "http://public.example/" + "x" * 5000, "gopher://x/",
])  # fmt: skip
def test_what_is_no_plain_url_is_refused(resolve, url):
    refused(url)


def test_a_name_may_end_in_a_dot(resolve):
    target = Guard().judge("http://PUBLIC.example.:8080/")
    assert (target.host, target.addresses, resolve) == ("public.example", (PUBLIC,), ["public.example"])
    refused("http://inside.example./")


@pytest.mark.parametrize(("url", "path"), [
    ("http://public.example/a b/ü.img?x=é ü", "/a%20b/%C3%BC.img?x=%C3%A9%20%C3%BC"), ("HTTP://public.example/100%25%20?%", "/100%25%20?%"),
    ("hTTp://public.example/a#ü", "/a"), ("http://public.example?ü", "/?%C3%BC"),
])  # fmt: skip
def test_spaces_and_other_scripts_are_percent_encoded(resolve, url, path):
    target = Guard().judge(url)
    assert (target.scheme, target.path) == ("http", path)


@pytest.mark.parametrize(("location", "expected"), [
    (b"/c d", "http://public.example/c%20d"), ("ü?é".encode(), "http://public.example/a%20b/%C3%BC?%C3%A9"),
    (b"\xfc", "http://public.example/a%20b/%FC"), (b"HTTPS://Other.example./x", "HTTPS://Other.example./x"),
    (b"//other.example", "http://other.example"), (b"?%20 ", "http://public.example/a%20b/?%20%20"),
])  # fmt: skip
def test_a_redirect_is_percent_encoded(location, expected):
    assert resolve_redirect("http://public.example/a b/", location) == expected


@pytest.mark.parametrize("location", [b"/a\tb", b"\x01http://public.example/", b"/\x7f", b"http://[::1/"])
def test_a_redirect_that_is_no_url_is_refused(location):
    with pytest.raises(Invalid):
        resolve_redirect("http://public.example/", location)


def test_all_addresses_are_kept_in_the_resolvers_order(resolve, monkeypatch):
    found = ["2606:4700::1111", PUBLIC, OTHER, PUBLIC]
    entries = [(0, 0, 0, "", (address, 80)) for address in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    assert Guard().judge("http://many.example/").addresses == ("2606:4700::1111", PUBLIC, OTHER)
    entries.append((0, 0, 0, "", ("10.0.0.1", 80)))
    refused("http://many.example/")


def test_a_resolver_that_does_not_answer_is_not_the_users_fault(monkeypatch):
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(StoreDown):
        Guard().judge("http://public.example/")


def test_few_names_of_users_are_resolved_at_a_time(monkeypatch):
    monkeypatch.setattr(guard, "LOOKUPS", 1)
    monkeypatch.setattr(guard, "LOOKUP_PATIENCE", 0)
    judging, refusals = Guard(), []

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        with pytest.raises(StoreDown) as caught:
            judging.judge("http://other.example/")
        refusals.append(caught.value)
        return [(0, 0, 0, "", (PUBLIC, 80))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert judging.judge("http://public.example/").addresses == (PUBLIC,)
    assert len(refusals) == 1


def test_one_closed_address_closes_the_name(resolve):
    refused("http://two.example/")
    refused("http://inside.example/")


def test_a_name_is_resolved_once_and_the_judged_address_is_used(resolve):
    Guard().judge("http://public.example/")
    assert resolve == ["public.example"]


def test_our_own_public_addresses_are_closed(resolve, monkeypatch):
    monkeypatch.setattr(guard, "is_local", lambda address: str(address) == PUBLIC)
    refused("http://public.example/")
    assert Guard().judge(f"http://{OTHER}/").addresses == (OTHER,)


@pytest.mark.parametrize(("allowed", "url"), [
    (["127.0.0.0/8"], "http://127.0.0.1/"), (["127.0.0.1"], "http://127.0.0.1/"), (["inside.example"], "http://inside.example/"),
    (["INSIDE.example"], "http://Inside.Example/"), (["10.0.0.0/8"], "http://two.example/"), (["::1"], "http://[::1]/"),
    (["127.0.0.0/8"], "http://[::ffff:127.0.0.1]/"), (["inside.example."], "http://inside.example/"),
    (["inside.example"], "http://INSIDE.example./"),
    (["127.0.0.1:8080"], "http://127.0.0.1:8080/"), (["127.0.0.0/8:80"], "http://inside.example/"), (["[::1]:443"], "https://[::1]/"),
    (["[::1]"], "http://[::1]:1/"), (["[fd00::/8]:80"], "http://[fd00::1]/"), (["Inside.example.:65535"], "http://inside.example:65535/"),
    (["inside.example:1", "inside.example:2"], "http://inside.example:2/"), (["127.0.0.1:80"], "http://[::ffff:127.0.0.1]/"),
])  # fmt: skip
def test_an_operator_may_open(resolve, allowed, url):
    Guard(allowed).judge(url)


@pytest.mark.parametrize(("allowed", "url"), [
    (["inside.example"], "http://127.0.0.1/"), (["10.0.0.0/8"], "http://127.0.0.1/"), (["example"], "http://inside.example/"),
    (["127.0.0.2"], "http://127.0.0.1/"), (["two.example"], "http://inside.example./"),
    (["127.0.0.1:8080"], "http://127.0.0.1/"), (["inside.example:80"], "https://inside.example/"), (["[::1]:443"], "http://[::1]/"),
    (["127.0.0.0/8:80"], "http://inside.example:81/"), (["127.0.0.1:80"], "http://[::ffff:127.0.0.1]:81/"),
])  # fmt: skip
def test_what_is_opened_opens_nothing_else(resolve, allowed, url):
    refused(url, allowed)


@pytest.mark.parametrize("entry", [
    "", "a b", "10.0.0.1/8", "http://x", "*", "*.example", "10.0.0", "x/8",
    "x:", "x:0", "x:65536", "x:y", "[x]:80", "[10.0.0.1]:80", "::1:x", "[::1", "10.0.0.1:80:80",
])  # fmt: skip
def test_an_entry_that_is_none(entry):
    with pytest.raises(ValueError, match=r"is not a host name, address or network|must name a port"):
        Guard([entry])


@given(
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}(\.[a-z][a-z0-9-]{0,20}){1,3}", fullmatch=True),
    st.none() | st.integers(1, 65_535),
    st.from_regex(r"(/[!$-;=?-\[\]-~]{0,20}){1,3}", fullmatch=True),
)
def test_a_target_is_what_its_url_says(scheme, host, port, path):
    with names_resolved():
        target = Guard().judge(f"{scheme}://{host}{'' if port is None else f':{port}'}{path}")
    assert (target.scheme, target.host, target.port) == (scheme, host, port or PORTS[scheme])
    assert target.path == path.removesuffix("?")


@given(st.text() | st.text().map("http://{}".format) | st.ip_addresses().map("http://{}/".format))
def test_any_text_is_a_public_target_or_refused(text):
    with names_resolved():
        try:
            target = Guard().judge(text)
        except Invalid:
            return
    for address in map(ipaddress.ip_address, target.addresses):
        assert guard._inner(address) is not None or (address.is_global and not address.is_multicast)
