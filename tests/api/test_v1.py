# SPDX-License-Identifier: Apache-2.0
"""The Images API v1 in process, for the operator: versions, creation, lists, updates, deletion."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from wsgiref.validate import WSGIWarning

import pytest

from glance.core.context import Context
from glance.core.errors import RegistryDown
from glance.core.image import Image, Visibility
from tests.api.conftest import Api

OPERATOR = Context(is_admin=True)
BYTES = bytes(range(256)) * 20
MD5 = hashlib.md5(BYTES, usedforsecurity=False).hexdigest()
UNKNOWN = "71c675ab-d94f-49cd-a114-e12490b328d9"
RAW = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}
BRIEF = {"id", "name", "disk_format", "container_format", "checksum", "size"}
DETAIL = BRIEF | {
    "status", "virtual_size", "min_disk", "min_ram", "is_public", "protected", "owner", "created_at", "updated_at", "deleted_at",
    "deleted", "properties",
}  # fmt: skip


def create(api: Api, body: bytes | None = BYTES, **fields: str) -> dict:
    """A new image; its record."""
    headers = {
        f"x-image-meta-{name}": value for name, value in {"name": "image", "is_public": "True", **fields}.items()
    }
    response = api("POST", "/v1/images", {**RAW, **headers}, body)
    assert response.status_int == 201, response.text
    return response.json["image"]


def names(api: Api, query: str = "", **arguments: object) -> list[str]:
    response = api("GET", f"/v1/images/detail{query}", **arguments)
    assert response.status_int == 200, response.text
    return [image["name"] for image in response.json["images"]]


def meta(api: Api, image_id: str, **arguments: object) -> dict[str, str]:
    response = api("HEAD", f"/v1/images/{image_id}", **arguments)
    assert response.status_int == 200
    return {name.lower().removeprefix("x-image-meta-"): value for name, value in response.headers.items()}


# Versions


@pytest.mark.parametrize(("path", "accept", "status"), [
    ("/", "application/json", 300), ("/", "application/json; q=1", 300), ("/versions", "*/*", 200), ("/versions/", None, 200),
    ("/v9/images", None, 300), ("/v10", None, 300), ("/v1.2/images", None, 300), ("/v2/images", None, 300),
    ("/images", "application/vnd.openstack.images-v10", 300), ("/images", "application/vnd.openstack.images-v1.9", 300),
    ("/images", "application/vnd.openstack.compute-v1", 300), ("/", "application/vnd.openstack.images-v1", 300),
])  # fmt: skip
def test_the_versions_are_told(api, path, accept, status):
    response = api("GET", path, {"Accept": accept} if accept else {})
    assert (response.status_int, response.content_type) == (status, "application/json")
    links = [{"rel": "self", "href": "http://localhost/v1/"}]
    assert response.json["versions"] == [
        {"id": "v1.1", "status": "CURRENT", "links": links}, {"id": "v1.0", "status": "SUPPORTED", "links": links},
    ]  # fmt: skip


@pytest.mark.parametrize("accept", ["*/*", None, "text/html", "application/json, text/plain", "text/plain"])
def test_the_root_is_the_list_of_2011_for_everybody_else(api, accept):
    response = api("GET", "/", {"Accept": accept} if accept else {})
    assert (response.status_int, response.json) == (200, {"images": []})


@pytest.mark.parametrize(("path", "accept"), [
    ("/v1/images", None), ("/v1.0/images", None), ("/v1.1/images", None), ("/v1/", None), ("/v1/images/detail", None),
    ("/images", "application/vnd.openstack.images-v1"), ("/images/detail", "application/vnd.openstack.images-v1.0"),
    ("/images", "application/vnd.openstack.images-v1+json;q=0.9, */*"), ("/images", "Application/Vnd.OpenStack.Images-V1.1"),
])  # fmt: skip
def test_one_api_by_all_its_names(api, path, accept):
    image = create(api)
    response = api("GET", path, {"Accept": accept} if accept else {})
    assert [item["id"] for item in response.json["images"]] == [image["id"]]


@pytest.mark.parametrize(("path", "location"), [("/v1", "/v1/"), ("/v1.1?limit=5&a=%20", "/v1/?limit=5&a=%20")])
def test_without_a_slash_one_is_led_to_it(api, path, location):
    for method in ("GET", "HEAD"):
        response = api(method, path)
        assert (response.status_int, response.location) == (302, f"http://localhost{location}")


def test_what_writes_is_never_led_anywhere(api):
    for method in ("POST", "PUT", "DELETE"):
        assert api(method, "/v1").status_int == 405


@pytest.mark.parametrize("path", ["/v1/images.json", "/v1/images/new", "/v1/image", "/v1/images/x/y/z", "/v1/cached_images",
    "/v1/queued_images/x", "/v1/cached_images/x", f"/v1/images/{UNKNOWN}", "/v1/images/1", f"/v1/images/{UNKNOWN.upper()}",
    f"/v1/images/{{{UNKNOWN}}}", "/v1/images/%00", "/v1/images/..%2f..%2fetc"])  # fmt: skip
def test_what_is_not_there_is_404(api, path):
    create(api)
    assert api("GET", path).status_int == 404


@pytest.mark.parametrize(("method", "path", "allow"), [
    ("PUT", "/v1/images", "GET, HEAD, POST"), ("DELETE", "/v1/images", "GET, HEAD, POST"), ("PATCH", "/v1/images", "GET, HEAD, POST"),
    ("PUT", "/v1/images/detail", "GET, HEAD"), ("POST", "/v1/images/detail", "GET, HEAD"), ("DELETE", "/v1/images/detail", "GET, HEAD"),
    ("POST", f"/v1/images/{UNKNOWN}", "GET, HEAD, PUT, DELETE"), ("PATCH", f"/v1/images/{UNKNOWN}", "GET, HEAD, PUT, DELETE"),
    ("POST", "/v1/", "GET, HEAD"), ("POST", "/versions", "GET, HEAD"), ("DELETE", "/healthcheck", "GET, HEAD"), ("PUT", "/healthcheck/ready", "GET, HEAD"),
    ("POST", f"/v1/images/{UNKNOWN}/members", "GET, HEAD, PUT"), ("GET", f"/v1/images/{UNKNOWN}/members/x", "PUT, DELETE"),
])  # fmt: skip
def test_other_methods_are_not_allowed(api, method, path, allow):
    response = api(method, path)
    assert (response.status_int, response.headers["Allow"]) == (405, allow)


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_is_what_the_request_line_says(api, name):
    path = f"/v1/images/{create(api)['id']}"
    assert api("POST", path, {name: "DELETE"}).status_int == 405
    assert api("GET", f"{path}?_method=DELETE", {name: "DELETE"}).body == BYTES


def test_a_method_that_is_none_is_not_implemented(api):
    with pytest.warns(WSGIWarning):
        assert api("BREW", "/v1/images").status_int == 501


# Creation


def test_an_image_without_bytes_is_queued_until_they_come(api):
    image = create(api, None, **{"property-os": "linux"})
    assert image.keys() == DETAIL
    assert (image["status"], image["size"], image["properties"]) == ("queued", 0, {"os": "linux"})
    response = api("PUT", f"/v1/images/{image['id']}", {}, BYTES)
    assert (response.status_int, response.json["image"]["status"]) == (200, "active")
    assert response.json["image"]["properties"] == {"os": "linux"}  # a body purges nothing
    assert api("PUT", f"/v1/images/{image['id']}", {}, BYTES).status_int == 409


@pytest.mark.parametrize("chunked", [False, True])
def test_an_image_with_its_bytes(api, chunked):
    response = api("POST", "/v1/images", {**RAW, "x-image-meta-name": "n"}, BYTES, chunked=chunked)
    image = response.json["image"]
    assert (response.status_int, response.content_type) == (201, "application/json")
    assert (image["status"], image["checksum"], image["size"]) == ("active", MD5, 5120)
    assert (response.location, response.headers["ETag"]) == (f"http://localhost/v1/images/{image['id']}", MD5)
    assert image["is_public"] is image["protected"] is image["deleted"] is False
    assert "location" not in response.text
    head = api("HEAD", f"/v1/images/{image['id']}")
    assert (head.headers["Content-Length"], head.headers["Content-Type"]) == ("0", "text/html; charset=UTF-8")
    get = api("GET", f"/v1/images/{image['id']}")
    assert (get.body, get.headers["Content-Length"], get.headers["Content-Type"]) == (
        BYTES,
        "5120",
        "application/octet-stream",
    )
    for answer in (head, get):
        assert answer.headers["ETag"] == answer.headers["X-Image-Meta-Checksum"] == MD5
        assert answer.headers["X-Image-Meta-Is_public"] == "False"
        assert not {"x-image-meta-location", "x-image-meta-owner", "x-image-meta-deleted_at"} & {
            name.lower() for name in answer.headers
        }


def test_a_range_is_not_looked_at(api):
    image = create(api)
    response = api("GET", f"/v1/images/{image['id']}", {"Range": "bytes=0-9"})
    assert (response.status_int, response.body) == (200, BYTES)


@pytest.mark.parametrize("body", [None, b""])
def test_an_image_that_is_said_to_be_empty_is_active(api, body):
    image = create(api, body, size="0")
    assert (image["status"], image["size"], image["checksum"]) == ("active", 0, hashlib.md5(b"").hexdigest())
    response = api("GET", f"/v1/images/{image['id']}")
    assert (response.status_int, response.body) == (200, b"")


def test_a_chunked_body_of_nothing_is_a_body(api):
    response = api("POST", "/v1/images", RAW, b"", chunked=True)
    assert (response.json["image"]["status"], response.json["image"]["size"]) == ("active", 0)


def test_formats_come_before_bytes(api):
    for headers in ({}, {"x-image-meta-disk_format": "raw"}, {"x-image-meta-container_format": "bare"}):
        response = api("POST", "/v1/images", headers, BYTES)
        assert response.status_int == 400
        missing = "container" if "x-image-meta-disk_format" in headers else "disk"
        assert f"Invalid {missing} format 'None'" in response.text
    assert (names(api, "?is_public=none"), api.stored()) == ([], [])


@pytest.mark.parametrize(("headers", "token"), [
    ({"disk_format": "qcow3"}, "Invalid disk format 'qcow3'"), ({"container_format": "box"}, "Invalid container format 'box'"),
    ({"disk_format": "ami", "container_format": "bare"}, "Invalid mix"), ({"disk_format": "aki", "container_format": "ari"}, "Invalid mix"),
    ({"size": "-1"}, "size"), ({"size": "1e3"}, "size"), ({"size": "1_000"}, "size"), ({"size": str(2**63)}, "size"), ({"size": "x"}, "size"),
    ({"min_disk": "-1"}, "min_disk"), ({"min_ram": str(2**31)}, "min_ram"), ({"min_ram": "None"}, "min_ram"), ({"min_disk": "1.5"}, "min_disk"),
    ({"virtual_size": "-1"}, "virtual_size"), ({"checksum": "0" * 33}, "checksum"), ({"name": "x" * 256}, "name"),
    ({"id": "1"}, "id"), ({"id": UNKNOWN.upper()}, "id"), ({"id": f"{{{UNKNOWN}}}"}, "id"), ({"id": f"urn:uuid:{UNKNOWN}"}, "id"),
    ({"nonsense": "x"}, "Bad header"), ({"properties": "x"}, "Bad header"), ({"property-": "x"}, "property"),
    ({"property-" + "k" * 256: "x"}, "property"), ({"name": "\xff"}, "UTF-8"), ({"owner": "o" * 256}, "owner"),
])  # fmt: skip
@pytest.mark.parametrize("body", [BYTES, None])
def test_what_is_wrong_is_refused(api, headers, token, body):
    wrong = {f"x-image-meta-{name}": value for name, value in headers.items()}
    response = api("POST", "/v1/images", {**RAW, **wrong}, body)
    assert response.status_int == 400
    assert token in response.text
    assert api.stored() == []


@pytest.mark.parametrize("store", ["nowhere", "http", "s3"])
@pytest.mark.parametrize("body", [BYTES, None])
def test_a_store_that_takes_no_bytes_is_refused_before_there_is_an_image(api, store, body):
    image = create(api, None)
    for method, path in (("POST", "/v1/images"), ("PUT", f"/v1/images/{image['id']}")):
        response = api(method, path, {**RAW, "x-image-meta-store": store}, body)
        assert (response.status_int, store in response.text) == (400, True)
    (found,) = api("GET", "/v1/images/detail?is_public=none&changes-since=2011-03-04").json["images"]
    assert (found["id"], found["status"], api.stored()) == (image["id"], "queued", [])


def test_amazon_formats_come_in_pairs(api):
    for given in ({"disk_format": "ami"}, {"container_format": "aki"}):
        headers = {f"x-image-meta-{name}": value for name, value in given.items()}
        image = api("POST", "/v1/images", headers, BYTES).json["image"]
        (value,) = given.values()
        assert (image["disk_format"], image["container_format"]) == (value, value)


def test_bytes_of_another_type_kill_the_image(api):
    for content_type in ("application/json", "", "text/plain"):
        response = api("POST", "/v1/images", {**RAW, "Content-Type": content_type}, b"{}")
        assert response.status_int == 400
    assert (
        api("POST", "/v1/images", {**RAW, "Content-Type": "application/octet-stream; charset=x"}, BYTES).status_int
        == 201
    )
    killed = api("GET", "/v1/images/detail?is_public=none&changes-since=2011-03-04").json["images"]
    assert sorted(image["status"] for image in killed) == ["active", "killed", "killed", "killed"]


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("promise", [{"size": "5119"}, {"size": "6000"}, {"checksum": "0" * 32}])
def test_broken_promises_kill_the_image(api, promise, chunked):
    headers = {f"x-image-meta-{name}": value for name, value in promise.items()}
    response = api("POST", "/v1/images", {**RAW, **headers}, BYTES, chunked=chunked)
    assert response.status_int == 400
    (image,) = api("GET", "/v1/images/detail?is_public=none&changes-since=2011-03-04").json["images"]
    assert (image["status"], api.stored()) == ("killed", [])
    assert api("PUT", f"/v1/images/{image['id']}", {}, BYTES).status_int == 409
    assert api("GET", f"/v1/images/{image['id']}").status_int == 404
    assert api("DELETE", f"/v1/images/{image['id']}").status_int == 200


def test_promises_that_are_kept(api):
    image = create(api, size="5120", checksum=MD5.upper())
    assert image["checksum"] == MD5


def test_more_than_the_cap(make_api):
    api = make_api(image_size_cap=1000)
    assert api("POST", "/v1/images", RAW, BYTES).status_int == 400  # declared
    assert api("POST", "/v1/images", {**RAW, "x-image-meta-size": "1001"}, b"", chunked=True).status_int == 400
    assert api("POST", "/v1/images", RAW, BYTES, chunked=True).status_int == 413
    assert api.stored() == []


def test_an_image_has_one_source(api, web):
    location = {"x-image-meta-location": web.url("whole")}
    copy = {"x-glance-api-copy-from": web.url("whole")}
    for headers, body in ((location, BYTES), (copy, BYTES), ({**location, **copy}, None)):
        response = api("POST", "/v1/images", {**RAW, **headers}, body)
        assert response.status_int == 400
        assert "multiple image sources" in response.text
    assert (names(api, "?is_public=none"), api.stored(), web.requests) == ([], [], [])


@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "filesystem:///x", "swift+config://a/b", "s3://bucket/key", "swift://c/o",
    "ftp://example.org/x", "nonsense", "http://", "http://169.254.169.254/latest", "http://10.0.0.1/", "http://[::1]/", "http://127.1:9191/",
])  # fmt: skip
def test_places_that_cannot_be_named(api, header, url):
    assert api("POST", "/v1/images", {**RAW, header: url}).status_int == 400
    image = create(api, None)
    assert api("PUT", f"/v1/images/{image['id']}", {header: url}).status_int == 400
    assert meta(api, image["id"])["status"] == "queued"


def test_bytes_that_lie_elsewhere(api, web):
    image = create(api, None, location=web.url("whole"))
    assert (image["status"], image["size"]) == ("active", 1_024_000)
    assert "whole" not in str(meta(api, image["id"]))
    assert len(api("GET", f"/v1/images/{image['id']}").body) == 1_024_000
    assert api("DELETE", f"/v1/images/{image['id']}").status_int == 200
    assert {request[0] for request in web.requests} == {"HEAD", "GET"}


@pytest.mark.parametrize("path", ["WHOLE", "Bild für alle?a=b c"])
@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
def test_urls_in_any_letter_case_and_script(api, web, header, path):
    web.names["WHOLE"] = "whole"
    url = web.url(path).replace("http:", "HTTP:")
    response = api("POST", "/v1/images", {**RAW, header: url.encode().decode("latin-1")})
    assert (response.status_int, response.json["image"]["size"]) == (201, 1_024_000)
    api.recover()
    assert len(api("GET", f"/v1/images/{response.json['image']['id']}").body) == 1_024_000
    assert api("DELETE", f"/v1/images/{response.json['image']['id']}").status_int == 200


def test_a_size_that_the_other_server_denies(api, web):
    response = api("POST", "/v1/images", {**RAW, "x-image-meta-location": web.url("whole"), "x-image-meta-size": "5"})
    assert response.status_int == 409
    assert names(api, "?is_public=none") == []


def test_a_size_of_0_promises_nothing_of_another_server(api, web):
    assert create(api, None, location=web.url("whole"), size="0")["size"] == 1_024_000
    copy = {**RAW, "x-glance-api-copy-from": web.url("whole"), "x-image-meta-size": "0"}
    assert api("POST", "/v1/images", copy).json["image"]["size"] == 1_024_000


@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
def test_a_reserved_size_is_a_promise_about_another_server(api, web, header):
    for reserved, given in ((5, None), (None, 5), (1_024_000, 5), (5, 0)):
        image = create(api, None, **({"size": str(reserved)} if reserved else {}))
        headers = {**RAW, header: web.url("whole")} | ({} if given is None else {"x-image-meta-size": str(given)})
        assert api("PUT", f"/v1/images/{image['id']}", headers).status_int == 409
        assert meta(api, image["id"])["status"] == "queued"


def test_an_unknown_size_of_another_servers_data_stays_unknown(api, web):
    made = create(api, None, location=web.url("chunked"), size="0")
    later = create(api, None)
    headers = {**RAW, "x-image-meta-location": web.url("chunked"), "x-image-meta-size": "0"}
    assert api("PUT", f"/v1/images/{later['id']}", headers).status_int == 200
    for image in (made, later):
        assert api.registry.get(OPERATOR, image["id"]).size is None
        assert len(api("GET", f"/v1/images/{image['id']}").body) == 1_024_000
        echoed = api("PUT", f"/v1/images/{image['id']}", {"x-image-meta-size": "0", "x-image-meta-name": "new"})
        assert (echoed.status_int, echoed.json["image"]["name"]) == (200, "new")
        assert api.registry.get(OPERATOR, image["id"]).size is None
        assert api("PUT", f"/v1/images/{image['id']}", {"x-image-meta-size": "5"}).status_int == 403


@pytest.mark.parametrize("promise", [{"size": "5"}, {"checksum": "0" * 32}])
def test_a_copy_that_breaks_a_promise_kills_its_image(api, web, promise):
    headers = {f"x-image-meta-{name}": value for name, value in promise.items()}
    response = api("POST", "/v1/images", {**RAW, **headers, "x-glance-api-copy-from": web.url("chunked")})
    assert response.status_int == 201
    api.recover()
    assert (meta(api, response.json["image"]["id"])["status"], api.stored()) == ("killed", [])


def test_an_empty_size_or_checksum_leaves_those_of_an_active_image(api):
    image = create(api)
    headers = {"x-image-meta-size": "", "x-image-meta-checksum": "", "x-image-meta-name": "new"}
    after = api("PUT", f"/v1/images/{image['id']}", headers).json["image"]
    assert (after["name"], after["size"], after["checksum"]) == ("new", 5120, MD5)


def test_a_copy_is_queued_and_comes(api, web):
    image = create(api, None, **{"name": "copy"})
    response = api(
        "POST", "/v1/images", {**RAW, "x-glance-api-copy-from": web.url("whole"), "x-image-meta-name": "new"}
    )
    assert (response.status_int, response.json["image"]["status"], response.json["image"]["size"]) == (
        201,
        "queued",
        1_024_000,
    )
    response = api("PUT", f"/v1/images/{image['id']}", {"x-glance-api-copy-from": web.url("whole")})
    assert (response.status_int, response.json["image"]["status"]) == (200, "queued")
    api.recover()
    for made in api("GET", "/v1/images/detail?is_public=none").json["images"]:
        assert (made["status"], made["size"]) == ("active", 1_024_000)
        assert hashlib.md5(api("GET", f"/v1/images/{made['id']}").body).hexdigest() == made["checksum"]


def test_a_copy_that_fails_later_kills_its_image(api, web):
    response = api("POST", "/v1/images", {**RAW, "x-glance-api-copy-from": web.url("cut")})
    assert response.status_int == 201
    api.recover()
    image_id = response.json["image"]["id"]
    assert meta(api, image_id)["status"] == "killed"
    assert api("GET", f"/v1/images/{image_id}").status_int == 404
    assert (api("DELETE", f"/v1/images/{image_id}").status_int, api.stored()) == (200, [])


def test_a_copy_of_what_is_not_there_is_refused(api, web):
    assert api("POST", "/v1/images", {**RAW, "x-glance-api-copy-from": web.url("nothing")}).status_int == 400


def test_an_id_of_ones_own_is_taken_once_and_for_ever(api):
    assert create(api, None, id=UNKNOWN)["id"] == UNKNOWN
    first = api("POST", "/v1/images", {"x-image-meta-id": UNKNOWN})
    api("DELETE", f"/v1/images/{UNKNOWN}")
    second = api("POST", "/v1/images", {"x-image-meta-id": UNKNOWN})
    assert (first.status_int, second.status_int, first.text) == (409, 409, second.text)


def test_what_the_server_keeps_itself_is_ignored(api):
    image = create(
        api,
        None,
        status="active",
        deleted="True",
        created_at="1999-01-01",
        updated_at="x",
        deleted_at="y",
        uri="z",
        copy_from="w",
    )
    assert (image["status"], image["deleted"], image["deleted_at"]) == ("queued", False, None)
    assert image["created_at"].startswith(str(datetime.now(UTC).year))


@pytest.mark.parametrize(("text", "truth"), [
    ("True", True), ("t", True), ("ON", True), ("y", True), ("Yes", True), ("1", True), ("False", False), ("None", False), ("", False),
    ("x", False), ("2", False),
])  # fmt: skip
def test_words_of_truth(api, text, truth):
    image = create(api, None, is_public=text, protected=text)
    assert (image["is_public"], image["protected"]) == (truth, truth)


def test_names_with_underscores_and_dashes_are_the_same(api):
    image = api(
        "POST",
        "/v1/images",
        {"X-Image-Meta-Disk-Format": "raw", "x_image_meta_min_ram": "5", "X-Image-Meta-Property-Os-Type": "linux"},
    ).json["image"]
    assert (image["disk_format"], image["min_ram"], image["properties"]) == ("raw", 5, {"os_type": "linux"})


@pytest.mark.parametrize("name", [
    "Ubuntu 10.10", "Ünï 漢字 🐧", "%20", "a" * 255, "🐧" * 255, "<script>", "caf\u00e9", "cafe\u0301", "\u202eabc\u200f", "dot.", "' OR 1=1 --",
], ids=ascii)  # fmt: skip
def test_names_of_all_scripts(api, name):
    wire = name.encode().decode("latin-1")
    image = api("POST", "/v1/images", {"x-image-meta-name": wire, "x-image-meta-property-p": wire}).json["image"]
    assert (image["name"], image["properties"]) == (name, {"p": name})
    assert meta(api, image["id"])["name"] == wire
    assert meta(api, image["id"])["property-p"] == wire


def test_one_client_encodes_and_is_understood(api):
    headers = {"x-image-meta-name": "Ubuntu%2010.10%20%C3%A9", "x-image-meta-property-os%2Dtype": "a%25"}
    plain = api("POST", "/v1/images", headers).json["image"]
    encoded = api("POST", "/v1/images", {**headers, "User-Agent": "python-glanceclient"}).json["image"]
    assert plain["name"] == "Ubuntu%2010.10%20%C3%A9"
    assert (encoded["name"], encoded["properties"]) == ("Ubuntu 10.10 é", {"os_type": "a%"})


@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
def test_that_client_may_name_any_url(api, web, header):
    url = web.url("to?url=/ranged").replace("?", "%3F").replace("=", "%3D")
    agent = {"User-Agent": "python-glanceclient"}
    assert api("POST", "/v1/images", {**RAW, **agent, header: url}).json["image"]["size"] == 1_024_000
    assert api("POST", "/v1/images", {**RAW, header: url}).status_int == 400


def test_a_header_of_that_client_that_is_not_utf_8_when_decoded(api):
    for headers in (
        {"x-image-meta-name": "%ff"},
        {"x-image-meta-property-%FF": "x"},
        {"x-glance-api-copy-from": "%ff"},
    ):
        assert api("POST", "/v1/images", {**headers, "User-Agent": "python-glanceclient"}).status_int == 400


def test_so_many_properties_and_no_more(api):
    headers = {f"x-image-meta-property-p{number}": "v" for number in range(128)}
    image = api("POST", "/v1/images", headers).json["image"]
    assert len(image["properties"]) == 128
    assert api("POST", "/v1/images", {**headers, "x-image-meta-property-q": "v"}).status_int == 413
    keep = {"x-glance-registry-purge-props": "false", "x-image-meta-property-q": "v"}
    assert api("PUT", f"/v1/images/{image['id']}", keep).status_int == 413


# Updates


def test_absent_fields_stay_and_absent_properties_go(api):
    image = create(api, None, **{"property-a": "1", "min_ram": "5"})
    path = f"/v1/images/{image['id']}"
    changed = api("PUT", path, {"x-image-meta-property-b": "2"}).json["image"]
    assert (changed["properties"], changed["min_ram"], changed["is_public"]) == ({"b": "2"}, 5, True)
    keep = {"x-glance-registry-purge-props": "false"}
    assert api("PUT", path, {**keep, "x-image-meta-property-a": "3"}).json["image"]["properties"] == {
        "a": "3",
        "b": "2",
    }
    assert api("PUT", path, {"x-image-meta-name": "new"}).json["image"]["properties"] == {}


def test_properties_that_no_header_can_name_survive(api):
    own = {"MyKey": "1", "os-type": "2", "with space": "3", "漢": "4", "plain": "5"}
    image = api.registry.add(OPERATOR, Image(properties=own))
    changed = api("PUT", f"/v1/images/{image.id}", {"x-image-meta-property-new": "6"}).json["image"]
    assert changed["properties"] == {"MyKey": "1", "os-type": "2", "with space": "3", "漢": "4", "new": "6"}


def test_a_property_named_like_a_field_is_a_property(api):
    image = create(
        api, None, **{"property-status": "active", "property-size": "7", "property-location": "file:///etc/passwd"}
    )
    assert (image["status"], image["size"]) == ("queued", 0)
    assert names(api, "?property-size=7") == ["image"]
    assert names(api, "?property-size=0") == []


def test_an_update_answers_the_record_and_its_etag(api):
    image = create(api)
    response = api("PUT", f"/v1/images/{image['id']}", {"x-image-meta-name": "new", "x-image-meta-min_disk": ""})
    assert (response.status_int, response.json["image"].keys(), response.headers["ETag"]) == (200, DETAIL, MD5)
    assert (response.json["image"]["name"], response.json["image"]["min_disk"]) == ("new", 0)
    assert response.json["image"]["updated_at"] > image["updated_at"]


@pytest.mark.parametrize("headers", [
    {"status": "queued"}, {"status": "killed"}, {"id": UNKNOWN}, {"size": "5"}, {"checksum": "0" * 32},
])  # fmt: skip
def test_what_nobody_sets(api, headers):
    image = create(api)
    response = api(
        "PUT", f"/v1/images/{image['id']}", {f"x-image-meta-{name}": value for name, value in headers.items()}
    )
    assert response.status_int == 403
    after = meta(api, image["id"])
    assert (after["status"], after["size"], after["checksum"]) == ("active", "5120", MD5)


def test_the_same_values_may_be_sent_again(api):
    image = create(api)
    same = {"status": "active", "id": image["id"], "size": "5120", "checksum": MD5, "deleted": "False", "owner": ""}
    response = api(
        "PUT", f"/v1/images/{image['id']}", {f"x-image-meta-{name}": value for name, value in same.items()}
    )
    assert response.status_int == 200


@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
def test_bytes_from_elsewhere_are_for_queued_images(api, web, header):
    image = create(api)
    response = api("PUT", f"/v1/images/{image['id']}", {header: web.url("whole")})
    assert response.status_int == 400
    assert "not in queued status" in response.text


def test_a_queued_image_gets_a_location(api, web):
    image = create(api, None)
    response = api("PUT", f"/v1/images/{image['id']}", {"x-image-meta-location": web.url("whole")})
    assert (response.json["image"]["status"], response.json["image"]["size"]) == ("active", 1_024_000)


def test_formats_may_come_with_the_bytes(api):
    image = api("POST", "/v1/images", {}).json["image"]
    assert api("PUT", f"/v1/images/{image['id']}", {}, BYTES).status_int == 400
    assert meta(api, image["id"])["status"] == "queued"
    assert api("PUT", f"/v1/images/{image['id']}", RAW, BYTES).json["image"]["disk_format"] == "raw"


def test_a_body_cut_short_kills(api):
    response = api("POST", "/v1/images", RAW, BYTES, length=6000)
    assert response.status_int == 400
    assert api.stored() == []


def test_an_unknown_image_is_not_updated(api):
    assert api("PUT", f"/v1/images/{UNKNOWN}", {"x-image-meta-name": "x"}).status_int == 404


# Deletion


def test_a_deleted_image_is_gone_but_for_admins(api):
    image = create(api)
    path = f"/v1/images/{image['id']}"
    response = api("DELETE", path)
    assert (response.status_int, response.body) == (200, b"")
    assert (api.stored(), names(api)) == ([], [])
    assert (api("DELETE", path).status_int, api("GET", path).status_int) == (404, 404)
    seen = meta(api, image["id"])
    assert (seen["status"], seen["deleted"]) == ("deleted", "True")
    assert api("PUT", path, {"x-image-meta-name": "x"}).status_int == 403


def test_a_protected_image_stays(api):
    image = create(api, protected="True")
    path = f"/v1/images/{image['id']}"
    assert api("DELETE", path).status_int == 403
    assert api("GET", path).body == BYTES
    assert api("PUT", path, {"x-image-meta-protected": "False"}).status_int == 200
    assert (api("DELETE", path).status_int, api.stored()) == (200, [])


def test_lost_bytes_are_404_before_the_headers(api):
    image = create(api)
    (api.datadir / "1").unlink()
    response = api("GET", f"/v1/images/{image['id']}")
    assert (response.status_int, "X-Image-Meta-Id" in response.headers) == (404, False)


def test_an_image_deleted_during_its_upload(api, monkeypatch):
    image = create(api, None)
    original, calls = api.registry.update, []

    def update(*arguments: object, **conditions: object) -> Image:
        calls.append(arguments)
        if len(calls) == 2:  # the first claims the image, the second would make it active
            api("DELETE", f"/v1/images/{image['id']}")
        return original(*arguments, **conditions)

    monkeypatch.setattr(api.registry, "update", update)
    assert api("PUT", f"/v1/images/{image['id']}", {}, BYTES).status_int == 412
    assert api.stored() == []
    assert meta(api, image["id"])["status"] == "deleted"


# Lists


def test_lists_show_what_they_show(api):
    create(api)
    (brief,) = api("GET", "/v1/images").json["images"]
    (detail,) = api("GET", "/v1/images/detail").json["images"]
    assert (brief.keys(), detail.keys()) == (BRIEF, DETAIL)
    assert detail["owner"] is None


def test_no_image_is_an_empty_list(api):
    assert api("GET", "/v1/images").text == '{"images": []}'


def test_pages_newest_first(api):
    ids = [create(api, None, name=name)["id"] for name in ("a", "b", "c")]
    assert names(api, "?limit=2") == ["c", "b"]
    assert names(api, f"?limit=2&marker={ids[1]}") == ["a"]
    assert names(api, f"?marker={ids[0]}") == []
    assert names(api, "?limit=0") == []
    assert names(api, "?sort_key=name&sort_dir=asc") == ["a", "b", "c"]
    assert names(api, f"?sort_key=name&sort_dir=asc&limit=1&marker={ids[0]}") == ["b"]


def test_a_page_has_a_size_by_default_and_one_at_most(make_api):
    api = make_api(limit_param_default=2, api_limit_max=3)
    for _ in range(4):
        create(api, None)
    assert [len(names(api)), len(names(api, "?limit=1")), len(names(api, "?limit=100"))] == [2, 1, 3]


def test_equal_keys_neither_lose_nor_repeat(api):
    for number in range(7):
        create(api, None, name=str(number), min_ram=str(number % 2))
    for key in ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"):
        for direction in ("asc", "desc"):
            seen: list[str] = []
            marker = ""
            while page := api("GET", f"/v1/images?limit=2&sort_key={key}&sort_dir={direction}{marker}").json[
                "images"
            ]:
                seen += [image["name"] for image in page]
                marker = f"&marker={page[-1]['id']}"
            assert sorted(seen) == [str(number) for number in range(7)]


def test_filters(api):
    create(api, BYTES, name="big", **{"property-os": "linux", "protected": "True"})
    create(api, b"x", name="small", min_ram="512", min_disk="10", disk_format="qcow2", **{"property-os": "bsd"})
    create(api, None, name="queued", container_format="ovf")
    for query, found in {
        "name=big": {"big"}, "status=queued": {"queued"}, "disk_format=qcow2": {"small"}, "container_format=ovf": {"queued"},
        "size_min=2": {"big"}, "size_max=1": {"small"}, "size_min=1&size_max=5120": {"big", "small"}, "min_ram=512": {"small"},
        "min_disk=10": {"small"}, "protected=True": {"big"}, "protected=0": {"small", "queued"}, "property-os=linux": {"big"},
        "property-os=linux&name=small": set(), "name=%25": set(), "nonsense=1": {"big", "small", "queued"}, "deleted=true": {"big", "small", "queued"},
        "sort=name": {"big", "small", "queued"}, "size_min=0": {"big", "small"},
    }.items():  # fmt: skip
        assert set(names(api, f"?{query}")) == found, query


@pytest.mark.parametrize("query", [
    "limit=-1", "limit=x", "limit=1_0", f"limit={2**64}", "marker=1", f"marker={UNKNOWN}", f"marker={UNKNOWN.upper()}", "sort_key=location",
    "sort_key=__class__", "sort_dir=up", "size_min=x", "size_min=-1", "size_max=1e3", "min_ram=-5", "protected=maybe", "is_public=maybe",
    "changes-since=yesterday", "changes-since=9999-99-99", "changes-since=10000-01-01", "changes-since=2011-03-04T00:00:00%2B99:99",
    "changes-since=0001-01-01T00:00:00%2B12:00", "name=%ff", "marker=%00",
])  # fmt: skip
def test_wrong_parameters(api, query):
    create(api, None)
    response = api("GET", f"/v1/images?{query}")
    assert response.status_int == 400, response.text


def test_a_validated_filter_says_so(api):
    assert "Bad value passed to filter" in api("GET", "/v1/images?size_min=x").text


def test_what_has_changed_includes_what_is_gone(api):
    create(api, None, name="before")
    mark = (datetime.now(UTC) + timedelta(microseconds=1)).isoformat().replace("+00:00", "")
    gone = create(api, None, name="gone")
    api("DELETE", f"/v1/images/{gone['id']}")
    api(
        "POST",
        "/v1/images",
        {**RAW, "x-image-meta-name": "killed", "x-image-meta-is_public": "1", "Content-Type": "x"},
        b"x",
    )
    create(api, None, name="new")
    assert names(api) == ["new", "before"]
    assert sorted(names(api, f"?changes-since={mark}")) == ["gone", "killed", "new"]
    ahead = (datetime.fromisoformat(mark) + timedelta(hours=1)).isoformat()
    assert sorted(names(api, f"?changes-since={ahead}%2B01:00")) == ["gone", "killed", "new"]
    assert sorted(names(api, f"?changes-since={mark}&limit=2&marker={gone['id']}")) == []


def test_what_admins_list(api):
    for visibility in Visibility:
        api.registry.add(OPERATOR, Image(name=visibility, visibility=visibility, owner="someone"))
    assert names(api) == names(api, "?is_public=True") == ["public"]
    assert set(names(api, "?is_public=False")) == {"private", "shared", "community"}
    assert set(names(api, "?is_public=None")) == {"public", "private", "shared", "community"}


def test_a_list_takes_twenty_property_filters(api):
    create(api, name="rich", **{f"property-p{number}": "v" for number in range(21)})
    filters = [f"property-p{number}=v" for number in range(21)]
    assert names(api, "?" + "&".join(filters[:20])) == ["rich"]
    response = api("GET", "/v1/images?" + "&".join(filters))
    assert response.status_int == 400
    assert "at most 20 properties, not 21" in response.text


@pytest.fixture
def short_pages(monkeypatch):
    """Pages of the registry end after one image that has properties."""
    monkeypatch.setattr("glance.registry.db.rows.MAX_PAGE_TEXT", 1)


def test_a_list_of_several_pages_of_the_registry_has_as_many_images_as_requested(api, short_pages):
    made = [create(api, None, **{"name": f"{number}", "property-os": "linux"})["id"] for number in range(5)]
    for limit in range(1, 7):
        for start in range(5):
            marker = f"&marker={made[start]}" if start else ""
            response = api("GET", f"/v1/images/detail?sort_key=name&sort_dir=asc&limit={limit}{marker}")
            found = [image["id"] for image in response.json["images"]]
            assert found == made[start + (start > 0) :][:limit]
    assert names(api, f"?sort_key=name&sort_dir=asc&marker={made[-1]}") == []
    response = api("GET", "/v1/images/detail?sort_key=name&sort_dir=asc")
    assert response.body == json.dumps(response.json).encode()
    assert api("HEAD", "/v1/images").body == b""


def test_a_list_breaks_off_when_the_registry_fails_after_the_first_page(api, short_pages, monkeypatch):
    for _ in range(3):
        create(api, None, **{"property-os": "linux"})
    find = api.registry.find

    def fail_later(ctx, query):
        if query.after is not None:
            raise RegistryDown("the registry does not answer")
        return find(ctx, query)

    monkeypatch.setattr(api.registry, "find", fail_later)
    with pytest.raises(RegistryDown):
        api("GET", "/v1/images/detail")
