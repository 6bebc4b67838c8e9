# SPDX-License-Identifier: Apache-2.0
"""The classic API as clients of March 2011 know it, and as it answers what they should not send."""

import hashlib
from datetime import datetime

import pytest

from glance.core.context import Context
from glance.core.image import Image, Status
from glance.core.query import Query
from tests.servers.web import DATA, Handler

OPERATOR = Context(is_admin=True)

TWELVE = {
    "id", "name", "type", "size", "status", "is_public", "location", "properties",
    "created_at", "updated_at", "deleted_at", "deleted",
}  # fmt: skip
BYTES = bytes(range(256)) * 20


# Lists


@pytest.mark.parametrize("path", ["/", "/images", "/images/", "/images/detail", "/images/detail/"])
def test_an_empty_server_lists_nothing(api, path):
    response = api("GET", path)
    assert (response.status_int, response.body) == (200, b'{"images": []}')
    assert response.content_type == "application/json"


@pytest.mark.parametrize("path", ["/", "/images", "/images/"])
def test_the_brief_list_has_four_keys(api, path):
    api.add(BYTES)
    assert api("GET", path).json == {"images": [{"id": 1, "name": "image", "type": "raw", "size": len(BYTES)}]}


def test_the_full_list_has_twelve_keys_and_a_time_of_update(api):
    api.add(BYTES)
    (image,) = api("GET", "/images/detail").json["images"]
    assert image.keys() == TWELVE
    assert image["properties"] == {}
    assert datetime.fromisoformat(image["updated_at"]).tzinfo is None


def test_lists_hold_every_status_in_the_order_of_numbers_but_no_private_image(api):
    api.add(BYTES)
    api.add()
    api.add(is_public="false")
    api(
        "POST",
        "/images",
        {"x-image-meta-type": "raw", "x-image-meta-is_public": "1", "Content-Type": "text/plain"},
        b"x",
    )
    images = api("GET", "/images/detail").json["images"]
    assert [(image["id"], image["status"]) for image in images] == [(1, "active"), (2, "queued"), (4, "killed")]


def test_a_list_longer_than_a_page_comes_whole(api, monkeypatch):
    monkeypatch.setattr("glance.registry.db.sql.MAX_PAGE", 3)
    for _ in range(7):
        api.add()
    assert [image["id"] for image in api("GET", "/").json["images"]] == [1, 2, 3, 4, 5, 6, 7]


def test_the_query_string_is_ignored(api):
    api.add()
    assert len(api("GET", "/images?limit=0&name=other&marker=%ff").json["images"]) == 1


def test_json_is_not_html_because_a_browser_asks(api):
    assert api("GET", "/", {"Accept": "text/html,*/*"}).content_type == "application/json"


# Create


def test_an_upload_is_answered_with_the_whole_record(api):
    response = api(
        "POST",
        "/images",
        {"x-image-meta-type": "raw", "x-image-meta-name": "Ubuntu Maverick 10.10", "x-image-meta-is_public": "True"},
        BYTES,
    )
    image = response.json["image"]
    assert response.status_int == 200
    assert response.headers["Location"] == "http://localhost/images/1"
    assert image.keys() == TWELVE
    datetime.strptime(image.pop("created_at"), "%Y-%m-%dT%H:%M:%S.%f")
    assert image == {
        "id": 1,
        "name": "Ubuntu Maverick 10.10",
        "type": "raw",
        "size": len(BYTES),
        "status": "active",
        "is_public": True,
        "location": f"file://{api.datadir}/1",
        "properties": {},
        "updated_at": None,
        "deleted_at": None,
        "deleted": False,
    }


