# SPDX-License-Identifier: Apache-2.0
"""The Images API v1 with identified callers: what is whose, who sees what, sharing."""

import json
from dataclasses import replace

import pytest

from glance.core.context import Context
from glance.core.image import Image, MemberStatus
from tests.api.conftest import Api
from tests.api.test_v1 import BYTES, RAW, UNKNOWN, create, meta, names

ADMIN = Context(user="root", tenant="ops", roles=frozenset({"admin"}), is_admin=True)
A = Context(user="alice", tenant="a", roles=frozenset({"member"}))
B = Context(user="bob", tenant="b", roles=frozenset({"member"}))
C = Context(user="carol", tenant="c", roles=frozenset({"member"}))


def make(api: Api, ctx: Context, body: bytes | None = BYTES, **fields: str) -> str:
    """A new image of somebody; its id."""
    headers = {f"x-image-meta-{name}": value for name, value in {"name": f"of {ctx.tenant}", **fields}.items()}
    response = api("POST", "/v1/images", {**RAW, **headers}, body, ctx=ctx)
    assert response.status_int == 201, response.text
    return response.json["image"]["id"]


def share(api: Api, image_id: str, member: str, ctx: Context = A, can_share: bool | None = None) -> None:
    body = None if can_share is None else b'{"member": {"can_share": %b}}' % (b"true" if can_share else b"false")
    assert api("PUT", f"/v1/images/{image_id}/members/{member}", {}, body, ctx=ctx).status_int == 204


def members(api: Api, image_id: str, ctx: Context = A) -> dict[str, bool]:
    response = api("GET", f"/v1/images/{image_id}/members", ctx=ctx)
    assert response.status_int == 200, response.text
    return {member["member_id"]: member["can_share"] for member in response.json["members"]}


# Whose


def test_an_image_belongs_to_who_made_it_whatever_he_says(api):
    image_id = make(api, A, owner="b")
    assert meta(api, image_id, ctx=A)["owner"] == "a"
    response = api("PUT", f"/v1/images/{image_id}", {"x-image-meta-owner": "b"}, ctx=A)
    assert (response.status_int, response.json["image"]["owner"]) == (200, "a")


def test_an_admin_gives_images_to_whom_he_likes(api):
    assert meta(api, make(api, ADMIN), ctx=ADMIN)["owner"] == "ops"
    assert "owner" not in meta(api, make(api, ADMIN, owner=""), ctx=ADMIN)
    image_id = make(api, ADMIN, owner="b")
    assert names(api, ctx=B) == ["of ops"]
    assert api("PUT", f"/v1/images/{image_id}", {"x-image-meta-owner": "a"}, ctx=ADMIN).json["image"]["owner"] == "a"


def test_a_foreign_private_image_is_not_there(api):
    image_id = make(api, A)
    for method in ("HEAD", "GET", "PUT", "DELETE"):
        theirs = api(method, f"/v1/images/{image_id}", ctx=B)
        nobodys = api(method, f"/v1/images/{UNKNOWN}", ctx=B)
        assert theirs.status_int == nobodys.status_int == 404
        assert theirs.text.replace(image_id, UNKNOWN) == nobodys.text
    for method, path in (("GET", "members"), ("PUT", "members/b"), ("DELETE", "members/b")):
        assert api(method, f"/v1/images/{image_id}/{path}", ctx=B).status_int == 404
    assert api("PUT", f"/v1/images/{image_id}", {}, BYTES, ctx=B).status_int == 404
    assert names(api, ctx=B) == []
    assert api("GET", f"/v1/images/{image_id}", ctx=A).body == BYTES


def test_a_foreign_public_image_can_be_read_and_no_more(api):
    image_id = make(api, ADMIN, is_public="True")
    assert api("GET", f"/v1/images/{image_id}", ctx=B).body == BYTES
    assert api("PUT", f"/v1/images/{image_id}", {"x-image-meta-name": "x"}, ctx=B).status_int == 403
    assert api("DELETE", f"/v1/images/{image_id}", ctx=B).status_int == 403
    assert api("GET", f"/v1/images/{image_id}", ctx=B).body == BYTES


def test_a_foreign_queued_image_takes_no_bytes(api):
    image_id = make(api, ADMIN, None, is_public="True")
    assert api("PUT", f"/v1/images/{image_id}", {}, BYTES, ctx=B).status_int == 403
    assert (meta(api, image_id, ctx=ADMIN)["status"], api.stored()) == ("queued", [])


