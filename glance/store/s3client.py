# SPDX-License-Identifier: Apache-2.0
"""All that s3.py needs of botocore: a client, bodies that do not hold up other requests, errors in our words.

botocore is imported at the first use: that and making a client take some tenths of a second.
"""

import hashlib
import logging
import os
import re
import time
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, NamedTuple

from glance.core.errors import BlobMissing, Duplicate, GlanceError, StoreDown, StoreFull, TooLarge
from glance.core.ports import Threads
from glance.store import reach
from glance.store.parts import TURN, Part
from glance.store.proxy import Proxy

LOG = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5  # seconds
ATTEMPTS = 4  # of one request: after 5xx, "slow down" and broken connections, with a growing, random pause between
CONNECTIONS = 100  # kept open to the server
DEFAULT_REGION = "us-east-1"  # what servers that know no regions expect in a signature
SIGNATURE = "s3v4-glance"
PAGE = 1000  # objects, uploads or parts in one list

_DENIED = "the S3 server does not accept the keys of this server"
_NOT_ALLOWED = "the S3 server does not allow this server to do that"
_CLOCKS = "the clocks of the S3 server and of this server differ"
_REGION = "the S3 bucket lies in another region, or at another address, than this server is configured for"
_FULL = "the store has no room for these bytes"
_RIGHTS = (
    "the owner of s3_store_access_key needs the rights s3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, "
    "s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload for s3_store_bucket, and s3:CreateBucket to make it"
)
_SET_CLOCK = "set the clocks, best by NTP: S3 takes no request whose time is more than 15 minutes off"
_SET_REGION = "set s3_store_region_name to the region of the bucket, and s3_store_host to its address"
_SET_BUCKET = "choose another s3_store_bucket"
_MAKE_ROOM = "make room there, or raise the quota"
# S3's code → its kind, what a user may read, and an advice to the operator.
_BY_CODE: dict[str, tuple[type[GlanceError], str, str]] = {
    "InvalidAccessKeyId": (StoreDown, _DENIED, "no such access key is known there: look at s3_store_access_key"),
    "SignatureDoesNotMatch": (
        StoreDown,
        _DENIED,
        "s3_store_secret_key is not the one of s3_store_access_key; some servers, such as Swift, say so of an access "
        "key that they do not know, too",
    ),
    "InvalidToken": (StoreDown, _DENIED, "these are temporary keys, which need a token: use lasting ones"),
    "AccessDenied": (StoreDown, _NOT_ALLOWED, _RIGHTS),
    "RequestTimeTooSkewed": (StoreDown, _CLOCKS, _SET_CLOCK),
    "RequestExpired": (StoreDown, _CLOCKS, _SET_CLOCK),
    "NoSuchBucket": (
        StoreDown,
        "the S3 bucket does not exist",
        "make the bucket that s3_store_bucket names, or set s3_store_create_bucket_on_put = True",
    ),
    "InvalidBucketName": (StoreDown, "the S3 server does not accept the name of the bucket", _SET_BUCKET),
    "BucketAlreadyExists": (StoreDown, "the name of the S3 bucket belongs to somebody else", _SET_BUCKET),
    "AuthorizationHeaderMalformed": (StoreDown, _REGION, _SET_REGION),
    "IllegalLocationConstraintException": (StoreDown, _REGION, _SET_REGION),
    "InvalidLocationConstraint": (StoreDown, _REGION, _SET_REGION),
    "PermanentRedirect": (StoreDown, _REGION, _SET_REGION),
    "TemporaryRedirect": (StoreDown, _REGION, _SET_REGION),
    "NoSuchKey": (BlobMissing, "the image's object is not there", ""),
    "PreconditionFailed": (Duplicate, "the store holds bytes of that name already", ""),
    "ConditionalRequestConflict": (
        Duplicate,
        "the store is being given bytes of that name by another upload",
        "",
    ),
    "QuotaExceeded": (StoreFull, _FULL, _MAKE_ROOM),
    "XMinioStorageFull": (StoreFull, _FULL, _MAKE_ROOM),
    "InsufficientStorage": (StoreFull, _FULL, _MAKE_ROOM),
    "EntityTooLarge": (TooLarge, "the store takes no object of that size", ""),
    "NoSuchUpload": (StoreDown, "the S3 server has lost the parts of the image", ""),
    "SlowDown": (StoreDown, "the S3 server is too busy", "try again later, and ask whoever runs it"),
}
_BY_STATUS = {
    301: "PermanentRedirect", 307: "TemporaryRedirect", 401: "InvalidAccessKeyId", 403: "AccessDenied",
    404: "NoSuchKey", 412: "PreconditionFailed", 413: "EntityTooLarge", 503: "SlowDown", 507: "QuotaExceeded",
}  # fmt: skip
_REFUSED = frozenset({"AccessDenied", "MethodNotAllowed", "NotImplemented"})  # of what is optional
_OTHER_REGION = frozenset(code for code, row in _BY_CODE.items() if row[1] == _REGION)
_TOLD = re.compile(r"[0-9A-Za-z:/._-]{1,200}", re.ASCII)  # what of an answer may stand in an advice


