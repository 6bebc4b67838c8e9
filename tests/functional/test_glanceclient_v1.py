# SPDX-License-Identifier: Apache-2.0
"""The real python-glanceclient speaks v1 with real daemons: every method of its images, members and versions."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.conftest import LOGS
from tests.functional.daemons import Installation
from tests.servers.glance_v1 import GlanceV1, Refused
from tests.servers.web import DATA, Web, web_server

pytestmark = pytest.mark.functional

FORMATS = {"disk_format": "raw", "container_format": "bare"}
ADMIN, A, B, C = "ops.root.admin", "a.alice.member", "b.bob.member", "c.carol.member"
PIPELINE = """\
[pipeline:glance-api]
pipeline = tokens glance
[filter:tokens]
paste.filter_factory = tests.fakes.tokens:filter_factory
[app:glance]"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both daemons, with users who are known by their tokens."""
    installation = Installation(
        tmp_path_factory.mktemp("glance"),
        common="registry_key = secret\npolicy_copy_from = *",
        api="http_store_allowed_hosts = 127.0.0.1",
    )
    installation.config.write_text(installation.config.read_text().replace("[app:glance-api]", PIPELINE))
    installation.environ["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[2])
    request.node.stash.setdefault(LOGS, []).append(installation)
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


@pytest.fixture(scope="module")
def client(served: Installation) -> Iterator[GlanceV1]:
    made = GlanceV1(served.api_port)
    yield made
    made.close()


@pytest.fixture
def empty(client: GlanceV1) -> GlanceV1:
    """The client of a server without images."""
    for image in client.call("images.list", is_public=None):
        client.call("images.update", image["id"], protected=False)
        client.call("images.delete", image["id"])
    return client


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data"
    file.write_bytes(os.urandom(3_000_000))
    return file


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refused(client, *args: object, **kwargs: object) -> str:
    """The name of the exception of a call that must fail."""
    with pytest.raises(Refused) as caught:
        client(*args, **kwargs)
    return caught.value.kind


# Images


def test_versions(client):
    assert [version["id"] for version in client.call("versions.list")] == ["v1.1", "v1.0"]


def test_an_image_goes_up_is_told_and_comes_down(client, data):
    checksum = hashlib.md5(data.read_bytes(), usedforsecurity=False).hexdigest()
    made = client.call(
        "images.create", name="disk", data=data, is_public=True, min_ram=512, min_disk=10, properties={"os": "linux"}, **FORMATS
    )  # fmt: skip
    got = client.call("images.get", made["id"])
    for image in (made, got):
        assert (image["status"], image["size"], image["checksum"]) == ("active", 3_000_000, checksum)
        assert (image["is_public"], image["protected"], image["deleted"]) == (True, False, False)
        assert (image["min_ram"], image["min_disk"], image["properties"]) == (512, 10, {"os": "linux"})
    down = client.call("images.data", made["id"])
    assert down == {"length": 3_000_000, "sha256": sha256(data.read_bytes())}


def test_an_empty_file_is_an_image(client, tmp_path):
    (tmp_path / "empty").touch()
    made = client.call("images.create", name="empty", data=tmp_path / "empty", **FORMATS)
    assert (made["status"], made["size"]) == ("active", 0)
    assert client.call("images.data", made["id"])["length"] == 0


def test_bytes_come_after_the_reservation(client, data):
    made = client.call("images.create", name="later", properties={"a": "1"}, **FORMATS)
    assert (made["status"], made["size"]) == ("queued", 0)
    assert refused(client.call, "images.data", made["id"]) == "HTTPNotFound"
    updated = client.call("images.update", made["id"], data=data)
    assert (updated["status"], updated["properties"]) == ("active", {"a": "1"})
    assert refused(client.call, "images.update", made["id"], data=data) == "HTTPConflict"
    assert client.call("images.data", made["id"])["sha256"] == sha256(data.read_bytes())


def test_an_update_with_and_without_purge(client):
    made = client.call("images.create", name="x", properties={"a": "1", "b": "2"})
    kept = client.call("images.update", made["id"], name="y", min_ram=5, properties={"b": "3"})
    assert (kept["name"], kept["min_ram"], kept["properties"]) == ("y", 5, {"a": "1", "b": "3"})
    purged = client.call("images.update", made["id"], properties={"c": "4"}, purge_props=True)
    assert purged["properties"] == client.call("images.get", made["id"])["properties"] == {"c": "4"}


@pytest.mark.parametrize(
    "name", ["Ünï 漢字 🐧", "100% %20 a+b&c=d", "tab-less \\ \"quoted\" 'name'", "/:?#", "x" * 255]
)
def test_names_of_all_kinds(client, name):
    made = client.call("images.create", name=name, properties={"p": name})
    assert (made["name"], made["properties"]) == (name, {"p": name})
    assert [image["id"] for image in client.call("images.list", filters={"name": name}, is_public=None)] == [
        made["id"]
    ]
    listed = client.call("images.list", filters={"properties": {"p": name}}, is_public=None)
    assert [image["name"] for image in listed] == [name]


def test_lists_come_in_pages(empty):
    for number in range(5):
        empty.call("images.create", name=f"image {number}", is_public=True, protected=number == 0)

    def names(**arguments: object) -> list[str]:
        return [image["name"][-1] for image in empty.call("images.list", **arguments)]

    assert names(page_size=2) == names() == ["4", "3", "2", "1", "0"]
    assert names(page_size=2, sort_key="name", sort_dir="asc") == ["0", "1", "2", "3", "4"]
    assert names(page_size=2, limit=3) == ["4", "3", "2"]
    marker = empty.call("images.list", limit=1)[0]["id"]
    assert names(marker=marker) == ["3", "2", "1", "0"]
    assert names(filters={"protected": True}) == ["0"]
    assert names(filters={"status": "active"}) == []
    assert names(filters={"size_min": 1}) == []
    assert refused(empty.call, "images.list", filters={"size_min": "x"}) == "HTTPBadRequest"
    assert refused(empty.call, "images.list", marker="x") == "HTTPBadRequest"


def test_an_image_is_found_by_its_name(empty):
    made = empty.call("images.create", name="needle", is_public=True)
    assert empty.call("images.find", name="needle")["id"] == made["id"]
    assert refused(empty.call, "images.find", name="other") == "NotFound"
    empty.call("images.create", name="needle", is_public=True)
    assert refused(empty.call, "images.find", name="needle") == "NoUniqueMatch"


def test_what_is_deleted_is_gone(client, data):
    made = client.call("images.create", name="x", data=data, protected=True, **FORMATS)
    assert refused(client.call, "images.delete", made["id"]) == "HTTPForbidden"
    client.call("images.update", made["id"], protected=False)
    client.call("images.delete", made["id"])
    assert refused(client.call, "images.delete", made["id"]) == "HTTPNotFound"
    assert refused(client.call, "images.data", made["id"]) == "HTTPNotFound"
    assert client.call("images.get", made["id"])["status"] == "deleted"  # as admins see it
    assert refused(client.call, "images.get", made["id"], token=A) == "HTTPNotFound"


def test_what_is_wrong_is_told(client, data):
    with pytest.raises(Refused, match="Invalid disk format 'zzz'"):
        client.call("images.create", name="x", disk_format="zzz", container_format="bare")
    with pytest.raises(Refused, match="Invalid disk format None"):
        client.call("images.create", name="x", data=data)
    with pytest.raises(Refused, match="checksum"):
        client.call("images.create", name="x", data=data, checksum="0" * 32, **FORMATS)
    with pytest.raises(Refused, match=r"HTTPConflict.*409"):
        for _ in range(2):
            client.call("images.create", id="11111111-1111-4111-8111-111111111111")


def test_damaged_bytes_are_noticed(served, client, data):
    made = client.call("images.create", name="x", data=data, **FORMATS)
    (kept,) = (
        file for file in served.folder.glob("images/*") if file.is_file() and file.read_bytes() == data.read_bytes()
    )
    kept.write_bytes(b"\0" * 3_000_000)
    with pytest.raises(Refused, match=r"[Cc]orrupt"):
        client.call("images.data", made["id"])


def test_bytes_from_elsewhere(client, web):
    there = client.call("images.create", name="there", location=web.url("to?url=/ranged"), **FORMATS)
    assert client.call("images.data", there["id"])["sha256"] == sha256(DATA)
    with pytest.raises(Refused, match="External sourcing not supported for store 'file'"):
        client.call("images.create", name="x", location="file:///etc/passwd", **FORMATS)


# Users and members


def test_whose_images_are_listed(empty):
    for token in (ADMIN, A, B):
        empty.call("images.create", name=f"of {token[0]}", token=token, is_public=token == ADMIN)

    def names(token: str, **arguments: object) -> set[str]:
        return {image["name"] for image in empty.call("images.list", token=token, **arguments)}

    assert names(A) == names(A, is_public=None) == {"of o", "of a"}
    assert names(ADMIN) == {"of o"}
    assert names(ADMIN, is_public=None) == {"of o", "of a", "of b"}
    assert names(ADMIN, owner="b") == {"of b"}
    assert names(ADMIN, is_public=False) == {"of a", "of b"}


def test_rights(client, data):
    alice, bob = client.as_user(A), client.as_user(B)
    made = alice("images.create", name="mine", data=data, owner="b", **FORMATS)
    assert made["owner"] == "a"
    for call in (("images.get",), ("images.data",), ("images.update",), ("images.delete",)):
        assert refused(bob, *call, made["id"]) == "HTTPNotFound"
    assert refused(alice, "images.update", made["id"], is_public=True) == "HTTPForbidden"
    client.call("images.update", made["id"], is_public=True, token=ADMIN)
    assert bob("images.data", made["id"])["sha256"] == sha256(data.read_bytes())
    assert refused(bob, "images.update", made["id"], name="x") == "HTTPForbidden"
    assert refused(bob, "images.delete", made["id"]) == "HTTPForbidden"


def test_members(client, data):
    alice, bob, carol = (client.as_user(token) for token in (A, B, C))
    image_id = alice("images.create", name="shared", data=data, **FORMATS)["id"]
    alice("image_members.create", image_id, "b", True)
    alice("image_members.create", image_id, "c")
    told = alice("image_members.list", image=image_id)
    assert [(member["member_id"], member["can_share"]) for member in told] == [("b", True), ("c", False)]
    assert bob("images.data", image_id)["sha256"] == sha256(data.read_bytes())
    assert refused(bob, "images.update", image_id, name="x") == "HTTPNotFound"
    assert [item["image_id"] for item in bob("image_members.list", member="b")] == [image_id]
    bob("image_members.create", image_id, "d")
    assert refused(carol, "image_members.create", image_id, "e") == "HTTPNotFound"
    alice("image_members.replace", image_id, [{"member_id": "b", "can_share": False}])
    assert [member["member_id"] for member in alice("image_members.list", image=image_id)] == ["b"]
    assert refused(carol, "images.get", image_id) == "HTTPNotFound"
    alice("image_members.delete", image_id, "b")
    assert refused(alice, "image_members.delete", image_id, "b") == "HTTPNotFound"
    assert alice("image_members.list", image=image_id) == []
    assert client.call("image_members.list", member="nobody") == []


# The command


def test_the_command(empty, data, tmp_path):
    """`glance --os-image-api-version 1` as its user types it."""
    printed = empty.command(
        "image-create", "--name", "Ünï", "--disk-format", "raw", "--container-format", "bare", "--is-public", "True",
        "--property", "os=linux", "--file", data, "--progress",
    )  # fmt: skip
    assert "=>] 100%" in printed
    (image_id,) = re.findall(r"\| id +\| ([0-9a-f-]{36}) ", printed)
    assert re.search(r"\| .*Ünï.* \| raw +\| bare +\| 3000000 \| active \|", empty.command("image-list"))
    assert re.search(r"Property 'os'.*linux", empty.command("image-show", image_id))
    empty.command("image-update", image_id, "--name", "new", "--property", "a=1", "--purge-props")
    shown = empty.command("image-show", "new")
    assert "Property 'a'" in shown
    assert "Property 'os'" not in shown
    assert "=>] 100%" in empty.command("image-download", "new", "--file", tmp_path / "down", "--progress")
    assert (tmp_path / "down").read_bytes() == data.read_bytes()
    empty.command("member-create", image_id, "b", "--can-share")
    assert re.search(r"\| b +\| True", empty.command("member-list", "--image-id", image_id))
    assert image_id in empty.command("member-list", "--tenant-id", "b")
    empty.command("member-delete", image_id, "b")
    empty.command("image-delete", "new")
    assert image_id not in empty.command("image-list")