def test_what_is_not_ones_own_is_not_judged_further(api):
    """Neither its status nor the values that are sent for it matter."""
    public, shared = make(api, ADMIN, is_public="True"), make(api, A)
    share(api, shared, "b")
    for image_id, status in ((public, 403), (shared, 404)):
        path = f"/v1/images/{image_id}"
        for headers in (
            {},
            {"x-image-meta-status": "queued"},
            {"x-image-meta-size": "x"},
            {"x-image-meta-nonsense": "x"},
        ):
            assert api("PUT", path, headers, BYTES, ctx=B).status_int == status
            assert api("PUT", path, headers, ctx=B).status_int == status


def test_only_admins_see_what_is_deleted(api):
    image_id = make(api, A)
    assert api("DELETE", f"/v1/images/{image_id}", ctx=A).status_int == 200
    assert api("HEAD", f"/v1/images/{image_id}", ctx=A).status_int == 404
    assert api("HEAD", f"/v1/images/{image_id}", ctx=ADMIN).status_int == 200


@pytest.mark.parametrize(
    "query", ["", "?is_public=None", "?is_public=False", "?deleted=true", "?owner=a", "?visibility=private"]
)
def test_parameters_do_not_open_other_peoples_lists(api, query):
    make(api, A)
    make(api, ADMIN, is_public="True")
    make(api, B)
    assert sorted(names(api, query, ctx=B)) == ["of b", "of ops"]


def test_a_marker_of_somebody_else_is_as_good_as_none(api):
    image_id = make(api, A)
    theirs = api("GET", f"/v1/images?marker={image_id}", ctx=B)
    nobodys = api("GET", f"/v1/images?marker={UNKNOWN}", ctx=B)
    assert theirs.status_int == nobodys.status_int == 400
    assert theirs.text.replace(image_id, UNKNOWN) == nobodys.text


def test_what_has_changed_is_ones_own_business(api):
    for ctx in (A, B):
        api("DELETE", f"/v1/images/{make(api, ctx)}", ctx=ctx)
    assert names(api, "?changes-since=2011-03-04", ctx=B) == ["of b"]


def test_admins_list_as_a_tenant_of_theirs_or_all(api):
    make(api, A)
    make(api, ADMIN)
    make(api, ADMIN, is_public="True", name="public")
    assert sorted(names(api, ctx=ADMIN)) == ["of ops", "public"]
    assert sorted(names(api, "?is_public=none", ctx=ADMIN)) == ["of a", "of ops", "public"]
    assert sorted(names(api, "?is_public=0", ctx=ADMIN)) == ["of a", "of ops"]


# Rights that take a role


def test_to_publish_takes_the_role(api):
    assert api("POST", "/v1/images", {**RAW, "x-image-meta-is_public": "True"}, BYTES, ctx=A).status_int == 403
    image_id = make(api, A)
    assert api("PUT", f"/v1/images/{image_id}", {"x-image-meta-is_public": "True"}, ctx=A).status_int == 403
    assert meta(api, image_id, ctx=A)["is_public"] == "False"
    assert api("PUT", f"/v1/images/{image_id}", {"x-image-meta-is_public": "True"}, ctx=ADMIN).status_int == 200


@pytest.mark.parametrize("header", ["x-image-meta-location", "x-glance-api-copy-from"])
def test_to_name_other_places_takes_the_role(api, web, header):
    assert api("POST", "/v1/images", {**RAW, header: web.url("whole")}, ctx=A).status_int == 403
    image_id = make(api, A, None)
    assert api("PUT", f"/v1/images/{image_id}", {header: web.url("whole")}, ctx=A).status_int == 403
    assert web.requests == []
    assert api("POST", "/v1/images", {**RAW, header: web.url("whole")}, ctx=ADMIN).status_int == 201


def test_roles_that_the_operator_gives(make_api, web):
    api = make_api(policy_copy_from="copier, *", policy_set_image_location="placer")
    assert api("POST", "/v1/images", {**RAW, "x-glance-api-copy-from": web.url("whole")}, ctx=A).status_int == 201
    place = {**RAW, "x-image-meta-location": web.url("whole")}
    assert api("POST", "/v1/images", place, ctx=A).status_int == 403
    placer = Context(tenant="a", roles=frozenset({"placer"}))
    assert api("POST", "/v1/images", place, ctx=placer).status_int == 201


def test_an_admin_deletes_images_of_others(api):
    image_id = make(api, A)
    assert api("DELETE", f"/v1/images/{image_id}", ctx=ADMIN).status_int == 200
    assert api.stored() == []


@pytest.mark.parametrize("header", ["status", "id", "size", "checksum"])
def test_an_owner_does_not_set_what_the_server_keeps(api, header):
    image_id = make(api, A)
    before = meta(api, image_id, ctx=A)
    value = {"status": "queued", "id": UNKNOWN, "size": "1", "checksum": "0" * 32}[header]
    assert api("PUT", f"/v1/images/{image_id}", {f"x-image-meta-{header}": value}, ctx=A).status_int == 403
    assert meta(api, image_id, ctx=A)[header] == before[header]


