# SPDX-License-Identifier: Apache-2.0
"""Image bytes as objects in one bucket of Amazon S3, or of a server that speaks its protocol.

A location is s3://bucket/name and nothing else: keys and addresses come from the configuration, so they can
change without a change of data. Small images are one request, larger ones a multipart upload whose parts are
sent side by side (parts.py) and that is aborted when anything goes wrong.
"""

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from glance.core.errors import BlobMissing, Duplicate, OutsideStore, StoreDown
from glance.core.ports import Held, Source, Threads
from glance.store import s3client
from glance.store.blob import StreamBlob
from glance.store.parts import LEAST_PART, MIB, MemoryBudget, Part, Parts
from glance.store.proxy import Proxy
from glance.store.s3client import DEFAULT_REGION, Account, code_of

LOG = logging.getLogger(__name__)

ABORT_PAUSES = (0, 2, 5)  # seconds before each attempt to abort; botocore retries each on its own
LOST_PAUSE = 1  # seconds until a request whose answer was lost is taken to have had its effect
MARK = "glance-upload"  # metadata of an object by which its upload knows it

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}", re.ASCII)
_BUCKET = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{1,254}", re.ASCII)
_LOCATION = re.compile(rf"s3://({_BUCKET.pattern})/({_NAME.pattern})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", re.ASCII)