@pytest.mark.parametrize("path", ["/images", "/images/"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", [BYTES, b"\0", b"x" * 1_500_000])
def test_what_goes_up_comes_down(api, path, chunked, body):
    response = api("POST", path, {"x-image-meta-type": "raw"}, body, chunked=chunked)
    assert response.json["image"]["size"] == len(body)
    down = api("GET", "/images/1")
    assert (down.status_int, down.body) == (200, body)
    assert down.headers["Content-Type"] == "application/octet-stream"
    assert down.headers["Content-Length"] == str(len(body))


def test_both_digests_are_recorded(api):
    api.add(BYTES)
    image = api.registry.get(OPERATOR, "1")
    assert image.checksum == hashlib.md5(BYTES).hexdigest()
    assert (image.os_hash_algo, image.os_hash_value) == ("sha512", hashlib.sha512(BYTES).hexdigest())


def test_a_chunked_body_of_no_bytes_is_an_empty_image(api):
    image = api("POST", "/images", {"x-image-meta-type": "raw"}, b"", chunked=True).json["image"]
    assert (image["status"], image["size"]) == ("active", 0)
    down = api("GET", "/images/1")
    assert (down.status_int, down.body, down.headers["Content-Length"]) == (200, b"", "0")


def test_a_length_of_zero_is_no_body(api):
    image = api("POST", "/images", {"x-image-meta-type": "raw", "x-image-meta-size": "77"}, b"").json["image"]
    assert (image["status"], image["size"], image["location"]) == ("queued", 77, None)


def test_a_reservation_without_size_has_size_0(api):
    assert api.add()["size"] == 0


def test_the_bytes_settle_the_size_whatever_the_header_says(api):
    assert api.add(BYTES, size="3")["size"] == len(BYTES)


def test_a_location_elsewhere_makes_an_active_image_of_it(api, web):
    image = api.add(location=web.url("ranged"), size="4096")
    assert (image["status"], image["location"], image["size"]) == ("active", web.url("ranged"), len(DATA))
    assert api("GET", "/images/1").body == DATA
    part = api("GET", "/images/1", {"Range": "bytes=10-99"})
    assert (part.status_int, part.body) == (206, DATA[10:100])
    assert api("DELETE", "/images/1").status_int == 200
    assert {method for method, _, _ in web.requests} == {"HEAD", "GET"}


def test_a_location_of_unknown_size_is_read_to_its_end(api, web):
    assert api.add(location=web.url("chunked"), size="9")["size"] == 9
    assert api("GET", "/images/1").body == DATA


def test_an_unknown_size_of_a_location_stays_unknown(api, web):
    api.add(location=web.url("chunked"), size="0")
    queued = api.add(size="0")["id"]
    assert api("PUT", f"/images/{queued}", {"x-image-meta-location": web.url("chunked")}).status_int == 200
    for number in (1, queued):
        echoed = api("PUT", f"/images/{number}", {"x-image-meta-size": "0", "x-image-meta-name": "new"})
        assert (echoed.status_int, echoed.json["image"]["name"]) == (200, "new")
        assert api.registry.get(OPERATOR, str(number)).size is None
        assert api("GET", f"/images/{number}", {"Range": "bytes=0-9"}).body == DATA
        assert api("PUT", f"/images/{number}", {"x-image-meta-size": "5"}).status_int == 400


@pytest.mark.parametrize("chunked", [True, False])
def test_a_size_of_0_beside_data_is_unknown(api, chunked):
    headers = {"x-image-meta-type": "raw", "x-image-meta-size": "0"}
    image = api("POST", "/images", headers, BYTES, chunked=chunked).json["image"]
    assert (image["status"], image["size"]) == ("active", len(BYTES))


@pytest.mark.parametrize("path", ["nothing", "broken", "nonsense"])
def test_a_location_without_an_image_is_refused(api, web, path):
    response = api("POST", "/images", {"x-image-meta-type": "raw", "x-image-meta-location": web.url(path)})
    assert response.status_int == 400
    assert list(api.registry.find(OPERATOR, Query(everyone=True)).images) == []


def test_third_parties_bytes_that_are_gone_are_404_before_any_header(api, web, monkeypatch):
    api.add(location=web.url("whole"))
    monkeypatch.setattr(Handler, "answer_whole", Handler.answer_nothing)
    assert api("GET", "/images/1").status_int == 404


def test_third_parties_bytes_that_changed_their_size_are_404(api, web):
    api.add(location=web.url("grows"))
    assert api("GET", "/images/1").status_int == 404


def test_a_location_that_may_not_be_fetched_any_more_is_not(api, web):
    api.registry.add(
        OPERATOR,
        Image(status=Status.ACTIVE, disk_format="raw", locations=(f"http://127.0.0.2:{web.server_port}/whole",)),
    )
    assert api("GET", "/images/1").status_int == 400
    assert web.requests == []


def test_nothing_is_uploaded_to_third_parties(api, web):
    response = api("POST", "/images", {"x-image-meta-type": "raw", "x-image-meta-store": "http"}, BYTES)
    assert response.status_int == 400
    assert "cannot" in response.text or "read" in response.text
    assert api.record(1)["status"] == "killed"


def test_a_body_beats_a_location(api):
    assert api.add(BYTES, location="http://127.0.0.1/x")["location"] == f"file://{api.datadir}/1"


def test_a_client_may_choose_a_number_once(api):
    assert api.add(id="42")["id"] == 42
    assert api.add()["id"] == 43
    headers = {"x-image-meta-type": "raw", "x-image-meta-id": "42"}
    assert api("POST", "/images", headers).status_int == 409
    assert api("DELETE", "/images/42").status_int == 200
    assert api("POST", "/images", headers).status_int == 409


def test_numbers_are_never_used_again(api):
    api.add(BYTES)
    api("DELETE", "/images/1")
    assert api.add(BYTES)["id"] == 2


@pytest.mark.parametrize(
    "kind", ["machine", "kernel", "ramdisk", "raw", "vhd", "iso", "qcow2", "vmdk", "vdi", "vhdx", "ploop"]
)
def test_types_come_back_as_they_were_sent(api, kind):
    assert api.add(type=kind)["type"] == kind
    assert api.record(1)["type"] == kind


@pytest.mark.parametrize(("text", "expected"), [
    ("True", True), ("on", True), ("1", True), ("TRUE", True),
    ("False", False), ("0", False), ("None", False), ("", False), ("yes", False),
])  # fmt: skip
def test_words_for_truth(api, text, expected):
    assert api.add(is_public=text)["is_public"] is expected


def test_an_image_is_private_unless_said_otherwise(api):
    response = api("POST", "/images", {"x-image-meta-type": "raw"})
    assert response.json["image"]["is_public"] is False


def test_properties_are_folded_to_lower_case_and_underscores(api):
    image = api("POST", "/images", {"x-image-meta-type": "raw", "X-Image-Meta-Property-Kernel-ID": "Seven 7"}).json[
        "image"
    ]
    assert image["properties"] == {"kernel_id": "Seven 7"}
    assert api.record(1)["property-kernel_id"] == "Seven 7"


@pytest.mark.parametrize("name", [
    "created_at", "updated_at", "deleted_at", "deleted", "properties", "status", "foo", "uri", "image",
])  # fmt: skip
def test_what_a_client_may_not_set_is_ignored(api, name):
    image = api.add(**{name: "{'a': 'b'}"})
    assert (image["status"], image["deleted"], image["properties"]) == ("queued", False, {})
    assert image.keys() == TWELVE


# Show


def test_metadata_as_headers(api):
    api.add(BYTES, name="Ubuntu Maverick 10.10")
    response = api("HEAD", "/images/1")
    assert (response.status_int, response.body) == (200, b"")
    assert response.headers["Content-Length"] == "0"
    assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
    names = {name for name in response.headers if name.startswith("X-Image-Meta-")}
    assert names == {f"X-Image-Meta-{field.capitalize()}" for field in TWELVE}
    record = api.record(1)
    assert (record["deleted"], record["deleted_at"], record["is_public"]) == ("False", "None", "True")
    assert (record["properties"], record["size"], record["name"]) == ("{}", str(len(BYTES)), "Ubuntu Maverick 10.10")


def test_nothing_is_left_out_because_it_is_null(api):
    api("POST", "/images", {"x-image-meta-type": "raw"})
    record = api.record(1)
    assert record.keys() >= TWELVE
    assert (record["name"], record["location"], record["updated_at"]) == ("None", "None", "None")


def test_properties_stand_in_one_header_each_and_in_one_together(api):
    api.add(**{"property-arch": "amd64"})
    record = api.record(1)
    assert (record["property-arch"], record["properties"]) == ("amd64", "{'arch': 'amd64'}")


def test_a_download_carries_the_metadata(api):
    api.add(BYTES)
    down = api("GET", "/images/1")
    assert {name for name in down.headers if name.startswith("X-Image-Meta-")} >= {
        "X-Image-Meta-Id",
        "X-Image-Meta-Is_public",
    }


def test_private_images_are_read_by_number(api):
    api.add(BYTES, is_public="false")
    assert api("GET", "/images").json == {"images": []}
    assert api("HEAD", "/images/1").status_int == 200
    assert api("GET", "/images/1").body == BYTES


@pytest.mark.parametrize("name", ["Ünï 漢字", "🐧" * 255, "‮right to left", "é NFD é NFC"])
def test_names_of_any_script_survive(api, name):
    wire = name.encode().decode("latin-1")
    image = api(
        "POST",
        "/images",
        {"x-image-meta-type": "raw", "x-image-meta-name": wire, "x-image-meta-property-p": wire},
        BYTES,
    )
    assert image.json["image"]["name"] == name
    assert image.json["image"]["properties"] == {"p": name}
    assert api("HEAD", "/images/1").headers["X-Image-Meta-Name"] == wire
    assert api("GET", "/images/1").headers["X-Image-Meta-Property-P"] == wire


@pytest.mark.parametrize("path", [
    "/images/2", "/images/0", "/images/-1", "/images/01", "/images/+1", "/images/1.json", "/images/new", "/images/1/edit",
    "/images/9223372036854775807", "/images/99999999999999999999", "/images/%D9%A1", "/images/1%00", "/images/..%2f1",
    "/images.json", "/nothing", "/version", "/v", "/versions.json",
])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_what_is_not_there_is_404(api, method, path):
    api.add(BYTES)
    assert api(method, path).status_int == 404
    assert api.stored() == ["1"]


def test_an_image_is_not_found_by_its_uuid(api):
    api.add(BYTES)
    assert api("GET", f"/images/{api.registry.get(OPERATOR, '1').id}").status_int == 404


def test_the_text_of_a_404_names_the_image(api):
    assert "'7'" in api("GET", "/images/7").text


def test_a_path_that_is_not_utf_8_is_400(api):
    assert api("GET", "/images/%ff").status_int == 400


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/"), ("PUT", "/images"), ("DELETE", "/images"), ("POST", "/images/1"),
    ("PATCH", "/images/1"), ("TRACE", "/images/1"),
])  # fmt: skip
def test_other_methods_are_404(api, method, path):
    api.add(BYTES)
    assert api(method, path).status_int == 404


