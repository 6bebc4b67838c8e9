# SPDX-License-Identifier: Apache-2.0
"""Uploads to the clouds' stores that break at random places leave nothing behind, and harm nobody else."""

import hashlib
import os
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_trouble import wait_for
from tests.servers.proxy import Answer, CutAnswer, CutRequest, Deed, Proxy, Request
from tests.servers.swift import Swift

pytestmark = [pytest.mark.functional, pytest.mark.slow]

MIB = 1024 * 1024
BODY = os.urandom(6 * MIB)  # two parts of S3, three segments of Swift
BROKEN = Answer(500, b"<Error><Code>InternalError</Code></Error>")
FORBIDDEN = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
UPLOADS = 25  # to each store: of three, one whose client goes away, one with a wrong checksum, one that is whole
GOOD = 2  # the number of a whole one
FIELDS = {"disk_format": "raw", "container_format": "bare", "is_public": "True"}


class Breaker:
    """A rule for the proxy: from time to time a request that writes bytes comes to grief, for a random reason."""

    def __init__(self, seed: int) -> None:
        self.on = True
        self._random = random.Random(seed)

    def __call__(self, request: Request) -> Deed:
        if not self.on or request.method != "PUT" or request.length < 100_000 or self._random.random() > 0.3:
            return None
        place = self._random.randrange(request.length)
        return self._random.choice([BROKEN, FORBIDDEN, CutRequest(place), CutAnswer(5)])


@pytest.fixture(scope="module")
def proxy(swift: Swift) -> Iterator[Proxy]:
    made = Proxy("127.0.0.1", swift.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def clouds(running: Installation, swift: Swift, proxy: Proxy) -> Installation:
    running.configure(
        api=f"""\
s3_store_host = {proxy.url}
s3_store_access_key = {swift.user}
s3_store_secret_key = {swift.key}
s3_store_bucket = broken-s3
s3_store_create_bucket_on_put = True
s3_store_bucket_url_format = path
s3_store_large_object_size = 5
s3_store_large_object_chunk_size = 5
swift_store_auth_address = {swift.auth_url.replace(str(swift.port), str(proxy.port))}
swift_store_user = {swift.user}
swift_store_key = {swift.key}
swift_store_container = broken-swift
swift_store_create_container_on_put = True
swift_store_large_object_size = 2
swift_store_large_object_chunk_size = 2
transfer_lease = 2
""",
    )
    assert running.control("api", "restart").returncode == 0
    return running


def head(store: str, **fields: str) -> bytes:
    lines = {f"x-image-meta-{name}": value for name, value in {**FIELDS, "store": store, **fields}.items()}
    named = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return (
        f"POST /v1/images HTTP/1.1\r\nHost: localhost\r\n{named}Content-Type: application/octet-stream\r\n"
        f"Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    ).encode()


def upload(clouds: Installation, store: str, number: int) -> bool:
    """One upload that may break, or surely does; whether it came through."""
    chance = random.Random(f"{store} {number}")
    fields = {"checksum": "0" * 32} if number % 3 == 1 else {}
    with socket.create_connection(("127.0.0.1", clouds.api_port), timeout=60) as sock:
        try:
            sock.sendall(head(store, **fields))
            sock.sendall(BODY[: chance.randrange(len(BODY))] if number % 3 == 0 else BODY)
            if number % 3 == 0:
                return False  # the client goes away
            return sock.recv(65_536).startswith(b"HTTP/1.1 201")
        except ConnectionError:  # refused in the middle
            return False


def images(clouds: Installation) -> list[dict[str, object]]:
    url = f"http://127.0.0.1:{clouds.api_port}/v1/images/detail?is_public=none&changes-since=2011-03-04&limit=1000"
    return requests.get(url, timeout=60).json()["images"]


def content(clouds: Installation, image: dict[str, object]) -> bytes:
    return requests.get(f"http://127.0.0.1:{clouds.api_port}/v1/images/{image['id']}", timeout=60).content


def delete(clouds: Installation, image: dict[str, object]) -> None:
    url = f"http://127.0.0.1:{clouds.api_port}/v1/images/{image['id']}"
    assert requests.delete(url, timeout=60).status_code == 200


def objects(swift: Swift) -> set[tuple[str, str]]:
    """What each object in the containers of both stores belongs to, parts and marks of unfinished uploads included:
    the container without what Swift adds for parts, and the name up to the first slash."""
    login = requests.get(swift.auth_url, headers={"X-Auth-User": swift.user, "X-Auth-Key": swift.key}, timeout=60)
    account, token = login.headers["X-Storage-Url"], {"X-Auth-Token": login.headers["X-Auth-Token"]}
    containers = requests.get(account, headers=token, timeout=60).text.split()
    return {
        (container.removesuffix("+segments"), name.partition("/")[0])
        for container in containers
        if container.startswith("broken-")
        for name in requests.get(f"{account}/{container}", headers=token, timeout=60).text.splitlines()
    }


def test_fifty_uploads_that_break_at_random_places_leave_nothing(
    clouds: Installation, swift: Swift, proxy: Proxy
) -> None:
    breaker = proxy.rule = Breaker(2011)
    with ThreadPoolExecutor(5) as pool:
        tries = [pool.submit(upload, clouds, store, number) for number in range(UPLOADS) for store in ("s3", "swift")]
        whole = sum(tried.result() for tried in tries)
    breaker.on = False
    wait_for(lambda: not any(image["status"] in ("queued", "saving") for image in images(clouds)), 60)
    found = images(clouds)
    active = [image for image in found if image["status"] == "active"]
    assert {image["status"] for image in found} <= {"active", "killed"}
    assert len(active) == whole < len(tries) / 2
    for image in active:
        assert hashlib.sha256(content(clouds, image)).digest() == hashlib.sha256(BODY).digest()
        delete(clouds, image)
    wait_for(lambda: objects(swift) == set(), 15)  # Swift's listings lag
    for store in ("s3", "swift"):
        assert upload(clouds, store, GOOD)
    for image in (image for image in images(clouds) if image["status"] == "active" and not image["deleted"]):
        assert content(clouds, image) == BODY
        delete(clouds, image)
    wait_for(lambda: objects(swift) == set(), 15)
