# SPDX-License-Identifier: Apache-2.0
"""A Swift whose users are Keystone's: what every Store promises, in short; then logins, tokens, domains, regions."""

import dataclasses
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glance.core.errors import StoreDown
from glance.store.swift import Account, Login, SwiftStore
from tests.contract.test_store import (  # noqa: F401 - of the suite of all stores, what takes many kinds of requests
    DATA,
    put,
    read,
    test_a_source_that_raises_leaves_nothing_and_keeps_its_error,
    test_deleting_what_is_gone_is_no_error,
    test_nothing_is_overwritten,
    test_nothing_is_visible_before_the_end,
    test_parts,
    test_what_is_deleted_is_gone,
    test_what_is_put_is_read,
)
from tests.contract.test_store_swift import SEGMENTS, STREAMED, held, objects  # noqa: F401 - a fixture is among them
from tests.fakes.store import BytesSource
from tests.servers.interceptor import LOST, RESET, Interceptor, intercepting
from tests.servers.keystone import Keystone, Project, User
from tests.servers.keystone_v2 import keystone_v2
from tests.servers.processes import free_port
from tests.servers.proxy import Answer, Deed, Proxy, Request, Stall
from tests.servers.swift import KeystoneSwift

EXPIRY = 1.5  # seconds that a token lives which shall expire during a test


def login_to(swift: KeystoneSwift, **changed: Any) -> Login:
    login = Login(
        address=swift.keystone.url,
        user=f"{swift.project.name}:{swift.user.name}",
        key=swift.user.password,
        version="3",
        region=swift.region,
        timeout=20,
    )
    return dataclasses.replace(login, **changed)


def make(login: Login, *, tries: int = 4, **changed: Any) -> SwiftStore:
    """A store on a container of its own."""
    named = {"container": f"images-{uuid.uuid4()}", "create_container_on_put": True, **changed}
    return SwiftStore(Account(login, tries=tries, backoff=0.01), **named)


def works(store: SwiftStore) -> None:
    location = put(store)
    assert read(store, location) == DATA
    assert read(store, location, start=100, length=7000) == DATA[100:7100]
    store.delete(location)
    assert objects(store) == []


def refused(store: SwiftStore, match: str, *secrets: str) -> StoreDown:
    """What an upload raises, which tells a user nothing of servers, names and keys."""
    with pytest.raises(StoreDown, match=match) as caught:
        put(store)
    for word in ("127.0.0.1", "http", *secrets):
        assert word not in str(caught.value)
    for secret in secrets:
        assert secret not in caught.value.advice
    return caught.value


@pytest.fixture
def store(keystone_swift: KeystoneSwift) -> SwiftStore:
    return make(login_to(keystone_swift), **SEGMENTS)


@pytest.fixture
def between(keystone: Keystone) -> Iterator[Interceptor]:
    """Between the store and Keystone."""
    with intercepting(keystone.port) as server:
        yield server


@pytest.fixture
def v2(keystone: Keystone) -> Iterator[str]:
    with keystone_v2(keystone.url) as url:
        yield url


def at(port: int, path: str = "/v3") -> str:
    return f"http://127.0.0.1:{port}{path}"


def logins(between: Interceptor) -> int:
    return sum(method == "POST" for method, _, _ in between.seen)


# Versions and addresses


@pytest.mark.parametrize("kind", [{}, SEGMENTS], ids=["whole", "segments"])
def test_version_3(keystone_swift, kind):
    works(make(login_to(keystone_swift), **kind))


@pytest.mark.parametrize("kind", [{}, SEGMENTS], ids=["whole", "segments"])
def test_version_2(keystone_swift, v2, kind):
    works(make(login_to(keystone_swift, version="2", address=v2), **kind))


@pytest.mark.parametrize("path", ["", "/", "/v3", "/v3/"])
def test_addresses_of_version_3(keystone_swift, path):
    address = at(keystone_swift.keystone.port, path)
    assert login_to(keystone_swift, address=address)()[0] == keystone_swift.url


@pytest.mark.parametrize("path", ["", "/", "/v2.0", "/v2.0/"])
def test_addresses_of_version_2(keystone_swift, v2, path):
    address = v2.removesuffix("/v2.0") + path
    assert login_to(keystone_swift, version="2", address=address)()[0] == keystone_swift.url


