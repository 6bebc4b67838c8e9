# SPDX-License-Identifier: Apache-2.0
"""The whole surface of python-glanceclient's v1 client, as a program in an environment of its own.

Arguments: the endpoint, the URL of an image to copy, its md5, and an image file. Prints a line per step; ends with the first that fails.
"""

import hashlib
import io
import sys
import time

from glanceclient import Client, exc


class Chunks:
    """A file whose size cannot be told, so that it is sent in chunks."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._stream.read(size)


def main(endpoint: str, url: str, url_md5: str, path: str) -> None:
    client = Client("1", endpoint=endpoint)
    images, members = client.images, client.image_members
    data = open(path, "rb").read()  # noqa: PTH123, SIM115
    md5 = hashlib.md5(data).hexdigest()
    raw = {"disk_format": "raw", "container_format": "bare"}
    made = {}

    def step(name: str, true: object) -> None:
        assert true, name
        print("ok", name, flush=True)

    def refused(kind: type[Exception], deed: object, *arguments: object, **named: object) -> bool:
        try:
            deed(*arguments, **named)
        except kind:
            return True
        return False

    step("an empty list", list(images.list()) == [])
    with open(path, "rb") as file:  # noqa: PTH123
        made["file"] = images.create(
            name="of a file",
            data=file,
            is_public=True,
            properties={"arch": "amd64", "os type": "linux"},
            min_ram=64,
            min_disk=2,
            **raw,
        )
    image = made["file"]
    step("create with a file", (image.status, image.size, image.checksum) == ("active", len(data), md5))
    step("its fields", (image.is_public, image.min_ram, image.min_disk, image.protected) == (True, 64, 2, False))
    step("its properties", image.properties == {"arch": "amd64", "os type": "linux"})
    made["chunks"] = images.create(name="in chunks", data=Chunks(data), is_public=True, **raw)
    step("create in chunks", made["chunks"].checksum == md5)
    made["wrong"] = None
    step(
        "a promise that is broken",
        refused(exc.HTTPBadRequest, images.create, name="x", data=io.BytesIO(data), size=5, **raw),
    )
    made["queued"] = images.create(name="queued", is_public=True, **raw)
    step("a queued image", made["queued"].status == "queued")
    filled = images.update(made["queued"].id, data=io.BytesIO(data))
    step("its bytes later", (filled.status, filled.checksum) == ("active", md5))
    step("no bytes twice", refused(exc.HTTPConflict, images.update, filled.id, data=io.BytesIO(data)))
    name = "Ünï 漢字 🐧 100%"
    made["unicode"] = images.create(name=name, is_public=True, properties={"clé": "valeur é"})
    listed = {item.name: item for item in images.list()}
    step("a name of all scripts", name in listed)
    step("a property of all scripts", listed[name].properties == {"clé": "valeur é"})
    copied = images.create(name="copied", copy_from=url, is_public=True, **raw)
    for _ in range(200):
        if images.get(copied.id).status not in ("queued", "saving"):
            break
        time.sleep(0.05)
    made["copied"] = images.get(copied.id)
    step("a copy of a URL", (made["copied"].status, made["copied"].checksum) == ("active", url_md5))
    made["elsewhere"] = images.create(name="elsewhere", location=url, is_public=True, **raw)
    step("an image that lies elsewhere", made["elsewhere"].status == "active")
    step("get", images.get(image.id).to_dict()["name"] == "of a file")
    body = images.data(image.id)
    step("download, with the checksum checked", b"".join(body) == data)
    step("download without", b"".join(images.data(image, do_checksum=False)) == data)
    step("pages", len(list(images.list(page_size=2))) == 6)
    step("a limit", len(list(images.list(limit=3, page_size=2))) == 3)
    step("a filter", [item.name for item in images.list(filters={"name": "queued"})] == ["queued"])
    step(
        "a property as a filter",
        [item.id for item in images.list(filters={"properties": {"arch": "amd64"}})] == [image.id],
    )
    step("sizes as a filter", len(list(images.list(filters={"size_min": len(data), "size_max": len(data)}))) >= 3)
    in_order = [item.name for item in images.list(sort_key="name", sort_dir="asc")]
    step("an order", in_order == sorted(in_order))
    step("images of an owner", list(images.list(owner="nobody")) == [])
    kept = images.update(image.id, name="renamed", properties={"new": "1"})
    step(
        "update without purge",
        (kept.name, kept.properties) == ("renamed", {"arch": "amd64", "os type": "linux", "new": "1"}),
    )
    purged = images.update(image.id, properties={"only": "1"}, purge_props=True)
    step("update with purge", purged.properties.get("only") == "1" and "arch" not in purged.properties)
    step("protection", images.update(image.id, protected=True).protected is True)
    step("which holds", refused(exc.HTTPForbidden, images.delete, image.id))
    images.update(image.id, protected=False)
    members.create(image.id, "tenant-1", can_share=True)
    members.create(image.id, "tenant-2")
    step(
        "members",
        {item.member_id: item.can_share for item in members.list(image=image.id)}
        == {"tenant-1": True, "tenant-2": False},
    )
    step("images of a member", [item.image_id for item in members.list(member="tenant-1")] == [image.id])
    members.delete(image.id, "tenant-2")
    step("a member less", [item.member_id for item in members.list(image=image.id)] == ["tenant-1"])
    step("no such image", refused(exc.HTTPNotFound, images.get, "71c675ab-d94f-49cd-a114-e12490b328d9"))
    for item in list(images.list(is_public=None)) + list(images.list()):
        if images.get(item.id).status != "deleted":
            images.delete(item.id)
    step("delete", list(images.list()) == [])


main(*sys.argv[1:])
