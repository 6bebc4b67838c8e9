# SPDX-License-Identifier: Apache-2.0
"""What real daemons make good after one of them was killed: no image in limbo, nothing left in the store."""

import hashlib
import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest

from glance.client import Client
from glance.core.context import Context
from glance.core.image import Image, Status, Visibility
from glance.registry.client import HttpRegistry
from tests.functional.daemons import Installation, slow_upload
from tests.functional.test_trouble import stored, wait_for
from tests.servers.web import DATA, Web, web_server

pytestmark = pytest.mark.functional

CTX = Context(is_admin=True)


@pytest.fixture
def installation(installation: Installation) -> Iterator[Installation]:
    installation.configure(api="transfer_lease = 2\nhttp_store_allowed_hosts = 127.0.0.1")
    installation.start()
    yield installation


@pytest.fixture
def registry(installation: Installation) -> Iterator[HttpRegistry]:
    client = HttpRegistry("127.0.0.1", installation.registry_port)
    yield client
    client.close()


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


def kill(installation: Installation, server: str) -> None:
    os.kill(installation.pid(server), signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{installation.pid(server)}"))  # noqa: PTH110 - of a process


def copy(installation: Installation, registry: HttpRegistry, url: str) -> Image:
    """The record of an image that is to be copied, as a dialect makes it."""
    name = str(uuid.uuid4())
    location = f"file://{installation.folder}/images/{name}"
    draft = Image(id=name, visibility=Visibility.PUBLIC, disk_format="raw", copy_from=url, locations=(location,))
    return registry.add(CTX, draft)


def test_an_upload_whose_server_was_killed_ends_killed_with_a_reason(installation, registry):
    with slow_upload(installation):
        kill(installation, "glance-api")
    image = registry.get(CTX, "1")
    assert (image.status, len(image.locations)) == (Status.SAVING, 1)
    installation.start("api")
    wait_for(lambda: registry.get(CTX, "1").status is Status.KILLED)
    wait_for(lambda: registry.get(CTX, "1").locations == ())
    assert "ended before" in registry.get(CTX, "1").failure
    assert stored(installation) == set()


def test_a_slow_upload_outlives_its_lease(installation, registry):
    with slow_upload(installation) as sock:
        time.sleep(5)
        sock.sendall(b"x" * 500)
        assert b"200 OK" in sock.recv(65_536)
    assert registry.get(CTX, "1").size == 1000


def test_an_upload_that_found_no_registry_at_its_end_is_cleaned_up(installation, registry):
    installation.configure(api="transfer_lease = 2\nregistry_patience = 1")
    assert installation.control("api", "restart").returncode == 0
    with slow_upload(installation) as sock:
        kill(installation, "glance-registry")
        sock.sendall(b"x" * 500)
        assert b" 503 " in sock.recv(65_536)
    assert stored(installation) == {"1"}
    installation.start("registry")
    wait_for(lambda: registry.get(CTX, "1").status is Status.KILLED)
    wait_for(lambda: stored(installation) == set())


def test_bytes_of_a_store_that_is_away_are_not_forgotten(installation, registry):
    with Client("127.0.0.1", installation.api_port) as client:
        client.add_image({"name": "x", "type": "raw", "is_public": True}, b"bytes")
        folder, away = installation.folder / "images", installation.folder / "away"
        folder.rename(away)
        client.delete_image(1)
    deleted = registry.get(CTX, "1", deleted=True)
    assert (deleted.status, deleted.locations) == (Status.DELETED, (f"file://{folder}/1",))
    away.rename(folder)
    assert stored(installation) == {"1"}


@pytest.mark.parametrize("workers", [0, 2])
def test_copies_are_made_in_the_background_and_survive_a_kill(installation, registry, web, workers):
    installation.configure(api=f"transfer_lease = 2\nworkers = {workers}\nhttp_store_allowed_hosts = 127.0.0.1")
    assert installation.control("api", "restart").returncode == 0
    stalls = [copy(installation, registry, web.url("stalls")) for _ in range(2)]
    wait_for(lambda: all(registry.get(CTX, image.id).status is Status.SAVING for image in stalls))
    kill(installation, "glance-api")
    later = [copy(installation, registry, web.url("whole")) for _ in range(6)]
    web.ended.set()  # what stalled before is cut off from now on
    installation.start("api")
    wait_for(lambda: all(registry.get(CTX, image.id).status is Status.ACTIVE for image in later))
    wait_for(lambda: all(registry.get(CTX, image.id).status is Status.KILLED for image in stalls), 20)
    for image in later:
        found = registry.get(CTX, image.id)
        assert (found.size, found.os_hash_value) == (len(DATA), hashlib.sha512(DATA).hexdigest())
    assert len(stored(installation)) == 6