def test_a_streamed_upload(keystone_swift):
    store = make(login_to(keystone_swift), **STREAMED)
    location = store.put("1", BytesSource(DATA), size=len(DATA))
    assert objects(store) == ["1"]
    assert read(store, location) == DATA


@pytest.mark.parametrize(("version", "path"), [("2", "/v3"), ("3", "/elsewhere"), ("1", "/v3")])
def test_a_keystone_that_is_not_where_it_is_looked_for(keystone_swift, version, path):
    address = at(keystone_swift.keystone.port, path)
    error = refused(make(login_to(keystone_swift, version=version, address=address)), "not where it is looked for")
    assert "swift_store_auth_version" in error.advice


# Tokens


def token_of(store: SwiftStore) -> str:
    return store._container._account._access[1]


def test_one_token_serves_many_requests(keystone_swift, between):
    store = make(login_to(keystone_swift, address=at(between.port)), **SEGMENTS)
    works(store)
    assert logins(between) == 1


def test_a_token_that_expires_in_the_middle_of_an_upload_is_renewed(keystone_swift):
    keystone = keystone_swift.keystone
    store = make(login_to(keystone_swift), **SEGMENTS)
    store.prepare()
    account = store._container._account
    short = keystone.short_token(keystone_swift.user, keystone_swift.project, EXPIRY)
    account._access = (account._access[0], short)

    class Waiting(BytesSource):
        """Gives two segments; then, nothing until the token has expired."""

        def read(self, size: int, /) -> bytes:
            if self._stream.tell() == 6000:
                assert token_of(store) == short
                while keystone.accepts(short):
                    time.sleep(0.05)
            return super().read(size)

    location = store.put("1", Waiting(DATA, block=3000), size=None)
    assert token_of(store) != short
    assert read(store, location) == DATA


@pytest.mark.parametrize("kind", [{}, SEGMENTS, STREAMED], ids=["whole", "segments", "streamed"])
def test_a_token_that_is_revoked_is_renewed(keystone_swift, kind):
    keystone = keystone_swift.keystone
    store = make(login_to(keystone_swift), **kind)
    store.prepare()
    keystone.revoke(token_of(store))
    location = store.put("1", BytesSource(DATA), size=len(DATA))
    keystone.revoke(token_of(store))
    assert read(store, location) == DATA
    keystone.revoke(token_of(store))
    store.delete(location)
    assert objects(store) == []


def test_a_token_that_ends_as_bytes_begin_to_flow_fails_that_upload_only(keystone_swift, monkeypatch):
    """They come once, and cannot be sent again with another token."""
    store = make(login_to(keystone_swift), **STREAMED)
    stream = store._stream

    def revoked(*given: Any) -> None:
        keystone_swift.keystone.revoke(token_of(store))
        stream(*given)

    monkeypatch.setattr(store, "_stream", revoked)
    with pytest.raises(StoreDown, match="ended this server's session"):
        store.put("1", BytesSource(DATA), size=len(DATA))
    assert objects(store) == []
    monkeypatch.undo()
    store.put("1", BytesSource(DATA), size=len(DATA))


# Who may not come in


@pytest.fixture(scope="module")
def reader(keystone_swift: KeystoneSwift) -> User:
    """Has a role on the project that is none of Swift's."""
    user = keystone_swift.keystone.add_user("reader")
    keystone_swift.keystone.grant(user, keystone_swift.project, "reader")
    return user


@pytest.fixture(scope="module")
def stranger(keystone_swift: KeystoneSwift) -> User:
    """Has no role at all."""
    return keystone_swift.keystone.add_user("stranger")


@pytest.mark.parametrize("changed", [
    {"key": "secret-wrong-key"}, {"user": "service:nobody"}, {"user": "nothing:glance"}, {"user": "admin:glance"},
    {"user_domain_name": "nowhere"}, {"project_domain_name": "nowhere"}, {"user_domain_id": "x"}, {"project_domain_id": "x"},
], ids=str)  # fmt: skip
def test_who_is_not_known_is_refused_after_one_try(keystone_swift, between, caplog, changed):
    caplog.set_level(logging.DEBUG)
    login = login_to(keystone_swift, address=at(between.port), **changed)
    error = refused(make(login), "refuses this server's user", login.key)
    assert "does not accept swift_store_user" in error.advice
    assert "swift_store_user_domain_name" in error.advice
    assert logins(between) == 1  # or Keystone might lock the user out
    assert "login: status 401" in caplog.text
    assert login.key not in caplog.text


