# SPDX-License-Identifier: Apache-2.0
"""What reads bytes of strangers, each as a function of bytes: it may raise what it says it raises and nothing else, and what
it takes must be what it looks like.

test_targets.py calls them with some bytes in every test run; run.py lets atheris look for bytes that break them.
"""

import ipaddress
import json
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from urllib3.util import parse_url
from webob import Request

from glance.core.errors import BlobMissing, Invalid, RangeNotSatisfiable
from glance.core.image import UNSET, Image
from glance.serve import head as heads
from glance.serve.connection import Connection, Service
from glance.serve.input import Input
from glance.store import StoreSet
from glance.store.filesystem import FilesystemStore
from glance.store.guard import Guard
from glance.store.http import HttpStore
from glance.wire import classic, headers, jsontext, queries, records, v1
from glance.wsgi.send import span_of

PUBLIC = "93.184.215.14"  # what every name stands for here


def head(data: bytes) -> None:
    """The head of a request, and the metadata in its headers."""
    try:
        found = heads.parse(data)
    except heads.RefusedError as refused:
        assert refused.status[:3].isdigit()
        return
    for name, value in found.fields.items():
        assert not set(name) & set(b" :\t\r\n\0") and not set(value) & set(b"\r\n\0"), (name, value)
    assert "\0" not in found.path
    assert found.length is None or 0 <= found.length < 2**63
    again = b"".join(b"\r\n%b: %b" % pair for pair in found.fields.items())
    assert heads.parse(data.partition(b"\r\n")[0] + again) == found
    pairs = [(name.decode("ascii"), value.decode("latin-1")) for name, value in found.fields.items()]
    for encoded in (False, True):
        with suppress(Invalid):
            fields, properties = v1.texts_of(pairs, encoded=encoded)
            v1.draft_from(fields, properties, owner=None)
            v1.change_from(fields, properties, Image())
    with suppress(Invalid):
        classic.draft_from(headers.fields_of_request(pairs))


def ranges(data: bytes) -> None:
    """A Range header, for an image of as many bytes as the first eight bytes say."""
    total, text = int.from_bytes(data[:8], "big") >> 1, data[8:].decode("latin-1")
    request = Request({"REQUEST_METHOD": "GET", "HTTP_RANGE": text})
    try:
        span = span_of(request, total)
    except RangeNotSatisfiable as error:
        assert error.total == total
        return
    assert span is None or (span.start >= 0 and span.length > 0 and span.start + span.length <= total)


def chunks(data: bytes) -> None:
    """A body in chunks, as it comes from a connection, in pieces of as many bytes as the first byte says."""
    body = body_of(data[1:], piece=(data[0] if data else 0) + 1)
    with suppress(ValueError, ConnectionError):
        decoded = b"".join(iter(lambda: body.read(7), b""))
        assert body.finished
        assert len(decoded) == body.received < max(len(data), 1)
        assert decoded == unchunked(data[1:])


def locations(data: bytes) -> None:
    """A URL of a user's, and a location in a record."""
    text = data.decode("utf-8", "replace")
    with names_resolved():
        try:
            target = GUARD.judge(text)
        except Invalid:
            pass
        else:
            assert all(ipaddress.ip_address(address).is_global for address in target.addresses)
            other = parse_url(text)  # of another library: who understands a URL differently can be led astray
            assert (other.scheme, other.port or target.port) == (target.scheme, target.port)
            assert canonical(other.host or "") == target.host
            assert other.auth is None
            assert not set(target.path) & set(" \r\n\t") and target.path.startswith("/")
        with suppress(Invalid):
            assert STORES.external(text).schemes == {"http", "https"}
    with suppress(BlobMissing):
        FILES.open(text).close()
        raise AssertionError("a file that is none of the store's was opened")