def test_a_get_is_no_delete_whatever_it_says(api):
    api.add(BYTES)
    api("GET", "/images/1?_method=DELETE", {"X-HTTP-Method-Override": "DELETE"})
    assert api("GET", "/images/1").body == BYTES


@pytest.mark.parametrize("status", ["queued", "killed"])
def test_an_image_without_bytes_cannot_be_read(api, status):
    if status == "queued":
        api.add()
    else:
        api("POST", "/images", {"x-image-meta-type": "raw", "Content-Type": "text/plain"}, b"x")
    response = api("GET", "/images/1", {"Range": "bytes=0-1"})
    assert response.status_int == 404
    assert status in response.text


@pytest.mark.parametrize("damage", ["gone", "shorter", "longer", "link"])
def test_missing_bytes_are_404_before_any_header(api, damage):
    api.add(BYTES)
    file = api.datadir / "1"
    if damage == "gone":
        file.unlink()
    elif damage == "link":
        file.rename(api.datadir / "other")
        file.symlink_to(api.datadir / "other")
    else:
        file.write_bytes(BYTES[:-1] if damage == "shorter" else BYTES + b"x")
    response = api("GET", "/images/1")
    assert response.status_int == 404
    assert str(api.datadir) not in response.text
    assert api("DELETE", "/images/1").status_int == 200


