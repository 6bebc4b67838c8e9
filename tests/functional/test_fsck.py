# SPDX-License-Identifier: Apache-2.0
"""glance-manage fsck with real daemons, on files, a real Swift, and the S3 that it speaks, too."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from contextlib import closing

import pytest
import requests

from glance.config import load
from glance.core.context import Context
from glance.core.image import Image, ImageChange, Status
from glance.core.inline import INLINE
from glance.core.ports import Store
from glance.registry.client import HttpRegistry
from glance.server import stores_of
from glance.store import s3client
from glance.store.parts import Part
from tests.fakes.store import BytesSource
from tests.functional.clouds import CLOUDS
from tests.functional.daemons import Installation, slow_upload
from tests.servers.swift import Swift

pytestmark = pytest.mark.functional

MIB = 1024 * 1024
BYTES = os.urandom(6 * MIB)  # in parts: S3's are of 5 MiB, Swift's of 1 MiB here
HEADERS = {"Content-Type": "application/octet-stream", "x-image-meta-type": "raw", "x-image-meta-is_public": "1"}
STORES = ("file", "s3", "swift")


@pytest.fixture(scope="module")
def clouds(running: Installation, swift: Swift) -> Installation:
    running.configure(api=CLOUDS.format(swift=swift, name="fsck"), common="registry_key = a secret of both")
    assert running.control("all", "restart").returncode == 0
    return running


@pytest.fixture(params=STORES)
def store(clouds: Installation, request: pytest.FixtureRequest) -> Store:
    return stores_of(load("glance-api", clouds.config).settings).named(request.param)


@pytest.fixture
def add(clouds: Installation, store: Store) -> Callable[[bytes], dict]:
    """A new image in this store; its record."""
    (name,) = store.schemes
    url = f"http://127.0.0.1:{clouds.api_port}/images"

    def add(body: bytes) -> dict:
        answer = requests.post(url, body, headers=HEADERS | {"x-image-meta-store": name}, timeout=60)
        return answer.json()["image"]

    return add


def fsck(clouds: Installation, store: Store, *words: str) -> "subprocess.CompletedProcess[str]":
    (name,) = store.schemes
    done = clouds.run("glance-manage", "fsck", name, *words)
    assert done.stderr == ""
    return done


def registry_of(clouds: Installation) -> HttpRegistry:
    return HttpRegistry("127.0.0.1", clouds.registry_port, key="a secret of both")


class Source:
    """Six megabytes, and no end."""

    threads = INLINE
    sender = ""

    def __init__(self) -> None:
        self._left = BYTES

    def read(self, size: int, /) -> bytes:
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def test_all_three_agree_with_the_records(clouds, store, add):
    for body in (b"", b"small", BYTES):
        add(body)
    done = fsck(clouds, store)
    assert done.returncode == 0, done.stdout
    assert "Images without all of their bytes: 0\nObjects without an image: 0\n" in done.stdout


def test_what_is_left_behind_is_deleted_when_that_is_said_and_nothing_else(clouds, store, add):
    image = add(BYTES)
    left = [store.put(name, Source(), size=None) for name in ("900001", "71c675ab-d94f-49cd-a114-e12490b328d9")]
    assert fsck(clouds, store).returncode == 0  # it is young
    dry = fsck(clouds, store, "--older-than", "0")
    assert dry.returncode == 1
    assert all("6.0 MiB belong to no image, of 20" in line for line in dry.stdout.splitlines() if "://" in line)
    assert [location in dry.stdout for location in (*left, image["location"])] == [True, True, False]
    assert "Objects without an image: 2, 12.0 MiB\nNothing was deleted: --delete does that\n" in dry.stdout
    done = fsck(clouds, store, "--older-than", "0", "--delete")
    assert (done.returncode, done.stdout.count("    deleted\n")) == (1, 2)
    assert fsck(clouds, store, "--older-than", "0").returncode == 0
    assert {held.location for held in store.held()} & set(left) == set()
    down = requests.get(f"http://127.0.0.1:{clouds.api_port}/images/{image['id']}", timeout=60)
    assert down.content == BYTES


def test_an_image_without_bytes_is_told_and_killed_when_that_is_said(clouds, store, add):
    add(b"another one is there")
    image = add(BYTES)
    store.delete(image["location"])
    dry = fsck(clouds, store)
    assert dry.returncode == 1
    assert f"image {image['id']} (" in dry.stdout
    assert f"): its bytes are missing: {image['location']}\n" in dry.stdout
    registry = registry_of(clouds)
    assert registry.get(Context(is_admin=True), str(image["id"])).status is Status.ACTIVE
    assert "    killed\n" in fsck(clouds, store, "--repair").stdout
    assert registry.get(Context(is_admin=True), str(image["id"])).status is Status.KILLED
    assert fsck(clouds, store).returncode == 0
    registry.close()


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_what_an_upload_has_sent_that_ended_with_its_process(clouds, store, add):
    add(b"another one is there")
    client = store._connected()
    upload = client.create_multipart_upload(Bucket=store._bucket, Key="900002")["UploadId"]
    place = {"Bucket": store._bucket, "Key": "900002", "UploadId": upload, "PartNumber": 1}
    part = Part([b"x" * 2048])
    client.upload_part(**place, Body=s3client.Body(part, part.digest("sha256")))
    dry = fsck(clouds, store, "--older-than", "0")
    assert "2.0 KiB of an upload that broke off" in dry.stdout
    assert fsck(clouds, store, "--older-than", "0", "--delete").returncode == 1
    assert [held for held in store.held() if not held.whole] == []


@pytest.mark.parametrize("store", ["swift"], indirect=True)
def test_segments_of_an_upload_that_ended_with_its_process(clouds, store, add):
    add(b"another one is there")
    store._container.put("900003/0123456789abcdef/00000001", b"x" * 2048, {})
    dry = fsck(clouds, store, "--older-than", "0")
    assert "2.0 KiB of an upload that broke off" in dry.stdout
    assert fsck(clouds, store, "--older-than", "0", "--delete").returncode == 1
    assert [held for held in store.held() if held.name == "900003"] == []


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_a_running_upload_is_not_disturbed(clouds, store, add):
    add(b"another one is there")
    with slow_upload(clouds) as sock:
        done = fsck(clouds, store, "--older-than", "0", "--delete")
        assert done.returncode == 0, done.stdout
        sock.sendall(b"x" * 500)
        sock.settimeout(10)
        assert b" 200 OK" in sock.recv(65_536)


def test_what_cannot_be_checked_is_no_finding(installation: Installation) -> None:
    installation.start("registry")
    installation.configure(
        api="s3_store_host = http://127.0.0.1:1\ns3_store_access_key = a\ns3_store_secret_key = b\ns3_store_bucket = bucket"
    )
    done = installation.run("glance-manage", "fsck")
    assert (done.returncode, done.stderr) == (2, "")
    assert "store s3: cannot be checked: the S3 server" in done.stdout
    assert "Checked 0 images in file, s3\n  1 could not be checked\n" in done.stdout
    assert installation.run("glance-manage", "fsck", "file").returncode == 0


def test_without_the_registry_it_says_so(installation: Installation) -> None:
    done = installation.run("glance-manage", "fsck")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "ERROR: the registry does not answer\n")
    done = installation.run("glance-manage", "fsck", "tape")
    assert (done.returncode, done.stderr) == (2, "ERROR: there is no store tape here: expected file\n")


# After a change of filesystem_store_datadir, s3_store_bucket or swift_store_container


def test_a_store_that_has_moved_loses_neither_data_nor_records(clouds, store, add):
    (name,) = store.schemes
    images = [add(body) for body in (b"first", b"second", BYTES)]
    moved = clouds.folder / "moved.conf"
    text = clouds.config.read_text()
    for old in (f"{clouds.folder}/images/", "fsck-s3", "fsck-swift"):
        text = text.replace(f"= {old}", f"= {old.rstrip('/')}-new").replace(f"={old}", f"={old.rstrip('/')}-new")
    moved.write_text(text)
    new = stores_of(load("glance-api", moved).settings).named(name)
    for image, body in zip(images, (b"first", b"second", BYTES), strict=True):
        new.put(image["location"].rpartition("/")[2], BytesSource(body), size=len(body))
    # One upload after the change, which shows that store and registry belong together; and a leftover.
    registry = registry_of(clouds)
    admin = Context(is_admin=True)
    image = registry.add(admin, Image(size=3, checksum=hashlib.md5(b"new").hexdigest()))
    location = new.put(str(image.number), BytesSource(b"new"), size=3)
    registry.update(admin, image.id, ImageChange(status=Status.ACTIVE, locations=(location,)))
    left = new.put("900009", BytesSource(b"left"), size=4)
    for image in images:  # so that the recorded location misses it, whether the driver still reads that or not
        store.delete(image["location"])

    words = ("--config-file", str(moved), name, "--older-than", "0", "--delete", "--repair")
    done = clouds.run("glance-manage", "fsck", *words)
    assert (done.returncode, done.stderr) == (1, "")
    for image in images:
        assert f"has moved from {image['location']} to: {new.location_of(str(image['id']))}\n" in done.stdout
        assert registry.get(admin, str(image["id"])).status is Status.ACTIVE
    assert "Images whose data is at another location than recorded: 3\n" in done.stdout
    assert f"{left}\n    not deleted: " in done.stdout
    assert "--force allows the change" in done.stdout
    assert "killed" not in done.stdout

    done = clouds.run("glance-manage", "fsck", *words, "--force")
    assert f"{left}\n    deleted\n" in done.stdout
    assert {each.name for each in new.held() if each.whole} >= {str(image["id"]) for image in images}
    for image in images:
        assert registry.get(admin, str(image["id"])).status is Status.ACTIVE
        registry.remove(admin, str(image["id"]))  # the other tests find a store that agrees with its records
        registry.release(admin, str(image["id"]))
    registry.remove(admin, location.rpartition("/")[2])
    registry.release(admin, location.rpartition("/")[2])
    registry.close()


def test_data_of_a_directory_that_was_changed_is_not_taken_for_deleted(installation: Installation) -> None:
    """Neither by a delete, which the recovery tries again, nor by glance-scrubber; verify calls nothing broken."""
    installation.configure(api="transfer_lease = 2\ndelayed_delete = True")
    installation.start()
    url = f"http://127.0.0.1:{installation.api_port}/images"
    for _ in range(2):
        assert requests.post(url, b"data", headers=HEADERS, timeout=60).status_code == 200
    text = installation.config.read_text()
    installation.config.write_text(text.replace(f"{installation.folder}/images/", f"{installation.folder}/other/"))
    assert installation.control("api", "restart").returncode == 0
    (installation.folder / "other").mkdir(exist_ok=True)
    assert requests.delete(f"{url}/1", timeout=60).status_code == 200
    done = installation.run("glance-scrubber")
    assert done.returncode == 1, done.stdout + done.stderr
    verified = installation.run("glance-manage", "verify")
    assert (verified.returncode, "Broken images: 0\n" in verified.stdout) == (2, True)
    with closing(HttpRegistry("127.0.0.1", installation.registry_port)) as registry:
        deleted = registry.get(Context(is_admin=True), "1", deleted=True)
        assert (deleted.status, len(deleted.locations)) == (Status.PENDING_DELETE, 1)
        assert registry.get(Context(is_admin=True), "2").status is Status.ACTIVE
    assert {path.name for path in (installation.folder / "images").iterdir()} == {"1", "2"}
