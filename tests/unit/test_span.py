# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request

from glance.core.errors import RangeNotSatisfiable
from glance.core.image import Span
from glance.wsgi.send import send, span_of
from tests.fakes.store import MemoryBlob


def asked(text: str | None, **headers: str) -> Request:
    return Request.blank("/", headers=headers if text is None else {"Range": text, **headers})


@pytest.mark.parametrize(("text", "start", "length"), [
    ("bytes=0-0", 0, 1), ("bytes=0-99", 0, 100), ("bytes=0-", 0, 100), ("bytes=99-", 99, 1), ("bytes=10-19", 10, 10),
    ("bytes=50-100", 50, 50), ("bytes=50-9999999999999999999", 50, 50), ("bytes=-1", 99, 1), ("bytes=-100", 0, 100), ("bytes=-101", 0, 100),
    ("bytes=-9999999999999999999", 0, 100), ("Bytes=1-2", 1, 2), (" bytes=1-2 ", 1, 2), ("bytes=007-8", 7, 2),
])  # fmt: skip
def test_one_range(text, start, length):
    assert span_of(asked(text), 100) == Span(start, length)


@pytest.mark.parametrize("text", [
    None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=1_0-2", "bytes=+1-2", "bytes=1-2-3", "bytes=--1",
    "bytes=0x1-2", "bytes= 1-2", "bytes=1-2;", "bytes=0-1,3-4", "bytes=" + ",".join(["0-0"] * 10_000), "items=0-1", "bytes=٣-٤",
    "octets=0-1", "bytes:0-1",
], ids=lambda text: ascii(text)[:20])  # fmt: skip
def test_everything_else_means_the_whole(text):
    assert span_of(asked(text), 100) is None


@pytest.mark.parametrize(("text", "total"), [
    ("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=9999999999999999999-", 100), ("bytes=-0", 100),
    ("bytes=0-", 0), ("bytes=0-0", 0), ("bytes=-1", 0),
])  # fmt: skip
def test_ranges_behind_the_end(text, total):
    with pytest.raises(RangeNotSatisfiable) as caught:
        span_of(asked(text), total)
    assert caught.value.total == total


def test_without_a_known_size_there_are_no_ranges():
    assert span_of(asked("bytes=0-0"), None) is None


def test_a_validator_that_we_never_gave_out_does_not_hold():
    assert span_of(asked("bytes=0-0", **{"If-Range": '"etag"'}), 100) is None


def test_the_whole_without_a_file():
    response = send(Request.blank("/"), MemoryBlob(b"x" * 2500, 2500), total=2500)
    assert (response.status_int, response.content_length, response.body) == (200, 2500, b"x" * 2500)
    assert (response.headers["Accept-Ranges"], response.content_type) == ("bytes", "application/octet-stream")
    assert "Content-Range" not in response.headers


def test_a_part_without_a_file():
    response = send(Request.blank("/"), MemoryBlob(b"abc", 100), total=100, span=Span(10, 3))
    assert (response.status_int, response.content_length, response.body) == (206, 3, b"abc")
    assert response.headers["Content-Range"] == "bytes 10-12/100"


def test_a_size_that_is_not_known():
    blob = MemoryBlob(b"abc", None)
    blob.size = None
    response = send(Request.blank("/"), blob, total=None)
    assert (response.content_length, response.headers["Accept-Ranges"]) == (None, "none")


@pytest.mark.parametrize("server_has_it", [True, False])
def test_a_file_goes_by_the_wrapper_of_the_server_where_there_is_one(server_has_it):
    class Wrapped(list):
        pass

    blob = MemoryBlob(b"abc", 3)
    blob.file = object()
    request = Request.blank("/")
    if server_has_it:
        request.environ["wsgi.file_wrapper"] = lambda file, block: Wrapped([file, block])
    response = send(request, blob, total=3)
    assert isinstance(response.app_iter, Wrapped) is server_has_it
    assert response.app_iter[0] is blob.file if server_has_it else response.app_iter is blob
    assert response.content_length == 3


@given(st.integers(1, 2**63 - 1), st.data())
def test_any_range_within_comes_back(total, data):
    start = data.draw(st.integers(0, total - 1))
    length = data.draw(st.integers(1, total - start))
    last = start + length - 1
    assert span_of(asked(f"bytes={start}-{last}"), total) == Span(start, length)
    assert span_of(asked(f"bytes={start}-"), total) == span_of(asked(f"bytes=-{total - start}"), total)
    assert span_of(asked(f"bytes={start}-{total + last}"), total) == Span(start, total - start)


@given(st.text() | st.from_regex(r"bytes=[0-9]*-[0-9]*"), st.integers(0, 2**63 - 1))
def test_any_text_is_a_span_within_or_the_whole_or_not_satisfiable(text, total):
    try:
        span = span_of(asked(text), total)
    except RangeNotSatisfiable as error:
        assert error.total == total
    else:
        assert span is None or 0 <= span.start < span.start + span.length <= total
