# SPDX-License-Identifier: Apache-2.0
"""Keys, tokens and signatures show nowhere: no answer, log, record or command line has them, whatever breaks."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_trouble import wait_for
from tests.servers.interceptor import CUT, RESET, Interceptor, intercepting
from tests.servers.swift import Swift

pytestmark = pytest.mark.functional

MIB = 1024 * 1024
BYTES = os.urandom(6 * MIB)  # in parts, of S3 and of Swift
MARK = "secret-mark"
REGISTRY_KEY = f"{MARK}-registry-3f1b"
WRONG_KEY = f"{MARK}-wrong-77a9"
IN_A_URL = f"{MARK}-url-5d02"
FIELDS = {"x-image-meta-type": "raw", "x-image-meta-is_public": "1"}
HEADERS = {"Content-Type": "application/octet-stream", **FIELDS}
CLOUDS = ("s3", "swift")
STORES = ("file", *CLOUDS)
SIGNATURE = re.compile(r"Signature=(\w+)")


@pytest.fixture
def between(swift: Swift) -> Iterator[Interceptor]:
    with intercepting(swift.port) as server:
        yield server


def configure(installation: Installation, swift: Swift, port: int, key: str) -> None:
    """Every store by way of that port, and every secret that there is in a configuration."""
    installation.configure(
        common=f"registry_key = {REGISTRY_KEY}",
        api=f"""\
s3_store_host = http://127.0.0.1:{port}
s3_store_access_key = {swift.s3_access_key}
s3_store_secret_key = {key}
s3_store_bucket = secrets-s3
s3_store_create_bucket_on_put = True
s3_store_bucket_url_format = path
s3_store_large_object_size = 5
s3_store_large_object_chunk_size = 5
swift_store_auth_address = http://127.0.0.1:{port}/auth/v1.0
swift_store_user = {swift.user}
swift_store_key = {key}
swift_store_container = secrets-swift
swift_store_create_container_on_put = True
swift_store_large_object_size = 2
swift_store_large_object_chunk_size = 2
http_store_allowed_hosts = 127.0.0.1
""",
    )


class Caller:
    """Keeps what it is answered: heads, and bodies but for images."""

    def __init__(self, installation: Installation) -> None:
        self._url = f"http://127.0.0.1:{installation.api_port}"
        self.told: list[str] = []

    def __call__(self, method: str, path: str, data: bytes | None = None, **headers: str) -> requests.Response:
        sent = {**(HEADERS if data else FIELDS), **{name.replace("_", "-"): value for name, value in headers.items()}}
        try:
            answer = requests.request(method, f"{self._url}{path}", data=data, headers=sent, timeout=60)
        except requests.RequestException as error:  # bytes that break off
            self.told.append(repr(error))
            raise
        self.told.append(f"{answer.status_code} {answer.reason} {answer.headers}")
        if answer.content != BYTES:
            self.told.append(answer.text)
        return answer

    def upload(self, store: str) -> requests.Response:
        return self("POST", "/images", BYTES, x_image_meta_store=store)


def transfers_that_succeed(call: Caller) -> None:
    for store in STORES:
        number = call.upload(store).json()["image"]["id"]
        assert call("GET", f"/images/{number}").content == BYTES
        for path in (f"/images/{number}", "/images/detail", "/v1/images/detail", "/healthcheck/ready"):
            assert call("GET", path).status_code == 200
        assert call("HEAD", f"/images/{number}").status_code == 200
        assert call("DELETE", f"/images/{number}").status_code == 200


def transfers_that_fail(call: Caller, between: Interceptor) -> None:
    numbers = [call.upload(store).json()["image"]["id"] for store in CLOUDS]

    def download(number: int) -> int | None:
        try:
            return call("GET", f"/images/{number}").status_code
        except requests.RequestException:
            return None  # broken off

    with ThreadPoolExecutor() as pool:
        for how in (403, RESET):
            between.break_once("PUT", "", how, times=10**6)
            assert {answer.status_code for answer in pool.map(call.upload, CLOUDS)} == {503}
        for how, status in ((403, 503), (RESET, 503), (CUT, None)):
            between.break_once("GET", "", how, times=10**6)
            assert set(pool.map(download, numbers)) == {status}
    between.break_once("DELETE", "", 403, times=10**6)
    for number in numbers:
        call("DELETE", f"/images/{number}")
    between.rule = lambda method, path: None
    for location in (
        f"http://user:{IN_A_URL}@127.0.0.1/1",
        f"s3://user:{IN_A_URL}@127.0.0.1/1",
        "http://127.0.0.1:1/",
    ):
        assert call("POST", "/images", x_image_meta_location=location).status_code == 400


def secrets_of(between: Interceptor) -> set[str]:
    """What was sent to Swift to be let in, and what in it is signed."""
    found = set()
    for _, _, headers in between.seen:
        lowered = {name.lower(): value for name, value in headers.items()}
        found |= {lowered[name] for name in ("x-auth-key", "x-auth-token") if name in lowered}
        found |= set(SIGNATURE.findall(lowered.get("authorization", "")))
    return found


def places(installation: Installation) -> dict[str, bytes]:
    """All that the daemons have written, and how they were called."""
    files = [path for path in installation.folder.rglob("*") if path.is_file() and path != installation.config]
    found = {str(path): path.read_bytes() for path in files}
    for number in installation.processes():
        found[f"process {number}"] = Path(f"/proc/{number}/cmdline").read_bytes()
    return found


def test_no_answer_log_record_or_command_line_holds_a_secret(
    installation: Installation, swift: Swift, between: Interceptor
) -> None:
    configure(installation, swift, between.port, swift.key)
    assert installation.control("--debug", "all", "start").returncode == 0
    call = Caller(installation)
    transfers_that_succeed(call)
    transfers_that_fail(call, between)
    configure(installation, swift, between.port, WRONG_KEY)
    assert installation.control("--debug", "all", "restart").returncode == 0
    for store in CLOUDS:
        assert call.upload(store).status_code == 503
    wait_for(lambda: call("GET", "/images/detail").status_code == 200)

    secrets = {swift.key, REGISTRY_KEY, WRONG_KEY, IN_A_URL, MARK} | secrets_of(between)
    assert len(secrets) > 20  # many signatures, and some tokens
    written = places(installation)
    assert {Path(name).name for name in written} >= {"glance-api.log", "glance-registry.log", "glance.sqlite"}
    assert "DEBUG" in installation.logs()
    for secret in secrets:
        assert not [text for text in call.told if secret in text]
        assert not [name for name, content in written.items() if secret.encode() in content], secret
