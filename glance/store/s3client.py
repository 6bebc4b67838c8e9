# SPDX-License-Identifier: Apache-2.0
"""All that s3.py needs of botocore: a client, bodies that do not hold up other requests, errors in our words.

botocore is imported at the first use: that and making a client take some tenths of a second.
"""

import hashlib
import io
import logging
import os
import re
import time
from typing import Any, NamedTuple

from glance.core.errors import BlobMissing, Duplicate, GlanceError, StoreDown, StoreFull, TooLarge
from glance.core.ports import Threads

CONNECT_TIMEOUT = 5  # seconds
ATTEMPTS = 4  # of one request: after 5xx, "slow down" and broken connections, with a growing, random pause between
CONNECTIONS = 100  # kept open to the server
DEFAULT_REGION = "us-east-1"  # what servers that know no regions expect in a signature
SIGNATURE = "s3v4-glance"
YIELD = 1024 * 1024  # bytes sent before other green threads get their turn

_DENIED = "the S3 server does not accept the keys of this server"
_REGION = "the S3 bucket lies in another region, or at another address, than this server is configured for"
_BY_CODE: dict[str, tuple[type[GlanceError], str]] = {
    "InvalidAccessKeyId": (StoreDown, _DENIED),
    "SignatureDoesNotMatch": (StoreDown, _DENIED),
    "InvalidToken": (StoreDown, _DENIED),
    "AccessDenied": (StoreDown, "the S3 server does not allow this server to do that"),
    "RequestTimeTooSkewed": (StoreDown, "the clocks of the S3 server and of this server differ"),
    "RequestExpired": (StoreDown, "the clocks of the S3 server and of this server differ"),
    "NoSuchBucket": (StoreDown, "the S3 bucket does not exist"),
    "InvalidBucketName": (StoreDown, "the S3 server does not accept the name of the bucket"),
    "BucketAlreadyExists": (StoreDown, "the name of the S3 bucket belongs to somebody else"),
    "AuthorizationHeaderMalformed": (StoreDown, _REGION),
    "IllegalLocationConstraintException": (StoreDown, _REGION),
    "InvalidLocationConstraint": (StoreDown, _REGION),
    "PermanentRedirect": (StoreDown, _REGION),
    "TemporaryRedirect": (StoreDown, _REGION),
    "NoSuchKey": (BlobMissing, "the image's object is not there"),
    "PreconditionFailed": (Duplicate, "the store holds bytes of that name already"),
    "ConditionalRequestConflict": (Duplicate, "the store is being given bytes of that name by another upload"),
    "QuotaExceeded": (StoreFull, "the store has no room for these bytes"),
    "XMinioStorageFull": (StoreFull, "the store has no room for these bytes"),
    "InsufficientStorage": (StoreFull, "the store has no room for these bytes"),
    "EntityTooLarge": (TooLarge, "the store takes no object of that size"),
    "NoSuchUpload": (StoreDown, "the S3 server has lost the parts of the image"),
    "SlowDown": (StoreDown, "the S3 server is too busy"),
}
_BY_STATUS = {
    301: "PermanentRedirect", 307: "TemporaryRedirect", 401: "InvalidAccessKeyId", 403: "AccessDenied",
    404: "NoSuchKey", 412: "PreconditionFailed", 413: "EntityTooLarge", 503: "SlowDown", 507: "QuotaExceeded",
}  # fmt: skip
_BY_KIND = {
    "SSLError": "the S3 server's certificate is not trusted, or it speaks no TLS",
    "EndpointConnectionError": "the S3 server cannot be reached",
    "ConnectTimeoutError": "the S3 server cannot be reached in time",
    "ReadTimeoutError": "the S3 server does not answer in time",
    "ConnectionClosedError": "the S3 server breaks connections off",
    "InvalidCertificateError": "the file of certificates for the S3 server cannot be read",
}


class Account(NamedTuple):
    """Where and as whom to connect: the arguments of S3Store."""

    host: str
    access_key: str
    secret_key: str
    region: str | None
    bucket_url_format: str
    cacert: str | None
    read_timeout: float

    @property
    def endpoint(self) -> str:
        return self.host if re.match(r"https?://", self.host) else f"https://{self.host}"

    def without_secrets(self, text: str) -> str:
        for secret in (self.secret_key, self.access_key):
            text = text.replace(secret, "***") if len(secret) > 3 else text
        return text


class Body(io.BytesIO):
    """Bytes to be sent, whose hash is known already, and which let other green threads go on while they are sent.

    A file is sent block by block; bytes would be copied again for every piece that the socket takes.
    """

    def __init__(self, data: bytes, sha256: str) -> None:
        super().__init__(data)
        self.sha256 = sha256
        self._pause_at = YIELD

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._pause_at:
            self._pause_at = self.tell() + YIELD
            time.sleep(0)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._pause_at = YIELD  # it is sent once more
        return super().seek(offset, whence)


def sha256_of(data: bytes, threads: Threads) -> str:
    """The hash for the signature, computed where that holds up nobody."""
    return threads.call(_sha256, data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def connect(account: Account) -> Any:
    """A botocore client, to be shared by all threads. Opens no connection yet."""
    from botocore import auth, config, session

    # Libraries tell at lower levels what is in every request.
    for library in ("botocore", "urllib3"):
        if logging.getLogger(library).level == logging.NOTSET:
            logging.getLogger(library).setLevel(logging.WARNING)
    if SIGNATURE not in auth.AUTH_TYPE_MAPS:
        auth.AUTH_TYPE_MAPS[SIGNATURE] = type("S3GlanceAuth", (auth.S3SigV4Auth,), {"payload": _payload})
    # Nothing but our configuration counts: no profile and no file of the user that the daemon runs as.
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
    return _sha256(data if isinstance(data, bytes) else data.encode())


def code_of(error: Exception) -> str:
    """The S3 error code of a ClientError, told by the status where an answer has no body (HEAD). Others: ""."""
    answer = getattr(error, "response", None)
    if not isinstance(answer, dict):
        return ""
    code = str(answer.get("Error", {}).get("Code", ""))
    return _code_of_status(answer) if code.isdigit() or not code else code


def _code_of_status(answer: dict[str, Any]) -> str:
    return _BY_STATUS.get(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), "")


def translated(error: Exception) -> GlanceError:
    """A botocore error → what a user may read: no key, no address."""
    code = code_of(error)
    if code and code not in _BY_CODE:
        code = _code_of_status(getattr(error, "response", {}))
    if code in _BY_CODE:
        kind, text = _BY_CODE[code]
        return kind(text)
    for base in type(error).__mro__:
        if base.__name__ in _BY_KIND:
            return StoreDown(_BY_KIND[base.__name__])
    return StoreDown("the S3 server did not do its work")


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


def abort_uploads(client: Any, place: dict[str, str], *, but: str | None = None) -> None:
    """Abort the multipart uploads of an object, except one, with all their parts. Raises botocore's errors."""
    listed = client.list_multipart_uploads(Bucket=place["Bucket"], Prefix=place["Key"])
    for upload in listed.get("Uploads", []):
        if upload["Key"] == place["Key"] and upload["UploadId"] != but:
            client.abort_multipart_upload(**place, UploadId=upload["UploadId"])