# Sharing


def test_an_image_is_shared_seen_and_unshared(api):
    image_id = make(api, A)
    share(api, image_id, "b")
    assert members(api, image_id) == {"b": False}
    assert api("GET", f"/v1/images/{image_id}", ctx=B).body == BYTES
    assert api("HEAD", f"/v1/images/{image_id}", ctx=C).status_int == 404
    response = api("GET", "/v1/shared-images/b", ctx=B)
    assert response.json == {"shared_images": [{"image_id": image_id, "can_share": False}]}
    assert api("DELETE", f"/v1/images/{image_id}/members/b", ctx=A).status_int == 204
    assert api("GET", f"/v1/images/{image_id}", ctx=B).status_int == 404
    assert api("DELETE", f"/v1/images/{image_id}/members/b", ctx=A).status_int == 404


def test_lists_show_a_shared_image_unless_its_member_rejected_it(api):
    """This API has no way to accept an image, so a pending membership counts."""
    image_id = make(api, A)
    share(api, image_id, "b")
    admin_of_b = replace(B, is_admin=True)
    for status, listed in (
        (MemberStatus.PENDING, ["of a"]),
        (MemberStatus.ACCEPTED, ["of a"]),
        (MemberStatus.REJECTED, []),
    ):
        api.registry.set_member_status(B, image_id, "b", status)
        for path in ("/v1/images", "/v1/images/detail", "/v1/images?is_public=none", "/v1/images?name=of a"):
            assert [image["name"] for image in api("GET", path, ctx=B).json["images"]] == listed, (status, path)
        assert names(api, ctx=admin_of_b) == listed
        assert names(api, ctx=C) == []
        assert api("GET", f"/v1/images/{image_id}", ctx=B).body == BYTES  # by its id it is seen by every member
        assert api("HEAD", f"/v1/images/{image_id}", ctx=C).status_int == 404
        assert api("GET", "/images", ctx=B).json["images"] == []  # the classic API lists public images alone


def test_a_member_reads_and_does_not_write(api):
    image_id = make(api, A)
    share(api, image_id, "b")
    assert api("PUT", f"/v1/images/{image_id}", {"x-image-meta-name": "x"}, ctx=B).status_int == 404
    assert api("DELETE", f"/v1/images/{image_id}", ctx=B).status_int == 404
    assert api("PUT", f"/v1/images/{image_id}/members/c", ctx=B).status_int == 404
    assert api("DELETE", f"/v1/images/{image_id}/members/b", ctx=B).status_int == 404
    assert members(api, image_id, ctx=B) == {"b": False}  # himself, and no other
    assert api("GET", f"/v1/images/{image_id}", ctx=A).body == BYTES


def test_a_member_who_may_share_shares(api):
    image_id = make(api, A)
    share(api, image_id, "b", can_share=True)
    share(api, image_id, "c", ctx=B)
    assert members(api, image_id) == {"b": True, "c": False}
    assert api("GET", f"/v1/images/{image_id}", ctx=C).body == BYTES


def test_a_member_who_may_share_does_not_evict_others(api):
    image_id = make(api, A)
    share(api, image_id, "b", can_share=True)
    share(api, image_id, "c")
    for method, path, body in (
        ("DELETE", "members/c", None),
        ("PUT", "members", b'{"memberships": [{"member_id": "b", "can_share": true}]}'),
        ("PUT", "members/c", b'{"member": {"can_share": true}}'),
    ):
        response = api(method, f"/v1/images/{image_id}/{path}", {}, body, ctx=B)
        assert (response.status_int, "only the owner" in response.text) == (404, True)
    assert members(api, image_id) == {"b": True, "c": False}
    assert api("GET", f"/v1/images/{image_id}", ctx=C).body == BYTES


def test_to_share_again_changes_what_is_said_and_nothing_else(api):
    image_id = make(api, A)
    share(api, image_id, "b", can_share=True)
    share(api, image_id, "b")
    assert members(api, image_id) == {"b": True}
    share(api, image_id, "b", can_share=False)
    assert members(api, image_id) == {"b": False}


def test_all_members_are_replaced(api):
    image_id = make(api, A)
    share(api, image_id, "b", can_share=True)
    share(api, image_id, "d")
    body = b'{"memberships": [{"member_id": "b"}, {"member_id": "c", "can_share": true}]}'
    assert api("PUT", f"/v1/images/{image_id}/members", {}, body, ctx=A).status_int == 204
    assert members(api, image_id) == {"b": True, "c": True}
    assert api("PUT", f"/v1/images/{image_id}/members", {}, b'{"memberships": []}', ctx=A).status_int == 204
    assert members(api, image_id) == {}


