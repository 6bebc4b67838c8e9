# SPDX-License-Identifier: Apache-2.0
"""What servers give as `wsgi.input`, and what an honest end of it is."""

import io
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request

from glance.core.context import Context
from glance.core.errors import BrokenUpload, Invalid, ServerBusy, TooLarge, UploadTimeout
from glance.core.inline import INLINE, Inline
from glance.wire import jsontext
from glance.wsgi import body
from glance.wsgi.body import JSON_BLOCK, BodyMemory, has_body, json_of, source_of
from glance.wsgi.endpoint import CLIENT_KEY
from glance.wsgi.identify import CONTEXT_KEY
from tests.fuzz.targets import decoded_json


def request(body: bytes | io.RawIOBase = b"", **environ: object) -> Request:
    made = Request.blank("/", method="POST")
    made.environ.pop("CONTENT_LENGTH", None)
    made.environ["wsgi.input"] = io.BytesIO(body) if isinstance(body, bytes) else body
    made.environ.update(environ)
    return made


CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


def drained(given: Request, size: int = 3) -> bytes:
    source = source_of(given)
    return b"".join(iter(lambda: source.read(size), b""))


@pytest.mark.parametrize(("environ", "expected"), [
    ({}, False), ({"CONTENT_LENGTH": ""}, False), ({"CONTENT_LENGTH": "0"}, False), ({"CONTENT_LENGTH": "00"}, False), ({"CONTENT_LENGTH": "7"}, True),
    (CHUNKED, True), ({"HTTP_TRANSFER_ENCODING": "chunked"}, True), ({"wsgi.input_terminated": True}, False),
])  # fmt: skip
def test_whether_there_is_a_body(environ, expected):
    assert has_body(request(**environ)) is expected


@pytest.mark.parametrize(
    "length", ["-1", "+3", "1_0", " 3", "3,3", "٣", "x", "9" * 5000], ids=lambda length: ascii(length)[:9]
)
def test_a_length_that_is_none(length):
    with pytest.raises(Invalid, match="Content-Length"):
        has_body(request(CONTENT_LENGTH=length))


def test_a_body_ends_at_its_length_though_the_stream_goes_on():
    assert drained(request(b"0123456789", CONTENT_LENGTH="7")) == b"0123456"
    assert source_of(request(CONTENT_LENGTH="7")).length == 7


def test_a_body_without_length_ends_where_the_server_says():
    given = request(b"0123456789", **CHUNKED)
    assert drained(given) == b"0123456789"
    assert source_of(given).length is None


def test_a_body_without_length_and_without_end_is_refused():
    with pytest.raises(Invalid, match="Content-Length"):
        source_of(request(b"x", HTTP_TRANSFER_ENCODING="chunked"))


def test_no_body_is_read_as_nothing():
    assert drained(request(b"of the next request")) == b""


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_stream_that_ends_early_is_broken(size):
    with pytest.raises(BrokenUpload, match="3 of 10"):
        drained(request(b"0123456", CONTENT_LENGTH="10"), size)


@pytest.mark.parametrize(
    "error", [OSError("reset"), ConnectionError("gone"), TimeoutError("slow"), ValueError("no chunk")], ids=repr
)
@pytest.mark.parametrize("environ", [CHUNKED, {"CONTENT_LENGTH": "10"}])
def test_an_error_of_the_server_is_broken_too(error, environ):
    class Failing(io.RawIOBase):
        def read(self, size=-1):
            raise error

    with pytest.raises(BrokenUpload) as caught:
        drained(request(Failing(), **environ))
    assert isinstance(caught.value, UploadTimeout) == isinstance(error, TimeoutError)


@pytest.mark.parametrize("environ", [CHUNKED, {"CONTENT_LENGTH": "10"}])
def test_no_data_yet_is_not_the_end(environ):
    class Late(io.RawIOBase):
        def read(self, size=-1):
            return None

    with pytest.raises(BrokenUpload, match="ran out of data before its end"):
        source_of(request(Late(), **environ)).read(3)


def test_the_threads_are_the_servers_or_none():
    threads = Inline()
    assert source_of(request(**{"glance.threads": threads})).threads is threads
    assert source_of(request()).threads is INLINE


def test_sender_is_the_tenant_or_else_the_address():
    address = {"REMOTE_ADDR": "192.0.2.7"}
    assert source_of(request(**address)).sender == "192.0.2.7"
    assert source_of(request(**address, **{CONTEXT_KEY: Context(is_admin=True)})).sender == "192.0.2.7"
    assert source_of(request(**address, **{CONTEXT_KEY: Context(tenant="t1")})).sender == "t1"
    assert source_of(request(**address, **{CLIENT_KEY: "198.51.100.7"})).sender == "198.51.100.7"
    assert source_of(request()).sender == ""


