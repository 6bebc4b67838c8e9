# SPDX-License-Identifier: Apache-2.0
"""The traps of the Images API v1, where servers of old and their clients went wrong, one by one.

Traps 28, 33 and 39 are about connections: tests/functional/test_v1_wire.py.
"""

import hashlib
import io
from collections.abc import Callable
from datetime import timedelta

import pytest

from glance.core.image import Image
from tests.api.conftest import Api
from tests.api.test_v1 import BYTES, MD5, OPERATOR, RAW, UNKNOWN, create, meta, names
from tests.api.test_v1_tenants import ADMIN, A, B, make, members, share

KILLED_TOO = "?is_public=none&changes-since=2011-03-04"  # a list that hides nothing


class Interrupted(io.BytesIO):
    """A body in the middle of which something happens."""

    def __init__(self, data: bytes, deed: Callable[[], object]) -> None:
        super().__init__(data)
        self._deeds = [deed]

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(1000 if size is None or size < 0 else min(size, 1000))
        if self._deeds and self.tell() > len(self.getvalue()) // 2:
            self._deeds.pop()()
        return block


def put(api: Api, image_id: str, *, ctx=None, **fields: str):
    headers = {f"x-image-meta-{name}": value for name, value in fields.items()}
    return api("PUT", f"/v1/images/{image_id}", headers, ctx=ctx)


def statuses(api: Api) -> list[str]:
    return [image["status"] for image in api("GET", f"/v1/images/detail{KILLED_TOO}").json["images"]]


def test_trap_1_an_update_purges_properties_unless_told_not_to_and_the_classic_one_never_does(api):
    image = create(api, None, **{"property-a": "1"})
    assert put(api, image["id"], **{"property-b": "2"}).json["image"]["properties"] == {"b": "2"}
    classic = api("PUT", "/images/1", {"x-image-meta-property-c": "3"}).json["image"]
    assert classic["properties"] == {"b": "2", "c": "3"}


def test_trap_2_codes_of_success_differ(api):
    created = api("POST", "/v1/images", RAW, BYTES)
    path = f"/v1/images/{created.json['image']['id']}"
    assert created.status_int == 201
    assert api("PUT", path, {"x-image-meta-name": "x"}).status_int == 200
    assert api("PUT", f"{path}/members/b").status_int == 204
    assert api("PUT", f"{path}/members", {}, b'{"memberships": []}').status_int == 204
    assert api("DELETE", path).status_int == 200


def test_trap_3_head_does_not_touch_the_bytes(api):
    image = create(api)
    (api.datadir / "1").unlink()
    head = api("HEAD", f"/v1/images/{image['id']}")
    assert (head.status_int, head.headers["Content-Length"], head.headers["X-Image-Meta-Size"]) == (200, "0", "5120")


def test_trap_4_a_download_has_a_type_without_parameters(api):
    image = create(api)
    assert api("GET", f"/v1/images/{image['id']}").headers["Content-Type"] == "application/octet-stream"


def test_trap_5_null_is_absent_here_and_none_in_the_classic_api(api):
    image = create(api, None)
    here, there = meta(api, image["id"]), api.record(1)
    assert not {"checksum", "owner", "deleted_at", "virtual_size", "location"} & here.keys()
    assert (there["location"], there["deleted_at"]) == ("None", "None")


def test_trap_6_is_public_none_is_a_value(api):
    create(api, None, name="public")
    create(api, None, name="not", is_public="False")
    assert names(api) == names(api, "?is_public=True") == ["public"]
    assert names(api, "?is_public=None") == ["not", "public"]
    assert names(api, "?is_public=False") == ["not"]


def test_trap_7_a_marker_that_is_none_is_400_for_whatever_reason(api):
    theirs, gone = make(api, A), make(api, B)
    api("DELETE", f"/v1/images/{gone}", ctx=B)
    for marker in (UNKNOWN, "1", "x", "", theirs, gone):
        assert api("GET", f"/v1/images?marker={marker}", ctx=B).status_int == 400


def test_trap_8_limits(make_api):
    api = make_api(api_limit_max=2)
    for _ in range(3):
        create(api, None)
    assert len(names(api, "?limit=0")) == 0
    assert len(names(api, "?limit=1001")) == len(names(api, f"?limit={2**63 - 1}")) == 2


