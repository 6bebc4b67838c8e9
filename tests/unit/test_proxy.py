# SPDX-License-Identifier: Apache-2.0
"""Proxies of the configuration and of the environment."""

import base64

import pytest

from glance.config import ApiConfig, ConfigError
from glance.server import stores_of
from glance.store.proxy import find_environment_proxy, parse_proxy

URL = "https://s3.example.org"


@pytest.mark.parametrize(("text", "host", "port", "address"), [
    ("http://proxy.example.org:3128", "proxy.example.org", 3128, "http://proxy.example.org:3128"),
    ("HTTP://Proxy.example.org/", "proxy.example.org", 80, "http://proxy.example.org:80"),
    ("http://user:pa%40ss@[::1]:8080", "::1", 8080, "http://[::1]:8080"),
])  # fmt: skip
def test_a_proxy(text: str, host: str, port: int, address: str) -> None:
    proxy = parse_proxy(text)
    assert (proxy.host, proxy.port, proxy.address) == (host, port, address)
    assert "pa%40ss" not in repr(proxy)


def test_the_credentials_are_decoded() -> None:
    sent = parse_proxy("http://user:pa%40ss@proxy.example.org").headers["Proxy-Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"user:pa@ss"
    assert parse_proxy("http://proxy.example.org").headers == {}


@pytest.mark.parametrize("option", ["store_http_proxy", "http_store_proxy"])
@pytest.mark.parametrize("value", [
    "proxy.example.org:3128", "socks5://user:secret@proxy.example.org", "http://", "http://user:secret@proxy:port", "http://proxy/path?x",
    "//proxy.example.org:3128",
])  # fmt: skip
def test_an_option_that_names_no_proxy(option: str, value: str) -> None:
    store = {
        "s3_store_host": "s3",
        "s3_store_access_key": "a",
        "s3_store_secret_key": "b",
        "s3_store_bucket": "images",
    }
    with pytest.raises(ConfigError, match=rf"{option} .*http://proxy.example.org:3128") as caught:
        stores_of(ApiConfig(**store, **{option: value}))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("environ", "url", "found"), [
    ({}, URL, None),
    ({"https_proxy": "http://proxy:3128"}, URL, ("https_proxy", "http://proxy:3128")),
    ({"HTTPS_PROXY": "http://user:secret@proxy:3128/"}, URL, ("HTTPS_PROXY", "http://proxy:3128")),
    ({"ALL_PROXY": "proxy:3128"}, URL, ("ALL_PROXY", "proxy:3128")),
    ({"http_proxy": "http://proxy:3128"}, URL, None),
    ({"http_proxy": "http://proxy:3128"}, "http://s3.example.org:8080/x", ("http_proxy", "http://proxy:3128")),
    ({"https_proxy": "http://proxy:3128", "no_proxy": "example.org"}, URL, None),
])  # fmt: skip
def test_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], url: str, found: tuple[str, str] | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert find_environment_proxy(url) == found