def test_who_has_no_role_on_the_tenant_is_refused(keystone_swift, stranger):
    login = login_to(keystone_swift, user=f"service:{stranger.name}", key=stranger.password)
    assert "has a role on the tenant" in refused(make(login), "refuses this server's user", login.key).advice


def test_who_has_none_of_swifts_roles_is_refused(keystone_swift, reader):
    login = login_to(keystone_swift, user=f"service:{reader.name}", key=reader.password)
    assert "operator_roles" in refused(make(login), "refuses this server's user", login.key).advice


def test_wrong_keys_in_version_2(keystone_swift, v2, stranger):
    for changed in (
        {"key": "secret-wrong-key"},
        {"user": "nothing:glance"},
        {"user": f"service:{stranger.name}", "key": stranger.password},
    ):
        login = login_to(keystone_swift, version="2", address=v2, **changed)
        error = refused(make(login), "refuses this server's user", login.key)
        assert "domain" not in error.advice


# Domains


@pytest.fixture(scope="module")
def abroad(keystone_swift: KeystoneSwift) -> tuple[User, Project, dict[str, str]]:
    """A user and a project with the names of others, each in a domain of its own; and the ids of the domains."""
    keystone = keystone_swift.keystone
    domains = {name: keystone.add_domain(name) for name in ("people", "projects")}
    user = keystone.add_user("glance", domain=domains["people"])
    project = keystone.add_project("service", domain=domains["projects"])
    keystone.grant(user, project, KeystoneSwift.operator)
    return user, project, domains


@pytest.mark.parametrize("user_by", ["id", "name"])
@pytest.mark.parametrize("project_by", ["id", "name"])
def test_users_and_tenants_of_other_domains(keystone_swift, abroad, user_by, project_by):
    user, project, ids = abroad
    told = {
        f"user_domain_{user_by}": ids["people"] if user_by == "id" else "people",
        f"project_domain_{project_by}": ids["projects"] if project_by == "id" else "projects",
    }
    store = make(login_to(keystone_swift, key=user.password, **told))
    works(store)
    assert store._container._account._access[0].endswith(f"/AUTH_{project.id}")


def test_the_domain_default_is_not_another_one(keystone_swift, abroad):
    user, _, _ = abroad
    refused(make(login_to(keystone_swift, key=user.password)), "refuses this server's user", user.password)


# Regions


@pytest.mark.parametrize("version", ["2", "3"])
def test_the_region_is_chosen(keystone_swift, v2, version):
    address = v2 if version == "2" else keystone_swift.keystone.url
    login = login_to(keystone_swift, version=version, address=address)
    assert login()[0] == keystone_swift.url
    login = dataclasses.replace(login, region=keystone_swift.closed_region)
    assert f":{keystone_swift.closed_port}/" in login()[0]
    error = refused(make(login, tries=2), "Swift cannot be reached")
    assert f"127.0.0.1:{keystone_swift.closed_port} (Swift, as its authentication names it)" in error.advice


@pytest.mark.parametrize("version", ["2", "3"])
def test_a_region_that_is_missing(keystone_swift, v2, version, caplog):
    address = v2 if version == "2" else keystone_swift.keystone.url
    store = make(login_to(keystone_swift, version=version, address=address, region="west"))
    told = refused(store, "knows no Swift").advice
    for text in (told, caplog.text):
        assert "in the region west: look at swift_store_region; there is one in" in text
        assert keystone_swift.region in text
        assert keystone_swift.closed_region in text


def test_no_region_is_the_first_and_a_warning(keystone_swift, caplog):
    url, _ = login_to(keystone_swift, region=None)()
    assert any(f":{port}/" in url for port in (keystone_swift.port, keystone_swift.closed_port))
    assert "set swift_store_region" in caplog.text