def test_trap_9_changes_include_deleted_and_killed_images(api):
    gone = create(api)
    api("DELETE", f"/v1/images/{gone['id']}")
    api("POST", "/v1/images", {**RAW, "x-image-meta-checksum": "0" * 32}, BYTES)
    assert names(api, "?is_public=none") == names(api, "?is_public=none&status=killed") == []
    assert sorted(statuses(api)) == ["deleted", "killed"]


def test_trap_9_a_deletion_is_a_change(api):
    image = create(api, None)
    mark = api("PUT", f"/v1/images/{image['id']}").json["image"]["updated_at"]
    assert names(api, f"?changes-since={mark}") == []
    api("DELETE", f"/v1/images/{image['id']}")
    assert names(api, f"?changes-since={mark}") == ["image"]


def test_trap_9_pages_of_changes_go_on_behind_deleted_images(api):
    ids = [make(api, A, None, name=str(number)) for number in range(3)]
    for image_id in ids:
        api("DELETE", f"/v1/images/{image_id}", ctx=A)
    page = f"?changes-since=2011-03-04&limit=1&marker={ids[1]}"
    assert names(api, page, ctx=A) == ["0"]


@pytest.mark.parametrize(("zone", "hours"), [("%2B01:00", 1), ("-05:30", -5.5), ("Z", 0), ("", 0), ("%2B0100", 1)])
def test_trap_10_times_have_zones(api, zone, hours):
    api.registry.add(OPERATOR, Image(name="old"))
    changed = api.registry.get(OPERATOR, "1").updated_at
    local = changed + timedelta(hours=hours)
    for before, found in ((timedelta(seconds=1), ["old"]), (timedelta(0), [])):
        mark = (local - before).isoformat(timespec="microseconds")
        assert names(api, f"?is_public=none&changes-since={mark}{zone}") == found


def test_trap_10_a_plus_that_is_not_encoded_is_a_blank_and_no_time(api):
    assert api("GET", "/v1/images?changes-since=2014-10-16T10:00:00+01:00").status_int == 400


def test_trap_11_a_property_named_like_a_field_is_filtered_by_itself(api):
    create(api, None, name="one", **{"property-name": "two", "property-status": "x"})
    create(api, None, name="two", **{"property-name": "one"})
    assert names(api, "?property-name=two") == ["one"]
    assert names(api, "?name=two") == ["two"]
    assert names(api, "?property-status=queued") == []


@pytest.mark.parametrize("name", [
    "deleted", "uri", "copy_from", "store", "created_at", "updated_at", "deleted_at", "virtual_size", "status", "checksum", "Is-Public",
])  # fmt: skip
def test_trap_12_what_clients_echo_is_accepted(api, name):
    image = create(api)
    values = {"store": "file", "status": "active", "checksum": MD5, "virtual_size": "None"}
    headers = {f"x-image-meta-{name}": values.get(name, "True")}
    assert api("PUT", f"/v1/images/{image['id']}", headers).status_int == 200
    other = api("PUT", f"/v1/images/{image['id']}", {"x-image-meta-isp_ublic": "x"})
    assert (other.status_int, "Bad header" in other.text) == (400, True)


@pytest.mark.parametrize("size", [len(BYTES) - 1, len(BYTES) + 1])
def test_trap_13_a_size_beside_a_chunked_body_is_verified(api, size):
    response = api("POST", "/v1/images", {**RAW, "x-image-meta-size": str(size)}, BYTES, chunked=True)
    assert response.status_int == 400
    assert (statuses(api), api.stored()) == (["killed"], [])


@pytest.mark.parametrize("chunked", [True, False])
def test_trap_13_a_size_of_0_beside_data_is_unknown(api, chunked):
    headers = {**RAW, "x-image-meta-size": "0"}
    created = api("POST", "/v1/images", headers, BYTES, chunked=chunked)
    reserved = create(api, None)
    updated = api("PUT", f"/v1/images/{reserved['id']}", headers, BYTES, chunked=chunked)
    for response in (created, updated):
        assert (response.json["image"]["status"], response.json["image"]["size"]) == ("active", len(BYTES))


def test_trap_13_a_size_of_0_does_not_cancel_the_promise_of_the_reservation(api):
    image = create(api, None, size="5119")
    response = api("PUT", f"/v1/images/{image['id']}", {"x-image-meta-size": "0"}, BYTES, chunked=True)
    assert (response.status_int, meta(api, image["id"])["status"]) == (400, "killed")


@pytest.mark.parametrize("promise", [{"size": "5119"}, {"checksum": "0" * 32}])
def test_trap_13_what_was_promised_with_the_reservation_is_verified(api, promise):
    image = create(api, None, **promise)
    assert api("PUT", f"/v1/images/{image['id']}", {}, BYTES, chunked=True).status_int == 400
    assert (meta(api, image["id"])["status"], api.stored()) == ("killed", [])


