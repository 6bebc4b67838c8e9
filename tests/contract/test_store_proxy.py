# SPDX-License-Identifier: Apache-2.0
"""Stores reach their servers through the proxy of the configuration, and never through one of the environment."""

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from glance.core.errors import Invalid, StoreDown
from glance.core.ports import Store
from glance.store.guard import Guard
from glance.store.http import HttpStore
from glance.store.proxy import Proxy, parse_proxy
from glance.store.s3 import S3Store
from glance.store.swift import Account, Login, SwiftStore
from tests.contract.test_store import put, read
from tests.servers.forward_proxy import ForwardProxy, forward_proxy
from tests.servers.moto import Moto
from tests.servers.processes import free_port
from tests.servers.scripted import Reply, scripted
from tests.servers.swift import KeystoneSwift, Swift
from tests.servers.tls import Authority, tls_before
from tests.servers.web import DATA, Web, web_server

MIB = 1024 * 1024
PASSWORD = "secret-proxy-7d02"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    made = Moto(tmp_path_factory.mktemp("moto"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with forward_proxy(f"user:{PASSWORD}") as server:
        yield server


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    """A proxy that the environment names for everything."""
    with forward_proxy() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, server.url)
            monkeypatch.setenv(name.upper(), server.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield server


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


def s3_at(url: str, proxy: Proxy | None, cacert: Path | None = None) -> S3Store:
    store = S3Store(
        url,
        Moto.s3_access_key,
        Moto.s3_secret_key,
        f"proxy-{uuid.uuid4()}",
        create_bucket_on_put=True,
        bucket_url_format="path",
        cacert=str(cacert) if cacert else None,
        proxy=proxy,
        read_timeout=10,
    )
    store._part_size = MIB
    return store


def swift_with(login: Login) -> SwiftStore:
    return SwiftStore(
        Account(login, tries=1),
        container=f"proxy-{uuid.uuid4()}",
        create_container_on_put=True,
        large_object_size=MIB,
    )


def login_to(server: Swift | KeystoneSwift, proxy: Proxy | None) -> Login:
    if isinstance(server, Swift):
        return Login(address=server.auth_url, user=server.user, key=server.key, timeout=20, proxy=proxy)
    return Login(
        address=server.keystone.url,
        user=f"{server.project.name}:{server.user.name}",
        key=server.user.password,
        version="3",
        region=server.region,
        timeout=20,
        proxy=proxy,
    )


def holds_what_it_is_given(store: Store) -> None:
    data = DATA + DATA + DATA
    location = put(store, data)
    assert read(store, location) == data
    assert read(store, location, start=7, length=9) == data[7:16]
    store.delete(location)


def test_s3(moto: Moto, proxy: ForwardProxy, environment: ForwardProxy) -> None:
    holds_what_it_is_given(s3_at(f"HTTP://127.0.0.1:{moto.port}", parse_proxy(proxy.url)))
    assert {port for _, _, port in proxy.targets} == {moto.port}
    assert environment.targets == []


def test_s3_over_tls(moto: Moto, proxy: ForwardProxy, environment: ForwardProxy, authority: Authority) -> None:
    with tls_before(moto.port, authority.context()) as port:
        holds_what_it_is_given(s3_at(f"https://127.0.0.1:{port}", parse_proxy(proxy.url), authority.file))
    assert set(proxy.targets) == {("CONNECT", "127.0.0.1", port)}
    assert environment.targets == []


def test_without_a_proxy_none_of_the_environment_is_used(
    moto: Moto, swift: Swift, keystone_swift: KeystoneSwift, web: Web, environment: ForwardProxy
) -> None:
    holds_what_it_is_given(s3_at(moto.s3_url, None))
    holds_what_it_is_given(swift_with(login_to(swift, None)))
    holds_what_it_is_given(swift_with(login_to(keystone_swift, None)))
    assert HttpStore(Guard(["127.0.0.1"])).examine(web.url("whole")) == len(DATA)
    assert environment.targets == []


def test_swift(swift: Swift, proxy: ForwardProxy, environment: ForwardProxy) -> None:
    holds_what_it_is_given(swift_with(login_to(swift, parse_proxy(proxy.url))))
    assert {port for _, _, port in proxy.targets} == {swift.port}
    assert environment.targets == []


def test_swift_with_keystone(keystone_swift: KeystoneSwift, proxy: ForwardProxy, environment: ForwardProxy) -> None:
    holds_what_it_is_given(swift_with(login_to(keystone_swift, parse_proxy(proxy.url))))
    assert len({port for _, _, port in proxy.targets}) == 2
    assert environment.targets == []


def test_third_parties(web: Web, proxy: ForwardProxy, environment: ForwardProxy) -> None:
    """The names are resolved by the proxy alone: here they would lead nowhere."""
    proxy.names["images.example"] = ("127.0.0.1", web.server_port)
    proxy.names["other.example"] = ("127.0.0.1", web.server_port)
    store = HttpStore(Guard(resolve=False), proxy=parse_proxy(proxy.url), timeout=5)
    assert store.examine("http://images.example/get_only") == len(DATA)
    assert (
        read(store, "http://images.example:8080/to?url=HTTP://other.example./ranged", start=5, length=6) == DATA[5:11]
    )
    assert proxy.targets[-2:] == [("GET", "images.example", 8080), ("GET", "other.example", 80)]
    assert all("Proxy-Authorization" in head for head in proxy.heads)
    assert not any("Proxy-Authorization" in headers for _, _, headers in web.requests)
    assert web.requests[-1][2]["Host"] == "other.example"
    assert environment.targets == []


def test_third_parties_over_tls(web: Web, proxy: ForwardProxy, authority: Authority) -> None:
    store = HttpStore(Guard(["127.0.0.1"], resolve=False), proxy=parse_proxy(proxy.url), timeout=5)
    store._tls.load_verify_locations(authority.file)
    with tls_before(web.server_port, authority.context()) as port:
        assert store.examine(f"https://127.0.0.1:{port}/whole") == len(DATA)
        assert read(store, f"https://127.0.0.1:{port}/ranged", start=5) == DATA[5:]
        proxy.names["images.example"] = ("127.0.0.1", port)
        with pytest.raises(StoreDown):  # the certificate is for another name
            store.open("https://images.example/whole")
    assert {method for method, _, _ in proxy.targets} == {"CONNECT"}
    assert all("Proxy-Authorization" in head for head in proxy.heads)
    assert not any("Proxy-Authorization" in headers for _, _, headers in web.requests)


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:{}/", "http://[::1]:{}/", "https://169.254.169.254:{}/", "http://localhost:{}/", "http://metadata:{}/",
    "http://metadata.google.internal:{}/", "http://Printer.Local.:{}/", "http://a.localhost:{}/", "http://2130706433:{}/",
])  # fmt: skip
def test_names_and_addresses_of_the_inside_are_not_asked_of_the_proxy(
    web: Web, proxy: ForwardProxy, url: str
) -> None:
    store = HttpStore(Guard(resolve=False), proxy=parse_proxy(proxy.url))
    proxy.names["images.example"] = ("127.0.0.1", web.server_port)
    for location in (url, f"http://images.example/to?url={url}"):
        with pytest.raises(Invalid):
            store.open(location.format(web.server_port))
    assert {host for _, host, _ in proxy.targets} == {"images.example"}


