# SPDX-License-Identifier: Apache-2.0
"""Quotas of tenants on real daemons: what is stored is never more, and what failed is free again."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests

from glance.core.context import Context
from glance.core.image import Image, Status
from glance.core.query import Query
from glance.registry.client import HttpRegistry
from tests.functional.daemons import Installation
from tests.functional.live import Wire, request
from tests.functional.test_identity import IMAGE, KEY, proxy
from tests.functional.test_trouble import stored, wait_for
from tests.servers.web import DATA, Web, web_server

pytestmark = pytest.mark.functional

MIB = 2**20
SIZE = MIB
QUOTA = 7 * SIZE + SIZE // 2

Headers = dict[str, str]


@pytest.fixture
def callers(installation: Installation) -> dict[str, Headers]:
    """Headers by which each caller is known."""
    made = proxy(installation)
    options(installation, api="transfer_lease = 2", registry=f"user_storage_quota = {QUOTA}")
    return made


def options(installation: Installation, *, api: str, registry: str) -> None:
    text = installation.config.read_text()
    for section, lines in (("[app:api]\n", api), ("[app:glance-registry]\n", registry)):
        text = text.replace(section, f"{section}{lines}\n")
    installation.config.write_text(text)


def url(installation: Installation, path: str = "") -> str:
    return f"http://127.0.0.1:{installation.api_port}/v1/images{path}"


def upload(installation: Installation, who: Headers, size: int, *, chunked: bool = False) -> requests.Response:
    body: object = bytes(size)
    if chunked:
        body = (bytes(min(65_536, size - at)) for at in range(0, size, 65_536))
    return requests.post(url(installation), data=body, headers={**IMAGE, **who}, timeout=60)


def images(installation: Installation, who: Headers) -> list[dict]:
    return requests.get(url(installation, "/detail"), headers=who, timeout=30).json()["images"]


def records(installation: Installation) -> tuple[Image, ...]:
    """What the registry knows, of all tenants."""
    with closing(HttpRegistry("127.0.0.1", installation.registry_port, key=KEY)) as registry:
        return registry.find(Context(is_admin=True), Query(everyone=True)).images


def stored_bytes(installation: Installation) -> int:
    return sum(path.stat().st_size for path in (installation.folder / "images").rglob("*") if path.is_file())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "unknown size"])
def test_of_twenty_uploads_at_once_as_many_are_active_as_fit(
    installation: Installation, callers: dict[str, Headers], chunked: bool, workers: int
) -> None:
    """With workers there are several of both daemons. Of uploads of unknown size each may take what would have been
    enough for another one, so there may be fewer of them."""
    options(installation, api=f"workers = {workers}", registry=f"workers = {workers}")
    installation.start()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: upload(installation, callers["alice"], SIZE, chunked=chunked), range(20)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {201, 413}
    assert codes.count(201) == 7 or (chunked and 1 <= codes.count(201) < 7)
    assert all("user_storage_quota" in answer.text for answer in answers if answer.status_code == 413)
    assert stored_bytes(installation) == codes.count(201) * SIZE <= QUOTA
    ended = records(installation)
    assert [image.charged for image in ended if image.status is Status.ACTIVE] == [SIZE] * codes.count(201)
    killed = [image for image in ended if image.status is Status.KILLED]
    assert len(killed) == codes.count(413)
    assert all("user_storage_quota" in image.failure and not image.locations for image in killed)
    assert upload(installation, callers["bob"], QUOTA).status_code == 201
    for _ in range(7 - codes.count(201)):
        assert upload(installation, callers["alice"], SIZE, chunked=chunked).status_code == 201
    assert upload(installation, callers["alice"], QUOTA - 7 * SIZE, chunked=chunked).status_code == 201
    assert upload(installation, callers["alice"], 1, chunked=chunked).status_code == 413
    assert stored_bytes(installation) == 2 * QUOTA


@pytest.mark.parametrize("expect", [(), (b"Expect: 100-continue",)], ids=["unasked", "asked"])
def test_what_is_announced_is_refused_before_the_body(
    installation: Installation, callers: dict[str, Headers], expect: tuple[bytes, ...]
) -> None:
    installation.start()
    lines = [f"{name}: {value}".encode() for name, value in {**IMAGE, **callers["alice"]}.items()]
    head = request(*lines, b"Content-Length: %d" % (QUOTA + 1), *expect, method=b"POST", target=b"/v1/images")
    with socket.create_connection(("127.0.0.1", installation.api_port), timeout=30) as sock:
        wire = Wire(sock)
        wire.send(head)
        answer = wire.answer()
    assert answer.status == 413  # and not 100
    assert b"user_storage_quota" in answer.body
    assert stored(installation) == set()


def test_a_deleted_image_makes_room_at_once(installation: Installation, callers: dict[str, Headers]) -> None:
    installation.start()
    first = upload(installation, callers["alice"], QUOTA).json()["image"]["id"]
    assert upload(installation, callers["alice"], 1).status_code == 413
    assert requests.delete(url(installation, f"/{first}"), headers=callers["alice"], timeout=30).status_code == 200
    assert upload(installation, callers["alice"], QUOTA).status_code == 201


def test_an_upload_whose_server_was_killed_makes_room(
    installation: Installation, callers: dict[str, Headers]
) -> None:
    installation.start()
    lines = [f"{name}: {value}".encode() for name, value in {**IMAGE, **callers["alice"]}.items()]
    head = request(*lines, b"Content-Length: %d" % QUOTA, method=b"POST", target=b"/v1/images")
    with socket.create_connection(("127.0.0.1", installation.api_port), timeout=30) as sock:
        sock.sendall(head + bytes(MIB))
        wait_for(lambda: [image.status for image in records(installation)] == [Status.SAVING])
        assert upload(installation, callers["alice"], 1).status_code == 413
        os.kill(installation.pid("glance-api"), signal.SIGKILL)
    installation.start("api")
    wait_for(lambda: upload(installation, callers["alice"], QUOTA).status_code == 201, 20)
    assert stored_bytes(installation) == QUOTA


def test_bytes_of_a_deleted_image_count_until_they_are_scrubbed(
    installation: Installation, callers: dict[str, Headers]
) -> None:
    options(installation, api="delayed_delete = True", registry="")
    installation.start()
    image = upload(installation, callers["alice"], QUOTA).json()["image"]["id"]
    requests.delete(url(installation, f"/{image}"), headers=callers["alice"], timeout=30).raise_for_status()
    assert upload(installation, callers["alice"], 1).status_code == 413
    done = installation.run("glance-scrubber", "--config-file", str(installation.config))
    assert done.returncode == 0, done.stderr
    assert upload(installation, callers["alice"], QUOTA).status_code == 201


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


def test_copies_count_and_third_parties_do_not(
    installation: Installation, callers: dict[str, Headers], web: Web
) -> None:
    options(installation, api="policy_copy_from = *\npolicy_set_image_location = *", registry="")
    installation.config.write_text(
        installation.config.read_text()
        .replace(f"= {QUOTA}\n", f"= {len(DATA)}\n")
        .replace("policy_set_image_location = placer\n", "")
        .replace("policy_copy_from =\n", "")
    )
    installation.start()
    ask: Callable[[str], requests.Response] = lambda how: requests.post(  # noqa: E731
        url(installation),
        headers={**IMAGE, **callers["root"], "x-image-meta-owner": "a", how: web.url("whole")},
        timeout=30,
    )
    assert ask("x-image-meta-location").status_code == 201
    copied = ask("x-glance-api-copy-from")
    assert copied.status_code == 201, copied.text
    wait_for(lambda: {image["status"] for image in images(installation, callers["alice"])} == {"active"})
    again = ask("x-glance-api-copy-from")
    assert again.status_code == 413
    assert "user_storage_quota" in again.text
    assert len(images(installation, callers["alice"])) == 2


def test_the_number_of_images(installation: Installation, callers: dict[str, Headers]) -> None:
    options(installation, api="", registry="image_count_quota = 2")
    installation.start()
    codes = [upload(installation, callers["alice"], 1).status_code for _ in range(3)]
    assert codes == [201, 201, 413]
    assert len(images(installation, callers["alice"])) == 2
    assert upload(installation, callers["bob"], 1).status_code == 201