def test_trap_13_a_later_promise_replaces_the_first(api):
    image = create(api, None, size="1", checksum="0" * 32)
    headers = {"x-image-meta-size": "5120", "x-image-meta-checksum": MD5}
    assert api("PUT", f"/v1/images/{image['id']}", headers, BYTES, chunked=True).json["image"]["checksum"] == MD5


def test_trap_14_a_size_of_nothing_is_an_image_and_no_size_is_none_yet(api):
    empty, queued = create(api, None, size="0"), create(api, None)
    assert (empty["status"], empty["checksum"]) == ("active", hashlib.md5(b"").hexdigest())
    assert (queued["status"], queued["size"]) == ("queued", 0)
    assert api("GET", f"/v1/images/{empty['id']}").body == b""
    assert api("POST", "/v1/images", {"x-image-meta-size": "0"}).json["image"]["status"] == "active"


def test_trap_15_what_is_a_body(api):
    assert api("POST", "/v1/images", RAW, b"").json["image"]["status"] == "queued"
    assert api("POST", "/v1/images", RAW, b"", chunked=True).json["image"]["status"] == "active"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_trap_16_two_sources_are_refused_before_anything_is_stored(api, web, method):
    path = "/v1/images" if method == "POST" else f"/v1/images/{create(api, None)['id']}"
    before = statuses(api)
    location = {**RAW, "x-image-meta-location": web.url("whole")}
    copy = {**RAW, "x-glance-api-copy-from": web.url("whole")}
    for headers, body in ((location, BYTES), (copy, BYTES), ({**location, **copy}, None)):
        response = api(method, path, headers, body)
        assert (response.status_int, "multiple image sources" in response.text) == (400, True)
    assert (statuses(api), api.stored(), web.requests) == (before, [], [])


@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
@pytest.mark.parametrize("scheme", ["file", "swift+config", "swift", "s3", "filesystem"])
def test_trap_17_files_and_objects_of_the_server_are_no_sources(api, tmp_path, header, scheme):
    canary = tmp_path / "canary"
    canary.write_text("still here")
    image = create(api, None)
    for method, path in (("POST", "/v1/images"), ("PUT", f"/v1/images/{image['id']}")):
        response = api(method, path, {**RAW, header: f"{scheme}://{canary}"})
        assert response.status_int == 400
        assert f"External sourcing not supported for store '{scheme}'" in response.text
        assert str(canary) not in response.text
    assert statuses(api) == ["queued"]
    assert canary.read_text() == "still here"


@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
def test_trap_17_nor_are_addresses_that_a_server_redirects_to(api, web, header):
    inside = f"to?url=http://127.0.0.2:{web.server_port}/whole"
    assert api("POST", "/v1/images", {**RAW, header: web.url(inside)}).status_int == 400
    assert [path for _, path, _ in web.requests if path == "/whole"] == []


@pytest.mark.parametrize("ctx", [A, ADMIN, None])
@pytest.mark.parametrize("status", ["queued", "killed", "deleted", "saving", "nonsense"])
def test_trap_18_no_header_moves_a_status(api, ctx, status):
    image_id = make(api, A)
    assert put(api, image_id, ctx=ctx, status=status).status_int == 403
    assert api("PUT", f"/v1/images/{image_id}", {"x-image-meta-status": status}, b"other", ctx=ctx).status_int == 403
    assert api("GET", f"/v1/images/{image_id}", ctx=A).body == BYTES


def test_trap_19_no_answer_tells_a_location(api, web):
    kept = create(api)
    (api.datadir / "1").unlink()
    there = create(api, None, location=web.url("whole"))
    copied = api("POST", "/v1/images", {**RAW, "x-glance-api-copy-from": web.url("cut")}).json["image"]
    api.recover()
    answers = [api("GET", "/v1/images/detail?is_public=none&changes-since=2011-03-04")]
    for image in (kept, there, copied):
        path = f"/v1/images/{image['id']}"
        answers += [
            api("HEAD", path),
            api("GET", path),
            api("PUT", path, {"x-image-meta-name": "x"}),
            api("DELETE", path),
        ]
        answers += [api("GET", path), api("PUT", path), api("PUT", path, {}, b"x")]
    for answer in answers:
        told = str(answer.headers).encode() + answer.body
        for secret in (str(api.datadir), f":{web.server_port}", "file:", "127.0.0.1"):
            assert secret.encode() not in told