# Ranges


@pytest.mark.parametrize(("asked", "first", "last"), [
    ("bytes=0-0", 0, 0), ("bytes=10-20", 10, 20), ("bytes=5000-", 5000, 5119), ("bytes=-1", 5119, 5119),
    ("bytes=-99999", 0, 5119), ("bytes=5119-99999999999999999", 5119, 5119), ("BYTES=1-2", 1, 2),
])  # fmt: skip
def test_a_range(api, asked, first, last):
    api.add(BYTES)
    response = api("GET", "/images/1", {"Range": asked})
    assert (response.status_int, response.body) == (206, BYTES[first : last + 1])
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/5120"


@pytest.mark.parametrize("asked", ["bytes=5120-", "bytes=5120-5130", "bytes=-0", "bytes=99999999999999999999-"])
def test_a_range_behind_the_end(api, asked):
    api.add(BYTES)
    response = api("GET", "/images/1", {"Range": asked})
    assert (response.status_int, response.headers["Content-Range"]) == (416, "bytes */5120")


@pytest.mark.parametrize("asked", [
    "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=-", "bytes=a-b", "x",
])  # fmt: skip
def test_what_is_no_single_range_is_answered_whole(api, asked):
    api.add(BYTES)
    response = api("GET", "/images/1", {"Range": asked})
    assert (response.status_int, response.body) == (200, BYTES)


