# SPDX-License-Identifier: Apache-2.0
"""The URL at which clients reach the service: what is configured, what a trusted proxy says, what the request says."""

import pytest
from webob import Request, Response

from glance.core.networks import Networks
from glance.wsgi.endpoint import Endpoint, get_base_url, parse_public_endpoint

PROXY, OTHER = "10.0.0.1", "198.51.100.7"
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cloud.example.org", "X-Forwarded-Prefix": "/image"}


def base_url(headers: dict[str, str] | None = None, *, peer: str = PROXY, public: str = "", mounted: str = "") -> str:
    """Return the base URL that an application finds which a version has moved below /v1."""

    def app(environ, start_response):
        environ["SCRIPT_NAME"] += "/v1"
        return Response(get_base_url(Request(environ)))(environ, start_response)

    request = Request.blank("/images", base_url=f"http://inside:9292{mounted}", headers=headers or {})
    request.environ["REMOTE_ADDR"] = peer
    return request.get_response(Endpoint(app, parse_public_endpoint(public), Networks("10.0.0.0/24"))).text


def test_without_a_proxy_it_is_that_of_the_request():
    assert base_url() == "http://inside:9292"
    assert base_url(mounted="/image") == "http://inside:9292/image"


def test_a_trusted_proxy_is_believed():
    assert base_url(FORWARDED) == "https://cloud.example.org/image"
    assert base_url(FORWARDED, mounted="/inner") == "https://cloud.example.org/image/inner"
    for name, expected in (("Proto", "https://inside:9292"), ("Host", "http://cloud.example.org"), ("Prefix", "http://inside:9292/image")):  # fmt: skip
        name = f"X-Forwarded-{name}"
        assert base_url({name: FORWARDED[name]}) == expected


@pytest.mark.parametrize("peer", [OTHER, "", "unix", "10.0.1.1"])
def test_nobody_else_is(peer):
    assert base_url(FORWARDED, peer=peer) == "http://inside:9292"


@pytest.mark.parametrize("peer", [PROXY, OTHER])
def test_what_is_configured_wins(peer):
    assert base_url(FORWARDED, peer=peer, public="https://images.example.org/") == "https://images.example.org"
    assert base_url(peer=peer, public="http://h:81/a/b%20c/", mounted="/x") == "http://h:81/a/b%20c"


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("Proto", "http, HTTPS", "https://inside:9292"), ("Proto", "https,http", "http://inside:9292"), ("Host", "evil.example, real.example:8443", "http://real.example:8443"),
    ("Host", "[2001:db8::1]:80", "http://[2001:db8::1]"), ("Prefix", "/evil, /real/", "http://inside:9292/real"), ("Prefix", "/b%C3%BC/c~d", "http://inside:9292/b%C3%BC/c~d"),
])  # fmt: skip
def test_of_several_values_the_nearest_proxys_counts(name, value, expected):
    assert base_url({f"X-Forwarded-{name}": value}) == expected


@pytest.mark.parametrize(("name", "value"), [
    ("Proto", ""), ("Proto", "ftp"), ("Proto", "javascript"), ("Proto", "https,"), ("Host", ""), ("Host", "a b"), ("Host", "a/b"), ("Host", "user@host"), ("Host", "host:port"),
    ("Host", "a?b"), ("Host", "-"), ("Host", "é"), ("Host", "h" * 300), ("Host", "[::1"), ("Prefix", ""), ("Prefix", "/"), ("Prefix", "image"), ("Prefix", "//evil.example"),
    ("Prefix", "/a//b"), ("Prefix", "/../x"), ("Prefix", "/a/.."), ("Prefix", "/a?b"), ("Prefix", "/a#b"), ("Prefix", "/a b"), ("Prefix", "/%zz"), ("Prefix", "http://evil/"),
])  # fmt: skip
def test_values_that_cannot_be_right_are_ignored(name, value):
    assert base_url({f"X-Forwarded-{name}": value}) == "http://inside:9292"


@pytest.mark.parametrize("text", [
    "cloud.example.org", "/image", "ftp://cloud", "https://", "https://user@cloud", "https://cloud/?x", "https://cloud/?", "https://cloud/#x", "https://cloud:99999", "https://cloud:x",
    "https://a b/", "https://cloud//image", "https://cloud/../image", "https://[::1",
])  # fmt: skip
def test_what_is_no_url_of_a_service_is_an_error(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_public_endpoint(text)
