# SPDX-License-Identifier: Apache-2.0
"""A glance-api of this version with a glance-registry of another one, both real daemons, as they run side by side while
an installation is upgraded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from glance.core.context import Context
from glance.core.image import Image, ImageChange, MemberStatus, Status, Visibility
from glance.core.query import Query, Sort
from glance.registry.client import HttpRegistry
from glance.wire import records
from tests.fakes.versions import IMPORTED, NEWER_VALUES
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional

ADMIN = Context(is_admin=True)
PIPELINE = """\
[pipeline:glance-registry]
pipeline = version registry
[filter:version]
paste.filter_factory = tests.fakes.versions:{version}
[app:registry]
"""
DATA = b"data of an image" * 1000
META = {
    "x-image-meta-name": "n",
    "x-image-meta-disk-format": "raw",
    "x-image-meta-container-format": "bare",
    "x-image-meta-is-public": "true",
    "Content-Type": "application/octet-stream",
}


def running(folder: Path, version: str) -> Iterator[Installation]:
    """Both daemons, the registry behind a filter of tests/fakes/versions.py."""
    folder.mkdir(exist_ok=True)
    installation = Installation(folder)
    text = installation.config.read_text()
    installation.config.write_text(text.replace("[app:glance-registry]\n", PIPELINE.format(version=version)))
    try:
        installation.start()
        yield installation
    finally:
        installation.end()


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    yield from running(tmp_path_factory.mktemp("newer"), "make_newer")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    yield from running(tmp_path_factory.mktemp("older"), "make_older")


def url(installation: Installation, path: str = "") -> str:
    return f"http://127.0.0.1:{installation.api_port}{path}"


def upload(installation: Installation, **headers: str) -> dict:
    response = requests.post(url(installation, "/v1/images"), DATA, headers={**META, **headers}, timeout=30)
    assert response.status_code == 201, response.text
    return response.json()["image"]


def use_everything(installation: Installation) -> None:
    """The life of an image, with all that glance-api asks the registry."""
    image = upload(installation)
    path = url(installation, f"/v1/images/{image['id']}")
    assert image["status"] == "active"
    assert requests.get(path, timeout=30).content == DATA
    assert requests.head(path, timeout=30).headers["x-image-meta-name"] == "n"
    changed = requests.put(path, headers={"x-image-meta-property-a": "1", "x-image-meta-name": "m"}, timeout=30)
    assert (changed.status_code, changed.json()["image"]["properties"]) == (200, {"a": "1"})
    other = upload(installation)
    pages = [
        requests.get(url(installation, f"/v1/images/detail?limit=1{marker}"), timeout=30).json()["images"]
        for marker in ("", f"&marker={other['id']}")
    ]
    assert [[found["id"] for found in page] for page in pages] == [[other["id"]], [image["id"]]]
    assert len(requests.get(url(installation, "/images/detail"), timeout=30).json()["images"]) == 2
    assert requests.put(f"{path}/members/ann", timeout=30).status_code == 204
    assert [one["member_id"] for one in requests.get(f"{path}/members", timeout=30).json()["members"]] == ["ann"]
    shared = requests.get(url(installation, "/v1/shared-images/ann"), timeout=30).json()["shared_images"]
    assert [one["image_id"] for one in shared] == [image["id"]]
    assert requests.delete(f"{path}/members/ann", timeout=30).status_code == 204
    for one in (image, other):
        assert requests.delete(url(installation, f"/v1/images/{one['id']}"), timeout=30).status_code == 200
    assert requests.get(path, timeout=30).status_code == 404
    assert requests.get(url(installation, "/healthcheck/ready"), timeout=30).status_code == 200
    assert not list((installation.folder / "images").glob("[0-9]*"))


def test_with_a_newer_registry_everything_works(newer):
    use_everything(newer)


def test_with_an_older_registry_everything_works_that_it_knows(older):
    use_everything(older)


def test_the_client_reads_all_answers_of_a_newer_registry(newer):
    client = HttpRegistry("127.0.0.1", newer.registry_port)
    image = client.add(ADMIN, Image(locations=("file:///x",)), lease=0)
    assert image.id in [claimed.id for claimed in client.claim_stalled(ADMIN, "me", lease=60, limit=100)]
    (member,) = client.set_members(ADMIN, image.id, {"ann": True})
    assert (member.can_share, member.status) == (True, MemberStatus.PENDING)
    assert client.set_member_status(ADMIN, image.id, "ann", MemberStatus.REJECTED).status is MemberStatus.REJECTED
    client.release(ADMIN, image.id, holder="me")
    assert client.remove(ADMIN, image.id).status is Status.DELETED
    client.close()


def test_an_image_with_values_that_only_a_newer_registry_knows(newer):
    """It is listed and shown, but its data is neither read nor written, and it can be deleted."""
    image = upload(newer, **{"x-image-meta-name": IMPORTED})
    path = url(newer, f"/v1/images/{image['id']}")
    response = requests.head(path, timeout=30)
    assert response.status_code == 200
    assert response.headers["x-image-meta-status"] == "saving"
    assert response.headers["x-image-meta-is_public"] == "False"
    assert response.headers["x-image-meta-disk_format"] == NEWER_VALUES["disk_format"]
    listed = requests.get(url(newer, "/v1/images/detail"), timeout=30).json()["images"]
    assert [(found["name"], found["container_format"]) for found in listed] == [
        (IMPORTED, NEWER_VALUES["container_format"])
    ]
    (classic,) = requests.get(url(newer, "/images/detail"), timeout=30).json()["images"]
    assert (classic["name"], classic["type"], classic["status"]) == (IMPORTED, None, "saving")
    assert requests.get(path, timeout=30).status_code == 404
    assert (
        requests.put(path, DATA, headers={"Content-Type": "application/octet-stream"}, timeout=30).status_code == 409
    )
    assert "status 'importing', which is unknown here and read as saving" in newer.logs()
    assert requests.delete(path, timeout=30).status_code == 200


def test_what_an_older_registry_does_not_know_is_a_clear_error(older):
    """Not a 400, since the client is not at fault; and nothing is lost silently."""
    response = requests.post(url(older, "/v1/images"), headers={**META, "x-image-meta-virtual-size": "5"}, timeout=30)
    assert response.status_code == 503
    assert "the registry is of an older version" in response.text
    assert "is to be upgraded before glance-api" in older.logs()
    assert requests.get(url(older, "/v1/images"), timeout=30).json()["images"] == []


@pytest.mark.parametrize("version", [None, "0", "1", "2", "nonsense", "-1", "²", "9" * 5000])
def test_no_request_is_refused_for_its_version(installation, version):
    installation.start("registry")
    headers = {} if version is None else {records.PROTOCOL_HEADER: version.encode()}
    response = requests.get(f"http://127.0.0.1:{installation.registry_port}/records", headers=headers, timeout=30)
    assert (response.status_code, response.headers[records.PROTOCOL_HEADER]) == (200, str(records.PROTOCOL))


def test_the_registry_logs_that_a_caller_is_newer(installation):
    installation.start("registry")
    for _ in range(2):
        path = f"http://127.0.0.1:{installation.registry_port}/records"
        requests.get(path, headers={records.PROTOCOL_HEADER: str(records.PROTOCOL + 1)}, timeout=30)
    assert installation.logs().count("upgrade glance-registry before glance-api") == 1


def test_both_sides_name_their_version(installation):
    installation.start("registry")
    client = HttpRegistry("127.0.0.1", installation.registry_port)
    query = Query(visibility=frozenset({Visibility.PUBLIC}), sort=(Sort("number"),))
    assert client.find(ADMIN, query).images == ()
    client.add(ADMIN, Image(name="a"))
    assert client.update(ADMIN, "1", ImageChange(name="b")).name == "b"
    client.close()