def test_a_range_of_nothing(api):
    api("POST", "/images", {"x-image-meta-type": "raw"}, b"", chunked=True)
    assert api("GET", "/images/1", {"Range": "bytes=0-0"}).status_int == 416


# Update


def test_an_update_leaves_what_it_does_not_name(api):
    api.add(BYTES, **{"property-a": "1"})
    response = api("PUT", "/images/1", {"x-image-meta-name": "new", "x-image-meta-property-b": "2"})
    image = response.json["image"]
    assert response.status_int == 200
    assert (image["name"], image["is_public"], image["type"], image["status"]) == ("new", True, "raw", "active")
    assert image["properties"] == {"a": "1", "b": "2"}
    assert image["updated_at"] is not None
    assert api("GET", "/images/1").body == BYTES


def test_a_property_is_overwritten(api):
    api.add(**{"property-a": "1"})
    assert api("PUT", "/images/1", {"x-image-meta-property-a": "2"}).json["image"]["properties"] == {"a": "2"}


def test_bytes_are_taken_while_queued_and_once(api):
    api.add()
    image = api("PUT", "/images/1", {"x-image-meta-name": "new"}, BYTES).json["image"]
    assert (image["status"], image["size"], image["name"]) == ("active", len(BYTES), "new")
    response = api("PUT", "/images/1", {"x-image-meta-name": "newer"}, b"other")
    assert response.status_int == 409
    assert (api.record(1)["name"], api("GET", "/images/1").body) == ("new", BYTES)


@pytest.mark.parametrize("content_type", [
    "text/plain", "application/octet-streams", "x-application/octet-stream", "application/octet-stream, text/plain", "application", "",
])  # fmt: skip
def test_bytes_of_another_type_kill_the_image(api, content_type):
    api.add()
    response = api("PUT", "/images/1", {"Content-Type": content_type}, BYTES)
    assert response.status_int == 400
    assert "application/octet-stream" in response.text
    assert (api.record(1)["status"], api.stored()) == ("killed", [])
    assert api("PUT", "/images/1", {}, BYTES).status_int == 409


def test_a_location_is_taken_while_queued_and_once(api, web):
    url = web.url("whole")
    api.add()
    assert api("PUT", "/images/1", {"x-image-meta-location": url}).json["image"]["status"] == "active"
    assert api("PUT", "/images/1", {"x-image-meta-location": url}).status_int == 200
    assert api("PUT", "/images/1", {"x-image-meta-location": url + "b"}).status_int == 409
    assert api.record(1)["location"] == url


