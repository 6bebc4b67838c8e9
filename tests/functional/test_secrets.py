# SPDX-License-Identifier: Apache-2.0
"""Keys, tokens and signatures show nowhere: no answer, log, record or command line has them, whatever breaks.

Here those of the stores, and the registry's; test_secrets_of_callers.py and test_secrets_of_databases.py have others.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_trouble import wait_for
from tests.functional.traces import MARK, hold, said_by_commands
from tests.servers.interceptor import CUT, RESET, Interceptor, intercepting
from tests.servers.processes import free_port
from tests.servers.scripted import Reply, scripted
from tests.servers.swift import Swift

pytestmark = [pytest.mark.functional, pytest.mark.slow]

MIB = 1024 * 1024
BYTES = os.urandom(6 * MIB)  # in parts, of S3 and of Swift
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
        fields = {} if path.startswith("/v1") else FIELDS
        sent = {**(HEADERS if data else fields), **{name.replace("_", "-"): value for name, value in headers.items()}}
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


def locations_that_are_refused(call: Caller) -> None:
    """User and password in a URL, in each way to name one."""
    queued = call("POST", "/v1/images").json()["image"]["id"]
    with scripted() as web:
        web.answer = lambda _: Reply(302, headers={"Location": f"http://user:{IN_A_URL}@127.0.0.1/1"})
        for location in (
            f"http://user:{IN_A_URL}@127.0.0.1/1",
            f"https://user:{IN_A_URL}@127.0.0.1:1/1",
            f"s3://user:{IN_A_URL}@127.0.0.1/1",
            f"swift://user:{IN_A_URL}@127.0.0.1/1",
            f"user:{IN_A_URL}@127.0.0.1",
            "http://127.0.0.1:1/",
            web.url,
        ):
            assert call("POST", "/images", x_image_meta_location=location).status_code == 400
            formats = {"x_image_meta_disk_format": "raw", "x_image_meta_container_format": "bare"}
            for method, path in (("POST", "/v1/images"), ("PUT", f"/v1/images/{queued}")):
                for header in ("x_image_meta_location", "x_glance_api_copy_from"):
                    answer = call(method, path, **{header: location}, **formats)
                    assert answer.status_code == 400, answer.text


def secrets_of(between: Interceptor) -> set[str]:
    """What was sent to Swift to be let in, and what in it is signed."""
    found = set()
    for _, _, headers in between.seen:
        lowered = {name.lower(): value for name, value in headers.items()}
        found |= {lowered[name] for name in ("x-auth-key", "x-auth-token") if name in lowered}
        found |= set(SIGNATURE.findall(lowered.get("authorization", "")))
    return found


def test_no_answer_log_record_or_command_line_holds_a_secret(
    installation: Installation, swift: Swift, between: Interceptor
) -> None:
    configure(installation, swift, between.port, swift.key)
    assert installation.control("--debug", "all", "start").returncode == 0
    call = Caller(installation)
    transfers_that_succeed(call)
    transfers_that_fail(call, between)
    locations_that_are_refused(call)
    call.told += said_by_commands(installation)
    configure(installation, swift, between.port, WRONG_KEY)
    assert installation.control("--debug", "all", "restart").returncode == 0
    for store in CLOUDS:
        assert call.upload(store).status_code == 503
    call.told += said_by_commands(installation, "store-check", "fsck")
    configure(installation, swift, free_port(), WRONG_KEY)  # where nobody listens
    assert installation.control("--debug", "all", "restart").returncode == 0
    for store in CLOUDS:
        assert call.upload(store).status_code == 503
    call.told += said_by_commands(installation, "store-check", "fsck", "verify")
    wait_for(lambda: call("GET", "/images/detail").status_code == 200)

    secrets = {swift.key, REGISTRY_KEY, WRONG_KEY, IN_A_URL, MARK} | secrets_of(between)
    assert len(secrets) > 20  # many signatures, and some tokens
    assert (installation.folder / "glance.sqlite").exists()  # is searched, too
    assert hold(secrets, call.told, installation) == []
