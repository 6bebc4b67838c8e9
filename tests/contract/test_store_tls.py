# SPDX-License-Identifier: Apache-2.0
"""S3 and Swift over TLS: with an authority of one's own, and what must be refused."""

import dataclasses
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from glance.core.errors import StoreDown
from glance.core.ports import Store
from glance.store.s3 import S3Store
from glance.store.swift import Account, Login, SwiftStore
from tests.contract.test_store import put, read
from tests.servers.moto import Moto
from tests.servers.swift import Swift
from tests.servers.tls import Authority, tls_before

MIB = 1024 * 1024
DATA = os.urandom(2 * MIB + 1)
SECRET = "secret-mark-9c1f"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that signed nothing here."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    made = Moto(tmp_path_factory.mktemp("moto"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def secure(swift: Swift, authority: Authority) -> Iterator[Swift]:
    """The Swift, with TLS at its tls_port."""
    with tls_before(swift.port, authority.context(), listen=swift.tls_port):
        yield swift


def s3_at(port: int, server: Any, cacert: Path | None, **changed: Any) -> S3Store:
    keys = {"access_key": server.s3_access_key, "secret_key": server.s3_secret_key, "bucket": f"tls-{uuid.uuid4()}"}
    store = S3Store(
        f"https://127.0.0.1:{port}",
        **keys | changed,
        create_bucket_on_put=True,
        bucket_url_format="path",
        cacert=str(cacert) if cacert else None,
    )
    store._part_size = MIB
    return store


def swift_at(port: int, swift: Swift, cacert: Path | None, **changed: Any) -> SwiftStore:
    login = Login(
        address=f"https://127.0.0.1:{port}/auth/v1.0",
        user=swift.tls_user,
        key=swift.key,
        cacert=str(cacert) if cacert else None,
        timeout=10,
    )
    account = Account(dataclasses.replace(login, **changed), backoff=0.01)
    return SwiftStore(
        account, container=f"tls-{uuid.uuid4()}", create_container_on_put=True, large_object_size=MIB, small=0
    )


def holds_what_it_is_given(store: Store) -> None:
    location = put(store, DATA)
    assert read(store, location) == DATA
    assert read(store, location, start=MIB - 1, length=2) == DATA[MIB - 1 : MIB + 1]
    store.delete(location)
    assert store.traces("1") == []


def test_s3_with_an_authority_of_ones_own(moto: Moto, authority: Authority) -> None:
    with tls_before(moto.port, authority.context()) as port:
        holds_what_it_is_given(s3_at(port, moto, authority.file))


def test_s3_of_swift_with_an_authority_of_ones_own(secure: Swift, authority: Authority) -> None:
    holds_what_it_is_given(s3_at(secure.tls_port, secure, authority.file))


def test_swift_with_an_authority_of_ones_own(secure: Swift, authority: Authority) -> None:
    store = swift_at(secure.tls_port, secure, authority.file)
    holds_what_it_is_given(store)
    assert store.connect() == f"{secure.tls_user} at https://127.0.0.1:{secure.tls_port}"


Make = Callable[..., Store]


def refused(store: Store, caplog: pytest.LogCaptureFixture) -> StoreDown:
    """What a put raises, which tells a user neither address nor key, and the log no key."""
    caplog.set_level(logging.DEBUG, logger="glance")
    with pytest.raises(StoreDown) as caught:
        put(store, DATA)
    assert not any(word in str(caught.value) for word in ("127.0.0.1", "localhost", "https"))
    assert SECRET not in caplog.text + caught.value.advice
    return caught.value


def kinds(swift: Swift) -> list[tuple[Make, str]]:
    """Each store, and the name of its option for certificates."""
    return [
        (lambda port, cacert: s3_at(port, swift, cacert, secret_key=SECRET), "s3_store_cacert"),
        (lambda port, cacert: swift_at(port, swift, cacert, key=SECRET), "swift_store_cacert"),
    ]


@pytest.mark.parametrize("kind", [0, 1], ids=["s3", "swift"])
@pytest.mark.parametrize("trusted", ["nobody", "a stranger"])
def test_an_authority_that_is_not_trusted(swift, authority, stranger, caplog, kind, trusted):
    make, option = kinds(swift)[kind]
    with tls_before(swift.port, authority.context()) as port:
        error = refused(make(port, stranger.file if trusted == "a stranger" else None), caplog)
    assert "certificate that is not trusted" in str(error)
    assert option in error.advice
    assert f"https://127.0.0.1:{port}" in error.advice
    assert "unable to get local issuer certificate" in caplog.text


@pytest.mark.parametrize("kind", [0, 1], ids=["s3", "swift"])
def test_a_certificate_for_another_name(swift, authority, caplog, kind):
    make, _ = kinds(swift)[kind]
    with tls_before(swift.port, authority.context("swift.example.org")) as port:
        error = refused(make(port, authority.file), caplog)
    assert "certificate for another name" in str(error)
    assert f"https://127.0.0.1:{port}" in error.advice


@pytest.mark.parametrize("kind", [0, 1], ids=["s3", "swift"])
def test_a_certificate_that_has_expired(swift, authority, caplog, kind):
    make, _ = kinds(swift)[kind]
    with tls_before(swift.port, authority.context(not_after=datetime(2020, 1, 1))) as port:
        error = refused(make(port, authority.file), caplog)
    assert "not valid at this time" in str(error)
    assert "has expired" in caplog.text


@pytest.mark.parametrize("kind", [0, 1], ids=["s3", "swift"])
def test_a_server_without_tls(swift, authority, caplog, kind):
    make, _ = kinds(swift)[kind]
    error = refused(make(swift.port, authority.file), caplog)
    assert "speaks no TLS" in str(error)
    assert "http://" in error.advice


@pytest.mark.parametrize("kind", [0, 1], ids=["s3", "swift"])
@pytest.mark.parametrize(
    "content", [None, "no certificate\n", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_holds_no_certificates(swift, authority, caplog, tmp_path, kind, content):
    make, option = kinds(swift)[kind]
    file = tmp_path / "certificates.pem"
    if content is not None:
        file.write_text(content)
    with tls_before(swift.port, authority.context()) as port:
        error = refused(make(port, file), caplog)
    assert "file of certificates" in str(error)
    assert option in error.advice


def test_insecure_takes_any_certificate_and_says_so_once(swift: Swift, stranger: Authority, caplog) -> None:
    with tls_before(swift.port, stranger.context("elsewhere.example.org"), listen=swift.tls_port):
        store = swift_at(swift.tls_port, swift, None, insecure=True)
        holds_what_it_is_given(store)
        assert "NOT checked" in store.connect()
    told = [record for record in caplog.records if "NOT checked" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]