@pytest.mark.parametrize("status", ["queued", "killed", "active", "nonsense"])
def test_the_status_is_the_servers(api, status):
    api.add(BYTES)
    assert api("PUT", "/images/1", {"x-image-meta-status": status}).status_int == 200
    assert api.record(1)["status"] == "active"


def test_the_size_of_an_active_image_is_fixed(api):
    api.add(BYTES)
    assert api("PUT", "/images/1", {"x-image-meta-size": "1"}).status_int == 400
    assert api("PUT", "/images/1", {"x-image-meta-size": str(len(BYTES))}).status_int == 200
    assert api("GET", "/images/1").body == BYTES


def test_the_broken_update_of_the_client_of_2011_changes_nothing(api):
    before = api.add(BYTES)
    response = api("PUT", "/images/1", {"x-image-meta-image": "{'name': 'x', 'properties': {}}"})
    assert response.status_int == 200
    assert {**response.json["image"], "updated_at": None} == before


# Delete


def test_a_deleted_image_is_gone_for_every_method(api):
    api.add(BYTES)
    response = api("DELETE", "/images/1")
    assert (response.status_int, response.body, response.headers["Content-Length"]) == (200, b"", "0")
    assert api.stored() == []
    assert api("GET", "/").json == {"images": []}
    for method in ("HEAD", "GET", "PUT", "DELETE"):
        assert api(method, "/images/1").status_int == 404
    assert api("PUT", "/images/1", {}, BYTES).status_int == 404


@pytest.mark.parametrize("case", ["queued", "file gone", "http"])
def test_deleting_what_has_no_bytes_here(api, web, case):
    if case == "queued":
        api.add()
    elif case == "http":
        api.add(location=web.url("whole"))
    else:
        api.add(BYTES)
        (api.datadir / "1").unlink()
    assert api("DELETE", "/images/1").status_int == 200
    assert api("HEAD", "/images/1").status_int == 404


# Bad input


@pytest.mark.parametrize(("fields", "token"), [
    ({"type": ""}, "Invalid image type"),
    ({"type": "zz"}, "Invalid image type 'zz'"),
    ({"type": "RAW"}, "Invalid image type"),
    ({"size": "-1"}, "size"), ({"size": "1e3"}, "size"), ({"size": str(2**63)}, "size"), ({"size": "9" * 5000}, "size"),
    ({"size": "٣".encode().decode("latin-1")}, "size"), ({"size": "1_000"}, "size"), ({"size": "+5"}, "size"),
    ({"size": "5.0"}, "size"), ({"size": ""}, "size"),
    ({"id": "abc"}, "id"), ({"id": "0"}, "id"), ({"id": "-7"}, "id"), ({"id": str(2**31)}, "id"), ({"id": "1.5"}, "id"),
    ({"name": "x" * 256}, "name"), ({"name": "a\tb"}, "control"), ({"name": "a\x85b".encode().decode("latin-1")}, "control"),
    ({"name": "\xff\xfe"}, "UTF-8"),
    ({"property-" + "k" * 256: "v"}, "property"), ({"property-": "v"}, "property"),
    ({"location": "ftp://example.org/x"}, "location"), ({"location": "nonsense"}, "location"), ({"location": "http://"}, "location"),
    ({"location": "http://u:p@127.0.0.1/x"}, "password"), ({"location": "http://10.0.0.1/x"}, "location"),
])  # fmt: skip
def test_a_wrong_value_is_a_400_that_says_what_was_expected(api, fields, token):
    headers = {"x-image-meta-type": "raw", **{f"x-image-meta-{name}": value for name, value in fields.items()}}
    response = api("POST", "/images", headers)
    assert response.status_int == 400
    assert token in response.text
    assert len(response.body) < 1000
    assert api.registry.find(OPERATOR, Query(everyone=True)).images == ()