def test_trap_20_a_failed_upload_leaves_a_killed_image_and_no_bytes(api):
    assert api("POST", "/v1/images", RAW, BYTES, length=6000).status_int == 400
    assert (statuses(api), api.stored()) == (["killed"], [])


def test_trap_21_of_two_uploads_one_wins_and_the_other_harms_nobody(api):
    image = create(api, None)
    path = f"/v1/images/{image['id']}"
    answers = []

    def second() -> None:
        answers.append(api("PUT", path, {}, b"the second"))
        answers.append(api("PUT", path, {"Content-Type": "text/plain"}, b"the third"))

    first = api("PUT", path, {}, Interrupted(BYTES, second))
    assert (first.status_int, first.json["image"]["status"]) == (200, "active")
    assert [answer.status_int for answer in answers] == [409, 409]
    assert all("Image operation conflicts" in answer.text for answer in answers)
    assert (api("GET", path).body, api.stored()) == (BYTES, ["1"])


def test_trap_22_an_image_deleted_during_its_upload_stays_deleted(api):
    image = create(api, None)
    path = f"/v1/images/{image['id']}"
    response = api("PUT", path, {}, Interrupted(BYTES, lambda: api("DELETE", path)))
    assert response.status_int == 412
    assert (meta(api, image["id"])["status"], api.stored()) == ("deleted", [])


def test_trap_23_and_24_the_cap_counts_what_comes_and_what_is_announced(make_api):
    api = make_api(image_size_cap=len(BYTES) - 1)
    chunked = api("POST", "/v1/images", RAW, BYTES, chunked=True)
    declared = api("POST", "/v1/images", RAW, BYTES)
    promised = api("POST", "/v1/images", {**RAW, "x-image-meta-size": "5120"}, b"", chunked=True)
    reserved = api("POST", "/v1/images", {**RAW, "x-image-meta-size": "5120"})
    assert (chunked.status_int, declared.status_int, promised.status_int, reserved.status_int) == (413, 400, 400, 400)
    assert (set(statuses(api)), api.stored()) == ({"killed"}, [])
    image = create(api, None)
    assert put(api, image["id"], size="5120").status_int == 400
    assert api("PUT", f"/v1/images/{image['id']}", {}, BYTES, chunked=True).status_int == 413
    assert api.stored() == []


@pytest.mark.parametrize("how", ["private", "shared", "public", "protected"])
def test_trap_25_who_may_not_delete_deletes_no_bytes(api, how):
    image_id = make(api, ADMIN, owner="a", is_public=str(how == "public"), protected=str(how == "protected"))
    if how == "shared":
        share(api, image_id, "b")
    expected = {"private": (B, 404), "shared": (B, 404), "public": (B, 403), "protected": (A, 403)}
    ctx, status = expected[how]
    assert api("DELETE", f"/v1/images/{image_id}", ctx=ctx).status_int == status
    assert api("GET", f"/v1/images/{image_id}", ctx=A).body == BYTES


def test_trap_26_what_lies_elsewhere_is_forgotten_and_not_deleted(api, web):
    image = create(api, None, location=web.url("whole"))
    assert api("DELETE", f"/v1/images/{image['id']}").status_int == 200
    assert "DELETE" not in {method for method, _, _ in web.requests}


def test_trap_27_missing_bytes_are_found_out_before_the_headers(api):
    image = create(api)
    (api.datadir / "1").write_bytes(BYTES[:-1])
    response = api("GET", f"/v1/images/{image['id']}")
    assert (response.status_int, "ETag" in response.headers) == (404, False)


def test_trap_29_a_deleted_image_has_no_members_not_even_for_admins(api):
    image_id = make(api, A)
    share(api, image_id, "b")
    api("DELETE", f"/v1/images/{image_id}", ctx=A)
    path = f"/v1/images/{image_id}/members"
    for ctx in (A, ADMIN):
        for method, where, body in (
            ("GET", path, None), ("PUT", path, b'{"memberships": []}'), ("PUT", f"{path}/b", None), ("DELETE", f"{path}/b", None),
        ):  # fmt: skip
            assert api(method, where, {}, body, ctx=ctx).status_int == 404


def test_trap_30_a_member_is_added_without_a_body(api):
    image_id = make(api, A)
    for headers in ({}, {"Content-Type": "application/octet-stream"}):
        assert api("PUT", f"/v1/images/{image_id}/members/b", headers, ctx=A).status_int == 204
    assert members(api, image_id) == {"b": False}


