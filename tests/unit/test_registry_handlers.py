# SPDX-License-Identifier: Apache-2.0
"""The registry's HTTP resource at its entrance: seconds in headers and parameters that are none."""

import json
from urllib.parse import quote

import pytest
from webob import Request, Response

from glance.config import RegistryConfig
from glance.core.context import Context
from glance.core.image import Image, Status, Visibility
from glance.registry.server import build
from glance.wire import records
from glance.wire.identity import KEY_HEADER, headers_for
from tests.fakes.registry import MemoryRegistry

ADMIN = Context(is_admin=True)
KEY = "a key that both daemons share"
NO_SECONDS = ["", "-1", "+1", "1.0", "1_0", "1e3", "0x10", "soon", "٣", str(2**31), "9" * 100]


@pytest.fixture
def registry() -> MemoryRegistry:
    found = MemoryRegistry()
    found.add(ADMIN, Image(status=Status.ACTIVE, locations=("file:///1",)))
    return found


def ask(registry: MemoryRegistry, method: str, path: str, *, lease: str | None = None) -> Response:
    request = Request.blank(path, method=method, headers={**headers_for(ADMIN), KEY_HEADER: KEY})
    if method == "POST":
        request.content_type = "application/json"
        request.body = json.dumps(records.encode_image(Image())).encode()
    if lease is not None:
        # As servers hand it on: the bytes of a header, as Latin-1.
        request.environ["HTTP_X_GLANCE_LEASE"] = lease.encode().decode("latin-1")
    return request.get_response(build(RegistryConfig(registry_key=KEY), registry=registry))


@pytest.mark.parametrize("lease", NO_SECONDS)
@pytest.mark.parametrize(("method", "path"), [("POST", "/records"), ("DELETE", "/records/1")])
def test_a_wrong_lease_is_refused_and_changes_nothing(registry, method, path, lease):
    before = dict(registry.images)
    answer = ask(registry, method, path, lease=lease)
    assert (answer.status_int, records.LEASE_HEADER in answer.text) == (400, True)
    assert (registry.images, registry.leases) == (before, {})


@pytest.mark.parametrize("delay", [*NO_SECONDS, "1\0"])
def test_a_wrong_delay_is_refused_and_changes_nothing(registry, delay):
    answer = ask(registry, "DELETE", f"/records/1?{records.DELAY}={quote(delay)}")
    assert (answer.status_int, records.DELAY in answer.text) == (400, True)
    assert (registry.images[1].status, registry.leases) == (Status.ACTIVE, {})


def test_a_parameter_that_is_none_is_refused(registry):
    answer = ask(registry, "DELETE", "/records/1?later=5")
    assert (answer.status_int, records.DELAY in answer.text, registry.images[1].status) == (400, True, Status.ACTIVE)


@pytest.mark.parametrize("seconds", ["0", "007", str(2**31 - 1)])
def test_a_right_lease_and_delay_are_taken(registry, seconds):
    assert ask(registry, "POST", "/records", lease=seconds).status_int == 200
    assert registry.leases.keys() == {2}
    answer = ask(registry, "DELETE", f"/records/1?{records.DELAY}={seconds}", lease="60")
    assert (answer.status_int, answer.json["status"]) == (200, "pending_delete")


def test_what_is_absent_is_no_lease_and_no_delay(registry):
    assert ask(registry, "POST", "/records").status_int == 200
    assert registry.leases == {}
    assert ask(registry, "DELETE", "/records/1").json["status"] == "deleted"
    assert registry.leases[1][1] is not None


def test_answers_are_utf_8(registry):
    registry.add(ADMIN, Image(name="漢é🐧", visibility=Visibility.PUBLIC))
    assert "漢é🐧".encode() in ask(registry, "GET", "/records/2").body
    assert "漢é🐧".encode() in ask(registry, "GET", "/records").body