def test_a_type_is_required(api):
    response = api("POST", "/images", {"x-image-meta-name": "n"}, BYTES)
    assert response.status_int == 400
    assert "Image type is required" in response.text
    assert api("HEAD", "/images/1").status_int == 404


def test_more_properties_than_an_image_may_have(api):
    headers = {f"x-image-meta-property-p{number}": "v" for number in range(129)}
    assert api("POST", "/images", {"x-image-meta-type": "raw", **headers}).status_int == 413


@pytest.mark.parametrize("store", ["nonsense", "http", "../file", "s3"])
def test_an_unknown_store_kills_the_image(api, store):
    response = api("POST", "/images", {"x-image-meta-type": "raw", "x-image-meta-store": store}, BYTES)
    assert response.status_int == 400
    assert store in response.text
    assert (api.record(1)["status"], api.stored()) == ("killed", [])


def test_the_store_can_be_named(api):
    assert api.add(BYTES, store="file")["status"] == "active"


@pytest.mark.parametrize("location", [
    "file://{canary}", "FILE://{canary}", "file:{canary}", " file://{canary}", "filesystem://{canary}", "%66ile://{canary}", "{canary}",
    "swift+config://x/y", "s3://key:secret@bucket/x", "swift://bucket/x", "file://{datadir}/1",
])  # fmt: skip
def test_a_location_never_names_files_or_objects_of_the_server(api, tmp_path, location):
    api.add(BYTES)
    canary = tmp_path / "canary"
    canary.write_text("still here")
    location = location.format(canary=canary, datadir=api.datadir)
    for method, path in (("POST", "/images"), ("PUT", "/images/2")):
        if method == "PUT":
            api.add()
        response = api(method, path, {"x-image-meta-type": "raw", "x-image-meta-location": location})
        assert response.status_int == 400
    assert [api.record(number)["status"] for number in (1, 2)] == ["active", "queued"]
    assert canary.read_text() == "still here"


@pytest.mark.parametrize("size", [1, 5120, 700_000])
def test_a_body_that_breaks_off_leaves_nothing(api, size):
    response = api("POST", "/images", {"x-image-meta-type": "raw"}, b"x" * size, length=size + 1)
    assert response.status_int == 400
    assert (api.record(1)["status"], api.stored()) == ("killed", [])


def test_bytes_of_that_number_in_the_store_are_never_overwritten(api):
    api.datadir.mkdir()
    (api.datadir / "1").write_text("precious")
    response = api("POST", "/images", {"x-image-meta-type": "raw"}, BYTES)
    assert response.status_int == 200
    assert api("GET", "/images/1").body == BYTES
    assert api("DELETE", "/images/1").status_int == 200
    assert [path.name for path in api.datadir.iterdir()] == ["1"]
    assert (api.datadir / "1").read_text() == "precious"


def test_every_answer_has_a_request_id(api):
    for method, path in (("GET", "/"), ("GET", "/images/1"), ("POST", "/images"), ("GET", "/%ff")):
        assert api(method, path).headers["X-Openstack-Request-Id"].startswith("req-")


@pytest.mark.parametrize(("sent", "kept"), [
    ("req-1234-abcd", True), ("1234", False), ("req-" + "x" * 100, False), ("req-a b", False), ("req-", False),
])  # fmt: skip
def test_a_plain_request_id_of_the_client_is_kept(api, sent, kept):
    answered = api("GET", "/", {"X-Openstack-Request-Id": sent}).headers["X-Openstack-Request-Id"]
    assert (answered == sent) is kept


def test_errors_are_html_for_browsers_and_text_for_everybody_else(api):
    assert api("GET", "/images/<b>", {"Accept": "text/html"}).content_type == "text/html"
    assert "<b>" not in api("GET", "/images/<b>", {"Accept": "text/html"}).text
    for accept in ("*/*", "", "application/json"):
        response = api("GET", "/images/7", {"Accept": accept})
        assert response.content_type == "text/plain"
        assert response.text.startswith("404 Not Found\n\n")