def decoded_json(data: bytes) -> None:
    """A body of JSON, as everything that it could be taken for."""
    try:
        value: Any = jsontext.parse(data)
    except Invalid:
        return
    assert jsontext.parse(jsontext.write(value)) == value
    for decode, encode in PAIRS:
        with suppress(Invalid):
            found = decode(value)
            assert decode(json.loads(json.dumps(encode(found)))) == found
    for use in (records.decode_wanted, records.decode_claim):
        with suppress(Invalid):
            use(value)
    if isinstance(value, dict):
        with suppress(Invalid):
            assert classic.change_from(value).name in (UNSET, value.get("name"))
            classic.draft_from(value)
    with suppress(Invalid, UnicodeDecodeError):
        query = queries.decode_query(data.decode("utf-8"))
        assert queries.decode_query(queries.encode_query(query)) == query


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (head, ranges, chunks, locations, decoded_json)
}
CORPUS = {  # what to begin with
    "head": [
        b"GET / HTTP/1.1\r\nHost: a", b"POST http://a/b?c HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue",
        b"PUT /v1/images/1 HTTP/1.0\r\nContent-Length: 5\r\nContent-Length: 5\r\nx-image-meta-size: 5\r\nX-Image-Meta-Property-a_b: %c3%bc\r\nConnection: close",
        b"POST /images HTTP/1.1\r\nHost: a\r\nx-image-meta-type: raw\r\nx-image-meta-is_public: on\r\nx-image-meta-name: \xc3\xbc\r\nx-image-meta-id: 7", b"garbage", b"",
    ],
    "ranges": [b"\0\0\0\0\0\0\0\x14" + text for text in (b"bytes=0-4", b"bytes=5-", b"bytes=-3", b"bytes=9-2", b"bytes=0-0,2-2", b"")],
    "chunks": [b"\x05" + text for text in (b"5\r\nhello\r\n0\r\n\r\n", b"2;a=b\r\nhe\r\n3\r\nllo\r\n000\r\nT: t\r\n\r\n", b"-1\r\n", b"5\r\nhelloX", b"ffffffffffffffff\r\nx")],
    "locations": [
        b"http://public.example/a?b=c#d", b"https://1.1.1.1:8443/", b"http://[2606:4700::1111]/", b"http://user:pw@a/", b"http://127.1/", b"http://0x7f000001/", b"http://[::ffff:10.0.0.1]/",
        b"file:///etc/passwd", b"s3://bucket/key", b"s3://key:secret@host/bucket/key", b"http://a\\@b/", b"HTTP://A./", b"http://a/b c?\xc3\xbc",
    ],
    "decoded_json": [
        b'{"name": "a", "type": "raw", "size": 5, "is_public": true, "properties": {"a": "b"}}', b'{"status": "active", "locations": ["file:///x"], "tags": ["t"], "created_at": "2011-03-04T23:47:58.145889"}',
        b'{"filters": [["name", "in", ["a"]]], "sort": [["name", true]], "after": ["a", "2011-03-04T23:47:58.145889", 1], "limit": 5}', b'{"members": [{"image_id": "71c675ab-d94f-49cd-a114-e12490b328d9", "member": "a"}]}',
        b'{"holder": "x", "lease": 5, "limit": 1}', b'{"a": true, "b": null}', b"[NaN]", b'"\\ud800"', b"1e400",
    ],
}  # fmt: skip

GUARD = Guard()
STORES = StoreSet("file", {}, [HttpStore(GUARD)])
FOLDER = tempfile.TemporaryDirectory()
FILES = FilesystemStore(Path(FOLDER.name))
PAIRS = (
    (records.decode_image, records.encode_image), (records.decode_draft, records.encode_draft), (records.decode_change, records.encode_change), (records.decode_members, records.encode_members),
)  # fmt: skip


def canonical(host: str) -> str:
    """A host as one may compare it."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.removesuffix(".")


class Socket:
    """As much of one as a connection needs to receive."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data, self._piece = data, piece

    def recv(self, most: int) -> bytes:
        most = min(most, self._piece)
        block, self._data = self._data[:most], self._data[most:]
        return block

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 0

    def settimeout(self, seconds: float) -> None:
        pass


def body_of(data: bytes, piece: int) -> Input:
    """The chunked body that these bytes are, received in such pieces."""
    connection = Connection(Socket(data, piece), ("127.0.0.1", 0), Service(app=lambda environ, start: []))  # type: ignore[arg-type]
    return Input(connection, None, lambda: None)


def unchunked(data: bytes) -> bytes:
    """The same in the simplest words, for what is well-formed."""
    body = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line.split(b";")[0].strip(), 16)
        if size == 0:
            return body
        body, data = body + data[:size], data[size + 2 :]


@contextmanager
def names_resolved() -> Iterator[None]:
    """Every name is one of a public server; addresses are themselves. Nobody is asked."""

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError:
            address = PUBLIC
        return [(0, 0, 0, "", (address, port))]

    with mock.patch.object(socket, "getaddrinfo", resolve):
        yield