def test_json():
    body = '{"a": ["ü", 1]}'.encode()
    assert (
        json_of(request(body, CONTENT_LENGTH=str(len(body)))) == json_of(request(body, **CHUNKED)) == {"a": ["ü", 1]}
    )


@pytest.mark.parametrize("body", [
    b"", b"x", b"{", b"{}{}", b"\xff", "{}".encode("utf-16"), b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}', b"NaN", b"[Infinity]", b"-Infinity",
    b"[" * 100_000, b"9" * 5000, b"1e400", b"{'a': 1}", b'"\x01"',
], ids=lambda body: repr(body[:20]))  # fmt: skip
def test_what_is_no_json(body):
    with pytest.raises(Invalid):
        json_of(request(body, **CHUNKED))


@pytest.mark.parametrize("environ", [CHUNKED, {"CONTENT_LENGTH": "21"}])
def test_json_has_a_limit(environ):
    body = b'"' + b"x" * 19 + b'"'
    assert json_of(request(body, **environ), limit=21) == "x" * 19
    with pytest.raises(TooLarge):
        json_of(request(body, **environ), limit=20)


def test_json_that_is_announced_too_large_is_not_read():
    given = request(b"", CONTENT_LENGTH=str(2**62))
    given.environ["wsgi.input"] = None
    with pytest.raises(TooLarge):
        json_of(given)


class Meanwhile(io.RawIOBase):
    """A body that calls a function when it has been read except for its last byte."""

    def __init__(self, body: bytes, function: Callable[[], object]) -> None:
        self._left = body
        self._function = function

    def read(self, size: int = -1) -> bytes:
        if len(self._left) == 1:
            self._function()
        size = min(size, max(len(self._left) - 1, 1))
        block, self._left = self._left[:size], self._left[size:]
        return block


def json_text(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'


def send_json(size: int, sender: str, meanwhile: Callable[[], object] = lambda: None, announced: int = 0) -> object:
    stream = Meanwhile(json_text(size), meanwhile)
    return json_of(request(stream, CONTENT_LENGTH=str(announced or size), REMOTE_ADDR=sender))


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> BodyMemory:
    made = BodyMemory(40 * JSON_BLOCK)
    monkeypatch.setattr(body, "_json_memory", made)
    return made


def test_unfinished_json_bodies_have_a_budget(budget):
    def third() -> None:
        with pytest.raises(ServerBusy, match="unfinished"):
            send_json(20 * JSON_BLOCK, "c")
        assert budget.used == 38 * JSON_BLOCK - 2  # what was refused holds nothing
        assert send_json(JSON_BLOCK, "c") and send_json(100, "c")  # short bodies are read in any case

    half = 20 * JSON_BLOCK
    assert send_json(half, "a", lambda: send_json(half, "b", third))
    assert budget.used == 0
    assert send_json(half, "c")


def test_one_sender_gets_half_of_the_budget(budget):
    def others() -> None:
        with pytest.raises(ServerBusy):
            send_json(5 * JSON_BLOCK, "a")
        assert send_json(20 * JSON_BLOCK, "b")

    assert send_json(20 * JSON_BLOCK, "a", others)


def test_a_slow_sender_holds_only_what_it_has_sent(budget):
    def others() -> None:
        assert budget.used < 2 * JSON_BLOCK
        assert send_json(20 * JSON_BLOCK, "b")

    with pytest.raises(BrokenUpload):
        send_json(2 * JSON_BLOCK, "a", others, announced=body.MAX_JSON)
    assert budget.used == 0


@pytest.mark.parametrize(("text", "error"), [(b"x" * 3 * JSON_BLOCK, Invalid), (json_text(3 * JSON_BLOCK), TooLarge)])
def test_a_refused_json_body_holds_nothing(budget, text, error):
    with pytest.raises(error):
        json_of(request(text, **CHUNKED), limit=3 * JSON_BLOCK - (error is TooLarge))
    assert budget.used == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_comes_back(value):
    assert jsontext.parse(jsontext.write(value)) == value
    decoded_json(jsontext.write(value))


@given(st.binary() | st.text().map(str.encode) | st.text('{}[]",:0123456789eE.-+ truefalsn\\').map(str.encode))
def test_bytes_are_json_or_invalid(data):
    with suppress(Invalid):
        jsontext.parse(data)
