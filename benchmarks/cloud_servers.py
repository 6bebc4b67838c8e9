# SPDX-License-Identifier: Apache-2.0
"""The servers that clouds.py measures with, glance's daemons before them, and the libraries' own transfers."""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import swiftclient.client
from swiftclient.service import SwiftService, SwiftUploadObject

from benchmarks.measures import MIB
from tests.functional.daemons import Installation
from tests.servers.moto import Moto
from tests.servers.swift import Swift

OURS = "glance"  # bucket and container of glance
THEIRS = "library"  # of the libraries
SEGMENT = 64 * MIB  # of swiftclient
BLOCK = 65_536  # bytes that swiftclient reads at a time unless told otherwise

STORES = """\
s3_store_host = {s3.s3_url}
s3_store_access_key = {s3.s3_access_key}
s3_store_secret_key = {s3.s3_secret_key}
s3_store_bucket = {name}
s3_store_create_bucket_on_put = True
s3_store_bucket_url_format = path
swift_store_auth_address = {swift.auth_url}
swift_store_user = {swift.user}
swift_store_key = {swift.key}
swift_store_container = {name}
swift_store_create_container_on_put = True
"""


class Clouds:
    """The servers and the daemons. With `moto`, S3 is moto's; else it is Swift's, too."""

    def __init__(self, folder: Path, *, moto: bool) -> None:
        for name in ("swift", "moto", "glance"):
            (folder / name).mkdir()
        self.folder = folder
        self._swift = Swift(folder / "swift")
        self._moto = Moto(folder / "moto") if moto else None
        s3: Any = self._moto or self._swift
        self._stores = STORES.format(s3=s3, swift=self._swift, name=OURS)
        self._glance = Installation(folder / "glance", api=self._stores)
        self.s3 = S3(s3)
        self.swift = SwiftClient(self._swift)

    def start(self) -> None:
        self._swift.start()
        if self._moto is not None:
            self._moto.start()
        self._glance.start()
        self.s3.connect()
        self.swift.connect()
        self.restart()

    def stop(self) -> None:
        self._glance.end()
        if self._moto is not None:
            self._moto.stop()
        self._swift.stop()

    def restart(self) -> None:
        """Start glance-api anew, and have it load what it loads at the first use."""
        done = self._glance.control("api", "restart")
        assert done.returncode == 0, done.stdout + done.stderr
        small = self.folder / "small"
        small.write_bytes(b"1")
        for store in ("s3", "swift"):
            self.remove(self.upload(store, small))

    @property
    def api(self) -> int:
        """The process of glance-api."""
        return self._glance.pid("glance-api")

    @property
    def api_port(self) -> int:
        return self._glance.api_port

    def upload(self, store: str, file: Path, *, chunked: bool = False) -> str:
        """Upload by curl, `chunked` without saying how much will come; return the image's URL. Raises RuntimeError
        unless all of it was stored."""
        headers = [
            "Content-Type: application/octet-stream",
            "x-image-meta-type: raw",
            "x-image-meta-is-public: true",
            f"x-image-meta-store: {store}",
        ]
        if chunked:
            headers += ["Transfer-Encoding: chunked"]
        url = f"http://127.0.0.1:{self.api_port}/images"
        answer = curl("-X", "POST", "-T", str(file), *(word for header in headers for word in ("-H", header)), url)
        image = json.loads(answer)["image"]
        if (image["status"], image["size"]) != ("active", file.stat().st_size):
            raise RuntimeError(f"an upload to {store} failed: {image}")
        return f"{url}/{image['id']}"

    def remove(self, url: str) -> None:
        curl("-X", "DELETE", url)

    def held(self) -> dict[str, int]:
        """How much lies in glance's bucket and container."""
        return self.s3.held() | self.swift.held()


class S3:
    """boto3, with the TransferConfig that it has by itself."""

    title = "S3"
    library = "boto3"
    segmented = "boto3"  # who sends what is cut, as unknown size demands

    def __init__(self, server: Any) -> None:
        self._server = server

    def connect(self) -> None:
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=self._server.s3_url,
            aws_access_key_id=self._server.s3_access_key,
            aws_secret_access_key=self._server.s3_secret_key,
            region_name="us-east-1",
            config=botocore.config.Config(s3={"addressing_style": "path"}),
        )
        self._client.create_bucket(Bucket=THEIRS)

    def up(self, file: Path) -> None:
        with file.open("rb") as opened:
            self._client.upload_fileobj(opened, THEIRS, "object")

    segments_up = up

    def down(self) -> None:
        with Path(os.devnull).open("wb") as sink:
            self._client.download_fileobj(THEIRS, "object", sink)  # raises when it ends early

    def clean(self) -> None:
        self._client.delete_object(Bucket=THEIRS, Key="object")

    def held(self) -> dict[str, int]:
        uploads = self._client.list_multipart_uploads(Bucket=OURS).get("Uploads", [])
        objects = self._client.list_objects_v2(Bucket=OURS)["KeyCount"]
        return {"objects in S3": objects, "uploads in S3": len(uploads)}


class SwiftClient:
    """swiftclient: its Connection for one object, its SwiftService for segments."""

    title = "Swift"
    library = "swiftclient"
    segmented = "SwiftService"

    def __init__(self, server: Swift) -> None:
        self._server = server

    def connect(self) -> None:
        url, user, key = self._server.auth_url, self._server.user, self._server.key
        self._connection = swiftclient.client.Connection(url, user, key, auth_version="1")
        for container in (THEIRS, f"{THEIRS}_segments"):
            self._connection.put_container(container)
        self._service = SwiftService({"auth_version": "1.0", "auth": url, "user": user, "key": key})

    def up(self, file: Path) -> None:
        with file.open("rb") as opened:
            size = file.stat().st_size
            self._connection.put_object(THEIRS, "object", opened, content_length=size, chunk_size=BLOCK)

    def segments_up(self, file: Path) -> None:
        options = {"segment_size": str(SEGMENT), "use_slo": True}
        for done in self._service.upload(THEIRS, [SwiftUploadObject(str(file), "segments")], options):
            assert done["success"], done

    def down(self) -> None:
        headers, body = self._connection.get_object(THEIRS, "object", resp_chunk_size=BLOCK)
        with Path(os.devnull).open("wb") as sink:
            came = sum(sink.write(block) for block in body)
        if came != int(headers["content-length"]):
            raise RuntimeError(f"{came} bytes came from Swift, not {headers['content-length']}")

    def clean(self) -> None:
        for container in (f"{THEIRS}_segments", THEIRS):
            for found in self._connection.get_container(container)[1]:
                self._connection.delete_object(container, found["name"])

    def held(self) -> dict[str, int]:
        return {"objects in Swift": len(self._connection.get_container(OURS, full_listing=True)[1])}


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sS", "--fail", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def with_digests(work: Callable[[Path], None], file: Path) -> None:
    """Do it while md5 and sha512 of the file are computed, as glance-api computes them."""
    threads = [threading.Thread(target=digest_of, args=(file, name)) for name in ("md5", "sha512")]
    for thread in threads:
        thread.start()
    work(file)
    for thread in threads:
        thread.join()


def digest_of(file: Path, algorithm: str) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()
