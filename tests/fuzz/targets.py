# SPDX-License-Identifier: Apache-2.0
"""What takes bytes of strangers, each as a function of bytes: it returns, or something is wrong.

The errors that are promised are caught here; any other is a flaw. `python -m tests.fuzz` searches for one.
"""

from collections.abc import Callable
from contextlib import suppress

from webob import Request

from glance.core.errors import GlanceError
from glance.core.image import Image
from glance.serve import head
from glance.serve.input import Input
from glance.store import guard
from glance.wire import classic, headers, jsontext, queries, records, v1
from glance.wsgi.send import span_of


def request_head(data: bytes) -> None:
    with suppress(head.RefusedError):
        head.parse(data)


class _Receiver:
    """A connection that brings these bytes, and is cut then."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def receive(self, most: int) -> bytes:
        if not self._data:
            raise ConnectionError("cut")
        block, self._data = self._data[:most], self._data[most:]
        return block

    def receive_line(self, most: int) -> bytes:
        line, end, rest = self._data.partition(b"\r\n")
        if len(line) > most:
            raise ValueError("too long")
        if not end:
            raise ConnectionError("cut")
        self._data = rest
        return line

    def give_way(self) -> None:
        pass


def chunks(data: bytes) -> None:
    """The first byte says how many bytes are asked for at a time."""
    body = Input(_Receiver(data[1:]), None, lambda: None)
    with suppress(ConnectionError, ValueError):
        taken = 0
        while block := body.read(data[0] + 1 if data else 1):
            taken += len(block)
            assert taken <= len(data)


def byte_range(data: bytes) -> None:
    """The first two bytes say how long the image is."""
    total = int.from_bytes(data[:2], "big")
    text = data[2:].decode("latin-1")
    if set(text) & set("\r\n\0"):  # no head may hold these
        return
    with suppress(GlanceError):
        span = span_of(Request.blank("/", headers={"Range": text}), total)
        assert span is None or 0 <= span.start < total


def location(data: bytes) -> None:
    with suppress(GlanceError):
        guard._parsed(data.decode("latin-1"))


def metadata(data: bytes) -> None:
    """Headers, a line each."""
    pairs = [(name, value) for name, _, value in (line.partition(":") for line in data.decode("latin-1").split("\n"))]
    with suppress(GlanceError):
        fields = headers.fields_of_request(pairs)
        with suppress(GlanceError):
            classic.draft_from(fields)
        classic.change_from(fields)
    for encoded in (False, True):
        with suppress(GlanceError):
            texts, properties = v1.texts_of(pairs, encoded=encoded)
            with suppress(GlanceError):
                v1.draft_from(texts, properties, owner=None)
            v1.change_from(texts, properties, Image())


def json_body(data: bytes) -> None:
    with suppress(GlanceError):
        value = jsontext.parse(data)
        for decode in (
            records.decode_image, records.decode_change, records.decode_members, records.decode_member,
            records.decode_wanted, records.decode_claim,
        ):  # fmt: skip
            with suppress(GlanceError):
                decode(value)
    with suppress(GlanceError):
        queries.decode_query(data.decode("latin-1"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (request_head, chunks, byte_range, location, metadata, json_body)
}

# From where the search begins; tests/unit/test_fuzz_targets.py runs them all.
CORPUS: dict[str, list[bytes]] = {
    "request_head": [
        b"GET /v1/images/detail?limit=2 HTTP/1.1\r\nHost: glance\r\nAccept: */*",
        b"POST /images HTTP/1.1\r\nHost: [::1]:9292\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue",
        b"PUT /images/1 HTTP/1.0\r\nContent-Length: 10\r\nConnection: keep-alive",
    ],
    "chunks": [b"\x10" + b"5\r\nhello\r\n0\r\n\r\n", b"\x01" + b"A;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"],
    "byte_range": [b"\x01\x00bytes=0-9", b"\x01\x00bytes=-5", b"\x00\x10bytes=2-, 3-4", b"\x00\x00bytes=0-"],
    "location": [b"http://example.org:8080/a?b", b"https://[2001:db8::1]/x", b"http://0x7f.1/", b"http://a@b/"],
    "metadata": [
        b"x-image-meta-name:a\nx-image-meta-type:raw\nx-image-meta-size:7\nx-image-meta-property-os_type:linux",
        b"x-image-meta-disk_format:raw\nx-image-meta-container_format:bare\nx-image-meta-is_public:True",
    ],
    "json_body": [
        b'{"id": "71c675ab-d94f-49cd-a114-e12490b328d9", "number": 1, "status": "active", "properties": {"a": "b"}}',
        b'{"holder": "a", "lease": 60, "limit": 2}', b'{"sort": [["name", true]], "filters": [["size", ">", 7]]}',
        b'[{"member": "a", "can_share": true}]',
    ],
}  # fmt: skip