class Account(NamedTuple):
    """Where and as whom to connect: the arguments of S3Store."""

    host: str
    access_key: str
    secret_key: str
    region: str | None
    bucket_url_format: str
    cacert: str | None
    read_timeout: float
    proxy: Proxy | None = None

    @property
    def endpoint(self) -> str:
        return self.host if re.match(r"https?://", self.host, re.IGNORECASE) else f"https://{self.host}"

    @property
    def address(self) -> str:
        """The server, in words for an operator."""
        return reach.address(self.endpoint)

    @property
    def where(self) -> str:
        """The server and the options that name it, for an advice."""
        return f"{self.address} (s3_store_host){reach.via(self.proxy)}"

    def without_secrets(self, text: str) -> str:
        proxy = (self.proxy.url, self.proxy.credentials) if self.proxy else ()
        for secret in (self.secret_key, self.access_key, *proxy):
            text = text.replace(secret, "***") if len(secret) > 3 else text
        return text


class Body:
    """A part as botocore takes it: a file, from which it can be sent again, and whose hash is known already.

    What is read are views, which nobody has to copy.
    """

    def __init__(self, part: Part, sha256: str) -> None:
        self.sha256 = sha256
        self._blocks = part.blocks
        self._ends = list(accumulate(map(len, part.blocks)))
        self._at = 0

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, size: int, /) -> memoryview:
        """1 to `size` bytes, none at the end."""
        number = bisect_right(self._ends, self._at)
        if number == len(self._ends):
            return memoryview(b"")
        block = memoryview(self._blocks[number])
        start = self._at - self._ends[number] + len(block)
        if start % TURN == 0:
            time.sleep(0)
        taken = block[start : start + size]
        self._at += len(taken)
        return taken

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self)}[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def sha256_of(part: Part, threads: Threads) -> str:
    """The hash for the signature, computed where that holds up nobody."""
    return threads.call(_sha256, part)


def _sha256(part: Part) -> str:
    return part.digest("sha256")


def connect(account: Account) -> Any:
    """A botocore client, to be shared by all threads. Opens no connection yet."""
    from botocore import auth, config, session

    # Libraries tell at lower levels what is in every request.
    for library in ("botocore", "urllib3"):
        if logging.getLogger(library).level == logging.NOTSET:
            logging.getLogger(library).setLevel(logging.WARNING)
    if SIGNATURE not in auth.AUTH_TYPE_MAPS:
        auth.AUTH_TYPE_MAPS[SIGNATURE] = type("S3GlanceAuth", (auth.S3SigV4Auth,), {"payload": _payload})
    # Only our configuration counts: no profile, no file of the user that the daemon runs as, no proxy of the
    # environment, which botocore would use if it got None for the proxies.
    nothing = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    addressing: Any = {"addressing_style": account.bucket_url_format}
    return session.Session(session_vars=nothing).create_client(
        "s3",
        endpoint_url=account.endpoint,
        region_name=account.region or DEFAULT_REGION,
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret_key,
        verify=account.cacert,
        config=config.Config(
            signature_version=SIGNATURE,
            s3=addressing,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=account.read_timeout,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=CONNECTIONS,
            proxies=dict.fromkeys(("http", "https"), account.proxy.url) if account.proxy else {},
            request_checksum_calculation="when_required",  # servers of any age take what is not sent
            response_checksum_validation="when_required",
        ),
    )


def _payload(self: Any, request: Any) -> str:
    """The hash of the body that the signature covers; botocore would compute it where it stops all green threads."""
    known = getattr(request.body, "sha256", None)
    if known is not None:
        return str(known)
    data = request.body or b""
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def code_of(error: Exception) -> str:
    """The S3 error code of a ClientError, told by the status where an answer has no body (HEAD). Others: ""."""
    answer = getattr(error, "response", None)
    if not isinstance(answer, dict):
        return ""
    code = str(answer.get("Error", {}).get("Code", ""))
    return _code_of_status(answer) if code.isdigit() or not code else code


def _code_of_status(answer: dict[str, Any]) -> str:
    return _BY_STATUS.get(_status(answer), "")


def _status(answer: dict[str, Any]) -> int:
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def look(client: Any, bucket: str, **wanted: Any) -> dict[str, Any]:
    """The first names in a bucket. Unlike the answer to a HEAD, the one to this says in words what is wrong."""
    answer: dict[str, Any] = client.list_objects_v2(Bucket=bucket, **wanted)
    return answer


def greet(account: Account, bucket: str) -> None:
    """Ask the server for anything, signed for the configured region; a bucket that is missing is no matter.

    With a client of its own: botocore tries the region that an answer names, and where that helps it helps
    some requests only (GET, but not HEAD), and nobody is told.
    """
    client = connect(account)
    client.meta.events.register_first("needs-retry.s3", _insist_on_region)
    try:
        look(client, bucket, MaxKeys=1)
    except errors() as error:
        if code_of(error) != "NoSuchBucket":
            raise


def _insist_on_region(response: Any, operation: Any, **_: Any) -> None:
    from botocore.exceptions import ClientError

    answer = response[1] if response is not None else {}
    if answer.get("Error", {}).get("Code") in _OTHER_REGION:
        raise ClientError(answer, operation.name)


def translated(error: Exception, account: Account) -> GlanceError:
    """A botocore error → what a user may read, no key and no address; and an advice to the operator, no key."""
    where = account.where
    answer = getattr(error, "response", None)
    if not isinstance(answer, dict):
        found = reach.trouble(error, where, "s3_store_cacert")
        return StoreDown(f"the S3 server {found.text}", advice=found.advice)
    code, doubt = code_of(error), ""
    if str(answer.get("Error", {}).get("Code", "")) not in _BY_CODE and account.proxy:
        doubt = f"; or this is the answer of the proxy, as the way is{reach.via(account.proxy)}"
    if code not in _BY_CODE:
        code = _code_of_status(answer)
    if code in _BY_CODE:
        kind, text, advice = _BY_CODE[code]
        return kind(text, advice=advice + _told(answer, code) + doubt)
    advice = f"{where} answered {_status(answer)}: look for the reason in its log, if S3 is what it speaks"
    return StoreDown("the S3 server did not do its work", advice=advice)


def _told(answer: dict[str, Any], code: str) -> str:
    """What the answer says of how it should be."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if code in _OTHER_REGION:
        region = answer["Error"].get("Region") or headers.get("x-amz-bucket-region") or ""
        return f"; it says that the region is {region}" if _TOLD.fullmatch(region) else ""
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        return f"; there it is {headers.get('date', 'another time')!a}, and here '{now}'"
    return ""


def lost_answer(error: Exception) -> bool:
    """Whether the server may have done what it was asked, for all we know."""
    return type(error).__name__ in ("ReadTimeoutError", "ConnectionClosedError")


def errors() -> tuple[type[Exception], ...]:
    """What a client may raise: of botocore, and ValueError for options that it cannot use."""
    from botocore import exceptions

    return exceptions.ClientError, exceptions.BotoCoreError


def read_errors() -> tuple[type[Exception], ...]:
    """What reading the body of an answer may raise."""
    from botocore import exceptions
    from urllib3.exceptions import HTTPError

    return exceptions.BotoCoreError, HTTPError, OSError


def listed(client: Any, bucket: str) -> Iterator[tuple[str, int, datetime, bool]]:
    """Yield key, bytes, time (UTC) and whether it is whole, of every object, then of every multipart upload that has
    not ended, and then of every version that is not the current one; nothing if there is no such bucket. Raises
    botocore's errors."""
    try:
        for item in _pages(client, "list_objects_v2", "Contents", Bucket=bucket):
            yield item["Key"], int(item["Size"]), _utc(item["LastModified"]), True
        for upload in _pages(client, "list_multipart_uploads", "Uploads", Bucket=bucket):
            yield upload["Key"], *_sent(client, bucket, upload), False
        if keeps_versions(client, bucket):
            for version in _versions(client, Bucket=bucket):
                if "Size" not in version or not version["IsLatest"]:
                    yield version["Key"], int(version.get("Size", 0)), _utc(version["LastModified"]), False
    except errors() as error:
        if code_of(error) != "NoSuchBucket":
            raise


def _sent(client: Any, bucket: str, upload: dict[str, Any]) -> tuple[int, datetime]:
    """The bytes that an upload has sent, and when it sent the last of them."""
    size, last = 0, upload["Initiated"]
    place = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    try:
        for part in _pages(client, "list_parts", "Parts", **place):
            size, last = size + int(part["Size"]), max(last, part["LastModified"])
    except errors() as error:
        if code_of(error) != "NoSuchUpload":  # it ended while we looked
            raise
    return size, _utc(last)


def _pages(client: Any, operation: str, key: str, **place: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(operation).paginate(**place, PaginationConfig={"PageSize": PAGE}):
        yield from page.get(key, [])


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def keeps_versions(client: Any, bucket: str) -> bool:
    """Return True if the bucket keeps versions of deleted objects, or has kept them; False also if this server may
    not know. Raises botocore's errors."""
    try:
        return "Status" in client.get_bucket_versioning(Bucket=bucket)
    except errors() as error:
        if code_of(error) not in _REFUSED:
            raise
        LOG.info("S3: whether the bucket keeps versions is not known: %s", code_of(error))
        return False


def can_list_versions(client: Any, bucket: str) -> bool:
    """Raises botocore's errors."""
    try:
        client.list_object_versions(Bucket=bucket, MaxKeys=1)
    except errors() as error:
        if code_of(error) not in _REFUSED:
            raise
        return False
    return True


def delete_object(client: Any, place: dict[str, str]) -> None:
    """Delete an object, in a bucket that keeps versions with all of them. Raises botocore's errors.

    Where this server may not delete versions, they stay: an operator may want just that, and no later try helps."""
    answer = client.delete_object(**place)
    if not answer.get("DeleteMarker") and not answer.get("VersionId"):
        return
    try:
        versions = list(_versions(client, Bucket=place["Bucket"], Prefix=place["Key"]))
        # The markers go last: without them, an older version would be the current one.
        for version in sorted(versions, key=lambda each: "Size" not in each):
            if version["Key"] == place["Key"]:
                client.delete_object(**place, VersionId=version["VersionId"])
    except errors() as error:
        if code_of(error) not in _REFUSED:
            raise
        LOG.warning("S3: versions of %s are kept, and their space is not freed: %s", place["Key"], code_of(error))


def _versions(client: Any, **place: str) -> Iterator[dict[str, Any]]:
    """Yield all versions and all delete markers; these have no Size."""
    for page in client.get_paginator("list_object_versions").paginate(**place, PaginationConfig={"PageSize": PAGE}):
        yield from page.get("Versions", [])
        yield from page.get("DeleteMarkers", [])


def abort_uploads(client: Any, place: dict[str, str], *, but: str | None = None) -> None:
    """Abort the multipart uploads of an object, except one, with all their parts. Raises botocore's errors."""
    listed = client.list_multipart_uploads(Bucket=place["Bucket"], Prefix=place["Key"])
    for upload in listed.get("Uploads", []):
        if upload["Key"] == place["Key"] and upload["UploadId"] != but:
            client.abort_multipart_upload(**place, UploadId=upload["UploadId"])
