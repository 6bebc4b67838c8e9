# SPDX-License-Identifier: Apache-2.0
"""Uploads to a store that is none, or takes no bytes: refused by the head of the request, before any byte of the body."""

import socket

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.live import Wire, request

pytestmark = pytest.mark.functional

APIS = {
    "classic": ("/images", {"type": "raw"}),
    "v1": ("/v1/images", {"disk_format": "raw", "container_format": "bare"}),
}
NO_STORES = {"unknown": "nowhere", "read only": "http", "not configured": "s3"}
LENGTH = 1_000_000  # of a body that is never sent


def meta(fields: dict[str, str]) -> dict[str, str]:
    return {f"x-image-meta-{name}": value for name, value in {"is_public": "True", **fields}.items()}


def upload(method: str, target: str, fields: dict[str, str], *more: bytes) -> bytes:
    """The head of an upload."""
    lines = (f"{name}: {value}".encode() for name, value in meta(fields).items())
    octets = (b"Content-Type: application/octet-stream", b"Content-Length: %d" % LENGTH)
    return request(*lines, *octets, *more, method=method.encode(), target=target.encode())


def listed(running: Installation) -> list[dict]:
    return requests.get(f"http://127.0.0.1:{running.api_port}/images/detail", timeout=30).json()["images"]


@pytest.mark.parametrize("expect", [(), (b"Expect: 100-continue",)], ids=["unasked", "asked"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("store", NO_STORES.values(), ids=NO_STORES)
@pytest.mark.parametrize(("path", "fields"), APIS.values(), ids=APIS)
def test_a_store_that_takes_no_bytes_is_refused_before_the_body(
    running: Installation, path: str, fields: dict[str, str], store: str, method: str, expect: tuple[bytes, ...]
) -> None:
    """A client that asks for leave to send is not given it; one that does not ask is answered while it sends.

    The image is killed by the classic API; v1 looks at the name of the store before it does anything."""
    url = f"http://127.0.0.1:{running.api_port}{path}"
    target = path
    if method == "PUT":
        target += f"/{requests.post(url, headers=meta(fields), timeout=30).json()['image']['id']}"
    before = listed(running)
    with socket.create_connection(("127.0.0.1", running.api_port), timeout=30) as sock:
        wire = Wire(sock)
        wire.send(upload(method, target, {**fields, "store": store}, *expect))
        answer = wire.answer()
    assert answer.status == 400  # and not 100
    assert store in answer.body.decode()
    if path == "/v1/images":
        assert listed(running) == before
    else:
        newest = listed(running)[-1]
        assert (newest["status"], newest["location"]) == ("killed", None)
    assert [found for found in (running.folder / "images").rglob("*") if found.is_file()] == []


@pytest.mark.parametrize(("path", "fields"), APIS.values(), ids=APIS)
def test_leave_to_send_is_given_for_a_store_that_takes_bytes(
    running: Installation, path: str, fields: dict[str, str]
) -> None:
    """So that the test before this one can fail."""
    with socket.create_connection(("127.0.0.1", running.api_port), timeout=30) as sock:
        wire = Wire(sock)
        wire.send(upload("POST", path, {**fields, "store": "file"}, b"Expect: 100-continue"))
        assert wire.answer().status == 100