class S3Store:
    """A Store on a bucket. Raises ValueError for arguments that cannot be.

    `host` is a URL, or a name that is reached by https; `cacert` a file of certificates to trust instead of the
    usual ones; `bucket_url_format` where the bucket's name stands: in the `path`, in the host's name (`virtual`),
    or wherever it fits (`auto`). Images of more than `large_object_size` MiB go in parts of
    `large_object_chunk_size` MiB, and so do those that are larger than one part. Memory holds at most `parallel`
    parts of one image, and of all images what MemoryBudget allows. `read_timeout`: seconds between two signs of life
    of the server.
    """

    schemes = frozenset({"s3"})

    def __init__(
        self,
        host: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        *,
        create_bucket_on_put: bool = False,
        large_object_size: int = 100,
        large_object_chunk_size: int = 10,
        region: str | None = None,
        bucket_url_format: str = "auto",
        cacert: str | None = None,
        parallel: int = 4,
        read_timeout: float = 60,
        proxy: Proxy | None = None,
    ) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"not a name for a bucket: {bucket!r}")
        if bucket_url_format not in ("auto", "path", "virtual"):
            raise ValueError(f"the format of a bucket's URL is auto, path or virtual, not {bucket_url_format!r}")
        if large_object_chunk_size * MIB < LEAST_PART:
            raise ValueError(f"a part has at least {LEAST_PART // MIB} MiB, not {large_object_chunk_size}")
        self._account = Account(host, access_key, secret_key, region, bucket_url_format, cacert, read_timeout, proxy)
        self._bucket = bucket
        self._create_bucket = create_bucket_on_put
        self._largest_whole = large_object_size * MIB
        self._part_size = large_object_chunk_size * MIB
        self._parallel = parallel
        self._budget = MemoryBudget.for_part_size(self._part_size)
        self._connecting = threading.Lock()
        self._client: Any = None

    def connect(self) -> str:
        where = self._account.address
        try:
            with self._translated("connect"):
                s3client.greet(self._account, self._bucket)
        except BlobMissing:  # a 404 that is not about the bucket
            advice = f"{self._account.where} answers, but not as S3 does: look at the address and the port"
            raise StoreDown("the S3 server does not speak S3", advice=advice) from None
        return where

    def prepare(self) -> str:
        with self._translated("prepare"):
            try:
                s3client.look(self._connected(), self._bucket, MaxKeys=1)
            except s3client.errors() as error:
                self._make_bucket(error)
                return f"{self._bucket}, made now"
        return self._bucket

    def check(self, threads: Threads) -> None:
        with self._translated("check"):
            try:
                # A prefix that no object has: the answer is quick, however many objects or delete markers there are.
                s3client.look(self._connected(), self._bucket, MaxKeys=1, Prefix="health-check/")
            except s3client.errors() as error:
                if code_of(error) != "NoSuchBucket" or not self._create_bucket:
                    raise

    def try_abilities(self) -> list[str]:
        with self._translated("look"):
            client = self._connected()
            if not s3client.keeps_versions(client, self._bucket):
                return []
            known = s3client.can_list_versions(client, self._bucket)
        if known:
            return [
                f"the bucket {self._bucket} keeps versions: Glance deletes an object with all of its versions, if "
                "the owner of the access key has the right s3:DeleteObjectVersion"
            ]
        return [
            f"the bucket {self._bucket} keeps versions, and this server may not list them: what it deletes lives on "
            "there, and its space is not freed; the right s3:ListBucketVersions is missing"
        ]

    def traces(self, name: str) -> list[str]:
        with self._translated("look"):
            client = self._connected()
            objects = s3client.look(client, self._bucket, Prefix=name).get("Contents", [])
            uploads = client.list_multipart_uploads(Bucket=self._bucket, Prefix=name).get("Uploads", [])
        found = [("the object", item["Key"]) for item in objects] + [
            ("an upload of", item["Key"]) for item in uploads
        ]
        return [f"the {what} {key} in the bucket {self._bucket}" for what, key in found if key == name]

    def held(self) -> Iterator[Held]:
        with self._translated("list"):
            for key, size, modified, whole in s3client.listed(self._connected(), self._bucket):
                yield Held(self.location_of(key), key, size, modified, whole)

    def location_of(self, name: str) -> str:
        return f"s3://{self._bucket}/{name}"

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for an object: {name!r}")
        parts = Parts(source, size=size, part_size=self._part_size, parallel=self._parallel, budget=self._budget)
        with self._translated("write"), parts:
            upload = _Upload(self._connected(), self._bucket, name, source.threads)
            part = parts.whole(self._largest_whole)
            if part is not None:
                self._in_bucket(lambda: upload.send_whole(part))
            else:
                upload.send_parts(parts, self._in_bucket(upload.begin))
        return self.location_of(name)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> StreamBlob:
        place = _place(location)
        wanted: dict[str, str] = {}
        if start or length is not None:
            wanted["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with self._translated("read"):
            client = self._connected()
            if length == 0:
                return _empty(client, place)
            try:
                answer = client.get_object(**place, **wanted)
            except s3client.errors() as error:
                if code_of(error) == "InvalidRange":  # it begins behind the end, or there is no byte at all
                    return _empty(client, place)
                raise
        body, size = answer["Body"], int(answer["ContentLength"])
        total = size
        if wanted:
            found = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            if found is None or int(found[1]) != start:
                body.close()
                LOG.error("S3, read: asked for %s, got %s", wanted["Range"], answer.get("ContentRange"))
                raise StoreDown("the S3 server sends another part than it was asked for")
            total = int(found[2])
        return StreamBlob(body.read, size=size, total=total, close=body.close, errors=s3client.read_errors())

    def delete(self, location: str, *, threads: Threads | None = None) -> None:
        try:
            place = _place(location)
        except OutsideStore as error:  # the data may be there: it must not be taken for deleted
            raise StoreDown(str(error)) from error
        try:
            with self._translated("delete"):
                client = self._connected()
                s3client.abort_uploads(client, place)
                s3client.delete_object(client, place)
        except BlobMissing as gone:
            LOG.warning("nothing to delete: %s", gone)

    def _connected(self) -> Any:
        if self._client is None:
            with self._connecting:
                if self._client is None:
                    self._client = s3client.connect(self._account)
        return self._client

    def _in_bucket(self, deed: Callable[[], Any]) -> Any:
        """Do it; if the bucket is missing and may be made, make it and do it again."""
        try:
            return deed()
        except s3client.errors() as error:
            self._make_bucket(error)
        return deed()

    def _make_bucket(self, error: Exception) -> None:
        """Raises the error unless it says that the bucket is missing, and it may be made."""
        if code_of(error) != "NoSuchBucket" or not self._create_bucket:
            raise error
        LOG.info("S3: making the bucket %s", self._bucket)
        settings: dict[str, Any] = {}
        if self._account.region not in (None, "", DEFAULT_REGION):
            settings["CreateBucketConfiguration"] = {"LocationConstraint": self._account.region}
        try:
            self._connected().create_bucket(Bucket=self._bucket, **settings)
        except s3client.errors() as other:
            if code_of(other) != "BucketAlreadyOwnedByYou":
                raise

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        """botocore's errors → GlanceError. The cause goes to the log, without keys; not on with the error, whose
        text and traceback are not ours to promise anything about."""
        try:
            yield
        except ValueError as error:  # before any request: botocore about its options
            if self._client is not None:
                raise
            LOG.error("S3, %s: %s", verb, self._account.without_secrets(str(error)))
            advice = self._account.without_secrets(str(error))
            raise StoreDown("the S3 store of this server is not configured well", advice=advice) from None
        except s3client.errors() as error:
            level = logging.DEBUG if code_of(error) == "NoSuchKey" else logging.ERROR  # whoever asked will say
            LOG.log(level, "S3, %s: %s", verb, self._account.without_secrets(f"{type(error).__name__}: {error}"))
            raise s3client.translated(error, self._account) from None


class _Upload:
    """One object on its way. Nobody sees it before its commit, and nothing is left when that fails."""

    def __init__(self, client: Any, bucket: str, name: str, threads: Threads) -> None:
        self._client = client
        self._place = {"Bucket": bucket, "Key": name}
        self._threads = threads
        self._mark = secrets.token_hex(16)

    def send_whole(self, part: Part) -> None:
        """All in one request, of which S3 keeps all or nothing."""
        sha256 = s3client.sha256_of(part, self._threads)
        self._commit(
            lambda **condition: self._client.put_object(
                **self._place, **condition, Body=s3client.Body(part, sha256), Metadata={MARK: self._mark}
            )
        )

    def begin(self) -> str:
        """The name of a new multipart upload."""
        try:
            answer = self._client.create_multipart_upload(**self._place, Metadata={MARK: self._mark})
        except s3client.errors() as error:
            if s3client.lost_answer(error):
                self._abort_others("")
            raise
        upload_id = str(answer["UploadId"])
        if answer["ResponseMetadata"].get("RetryAttempts"):
            self._abort_others(upload_id)
        return upload_id

    def send_parts(self, parts: Parts, upload_id: str) -> None:
        upload = self._place | {"UploadId": upload_id}

        def send(number: int, part: Part) -> dict[str, object]:
            body = s3client.Body(part, s3client.sha256_of(part, self._threads))
            answer = self._client.upload_part(**upload, PartNumber=number, Body=body)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        try:
            sent = {"Parts": parts.send(send)}
            self._commit(
                lambda **condition: self._client.complete_multipart_upload(
                    **upload, **condition, MultipartUpload=sent
                )
            )
        except BaseException:
            self._abort(upload)
            raise

    def _commit(self, deed: Callable[..., object]) -> None:
        """The request that makes the object visible; never over another object.

        Servers that know no If-None-Match are asked without it, and those that ignore it have at least been
        asked just before. When an answer is lost, the request is repeated and may find its own object.
        """
        if self._found() is not None:
            raise Duplicate("the store holds bytes of that name already")
        try:
            try:
                deed(IfNoneMatch="*")
            except s3client.errors() as error:
                if code_of(error) != "NotImplemented":
                    raise
                deed()
        except s3client.errors() as error:
            if s3client.lost_answer(error):  # the server may still be at it, and what appears later would stay
                time.sleep(LOST_PAUSE)
            if not self._is_ours():
                raise
            LOG.warning("S3: an object is complete, although its upload failed: %s", type(error).__name__)

    def _found(self) -> dict[str, Any] | None:
        """What stands at our place. Without the right to list, S3 says "denied" where nothing is."""
        try:
            answer: dict[str, Any] = self._client.head_object(**self._place)
        except s3client.errors() as error:
            if code_of(error) in ("NoSuchKey", "NoSuchBucket", "AccessDenied"):
                return None
            raise
        return answer

    def _is_ours(self) -> bool:
        try:
            found = self._found() or {}
        except s3client.errors():
            return False
        return bool(found.get("Metadata", {}).get(MARK) == self._mark)

    def _abort_others(self, upload_id: str) -> None:
        """Uploads of our object that were begun when an answer was lost: nobody knows their names."""
        key = self._place["Key"]
        time.sleep(LOST_PAUSE)
        try:
            s3client.abort_uploads(self._client, self._place, but=upload_id)
        except s3client.errors() as error:
            LOG.warning("S3: an empty upload of %s may be left: %s", key, type(error).__name__)

    def _abort(self, upload: dict[str, str]) -> None:
        for pause in ABORT_PAUSES:
            time.sleep(pause)
            try:
                self._client.abort_multipart_upload(**upload)
                break
            except s3client.errors() as error:
                if code_of(error) == "NoSuchUpload":
                    break
                LOG.warning("S3: an upload is not aborted yet: %s", type(error).__name__)
        else:
            LOG.error("S3: parts of the unfinished upload %s of %s are left", upload["UploadId"], upload["Key"])
            return
        try:
            if self._is_ours():  # its end was answered too late, when we had given it up
                s3client.delete_object(self._client, self._place)
        except s3client.errors() as error:
            LOG.error("S3: the object %s is left of a failed upload: %s", upload["Key"], type(error).__name__)


def _place(location: str) -> dict[str, str]:
    """Bucket and key of one of our own locations; anything else, such as one with keys in it, names no image."""
    found = _LOCATION.fullmatch(location)
    if found is None:
        raise OutsideStore("the location does not name a bucket and an object of the S3 store")
    return {"Bucket": found[1], "Key": found[2]}


def _empty(client: Any, place: dict[str, str]) -> StreamBlob:
    total = int(client.head_object(**place)["ContentLength"])
    return StreamBlob(lambda size: b"", size=0, total=total, close=lambda: None)
