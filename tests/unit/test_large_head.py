# SPDX-License-Identifier: Apache-2.0
"""Answers with many headers are read as http.client would read them if it had no limit of 100."""

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance.wire.large_head import MAX_HEADERS, LargeHeadResponse

LINES = st.lists(
    st.sampled_from([b"A: 1", b"Bb: " + b"x" * 40_000, b"C:", b" folded", b"D: " + b"y" * 7_000, b"E: a:b"]),
    max_size=60,
)


class Socket:
    def __init__(self, data: bytes) -> None:
        self.file = io.BufferedReader(io.BytesIO(data))

    def makefile(self, mode: str) -> io.BufferedReader:
        return self.file


def read(kind: type[http.client.HTTPResponse], data: bytes) -> tuple[object, ...]:
    response = kind(Socket(data), method="GET")
    response.begin()
    return response.status, response.headers.items(), response.read()


@given(LINES, st.sampled_from([b"\r\n", b"\n"]), st.booleans())
def test_a_head_is_read_as_http_client_reads_it(lines: list[bytes], end: bytes, interim: bool) -> None:
    first = b"HTTP/1.1 100 Continue" + end + b"X: 1" + end + end if interim else b""
    data = first + end.join([b"HTTP/1.1 200 OK", b"Content-Length: 4", *lines, b"", b"\r\n\r\nrest"])
    assert read(LargeHeadResponse, data) == read(http.client.HTTPResponse, data)


def test_as_many_headers_as_there_may_be() -> None:
    def answer(count: int, value: bytes = b"x" * 100) -> bytes:
        return b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, value) for n in range(count)) + b"\r\nbody"

    for kind, most in ((http.client.HTTPResponse, 99), (LargeHeadResponse, MAX_HEADERS - 10)):
        status, headers, body = read(kind, answer(most))
        assert (status, headers[-1], body) == (200, (f"X-{most - 1}", "x" * 100), b"body")
        with pytest.raises(http.client.HTTPException, match="headers"):
            read(kind, answer(most + 11))
    assert len(read(LargeHeadResponse, answer(130, b"x" * 16_000))[1]) == 130
    with pytest.raises(http.client.LineTooLong):
        read(LargeHeadResponse, answer(1, b"x" * 65_536))


@pytest.mark.parametrize(
    "data", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nA: 1", b"HTTP/1.1 abc\r\n\r\n"]
)
def test_what_is_cut_or_no_answer(data: bytes) -> None:
    def outcome(kind: type[http.client.HTTPResponse]) -> object:
        try:
            return read(kind, data)
        except http.client.HTTPException as error:
            return type(error)

    assert outcome(LargeHeadResponse) == outcome(http.client.HTTPResponse)
