# SPDX-License-Identifier: Apache-2.0
"""The identity filters, and the registry, under WSGI servers that join repeated headers and have no native threads."""

import base64
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glance.config import ApiConfig, RegistryConfig
from glance.identity import proxy, tokens, users
from glance.identity.logins import CHECKERS
from glance.identity.users import User
from glance.registry.server import build as build_registry
from glance.server import build
from glance.store import StoreSet
from glance.store.filesystem import FilesystemStore
from tests.fakes.registry import MemoryRegistry
from tests.functional.test_identity import IDENTITY, send_lines
from tests.functional.test_other_servers import under_waitress, under_wsgiref

pytestmark = pytest.mark.functional

KEY = {"registry_key": "key-of-the-test"}
SERVERS = [under_waitress, under_wsgiref]


@contextmanager
def served(serve: Callable[..., Iterator[int]], app: object) -> Iterator[int]:
    ports = serve(app)
    yield next(ports)
    next(ports, None)


@pytest.fixture
def app(tmp_path: Path) -> object:
    """glance-api without a filter."""
    stores = StoreSet("file", {"file": FilesystemStore(tmp_path / "images")})
    return build(ApiConfig(), registry=MemoryRegistry(), stores=stores)


@pytest.mark.parametrize("serve", SERVERS)
def test_a_repeated_identity_header_is_refused(serve: Callable[..., Iterator[int]], app: object) -> None:
    filtered = proxy.filter_factory(KEY, addresses="127.0.0.1")(app)
    with served(serve, filtered) as port:
        assert send_lines(port, *IDENTITY)[0] == 200
        for added in ("X-Roles: admin", "X-Project-Id: b", "X-Tenant-Id: b", "X-User-Id: root", IDENTITY[0]):
            for lines in ((*IDENTITY, added), (added, *IDENTITY)):
                assert send_lines(port, *lines)[0] == 400, added
        status, answer = send_lines(port, *IDENTITY[:-1], "X-Roles: member, admin")
        assert (status, "roles_separator" in answer) == (400, True)


@pytest.mark.parametrize("serve", SERVERS)
def test_another_separator_allows_several_roles(serve: Callable[..., Iterator[int]], app: object) -> None:
    filtered = proxy.filter_factory(KEY, addresses="127.0.0.1", roles_separator=";")(app)
    with served(serve, filtered) as port:
        assert send_lines(port, *IDENTITY[:-1], "X-Roles: member; admin")[0] == 200
        assert send_lines(port, *IDENTITY, "X-Roles: admin")[0] == 400


@pytest.mark.parametrize("serve", SERVERS)
def test_the_registry_refuses_repeated_headers(serve: Callable[..., Iterator[int]]) -> None:
    lines = ("X-Glance-Registry-Key: key", "X-Glance-Admin: False", "X-Tenant-Id: a", "X-User-Id: u")
    with served(serve, build_registry(RegistryConfig(registry_key="key"), registry=MemoryRegistry())) as port:
        assert "404" in send_lines(port, *lines)[1]  # the request got past the door
        for added in ("X-Glance-Admin: True", "X-Tenant-Id: b", "X-User-Id: bob"):
            for sent in ((*lines, added), (added, *lines)):
                assert send_lines(port, *sent)[0] == 400, added
        assert send_lines(port, *lines, lines[0])[0] == 401
        assert send_lines(port, *lines[:2], "X-Tenant-Id: %ff")[0] == 400


def test_passwords_do_not_take_all_threads_of_a_server(
    app: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While as many passwords as may be are checked, further ones are turned away, and other requests are served."""
    path = tmp_path / "users.json"
    alice, token = users.with_new_token(User(name="alice", tenant="a"))
    users.update(path, lambda known: known.added(alice), create=True)
    entered, opened = threading.Semaphore(0), threading.Event()

    def verify(user: User | None, password: str) -> bool:
        entered.release()
        assert opened.wait(10)
        return False

    monkeypatch.setattr(users, "verify", verify)
    statuses = []

    def ask(port: int, headers: dict[str, str]) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/v1/images", headers=headers)
            response = connection.getresponse()
            statuses.append(response.status)
            return response.status, response.getheader("Retry-After")
        finally:
            connection.close()

    def basic(name: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{name}:wrong".encode()).decode()}

    filtered = tokens.filter_factory(KEY, users_file=str(path))(app)
    with served(lambda app: under_waitress(app, threads=CHECKERS + 1), filtered) as port:
        asking = [threading.Thread(target=ask, args=(port, basic(f"user {number}"))) for number in range(CHECKERS)]
        for thread in asking:
            thread.start()
            assert entered.acquire(timeout=10)
        assert ask(port, basic("another")) == (503, "5")
        assert ask(port, {"X-Auth-Token": token}) == (200, None)
        opened.set()
        for thread in asking:
            thread.join(10)
    assert statuses == [503, 200, *[401] * CHECKERS]