# A Keystone that is away, or slow


def test_keystone_away(keystone_swift):
    error = refused(
        make(login_to(keystone_swift, address=at(free_port()))), "cannot be reached: it refuses connections"
    )
    assert "nobody listens" in error.advice


def test_keystone_silent(keystone_swift):
    """It is asked as often as `tries` says, and each time waited for as long as `timeout` says."""
    proxy = Proxy("127.0.0.1", keystone_swift.keystone.port)
    try:
        proxy.rule = lambda request: Stall()
        login = login_to(keystone_swift, address=proxy.url, timeout=0.2)
        refused(make(login, tries=3), "does not answer in time", login.key)
        assert proxy.count("POST", "/v3/auth/tokens") == 3
    finally:
        proxy.close()


@pytest.mark.parametrize("how", [500, 503, 429, RESET, LOST])
def test_keystone_stumbles(keystone_swift, between, how):
    between.break_once("POST", "/auth/tokens", how)
    works(make(login_to(keystone_swift, address=at(between.port))))
    assert logins(between) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"token": {}}', b'{"token": {"catalog": 1}}', b"null"]
)
def test_what_is_no_keystone(keystone_swift, body):
    proxy = Proxy("127.0.0.1", keystone_swift.keystone.port)
    try:
        proxy.rule = lambda request: Answer(201, body, ("X-Subject-Token: abc", "Content-Type: application/json"))
        login = login_to(keystone_swift, address=proxy.url)
        refused(make(login, tries=2), "the authentication of Swift", login.key)
    finally:
        proxy.close()


def test_keystone_ends_and_comes_back(keystone_swift):
    """Swift cannot tell then whether a token is good, and says that it is not."""
    keystone = keystone_swift.keystone
    store = make(login_to(keystone_swift), tries=2, **SEGMENTS)
    store.prepare()
    keystone.stop()
    try:
        refused(store, "the authentication of Swift cannot be reached")
    finally:
        keystone.start()
    assert objects(store) == []
    works(store)


def test_under_eventlet_a_slow_keystone_holds_nobody_else_up(keystone_swift):
    """Keystone answers only when another green thread has come by. In a process of its own, as the standard library
    becomes green there."""
    proxy, asked, released = Proxy("127.0.0.1", keystone_swift.keystone.port), threading.Event(), threading.Event()

    def rule(request: Request) -> Deed:
        if request.target == "/pass":
            if asked.is_set():
                released.set()
            return Answer(200 if asked.is_set() else 404)
        asked.set()
        return None if released.wait(20) else Answer(401)

    proxy.rule = rule
    login = login_to(keystone_swift, address=proxy.url)
    words = (login.address, login.user, login.key, keystone_swift.region, f"green-{uuid.uuid4()}")
    try:
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", GREEN, *words],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        proxy.close()
    assert ran.returncode == 0, ran.stderr
    assert proxy.count("POST", "/auth/tokens") == 1  # one login for all three


GREEN = """
import sys
from glance.serve import green; green.patch()
import eventlet, requests
from glance.store.swift import Account, Login, SwiftStore
from tests.fakes.store import BytesSource

address, user, key, region, container = sys.argv[1:]
login = Login(address=address, user=user, key=key, version="3", region=region)
store = SwiftStore(Account(login), container=container, create_container_on_put=True)
uploads = [eventlet.spawn(store.put, f"image{number}", BytesSource(b"bytes"), size=None) for number in range(3)]
while requests.get(f"{address}/pass").status_code != 200:
    eventlet.sleep(0.01)
for upload in uploads:
    blob = store.open(upload.wait())
    assert b"".join(blob) == b"bytes"
    blob.close()
"""


# Secrets


def test_secrets_stay_here(keystone_swift, between, caplog):
    for name in ("", "swiftclient", "keystoneauth", "keystoneauth1", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    login = login_to(keystone_swift, address=at(between.port))
    store = make(login)
    works(store)
    token = token_of(store)
    between.rule = lambda method, path: 500
    keystone_swift.keystone.revoke(token)
    refused(store, "does not answer", login.key, token)
    assert login.key not in caplog.text + repr(login)
    assert token[10:40] not in caplog.text
    assert keystone_swift.user.password == login.key