def test_names_that_an_operator_opens(web: Web, proxy: ForwardProxy) -> None:
    proxy.names["mirror"] = ("127.0.0.1", web.server_port)
    store = HttpStore(Guard(["mirror", "127.0.0.1"], resolve=False), proxy=parse_proxy(proxy.url))
    assert store.examine("http://Mirror./whole") == len(DATA)
    assert store.examine(web.url("whole")) == len(DATA)


@pytest.mark.parametrize("state", ["absent", "refuses", "unknown"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_lead_there(
    moto: Moto, swift: Swift, proxy: ForwardProxy, caplog: pytest.LogCaptureFixture, state: str, scheme: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="glance")
    proxy.refuses = state == "refuses"
    port = free_port() if state == "absent" else proxy.port
    user = f"user:{PASSWORD}" if state != "unknown" else f"another:{PASSWORD}"
    given = parse_proxy(f"http://{user}@127.0.0.1:{port}")
    login = Login(address=f"{scheme}://127.0.0.1:{swift.port}/auth/v1.0", user=swift.user, key=swift.key, proxy=given)
    for store in (s3_at(f"{scheme}://127.0.0.1:{moto.port}", given), swift_with(login)):
        with pytest.raises(StoreDown) as caught:
            store.connect()
        assert f"through http://127.0.0.1:{port} (store_http_proxy)" in caught.value.advice
        assert PASSWORD not in caplog.text + str(caught.value) + caught.value.advice
    store = HttpStore(Guard(resolve=False), proxy=given)
    with pytest.raises(StoreDown) as caught:
        store.open(f"{scheme}://images.example/")
    assert PASSWORD not in caplog.text + str(caught.value)


def test_what_a_proxy_cannot_reach_is_not_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    texts = set()
    with scripted() as server:
        store = HttpStore(Guard(resolve=False), proxy=parse_proxy(server.url), timeout=5)
        for status in (502, 503, 504):
            server.answer = lambda asked, status=status: Reply(status, b"connection refused")
            with pytest.raises(StoreDown) as caught:
                store.open("http://images.example/")
            texts.add(str(caught.value))
            assert (
                f"http://images.example does not answer through {server.url} (http_store_proxy): status {status}"
                in caplog.text
            )
    store = HttpStore(Guard(resolve=False), proxy=parse_proxy(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StoreDown) as caught:
        store.open("http://images.example/")
    assert texts == {str(caught.value)}