def test_trap_31_an_owner_of_ones_choice_is_no_error(api):
    image_id = make(api, A, owner="b")
    assert put(api, image_id, ctx=A, owner="b").json["image"]["owner"] == "a"


def test_trap_32_names_are_utf_8(api):
    wire = "Ünï 漢字 🐧".encode().decode("latin-1")
    image = create(api, name=wire, **{"property-os": wire})
    for response in (api("HEAD", f"/v1/images/{image['id']}"), api("GET", f"/v1/images/{image['id']}")):
        assert response.headers["X-Image-Meta-Name"] == response.headers["X-Image-Meta-Property-Os"] == wire


def test_trap_34_keys_that_no_header_spells_are_never_purged(api):
    """Decided so: a client of v1 cannot mean what it cannot name."""
    image = api.registry.add(OPERATOR, Image(properties={"os-type": "1", "MyKey": "2", "a b": "3", "os_type": "4"}))
    changed = put(api, image.id, **{"property-OS-Type": "5"}).json["image"]["properties"]
    assert changed == {"os-type": "1", "MyKey": "2", "a b": "3", "os_type": "5"}
    assert put(api, image.id, name="x").json["image"]["properties"] == {"os-type": "1", "MyKey": "2", "a b": "3"}


@pytest.mark.parametrize(("method", "allow"), [
    ("POST", "GET, HEAD"), ("PUT", "GET, HEAD"), ("DELETE", "GET, HEAD"), ("PATCH", "GET, HEAD"),
])  # fmt: skip
def test_trap_35_the_detailed_list_allows_what_it_says(api, method, allow):
    """Other than the server of 2013 said, HEAD is allowed wherever GET is."""
    response = api(method, "/v1/images/detail")
    assert (response.status_int, response.headers["Allow"]) == (405, allow)
    assert api("HEAD", "/v1/images/detail").status_int == 200


def test_trap_36_formats_of_amazon(api):
    for given in ("disk_format", "container_format"):
        image = api("POST", "/v1/images", {f"x-image-meta-{given}": "ari"}).json["image"]
        assert (image["disk_format"], image["container_format"]) == ("ari", "ari")
    bare = create(api)
    for fields in (
        {"disk_format": "ami"},
        {"container_format": "aki"},
        {"disk_format": "ami", "container_format": "ari"},
    ):
        response = put(api, bare["id"], **fields)
        assert (response.status_int, "Invalid mix" in response.text) == (400, True)
    assert put(api, bare["id"], disk_format="ami", container_format="ami").status_int == 200


@pytest.mark.parametrize("fields", [
    {"name": "x" * 256}, {"min_ram": str(2**31)}, {"min_disk": str(2**31)}, {"checksum": "0" * 33}, {"property-" + "k" * 256: "v"},
    {"owner": "x" * 256}, {"size": str(2**63)}, {"size": "9" * 5000}, {"size": "٣".encode().decode("latin-1")}, {"virtual_size": str(2**63)},
])  # fmt: skip
def test_trap_37_what_is_too_long_is_400(api, fields):
    image = create(api, None)
    headers = {f"x-image-meta-{name}": value for name, value in fields.items()}
    assert api("POST", "/v1/images", headers).status_int == 400
    assert put(api, image["id"], **fields).status_int == 400


@pytest.mark.parametrize("query", [
    "name=%00", "name=%ff", "name=a%00b", "status=%00", "disk_format=%00", "property-a=%00", "property-%00=a", "property-a=%ff", "marker=%00",
    "sort_key=%00", "changes-since=%00", "is_public=%00", "limit=%00", "%ff=1", "name=%ed%b2%80", "min_ram=2147483648", "size_min=" + "9" * 5000,
    "property-=x", "limit=%D9%A3",
])  # fmt: skip
def test_trap_38_what_no_value_can_be_is_400(api, query):
    create(api, None)
    assert api("GET", f"/v1/images?{query}").status_int == 400


@pytest.mark.parametrize(("path", "accept"), [
    ("/v10", None), ("/v10/images", None), ("/v1.2/images", None), ("/v1.10/images", None), ("/v11/", None),
    ("/images", "application/vnd.openstack.images-v10"), ("/images", "application/vnd.openstack.images-v1x"),
])  # fmt: skip
def test_trap_40_version_10_is_not_version_1(api, path, accept):
    response = api("GET", path, {"Accept": accept} if accept else {})
    assert (response.status_int, "versions" in response.json) == (300, True)
