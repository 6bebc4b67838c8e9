# SPDX-License-Identifier: Apache-2.0
"""Real daemons whose stores are reached by https: what a client of the API sees, and what the log says."""

import os
from collections.abc import Iterator

import pytest
import requests

from tests.functional.daemons import Installation
from tests.servers.swift import Swift
from tests.servers.tls import Authority, tls_before

pytestmark = pytest.mark.functional

BYTES = os.urandom(6 * 1024 * 1024 + 1)  # in parts, of S3 and of Swift
HEADERS = {"Content-Type": "application/octet-stream", "x-image-meta-type": "raw", "x-image-meta-is_public": "1"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(swift: Swift, authority: Authority) -> Iterator[Swift]:
    with tls_before(swift.port, authority.context(), listen=swift.tls_port):
        yield swift


def start(installation: Installation, swift: Swift, *lines: str) -> None:
    """Start the daemons with both clouds behind TLS."""
    installation.configure(
        api="\n".join(
            (
                f"s3_store_host = https://127.0.0.1:{swift.tls_port}",
                f"s3_store_access_key = {swift.s3_access_key}",
                f"s3_store_secret_key = {swift.s3_secret_key}",
                "s3_store_bucket = images-tls-s3",
                "s3_store_create_bucket_on_put = True",
                "s3_store_large_object_size = 5",
                "s3_store_large_object_chunk_size = 5",
                f"swift_store_auth_address = https://127.0.0.1:{swift.tls_port}/auth/v1.0",
                f"swift_store_user = {swift.tls_user}",
                f"swift_store_key = {swift.key}",
                "swift_store_container = images-tls-swift",
                "swift_store_create_container_on_put = True",
                "swift_store_large_object_size = 1",
                "swift_store_large_object_chunk_size = 1",
                *lines,
            )
        )
    )
    installation.start()


def upload(installation: Installation, store: str) -> requests.Response:
    url = f"http://127.0.0.1:{installation.api_port}/images"
    return requests.post(url, BYTES, headers=HEADERS | {"x-image-meta-store": store}, timeout=60)


def goes_up_and_down(installation: Installation, store: str) -> None:
    answer = upload(installation, store)
    assert answer.status_code == 200, answer.text
    url = f"http://127.0.0.1:{installation.api_port}/images/{answer.json()['image']['id']}"
    assert requests.get(url, timeout=60).content == BYTES
    assert requests.delete(url, timeout=60).status_code == 200


def test_with_an_authority_of_ones_own(installation: Installation, secure: Swift, authority: Authority) -> None:
    start(installation, secure, f"s3_store_cacert = {authority.file}", f"swift_store_cacert = {authority.file}")
    for store in ("s3", "swift"):
        goes_up_and_down(installation, store)
    assert "NOT checked" not in installation.logs()


@pytest.mark.parametrize("store", ["s3", "swift"])
def test_an_authority_that_is_not_trusted(installation: Installation, secure: Swift, store: str) -> None:
    start(installation, secure)
    answer = upload(installation, store)
    assert answer.status_code == 503
    assert "shows a certificate that is not trusted" in answer.text
    assert answer.headers["X-Glance-Reason"] == "store-down"
    assert not any(word in answer.text for word in ("127.0.0.1", str(secure.tls_port), secure.key, "cacert"))
    log = installation.logs()
    assert "unable to get local issuer certificate" in log
    assert secure.key not in log
    assert "Traceback" not in log
    url = f"http://127.0.0.1:{installation.api_port}/images/detail"
    assert [image["status"] for image in requests.get(url, timeout=60).json()["images"]] == ["killed"]


def test_insecure_is_announced_once(installation: Installation, secure: Swift) -> None:
    start(installation, secure, "swift_store_auth_insecure = True")
    for _ in range(2):
        goes_up_and_down(installation, "swift")
    (line,) = (line for line in installation.logs().splitlines() if "NOT checked" in line)
    assert " WARNING [" in line
    assert "InsecureRequestWarning" not in installation.logs()
