# SPDX-License-Identifier: Apache-2.0
"""Our clients through an nginx that drops header names with underscores, as it does unless it is configured otherwise."""

import ast
import json
import socket
from collections.abc import Iterator

import pytest
import requests

from glance.client import Client, V1Client
from tests.functional.daemons import Installation, answer_of
from tests.servers.nginx import nginx
from tests.servers.processes import free_port

pytestmark = pytest.mark.functional

SITE = """\
server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    proxy_buffer_size 64k;
    proxy_buffers 4 64k;
    large_client_header_buffers 8 16k;
    location / {{ proxy_pass http://127.0.0.1:{api_port}; }}
}}
"""
FIELDS = {"name": "disk", "disk_format": "raw", "container_format": "bare", "is_public": True, "min_ram": 512}


@pytest.fixture(scope="module")
def url(running: Installation) -> Iterator[str]:
    port = free_port()
    with nginx(running.folder, port, SITE.format(port=port, api_port=running.api_port)) as address:
        yield address


def test_nginx_drops_underscores(url: str) -> None:
    """Without this the other tests would show nothing."""
    headers = {"x-image-meta-type": "raw", "x-image-meta-is_public": "True"}
    made = requests.post(f"{url}/images", headers=headers, timeout=20).json()["image"]
    assert made["is_public"] is False


def test_glance_upload(url: str, running: Installation) -> None:
    done = running.run("glance-upload", "--host", url, "--kernel", "7", "--ramdisk", "8", "-", "x", stdin=b"abc")
    assert (done.returncode, done.stderr) == (0, "")
    record = ast.literal_eval(done.stdout.removeprefix("Stored image. Got identifier: "))
    assert (record["is_public"], record["properties"]) == (True, {"kernel_id": "7", "ramdisk_id": "8"})


def test_glance(url: str, running: Installation) -> None:
    done = running.glance(
        "-U", url, "add", "--json", "name=x", "is_public=True", "min_disk=3", "kernel_id=7", stdin=b"abc"
    )
    record = json.loads(done.stdout)
    assert (record["is_public"], record["min_disk"], record["properties"]) == (True, 3, {"kernel_id": "7"})
    assert json.loads(running.glance("-U", url, "show", "--json", record["id"]).stdout) == {
        name: value for name, value in record.items() if value is not None
    }


def test_the_client_of_v1(url: str) -> None:
    with V1Client(url) as client:
        image = client.create({**FIELDS, "properties": {"kernel_id": "7", "os-type": "a"}}, b"abc")
        assert (image["is_public"], image["min_ram"], image["checksum"]) == (
            True,
            512,
            "900150983cd24fb0d6963f7d28e17f72",
        )
        assert client.show(str(image["id"])) == {name: value for name, value in image.items() if value is not None}
        changed = client.update(str(image["id"]), {"min_disk": 9, "properties": {"ramdisk_id": "8"}})
        assert (changed["min_disk"], changed["properties"]) == (
            9,
            {"kernel_id": "7", "os_type": "a", "ramdisk_id": "8"},
        )


def test_the_classic_client(url: str) -> None:
    with Client("127.0.0.1", int(url.rpartition(":")[2])) as client:
        fields = {"name": "disk", "type": "raw", "is_public": True, "properties": {"kernel_id": "7"}}
        image = client.add_image(fields, b"abc")
        assert (image["is_public"], image["properties"]) == (True, {"kernel_id": "7"})
        meta = client.get_image_meta(image["id"])
        assert (meta["is_public"], meta["properties"], meta["deleted_at"]) == ("True", {"kernel_id": "7"}, "None")


def test_a_path_that_nginx_resolves_does_not_reach_the_image(url: str) -> None:
    with V1Client(url) as client:
        image_id = str(client.create(FIELDS, b"abc")["id"])
    for path in ("members/..", "members/%2e%2e", "members/x/../..", "members/.", "members/"):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as sock:
            sock.sendall(
                f"DELETE /v1/images/{image_id}/{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
            )
            assert answer_of(sock).split()[1] == b"404", path
    assert requests.get(f"{url}/v1/images/{image_id}", timeout=20).content == b"abc"


def test_as_many_properties_as_there_may_be(url: str) -> None:
    properties = {f"key_{number}": "x" * 200 for number in range(128)}
    with V1Client(url) as client:
        image = client.create({**FIELDS, "properties": properties}, b"abc")
        assert client.show(str(image["id"]))["properties"] == properties
        with client.download(str(image["id"])) as transfer:
            assert b"".join(transfer) == b"abc"
