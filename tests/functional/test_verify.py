# SPDX-License-Identifier: Apache-2.0
"""glance-manage verify with real daemons, on files, a real Swift, and the S3 that it speaks, too."""

import os
import pty
import re
import subprocess
import termios

import pytest
import requests

from glance.config import load
from glance.server import stores_of
from glance.store import s3client
from glance.store.parts import Part
from tests.functional.clouds import CLOUDS
from tests.functional.daemons import Installation
from tests.servers.swift import Swift

pytestmark = pytest.mark.functional

MIB = 1024 * 1024
BYTES = os.urandom(3 * MIB)  # Swift's segments are of 1 MiB here
HEADERS = {"Content-Type": "application/octet-stream", "x-image-meta-type": "raw", "x-image-meta-is_public": "1"}


@pytest.fixture(scope="module")
def clouds(running: Installation, swift: Swift) -> Installation:
    running.configure(api=CLOUDS.format(swift=swift, name="verify"))
    assert running.control("api", "restart").returncode == 0
    for store in ("file", "s3", "swift"):
        for body in (BYTES, b"small"):
            headers = HEADERS | {"x-image-meta-store": store, "x-image-meta-name": f"{store} {len(body)}"}
            answer = requests.post(f"http://127.0.0.1:{running.api_port}/images", body, headers=headers, timeout=60)
            assert answer.status_code == 200
    return running


def damage(clouds: Installation, name: str) -> None:
    """Another byte in the middle of the larger image of a store."""
    other = BYTES[: 2 * MIB] + bytes([BYTES[2 * MIB] ^ 1]) + BYTES[2 * MIB + 1 :]
    store = stores_of(load("glance-api", clouds.config).settings).named(name)
    match name:
        case "file":
            (clouds.folder / "images" / "1").write_bytes(other)
        case "s3":
            part = Part([other])
            body = s3client.Body(part, part.digest("sha256"))
            store._connected().put_object(Bucket=store._bucket, Key="3", Body=body)
        case "swift":
            (segment,) = (held for held in store._container.listed("5/") if held.endswith("/00000003"))
            store._container.put(segment, other[2 * MIB :], {})


def test_every_store_is_read_and_what_has_changed_is_named(clouds):
    done = clouds.run("glance-manage", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Verified 6 images, 9.0 MiB\nBroken images: 0\n"
    for name in ("file", "s3", "swift"):
        damage(clouds, name)
    done = clouds.run("glance-manage", "verify", "--rate", "50")
    assert (done.returncode, done.stderr) == (1, "")
    *broken, _, last = done.stdout.splitlines()
    assert [re.fullmatch(r"image (\d) \(.{36}\) '(\w+) 3145728': (.*)", line).groups()[:2] for line in broken] == [
        ("1", "file"), ("3", "s3"), ("5", "swift"),
    ]  # fmt: skip
    assert "its bytes have changed: md5 is " in broken[0]
    assert last == "Broken images: 3"
    assert clouds.run("glance-manage", "verify", "4").returncode == 0
    assert clouds.run("glance-manage", "verify", "1", "4").returncode == 1


def test_samples(clouds):
    for sample, count in (("2", 2), ("50%", 3), ("100%", 6)):
        done = clouds.run("glance-manage", "verify", "--sample", sample)
        assert f"Verified {count} images" in done.stdout


def test_a_progress_bar_on_a_terminal(clouds):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - of a descriptor
        command = clouds.command("glance-manage", "verify", "2", "4", "6")
        child = subprocess.Popen(
            command, cwd=clouds.folder, env=clouds.environ, stdout=subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        output, _ = child.communicate(timeout=30)
        assert b"15.0/15.0" in terminal.read(65_536)
    assert (child.returncode, output) == (0, b"Verified 3 images, 15 bytes\nBroken images: 0\n")


@pytest.mark.parametrize("words", [
    ("--sample", "0"), ("--sample", "101%"), ("--sample", "x"), ("--rate", "0"), ("--rate", "-1"), ("--rate", "fast"), ("17",),
], ids=str)  # fmt: skip
def test_what_cannot_be_meant(clouds, words):
    done = clouds.run("glance-manage", "verify", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert words[-1] in done.stderr


def test_a_store_that_is_away(clouds):
    clouds.configure(api=re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", clouds._extra["api"]))
    done = clouds.run("glance-manage", "verify", "6")
    assert done.returncode == 2
    assert "cannot be checked: the authentication of Swift " in done.stdout
    assert "Verified 1 image, 0 bytes\n  1 of them could not be read\nBroken images: 0\n" in done.stdout
