# SPDX-License-Identifier: Apache-2.0
"""The registry API of March 2011, and what the registry's own resource answers to bad requests."""

import json

import pytest
from webob import Request

from glance.config import RegistryConfig
from glance.registry.server import build
from tests.api.test_classic import TWELVE


@pytest.fixture
def registry(api):
    app = build(RegistryConfig(), registry=api.registry)

    def send(method, path, body=None, **headers):
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = Request.blank(
            path, method=method, body=data, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        response = request.get_response(app)
        assert isinstance(response.body, bytes)
        return response

    return send


def test_empty_lists(registry):
    for path in ("/", "/images", "/images/detail", "/images/"):
        assert registry("GET", path).json == {"images": []}


def test_an_image_with_defaults(registry):
    response = registry("POST", "/images", {"image": {"type": "raw"}})
    image = response.json["image"]
    assert response.status_int == 200
    assert image.keys() == TWELVE
    assert (image["id"], image["status"], image["is_public"], image["properties"], image["size"]) == (
        1,
        "active",
        False,
        {},
        None,
    )


def test_all_fields(registry):
    given = {
        "id": 9, "name": "n", "type": "kernel", "size": "33", "status": "queued", "is_public": True,
        "location": "file:///somewhere/9", "properties": {"A": "b"}, "deleted": True, "created_at": "x",
    }  # fmt: skip
    image = registry("POST", "/images", {"image": given}).json["image"]
    assert image.items() >= {
        "id": 9, "name": "n", "type": "kernel", "size": 33, "status": "queued", "is_public": True,
        "location": "file:///somewhere/9", "deleted": False,
    }.items()  # fmt: skip
    assert image["properties"] == {"A": "b"}
    assert registry("GET", "/images/9").json["image"] == image
    assert registry("GET", "/images").json["images"] == [{"id": 9, "name": "n", "type": "kernel", "size": 33}]
    assert registry("GET", "/images/detail").json["images"] == [image]


def test_private_images_are_read_by_number_only(registry):
    registry("POST", "/images", {"image": {"type": "raw"}})
    assert registry("GET", "/images").json == {"images": []}
    assert registry("GET", "/images/1").status_int == 200


def test_an_update_keeps_what_it_does_not_name(registry):
    registry("POST", "/images", {"image": {"type": "raw", "name": "a", "properties": {"a": "1"}}})
    response = registry("PUT", "/images/1", {"image": {"size": 5, "status": "killed", "properties": {"b": "2"}}})
    image = response.json["image"]
    assert response.status_int == 200
    assert (image["name"], image["size"], image["status"], image["properties"]) == (
        "a",
        5,
        "killed",
        {"a": "1", "b": "2"},
    )


def test_an_update_of_nothing_is_404_in_these_words(registry):
    response = registry("PUT", "/images/3", {"image": {"name": "x"}})
    assert (response.status_int, response.content_type, response.text) == (404, "text/plain", "Image not found")


def test_a_deleted_image_is_gone(registry):
    registry("POST", "/images", {"image": {"type": "raw"}})
    response = registry("DELETE", "/images/1", b"ignored")
    assert (response.status_int, response.body) == (200, b"")
    for method in ("GET", "DELETE", "PUT"):
        assert registry(method, "/images/1", {"image": {}}).status_int == 404


def test_a_number_is_taken_once(registry):
    registry("POST", "/images", {"image": {"type": "raw", "id": 4}})
    assert registry("POST", "/images", {"image": {"type": "raw", "id": 4}}).status_int == 409


@pytest.mark.parametrize(("image", "token"), [
    ({}, "Image type is required"), ({"type": "zz"}, "Invalid image type"), ({"type": 5}, "Invalid image type"),
    ({"type": "raw", "status": "nonsense"}, "Invalid image status"), ({"type": "raw", "status": "deleted"}, "Invalid image status"),
    ({"type": "raw", "is_public": "False"}, "is_public"), ({"type": "raw", "size": -1}, "size"), ({"type": "raw", "size": 2**63}, "size"),
    ({"type": "raw", "size": True}, "size"), ({"type": "raw", "id": "x"}, "id"), ({"type": "raw", "id": 2**31}, "id"),
    ({"type": "raw", "name": "a\r\nSet-Cookie: x"}, "name"), ({"type": "raw", "name": "x" * 256}, "name"),
    ({"type": "raw", "properties": {"a": 1}}, "property"), ({"type": "raw", "location": 5}, "location"),
])  # fmt: skip
def test_a_wrong_value_is_400(registry, image, token):
    response = registry("POST", "/images", {"image": image})
    assert response.status_int == 400
    assert token in response.text


BAD_BODIES = [b"", b"x", b"[]", b"null", b"\xff", b'{"image": 5}', b'{"image": {}, "image": {}}', b"[" * 100_000]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_body_that_is_no_image_is_400(registry, body):
    registry("POST", "/images", {"image": {"type": "raw"}})
    assert registry("POST", "/images", body).status_int == 400
    assert registry("PUT", "/images/1", body).status_int == 400


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"null", b"\xff", b'{"nonsense": 1}', b'{"size": "5"}', b"[" * 100_000]
)
def test_a_body_that_is_no_record_is_400(registry, body):
    registry("POST", "/images", {"image": {"type": "raw"}})
    assert registry("POST", "/records", body).status_int == 400
    assert registry("PATCH", "/records/1", body).status_int == 400


@pytest.mark.parametrize("path", ["/images", "/records"])
def test_a_body_over_a_mebibyte_is_413(registry, path):
    assert registry("POST", path, b" " * (1024 * 1024 + 1)).status_int == 413


def test_an_unknown_expectation_is_400(registry):
    registry("POST", "/images", {"image": {"type": "raw"}})
    assert registry("PATCH", "/records/1", {}, X_Glance_Expect="nonsense").status_int == 400


@pytest.mark.parametrize(
    "path",
    ["/images/x", "/images/0", "/records/x", "/records", "/nothing", "/images/1/2", "/images/99999999999999999999"],
)
@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
def test_what_is_not_there_is_404(registry, method, path):
    assert registry(method, path, {}).status_int == 404


@pytest.mark.parametrize("query", ["limit=x", "after=-1", "visibility=all", "name=x", "limit=0"])
def test_a_wrong_query_is_400(registry, query):
    assert registry("GET", f"/records?{query}").status_int == 400


def test_a_query_that_is_not_utf_8_is_400(registry):
    assert registry("GET", "/records?limit=%ff").status_int == 400


def test_a_database_that_fails_is_503_without_a_word_about_it(registry, tmp_path):
    (tmp_path / "glance.sqlite").write_bytes(b"this is no database" * 1000)
    response = registry("GET", "/images")
    assert response.status_int == 503
    assert response.headers["Retry-After"]
    assert "sqlite" not in response.text.lower()
