# SPDX-License-Identifier: Apache-2.0
"""Real daemons with all four stores, the clouds' being a real Swift, which also speaks S3."""

import hashlib
import os
from collections.abc import Iterator

import pytest
import requests

from tests.functional.clouds import CLOUDS
from tests.functional.daemons import Installation
from tests.servers.swift import Swift
from tests.servers.web import DATA, Web, web_server

pytestmark = pytest.mark.functional

MIB = 1024 * 1024
BYTES = os.urandom(12 * MIB + 1)  # in parts: S3's are of 5 MiB, Swift's of 1 MiB here
HEADERS = {"Content-Type": "application/octet-stream", "x-image-meta-type": "raw", "x-image-meta-is_public": "1"}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


@pytest.fixture(scope="module")
def clouds(running: Installation, swift: Swift) -> Installation:
    """The daemons, with every store configured."""
    running.configure(api=CLOUDS.format(swift=swift, name="images") + "http_store_allowed_hosts = 127.0.0.1")
    assert running.control("--debug", "api", "restart").returncode == 0
    return running


def url(clouds: Installation, path: str = "") -> str:
    return f"http://127.0.0.1:{clouds.api_port}/images{path}"


@pytest.mark.parametrize("store", ["file", "s3", "swift"])
@pytest.mark.parametrize("size", [0, 1, 100_000, len(BYTES)])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_goes_up_comes_down_and_goes(clouds: Installation, store: str, size: int, chunked: bool) -> None:
    body = BYTES[:size]
    sent = iter([body[start : start + 100_000] for start in range(0, size, 100_000)]) if chunked else body
    headers = HEADERS | {"x-image-meta-store": store}
    if size == 0:
        sent = iter([])
    image = requests.post(url(clouds), sent, headers=headers, timeout=60).json()["image"]
    assert (image["status"], image["size"]) == ("active", size)
    assert image["location"].startswith(f"{store}://")
    path = f"/{image['id']}"
    down = requests.get(url(clouds, path), timeout=60)
    assert (down.status_code, hashlib.sha256(down.content).digest()) == (200, hashlib.sha256(body).digest())
    assert down.headers["Content-Length"] == str(size)
    if size > 1:
        part = requests.get(url(clouds, path), headers={"Range": f"bytes={size // 2}-{size - 2}"}, timeout=60)
        assert (part.status_code, part.content) == (206, body[size // 2 : size - 1])
    assert requests.delete(url(clouds, path), timeout=60).status_code == 200
    assert requests.get(url(clouds, path), timeout=60).status_code == 404


@pytest.mark.parametrize("store", ["s3", "swift"])
def test_an_upload_that_breaks_off_is_killed(clouds: Installation, store: str) -> None:
    def cut() -> Iterator[bytes]:
        yield BYTES[: 7 * MIB]
        raise ConnectionError("the client leaves")

    with pytest.raises(requests.ConnectionError):
        requests.post(url(clouds), cut(), headers=HEADERS | {"x-image-meta-store": store}, timeout=60)
    image = requests.get(url(clouds, "/detail"), timeout=60).json()["images"][-1]
    while image["status"] == "saving":
        image = requests.get(url(clouds, "/detail"), timeout=60).json()["images"][-1]
    assert image["status"] == "killed"


def test_images_of_third_parties(clouds: Installation, web: Web) -> None:
    headers = HEADERS | {"x-image-meta-location": web.url("ranged")}
    image = requests.post(url(clouds), headers=headers, timeout=60).json()["image"]
    assert (image["status"], image["size"]) == ("active", len(DATA))
    assert requests.get(url(clouds, f"/{image['id']}"), timeout=60).content == DATA
    assert requests.delete(url(clouds, f"/{image['id']}"), timeout=60).status_code == 200


def test_a_third_party_that_breaks_off_breaks_the_download(clouds: Installation, web: Web) -> None:
    headers = HEADERS | {"x-image-meta-location": web.url("cut")}
    image = requests.post(url(clouds), headers=headers, timeout=60).json()["image"]
    with pytest.raises(requests.RequestException):
        requests.get(url(clouds, f"/{image['id']}"), timeout=60)