def test_answers_about_members_have_no_body(api):
    image_id = make(api, A)
    response = api("PUT", f"/v1/images/{image_id}/members/b", ctx=A)
    assert (response.status_int, response.body, "Content-Type" in response.headers) == (204, b"", False)


@pytest.mark.parametrize("body", [
    b"{}", b"[]", b"x", b'{"memberships": {}}', b'{"memberships": ["b"]}', b'{"memberships": [{"can_share": true}]}',
    b'{"memberships": [{"member_id": 5}]}', b'{"memberships": [{"member_id": "b", "can_share": "x"}]}', b'{"memberships": [{"member_id": ""}]}',
    b'{"memberships": [{"member_id": "b", "owner": "x"}]}', b'{"memberships": [], "memberships": []}', b"[" * 10_000,
])  # fmt: skip
def test_members_that_are_none(api, body):
    image_id = make(api, A)
    assert api("PUT", f"/v1/images/{image_id}/members", {}, body, ctx=A).status_int == 400


@pytest.mark.parametrize(
    "body", [b"[]", b"x", b'{"member": []}', b'{"member": {"can_share": "yes"}}', b'{"can_share": true}']
)
def test_a_wrong_word_about_a_member(api, body):
    image_id = make(api, A)
    assert api("PUT", f"/v1/images/{image_id}/members/b", {}, body, ctx=A).status_int == 400


def test_so_many_members_and_no_more(api):
    image_id = make(api, A)
    many = ", ".join(f'{{"member_id": "m{number}"}}' for number in range(128))
    assert (
        api("PUT", f"/v1/images/{image_id}/members", {}, f'{{"memberships": [{many}]}}'.encode(), ctx=A).status_int
        == 204
    )
    assert api("PUT", f"/v1/images/{image_id}/members/b", ctx=A).status_int == 413
    share(api, image_id, "m5", can_share=True)
    more = f'{{"memberships": [{many}, {{"member_id": "b"}}]}}'.encode()
    assert api("PUT", f"/v1/images/{image_id}/members", {}, more, ctx=A).status_int == 413
    assert len(members(api, image_id)) == 128


def test_what_others_may_know_of_what_is_shared_with_one(api):
    of_a, of_c = make(api, A), make(api, C)
    share(api, of_a, "b")
    share(api, of_c, "b", ctx=C)

    def known(ctx: Context) -> set[str]:
        return {item["image_id"] for item in api("GET", "/v1/shared-images/b", ctx=ctx).json["shared_images"]}

    assert known(B) == known(ADMIN) == {of_a, of_c}
    assert (known(A), known(C)) == ({of_a}, {of_c})
    assert api("GET", "/v1/shared-images/nobody", ctx=A).json == {"shared_images": []}


def test_a_deleted_image_has_no_members(api):
    image_id = make(api, A)
    share(api, image_id, "b")
    api("DELETE", f"/v1/images/{image_id}", ctx=A)
    for method, path in (("GET", "members"), ("PUT", "members/b"), ("DELETE", "members/b"), ("PUT", "members")):
        body = b'{"memberships": []}' if (method, path) == ("PUT", "members") else None
        assert api(method, f"/v1/images/{image_id}/{path}", {}, body, ctx=A).status_int == 404
    assert api("GET", "/v1/shared-images/b", ctx=B).json == {"shared_images": []}


def test_members_of_all_scripts(api):
    image_id = make(api, A)
    share(api, image_id, "%E6%BC%A2%20%F0%9F%90%A7")
    assert members(api, image_id) == {"漢 🐧": False}
    assert api("PUT", f"/v1/images/{image_id}/members/%00", ctx=A).status_int == 400
    assert api("PUT", f"/v1/images/{image_id}/members/{'x' * 256}", ctx=A).status_int == 400


@pytest.mark.parametrize("name", [".", "..", "...", "a/b", "/"])
def test_members_that_no_path_could_name_again(api, name):
    image_id = make(api, A)
    body = json.dumps({"memberships": [{"member_id": name}]}).encode()
    assert api("PUT", f"/v1/images/{image_id}/members", {}, body, ctx=A).status_int == 400
    assert members(api, image_id) == {}
    if "/" not in name:
        assert api("PUT", f"/v1/images/{image_id}/members/{name}", ctx=A).status_int == 400
        assert api("GET", f"/v1/shared-images/{name}", ctx=A).status_int == 400


def test_an_image_of_2011_can_be_shared(api):
    """It was made private; to share it makes it shared."""
    image = api.registry.add(A, Image(name="private"))
    share(api, image.id, "b")
    assert api("HEAD", f"/v1/images/{image.id}", ctx=B).status_int == 200


def test_the_operator_owns_nothing_and_may_all(api):
    image = create(api)
    assert image["owner"] is None
    image_id = make(api, A)
    assert api("GET", f"/v1/images/{image_id}").body == BYTES
