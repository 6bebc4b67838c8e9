# SPDX-License-Identifier: Apache-2.0
"""Real disk images, up by glance-upload and down again, with equal SHA-256."""

import hashlib
import os
import random
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.functional.debian import program

pytestmark = pytest.mark.functional

MIB = 1024 * 1024


def sha256(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def blocks_of(file: Path) -> Iterable[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(4 * MIB):
            yield block


def up_and_down(running: Installation, file: Path, kind: str) -> Path:
    """Upload the file, check what comes down against it, and return where the store keeps it."""
    done = running.upload("--type", kind, str(file), file.name)
    assert done.returncode == 0, done.stderr
    with running.client() as client:
        (number,) = (image["id"] for image in client.get_images() if image["name"] == file.name)
        meta, blocks = client.get_image(number)
        assert int(meta["size"]) == file.stat().st_size
        assert meta["type"] == kind
        assert sha256(blocks) == sha256(blocks_of(file))
    return running.folder / "images" / str(number)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some files to make images of."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "etc").mkdir()
    (folder / "etc/hostname").write_text("maverick\n")
    (folder / "noise").write_bytes(random.Random(1).randbytes(3 * MIB))
    return folder


@pytest.fixture(scope="module")
def raw_image(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("raw") / "root.ext4"
    with file.open("wb") as opened:
        opened.truncate(32 * MIB)
    subprocess.run([program("mkfs.ext4", "e2fsprogs"), "-q", "-d", str(tree), str(file)], check=True)
    return file


def test_an_ext4_file_system(running: Installation, raw_image: Path) -> None:
    kept = up_and_down(running, raw_image, "raw")
    subprocess.run([program("e2fsck", "e2fsprogs"), "-fn", str(kept)], check=True, capture_output=True)


def test_a_qcow2_image(running: Installation, raw_image: Path, tmp_path: Path) -> None:
    qemu_img = program("qemu-img", "qemu-utils")
    file = tmp_path / "root.qcow2"
    subprocess.run([qemu_img, "convert", "-O", "qcow2", str(raw_image), str(file)], check=True)
    kept = up_and_down(running, file, "qcow2")
    subprocess.run([qemu_img, "check", "-f", "qcow2", str(kept)], check=True, capture_output=True)


def test_an_iso_image(running: Installation, tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "install.iso"
    subprocess.run(
        [program("xorriso", "xorriso"), "-as", "mkisofs", "-quiet", "-o", str(file), str(tree)], check=True
    )
    up_and_down(running, file, "iso")


def test_a_tar_of_the_size_of_maverick(running: Installation, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(187 * MIB))
    file = tmp_path / "maverick-server-uec-amd64.tar.gz"
    with tarfile.open(file, "w:gz", compresslevel=1) as archive:
        archive.add(disk, "maverick-server-uec-amd64.img")
    disk.unlink()
    assert file.stat().st_size > 180_000_000
    up_and_down(running, file, "raw")


@pytest.mark.slow
def test_an_image_of_more_than_4_gib(running: Installation, tmp_path: Path) -> None:
    file = tmp_path / "sparse.img"
    with file.open("wb") as opened:
        for place in (0, 2**31 - 3, 2**32 - 3):  # around the ends of 32-bit integers
            opened.seek(place)
            opened.write(b"marked")
        opened.truncate(2**32 + 5 * MIB + 1)
    kept = up_and_down(running, file, "raw")
    with running.client() as client:
        client.delete_image(int(kept.name))
    assert not kept.exists()
