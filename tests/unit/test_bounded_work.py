# SPDX-License-Identifier: Apache-2.0
"""What a stranger sends costs work in proportion to its length: 16 KiB at most 24 times as much as 1 KiB.

A parser that takes the square of the time takes 256 times as much. Each kind of input is measured several times, and the
fastest counts, because other processes only ever slow a measurement down.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from webob import Request, Response

from glance.cli import arguments
from glance.cli.daemon import shown_option
from glance.cli.images import fields
from glance.cli.images.errors import Failed
from glance.client.v1 import _root
from glance.core.errors import GlanceError
from glance.core.networks import Networks
from glance.core.paths import expand_path
from glance.identity.tokens import _basic
from glance.serve import head as heads
from glance.serve.connection import Connection, Service
from glance.serve.forwarded import find_client
from glance.wire import identity, jsontext, queries, records, v1
from glance.wire.headers import fields_of_request
from glance.wsgi.body import parameters_of
from glance.wsgi.endpoint import _apply_forwarded, parse_public_endpoint
from glance.wsgi.media_types import parse_media_types
from glance.wsgi.negotiate import asked_version
from glance.wsgi.router import Router
from glance.wsgi.send import span_of
from tests.fuzz.targets import GUARD, STORES, Socket, body_of, names_resolved

SHORT, LONG = 1024, 16 * 1024  # bytes
MOST = 24  # times as much work for 16 times as much
REFUSALS = (heads.RefusedError, GlanceError, ValueError, ConnectionError, argparse.ArgumentTypeError, Failed)

Work = Callable[[int], Callable[[], object]]  # number of bytes → what is measured


def grow(start: bytes, repeated: bytes, end: bytes, size: int) -> bytes:
    return start + repeated * ((size - len(start) - len(end)) // len(repeated)) + end


def measure(work: Callable[[], object]) -> float:
    """Return the seconds that the fastest of several runs took."""

    def run() -> float:
        started = time.thread_time()
        with suppress(*REFUSALS):
            work()
        return time.thread_time() - started

    least, until = run(), time.thread_time() + 0.004
    while time.thread_time() < until:
        least = min(least, run())
    return max(least, 1e-7)


def assert_linear(work: Work) -> None:
    ratios = []
    for _ in range(5):
        ratios.append(measure(work(LONG)) / measure(work(SHORT)))
        if ratios[-1] <= MOST:
            return
    raise AssertionError(f"16 times the input takes {min(ratios):.0f} times the work")


# Heads


def receive_head(data: bytes, piece: int) -> None:
    connection = Connection(Socket(data, piece), ("127.0.0.1", 0), Service(app=lambda environ, start: []))  # type: ignore[arg-type]
    received = connection._receive_head()
    if received is not None:
        heads.parse(received)


HEADS = {
    "blanks in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX:", b" ", b"\0"),
    "tabs and blanks in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX:", b"\t ", b"\x7f"),
    "blanks behind a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a", b" ", b""),
    "blanks before a colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX", b" ", b": a"),
    "a name": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"x", b""),
    "colons": (b"GET / HTTP/1.1\r\nHost: a\r\nX", b":", b"\0"),
    "a method": (b"", b"G", b" / HTTP/1.1\r\nHost: a"),
    "a target": (b"GET /", b"a", b" HTTP/1.1\r\nHost: a"),
    "an authority": (b"GET http://", b"a", b"# HTTP/1.1\r\nHost: a"),
    "authorities": (b"GET ", b"http://", b"# HTTP/1.1\r\nHost: a"),
    "escapes": (b"GET /", b"%41", b"#a HTTP/1.1\r\nHost: a"),
    "blanks in a request line": (b"GET", b" ", b"/ HTTP/1.1\r\nHost: a"),
    "a host": (b"GET / HTTP/1.1\r\nHost: ", b"a", b" b"),
    "a length": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: ", b"9", b""),
    "a coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", b" ", b",x"),
    "an expectation": (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: ", b"100-continue ", b""),
    "tokens": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ", b"a,", b"\r\nExpect: x"),
    "lines": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a: b\r\n", b"c"),
    "lines that end in LF": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a: b\n", b""),
    "lines that end in CR": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a: b\r", b""),
    "empty lines": (b"", b"\r\n", b"GET"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_refused_heads(kind):
    start, repeated, end = HEADS[kind]
    assert_linear(lambda size: lambda: receive_head(grow(start, repeated, end, size) + b"\r\n\r\n", 64 * 1024))


@pytest.mark.parametrize(
    "start", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX: "], ids=["method", "target", "header"]
)
def test_heads_in_small_pieces(start):
    # pieces of 16 bytes, so that a second look at what has arrived weighs more than the receiving itself
    assert_linear(lambda size: lambda: receive_head(grow(start, b"x", b"", size), 16))


def test_what_has_arrived_of_a_head_is_searched_once():
    searched = 0

    class Counting(bytearray):
        def find(self, what, start=0):
            nonlocal searched
            searched += len(self) - start
            return super().find(what, start)

        def count(self, what, start=0):
            nonlocal searched
            searched += len(self) - start
            return super().count(what, start)

    for start, rest in ((b"GET /", b"x" * LONG), (b"GET / HTTP/1.1\r\nX: ", b"x" * LONG)):
        searched, head = 0, heads.PartialHead(start)
        head.data = Counting(start)
        for byte in rest:
            assert head.find_end() < 0
            head.data.append(byte)
        assert searched < 20 * LONG, "the whole is searched again for each byte"


# Bodies

CHUNKS = {
    "blanks behind a size": (b"5", b" ", b"x\r\n"),
    "an extension": (b"5;", b"a", b"\0\r\n"),
    "digits": (b"", b"0", b"5\r\n"),
    "chunks": (b"", b"1\r\nx\r\n", b"x\r\n"),
    "trailers": (b"0\r\n", b"a: b\r\n", b""),
    "a line": (b"0\r\n", b"a", b""),
}


@pytest.mark.parametrize("kind", CHUNKS)
@pytest.mark.parametrize("piece", [16, 64 * 1024])
def test_chunked_bodies(kind, piece):
    assert_linear(lambda size: lambda: body_of(grow(*CHUNKS[kind], size), piece).read())


JSONS = {
    "blanks": (b"[", b" ", b"x"),
    "nesting": (b"", b"[", b""),
    "nested objects": (b"", b'{"a":', b""),
    "digits": (b"[", b"9", b"]"),
    "numbers of many digits": (b"[1", b"," + b"9" * 4000, b""),
    "decimals": (b"[0.", b"9", b"e400]"),
    "escapes": (b'"', b"\\u00fc", b"\\x"),
    "a text": (b'"', b"a", b""),
    "texts": (b"[0", b',"a"', b"x"),
    "backslashes": (b'"', b"\\\\", b"\\"),
    "names": (b'{"a":0', b',"a":0', b"}"),
}


@pytest.mark.parametrize("kind", JSONS)
def test_json(kind):
    assert_linear(lambda size: lambda: jsontext.parse(grow(*JSONS[kind], size)))


@pytest.mark.parametrize("decode", [records.decode_draft, records.decode_change, records.decode_wanted, lambda value: queries.decode_query(json.dumps(value))], ids=["draft", "change", "members", "query"])  # fmt: skip
@pytest.mark.parametrize("field", ["properties", "tags", "locations", "filters", "sort", "members", "name"])
def test_values_of_json(decode, field):
    def work(size: int) -> Callable[[], object]:
        many = [f"{number:05}" for number in range(size // 8)]
        value = dict.fromkeys(many, "") if field == "properties" else "a" * size if field == "name" else many
        if field == "filters":
            value = [["name", "in", many]]
        elif field == "members":
            return lambda: decode(dict.fromkeys(many))
        return lambda: decode({field: value})

    assert_linear(work)


# Queries, paths and headers


def with_query(query: bytes) -> object:
    return parameters_of(Request({"REQUEST_METHOD": "GET", "QUERY_STRING": query.decode()}))


def test_names_in_a_query():
    assert_linear(lambda size: lambda: with_query(b"&".join(b"%05d=" % number for number in range(size // 7))))


@pytest.mark.parametrize("repeated", [b"a&", b"a=%41&", b"%", b"=", b"+", b"%c3%bc", b";"])
def test_queries(repeated):
    assert_linear(lambda size: lambda: with_query(grow(b"a=", repeated, b"%ff", size)))


@pytest.mark.parametrize("repeated", ["/", "/a", "a", "/..", "ü"])
def test_paths(repeated):
    router = Router([("GET", "/images/{number}", lambda *_, number: Response()), ("GET", "/", lambda *_: Response())])

    def work(size: int) -> Callable[[], object]:
        path = grow(b"/", repeated.encode(), b"", size).decode("latin-1")
        return lambda: router({"REQUEST_METHOD": "GET", "PATH_INFO": path, "REQUEST_URI": path}, lambda *_: None)

    assert_linear(work)


HEADERS = {
    "media types": (parse_media_types, ("a/b,", '"', '";', "\\", '"\\', "; q=0 ", ";q=0" + " " * 400, " ", ", ")),
    "versions": (asked_version, ("application/vnd.openstack.images-v1,", "v1.", "application/vnd.openstack.")),
    "ranges": (lambda text: span_of(Request({"REQUEST_METHOD": "GET", "HTTP_RANGE": f"bytes={text}x"}), 10), ("0", "0-0,", "-", " ")),
    "credentials": (lambda text: _basic(f"Basic {text}"), ("YTph", "=", " ", "é")),
    "addresses": (lambda text: find_client("10.0.0.1", text, Networks("10.0.0.0/8")), ("10.0.0.1,", "1", "1.", ":", "[", ",", " ", "a:")),
    "prefixes": (lambda text: _apply_forwarded({"HTTP_X_FORWARDED_PREFIX": f"/{text}?", "HTTP_X_FORWARDED_HOST": text}), ("a", "/a", "/", "%41", ".", "a.", ",")),
    "public endpoints": (lambda text: parse_public_endpoint(f"http://{text}#"), ("a", "/a", ".", ":", "[")),
    "identity": (lambda text: identity.context_from({"X-Roles": text, "X-Tenant-Id": text, "X-Openstack-Request-Id": text}), ("a", "a,", ",", "%41", "%")),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_values_of_headers(kind):
    parse, all_repeated = HEADERS[kind]
    for repeated in all_repeated:
        assert_linear(lambda size, repeated=repeated: lambda: parse(repeated * (size // len(repeated))))


@pytest.mark.parametrize("parse", [v1.texts_of, lambda pairs: v1.texts_of(pairs, encoded=True), fields_of_request], ids=["v1", "encoded", "classic"])  # fmt: skip
@pytest.mark.parametrize("repeated", ["a", "-_", "%41", " "])
def test_metadata_in_headers(parse, repeated):
    def work(size: int) -> Callable[[], object]:
        text = repeated * (size // len(repeated) // 2)
        pairs = [
            (f"x-image-meta-property-{text}", text),
            ("x-image-meta-location", text),
            ("x-image-meta-is_public", text),
        ]
        return lambda: parse(pairs)

    assert_linear(work)


# Locations


@pytest.mark.parametrize("scheme", ["http://", "s3://", "file://", ""])
@pytest.mark.parametrize(
    "repeated", ["a", "a.", ".", "/", ":", "[", "]", "@", "1", "0x1.", "%41", "ü", " ", "?", "#", "-", "::1"]
)
def test_locations(scheme, repeated):
    def work(size: int) -> Callable[[], object]:
        url = scheme + repeated * (size // len(repeated) // 4)  # 4,096 characters are the most that are judged

        def judge() -> None:
            with suppress(GlanceError):
                STORES.external(url)
            GUARD.judge(url)

        return judge

    with names_resolved():
        assert_linear(work)


# Command lines

INPUTS = {
    "hosts": arguments.endpoint,
    "ports": arguments.port,
    "counts": arguments.count,
    "seconds": arguments.seconds,
    "days": arguments.days,
    "paths": expand_path,
    "fields": lambda text: fields.pairs_of([text]),
    "public or not": lambda text: fields.record_of([f"is_public={text}"], "settable"),
    "URLs of a server": _root,
    "options in a log": lambda text: shown_option("sql_connection", text),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize(
    "repeated",
    ["a", "9", " ", "$", "$$", "${", "${a", "~", "/", "/a:", ":", "[", "=", ",", "a=b,", "@", "password=", "/v1"],
)
def test_command_lines(kind, repeated):
    read = INPUTS[kind]
    assert_linear(lambda size: lambda: read(repeated * (size // len(repeated))))
