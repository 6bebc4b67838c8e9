# SPDX-License-Identifier: Apache-2.0
"""glance/serve over raw sockets, form by form: what it takes, what it refuses, and how it answers."""

import hashlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.live import PATIENCE, Answer, Live, Wire, chunked, post, request, wait_until

pytestmark = pytest.mark.functional

HIDDEN = request(target=b"/hidden")
HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = Live(tmp_path_factory.mktemp("live"))
    yield server
    log = server.log()
    server.end()
    faults = re.findall(r"^(?:ERROR|CRITICAL) .*", log, re.MULTILINE)
    assert [line for line in faults if not re.search(r" '/(fail|header|status|announce|file)' failed$", line)] == []
    assert re.findall(r"^(?!ERROR).+\nTraceback", log, re.MULTILINE) == []


@pytest.fixture
def wire(live: Live) -> Iterator[Wire]:
    with live.connect() as wire:
        yield wire


def told(answer: Answer) -> dict:
    assert answer.status == 200, answer
    return json.loads(answer.body)


def environ(answer: Answer) -> dict[str, str]:
    return told(answer)["environ"]


def assert_refused(live: Live, wire: Wire, status: int) -> None:
    """One answer, the connection is closed, nothing that was sent behind has run, and the server serves on."""
    answer = wire.answer()
    assert answer.status == status, answer
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert answer.headers["content-type"].startswith("text/plain")
    assert wire.is_closed()
    assert "hidden" not in live.log()
    assert live.ask(request()).status == 200


# Heads that are refused


@pytest.mark.parametrize("line", [
    b"GET /echo", b"GET  /echo HTTP/1.1", b"GET /echo  HTTP/1.1", b"GET /echo HTTP/1.1 ", b" GET /echo HTTP/1.1", b"GET\t/echo HTTP/1.1", b"GET /a b HTTP/1.1",
    b"GET /echo HTTP/2.0", b"GET /echo HTTP/0.9", b"GET /echo HTTP/1.10", b"GET /echo http/1.1", b"GET /echo HTTP/1.1\nX: y", b"GET /\r HTTP/1.1", b"GET /echo\n HTTP/1.1",
    b"G(T /echo HTTP/1.1", b"x" * 33 + b" /echo HTTP/1.1", b"GET /\xc3\xbc HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"/echo HTTP/1.1", b"GET HTTP/1.1",
    b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00\x01", b"GET /%00 HTTP/1.1", b"GET /a%00b?x HTTP/1.1", b"GET /echo#part HTTP/1.1", b"GET /echo?x#part HTTP/1.1", b"GET echo HTTP/1.1",
    b"GET * HTTP/1.1", b"GET ?x HTTP/1.1", b"CONNECT here:80 HTTP/1.1", b"GET ftp://here/ HTTP/1.1", b"GET http:///x HTTP/1.1", b"GET http://user@here/ HTTP/1.1",
    b"GET http://here/#part HTTP/1.1", b"GET file:///etc/passwd HTTP/1.1",
], ids=ascii)  # fmt: skip
def test_request_lines_that_are_refused(live, wire, line):
    wire.send(line + b"\r\nHost: here\r\n\r\n" + HIDDEN)
    assert_refused(live, wire, 400)


@pytest.mark.parametrize("lines", [
    b"garbage", b": no name", b"Content-Length : 5", b"Content-Length\t: 5", b" Content-Length: 5", b"X Y: z", b"X(Y): z", b"X\xc3\xbc: y", b"X: a\rY: b", b"X: a\nY: b", b"X: a\n\nY: b",
    b"X: a\x00b", b"X: a\x0bb", b"X: a\x7fb", b"X\x00: a", b"X: a\r\n folded", b"X: a\r\n\tfolded: b", b"X: a\r\n Set-Cookie: e=1", b"\nX: a", b"X: a\r",
], ids=ascii)  # fmt: skip
def test_header_lines_that_are_refused(live, wire, lines):
    wire.send(post(lines, b"X-Last: 1", body=b"hello" + HIDDEN))
    assert_refused(live, wire, 400)


@pytest.mark.parametrize("lines", [
    [b"Content-Length: 5", b"Content-Length: 6"], [b"Content-Length: 5", b"content-length: 05"], [b"Content-Length: +5"], [b"Content-Length: -1"], [b"Content-Length: 1_0"],
    [b"Content-Length: 5,5"], [b"Content-Length: 5, 5"], [b"Content-Length: 5 5"], [b"Content-Length:"], [b"Content-Length: 0x5"], [b"Content-Length: 5.0"], [b"Content-Length: 5;"],
    [b"Content-Length: \xd9\xa5"], [b"Content-Length: \xb2"], [b"Content-Length: 9223372036854775808"], [b"Content-Length: " + b"9" * 5000], [b"Content-Length: 5\xa0"],
    [b"Content-Length: 5", b"Transfer-Encoding: chunked"], [b"Transfer-Encoding: chunked", b"Content-Length: 0"], [b"Content-Length: 5", b"Transfer-Encoding: identity"],
    [b"Transfer-Encoding : chunked"], [b"Transfer-Encoding: chunked", b"Transfer-Encoding : x"], [b"Transfer-Encoding:\x0bchunked"],
], ids=lambda lines: ascii(b", ".join(lines))[:60])  # fmt: skip
def test_lengths_that_are_refused(live, wire, lines):
    wire.send(post(*lines, body=b"hello" + HIDDEN))
    assert_refused(live, wire, 400)


@pytest.mark.parametrize("lines", [
    [b"xchunked"], [b"gzip, chunked"], [b"chunked, chunked"], [b"chunked, identity"], [b"chunked;q=1"], [b"identity"], [b"gzip"], [b"chunked,"], [b'"chunked"'], [b""], [b"chunke"],
    [b"chunked\xa0"], [b"chunked", b"chunked"], [b"identity", b"chunked"], [b"chunked", b""],
], ids=ascii)  # fmt: skip
def test_transfer_codings_that_are_refused(live, wire, lines):
    wire.send(post(*(b"Transfer-Encoding: " + line for line in lines), body=b"0\r\n\r\n" + HIDDEN))
    assert_refused(live, wire, 501)


@pytest.mark.parametrize("head", [
    b"GET /echo HTTP/1.1\r\nX: y", b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: a", b"GET /echo HTTP/1.1\r\nHost: a\r\nhost: b", b"GET /echo HTTP/1.1\r\nHost: a b",
    b"GET /echo HTTP/1.1\r\nHost: \xff", b"GET /echo HTTP/1.0\r\nHost: a\r\nHost: b", b"GET http://here/echo HTTP/1.1\r\nX: y",
    b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked",
], ids=ascii)  # fmt: skip
def test_hosts_and_versions_that_are_refused(live, wire, head):
    wire.send(head + b"\r\n\r\n")
    assert_refused(live, wire, 400)


@pytest.mark.parametrize("data", [
    b"GET /\r\n", b"GET /\n", b"GET /", b"GET / HTTP/1.0\n\n", b"GET / HTTP/1.1\nHost: here\n\n", b"GET / HTTP/1.1\r\nHost: here\n\n", b"GET / HTTP/1.1\r\nX: a\nY: b", b"\r\nGET /\r\n",
    b"GET / HTTP/2\r\nHost: here\r\n", b"EHLO here\r\n", b"GET\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x80", b"SSH-2.0-probe\r\n", b"{", b"x" * 33,
], ids=ascii)  # fmt: skip
def test_what_can_become_no_head_is_refused_before_its_end(live, wire, data):
    wire.send(data)
    if data == b"GET /":  # the beginning of a request
        wire.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.answer()
        wire.sock.settimeout(PATIENCE)
        wire.send(b"\r\n")
    started = time.monotonic()
    assert_refused(live, wire, 400)
    assert time.monotonic() - started < PATIENCE  # and not after the 20 seconds that a head may take


def test_a_head_byte_by_byte(wire):
    for byte in b"\r\n" + request(b"X: y"):
        wire.send(bytes([byte]))
    assert wire.answer().status == 200


def test_another_expectation_is_refused(live, wire):
    wire.send(post(b"Expect: the-unexpected", b"Content-Length: 5", body=b"hello" + HIDDEN))
    assert_refused(live, wire, 417)


@pytest.mark.parametrize(("data", "status"), [
    (request(target=b"/" + b"x" * 8191), 200), (request(target=b"/" + b"x" * 8192), 414), (request(*[b"X: y"] * 199), 200), (request(*[b"X: y"] * 200), 431),
    (request(b"X: " + b"y" * (16 * 1024 - 3)), 200), (request(b"X: " + b"y" * (16 * 1024 - 2)), 431), (request(*[b"X: " + b"y" * 16_000] * 4), 200),
    (request(*[b"X: " + b"y" * 16_000] * 5), 431), (b"x" * 100_000, 400), (b"GET /" + b"x" * 100_000, 431),
], ids=["target", "long target", "lines", "many lines", "line", "long line", "head", "long head", "no end of method", "no end of target"])  # fmt: skip
def test_limits(live, wire, data, status):
    wire.send(data)
    if status == 200:
        assert wire.answer().status == 200
    else:
        assert_refused(live, wire, status)


# Heads that are taken


@pytest.mark.parametrize(("target", "path", "query"), [
    (b"/", "/", ""), (b"/a/b?c=d?e", "/a/b", "c=d?e"), (b"/%2e%2e%2f", "/../", ""), (b"/%252e", "/%2e", ""), (b"//a//b/", "//a//b/", ""), (b"/a;b", "/a;b", ""), (b"/%C3%BC", "/\xc3\xbc", ""),
    (b"/%zz%", "/%zz%", ""), (b"/?%00", "/", "%00"), (b"http://there:1/a?b", "/a", "b"), (b"HTTP://there?b", "/", "b"), (b"https://there", "/", ""),
    (b"//there/a", "//there/a", ""), (b"/%0d%0aX:%20y", "/\r\nX: y", ""),
], ids=ascii)  # fmt: skip
def test_targets(live, target, path, query):
    seen = environ(live.ask(request(target=target)))
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["SCRIPT_NAME"]) == (path, query, "")
    assert seen["HTTP_HOST"] == (
        "there:1" if b"there:1" in target else "there" if target.lower().startswith(b"http") else "here"
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "X-Y_Z!"])
def test_methods_come_as_they_are(live, method):
    assert environ(live.ask(request(method=method.encode())))["REQUEST_METHOD"] == method


def test_the_star(live):
    assert environ(live.ask(request(method=b"OPTIONS", target=b"*")))["PATH_INFO"] == "*"


@pytest.mark.parametrize(("line", "key", "value"), [
    (b"X-Y: z", "HTTP_X_Y", "z"), (b"x-y:z", "HTTP_X_Y", "z"), (b"X-Y: \t z z \t ", "HTTP_X_Y", "z z"), (b"X-Y:", "HTTP_X_Y", ""), (b"X-Y: \xc3\xbc\xff", "HTTP_X_Y", "\xc3\xbc\xff"),
    (b"X-Y: a\r\nx-y: b", "HTTP_X_Y", "a,b"), (b"X-Y: \xa0\x85z\xa0", "HTTP_X_Y", "\xa0\x85z\xa0"), (b"X-Y: a\tb", "HTTP_X_Y", "a\tb"), (b"Content-Type: a/b", "CONTENT_TYPE", "a/b"),
    (b"X-Image-Meta-Is_public: True", "HTTP_X_IMAGE_META_IS_PUBLIC", "True"), (b"x-image-meta-property-kernel_id: 7", "HTTP_X_IMAGE_META_PROPERTY_KERNEL_ID", "7"),
], ids=ascii)  # fmt: skip
def test_headers(live, line, key, value):
    assert environ(live.ask(request(line)))[key] == value


@pytest.mark.parametrize(
    "name",
    [b"X_Roles", b"X-Tenant_Id", b"Content_Length", b"Transfer_Encoding", b"X_Image_Meta_Name", b"_", b"Host_"],
)
def test_other_names_with_underscores_do_not_arrive(live, name):
    seen = environ(live.ask(post(name + b": 5", b"X-Roles: real")))
    assert seen["HTTP_X_ROLES"] == "real"
    assert (
        set(seen)
        & {
            "CONTENT_LENGTH",
            "HTTP_CONTENT_LENGTH",
            "HTTP_TRANSFER_ENCODING",
            "HTTP_X_TENANT_ID",
            "HTTP_X_IMAGE_META_NAME",
            "HTTP__",
            "HTTP_HOST_",
        }
        == set()
    )


@pytest.mark.parametrize("lines", [
    [b"X-Image-Meta-Is_public: True", b"X-Image-Meta-Is-public: False"], [b"x-image-meta-is-public: a", b"X: y", b"x-image-meta-is_public: a"],
    [b"x-image-meta-property-a_b-c: 1", b"x-image-meta-property-a-b_c: 2"],
], ids=ascii)  # fmt: skip
def test_two_spellings_of_one_name_are_refused(live, wire, lines):
    wire.send(request(*lines) + HIDDEN)
    assert_refused(live, wire, 400)


@pytest.mark.parametrize(
    "name", [b"X-Image-Meta-Name", b"x-image-meta-property-a", b"X-Glance-API-Copy-From", b"X-Glance-Registry-Key"]
)
def test_two_values_of_what_is_no_list_are_refused(live, wire, name):
    wire.send(request(name + b": a", b"X: y", name.lower() + b": a") + HIDDEN)
    assert_refused(live, wire, 400)


def test_what_every_environ_has(live):
    seen = environ(live.ask(post(b"Content-Length: 5", body=b"hello")))
    assert (seen["CONTENT_LENGTH"], seen["SERVER_PROTOCOL"], seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == (
        "5",
        "HTTP/1.1",
        "127.0.0.1",
        "http",
    )
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("127.0.0.1", str(live.port))


# Bodies


@pytest.mark.parametrize("lines", [
    [b"Content-Length: 5"], [b"Content-Length: 0005"], [b"content-length:\t5 "], [b"Content-Length: 5", b"Content-Length: 5"],
])  # fmt: skip
def test_a_body_of_a_length(wire, lines):
    wire.send(post(*lines, body=b"hello") + request(target=b"/next"))
    assert (told(seen := wire.answer())["sha256"], environ(seen)["PATH_INFO"]) == (HELLO, "/echo")
    assert environ(wire.answer())["PATH_INFO"] == "/next"


def test_a_body_byte_by_byte(wire):
    for byte in chunked(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"):
        wire.send(bytes([byte]))
    assert told(wire.answer())["sha256"] == HELLO


@pytest.mark.parametrize("body", [
    b"5\r\nhello\r\n0\r\n\r\n", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"0000000000000005\r\nhello\r\n000\r\n\r\n", b"5;name=value\r\nhello\r\n0;x\r\n\r\n", b"5 ;a;b=\"c\"\r\nhello\r\n0\r\n\r\n",
    b"5 \t\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX-Roles: admin\r\nContent-Length: 7\r\n\r\n", b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + b"0\r\n\r\n",
    b"5;" + b"x" * 8000 + b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n" + b"T: t\r\n" * 1000 + b"\r\n",
], ids=lambda body: ascii(body)[:40])  # fmt: skip
def test_a_body_in_chunks(wire, body):
    wire.send(chunked(body) + request(target=b"/next"))
    answer = wire.answer()
    assert (told(answer)["sha256"], told(answer)["length"]) == (HELLO, 5)
    assert environ(answer).keys().isdisjoint({"HTTP_X_ROLES", "CONTENT_LENGTH"})
    assert environ(wire.answer()).keys().isdisjoint({"HTTP_X_ROLES", "CONTENT_LENGTH"})


def test_large_chunks(wire):
    data = os.urandom(3_000_000)
    wire.send(
        chunked(b"%X\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (2_000_000, data[:2_000_000], 1_000_000, data[2_000_000:]))
    )
    assert told(wire.answer())["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("body", [
    b"-1\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"1_0\r\nhello\r\n0\r\n\r\n", b"zz\r\nhello\r\n0\r\n\r\n", b"%x\r\nhello\r\n0\r\n\r\n" % 2**70, b"\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5 5\r\nhello\r\n0\r\n\r\n", b"5,\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r\r\n0\r\n\r\n", b"5;\x00\r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"\xd9\xa5\r\nhello\r\n0\r\n\r\n",
    b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0 0\r\n\r\n", b"5\r\nhello\r\n-0\r\n\r\n",
], ids=lambda body: ascii(body)[2:30])  # fmt: skip
def test_chunks_that_are_refused(live, wire, body):
    wire.send(chunked(body + HIDDEN))
    answer = wire.answer()
    assert answer.status == 400
    assert re.fullmatch(rb"ValueError after [05]: .*", answer.body)
    assert answer.headers["connection"] == "close"
    assert wire.is_closed()
    assert "hidden" not in live.log()


@pytest.mark.parametrize("endless", [
    b"5" * 100_000, b"5;" + b"x" * 100_000, b"0\r\n" + b"x" * 100_000, b"0\r\n" + b"T: t\r\n" * 20_000,
], ids=["size", "extension", "trailer", "trailers"])  # fmt: skip
def test_endless_lines_of_a_body_are_refused_early(wire, endless):
    wire.send(chunked(endless))  # and the server is not waiting for more
    assert (wire.answer().status, wire.is_closed()) == (400, True)


@pytest.mark.parametrize("data", [
    post(b"Content-Length: 10", body=b"hello"), post(b"Content-Length: 10"), chunked(b""), chunked(b"5\r\nhel"), chunked(b"5\r\nhello"), chunked(b"5\r\nhello\r\n"),
    chunked(b"5\r\nhello\r\n0\r\n"), chunked(b"5\r\nhello\r\n0\r\nT: t\r\n"), chunked(b"5"),
], ids=lambda data: ascii(data[-16:]))  # fmt: skip
def test_a_body_that_is_cut_is_no_whole_one(wire, data):
    wire.send(data)
    wire.no_more()
    answer = wire.answer()
    assert answer.status == 400
    assert answer.body.startswith(b"ConnectionError after ")
    assert wire.is_closed()


def test_an_upload_in_tiny_chunks_holds_nobody_up(live, wire):
    sender = threading.Thread(target=wire.send, args=(chunked(b"1\r\nx\r\n" * 400_000 + b"0\r\n\r\n"),))
    sender.start()
    longest = 0.0
    while sender.is_alive():
        started = time.monotonic()
        assert live.ask(request()).status == 200
        longest = max(longest, time.monotonic() - started)
    assert told(wire.answer())["length"] == 400_000
    assert longest < 1


def test_a_client_that_vanishes_in_the_middle_is_no_fault(live):
    with live.connect() as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() is a reset
        wire.send(post(b"Content-Length: 10", body=b"hello"))
    assert live.ask(request()).status == 200


@pytest.mark.parametrize(("argument", "expected"), [
    (b"read", b"ab\ncd\nef"), (b"read,-1", b"ab\ncd\nef"), (b"read,4", b"ab\nc"), (b"read,0", b""), (b"read,100", b"ab\ncd\nef"), (b"readline", b"ab\n"), (b"readline,2", b"ab"),
    (b"readlines", b"ab\n|cd\n|ef"), (b"iter", b"ab\n|cd\n|ef"),
])  # fmt: skip
@pytest.mark.parametrize("form", ["length", "chunks"])
def test_input_is_read_as_pep_3333_has_it(live, argument, expected, form):
    if form == "length":
        data = post(b"Content-Length: 8", target=b"/read?" + argument, body=b"ab\ncd\nef")
    else:
        data = chunked(b"4\r\nab\nc\r\n4\r\nd\nef\r\n0\r\n\r\n", target=b"/read?" + argument)
    assert live.ask(data).body == expected


# Bodies that nobody reads


def test_a_small_unread_body_does_not_cost_the_connection(wire):
    wire.send(post(b"Content-Length: 1000", target=b"/refuse", body=b"x" * 1000) + request(target=b"/next"))
    assert wire.answer().status == 404
    assert environ(wire.answer())["PATH_INFO"] == "/next"


def test_a_half_read_body_is_not_the_next_request(wire, live):
    wire.send(
        post(b"Content-Length: %d" % len(HIDDEN), target=b"/read?read,10", body=HIDDEN) + request(target=b"/next")
    )
    assert wire.answer().status == 200
    assert environ(wire.answer())["PATH_INFO"] == "/next"
    assert "hidden" not in live.log()


@pytest.mark.parametrize("data", [
    post(b"Content-Length: 1000000000000", target=b"/refuse"), chunked(b"7fffffffffffffff\r\n", target=b"/refuse"), post(b"Content-Length: 1000000000000", target=b"/read?read,10"),
    post(b"Content-Length: 7", b"Content-Length: 8"),
], ids=["length", "chunks", "half read", "bad head"])  # fmt: skip
def test_an_early_answer_to_an_endless_upload_can_be_read_and_the_upload_is_ended(live, wire, data):
    wire.send(data + HIDDEN)
    sender = threading.Thread(target=send_without_end, args=(wire,))
    started = time.monotonic()
    sender.start()
    answer = wire.answer()
    assert answer.status < 500
    assert answer.headers["connection"] == "close"
    sender.join(5)
    assert not sender.is_alive()
    assert time.monotonic() - started < 4
    assert "hidden" not in live.log()


def test_whoever_sends_all_before_reading_gets_the_early_answer(wire):
    wire.send(post(b"Content-Length: 10000000", target=b"/refuse", body=bytes(10_000_000)))
    assert wire.answer().status == 404
    assert wire.is_closed()


def send_without_end(wire: Wire) -> None:
    try:
        while True:
            wire.send(b"x" * 65_536)
    except OSError:
        pass


# Expect: 100-continue


def test_continue_is_sent_when_the_body_is_read(wire):
    wire.send(post(b"Expect: 100-Continue", b"Content-Length: 5"))
    assert wire.answer().status == 100
    wire.send(b"hello")
    assert told(wire.answer())["sha256"] == HELLO


def test_continue_is_sent_for_chunks_too(wire):
    wire.send(chunked(b"", b"Expect: 100-continue"))
    assert wire.answer().status == 100
    wire.send(b"5\r\nhello\r\n0\r\n\r\n" + request())
    assert told(wire.answer())["sha256"] == HELLO
    assert wire.answer().status == 200


def test_no_continue_before_an_early_error_and_the_connection_is_closed(wire):
    wire.send(post(b"Expect: 100-continue", b"Content-Length: 5", target=b"/refuse"))
    answer = wire.answer()
    assert (answer.status, answer.headers["connection"]) == (404, "close")  # what follows may be a body or a request
    assert wire.is_closed()


def test_no_continue_in_the_middle_of_an_answer(wire):
    wire.send(post(b"Expect: 100-continue", b"Content-Length: 5", target=b"/talk"))
    wire.send(b"hello")
    assert wire.answer().body == b"firsthello"


@pytest.mark.parametrize("data", [
    post(b"Expect: 100-continue", b"Content-Length: 0"), request(b"Expect: 100-continue"), b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
], ids=["empty", "none", "1.0"])  # fmt: skip
def test_no_continue_where_there_is_nothing_to_continue(live, data):
    assert live.ask(data).status == 200


# Connections


def test_two_requests_in_one_packet(wire):
    wire.send(request(target=b"/a") + request(target=b"/b"))
    assert [environ(wire.answer())["PATH_INFO"] for _ in range(2)] == ["/a", "/b"]


@pytest.mark.parametrize("between", [b"\r\n", b"\r\n\r\n"])
def test_an_empty_line_before_a_request_is_forgiven(wire, between):
    wire.send(between + post(b"Content-Length: 5", body=b"hello") + between + request(target=b"/next"))
    assert told(wire.answer())["sha256"] == HELLO
    assert environ(wire.answer())["PATH_INFO"] == "/next"


def test_nothing_of_a_request_is_left_for_the_next(wire):
    for number in range(500):
        wire.send(
            request(b"X-Odd: %d" % number)
            if number % 2
            else post(b"X-Even: %d" % number, b"Content-Length: 1", b"Content-Type: x/y", body=b"x")
        )
        seen = environ(wire.answer())
        mine, other = ("HTTP_X_ODD", "HTTP_X_EVEN") if number % 2 else ("HTTP_X_EVEN", "HTTP_X_ODD")
        assert seen[mine] == str(number)
        assert other not in seen
        assert ("CONTENT_TYPE" in seen) is (number % 2 == 0)


@pytest.mark.parametrize(("version", "lines", "kept"), [
    (b"1.1", [], True), (b"1.1", [b"Connection: close"], False), (b"1.1", [b"Connection: x, CLOSE"], False), (b"1.0", [], False), (b"1.0", [b"Connection: keep-alive"], True),
    (b"1.0", [b"Connection: Keep-Alive, close"], False),
])  # fmt: skip
def test_how_long_a_connection_is_kept(wire, version, lines, kept):
    data = b"\r\n".join([b"GET /echo HTTP/" + version, b"Host: here", *lines, b"", b""])
    wire.send(data)
    answer = wire.answer()
    assert environ(answer)["SERVER_PROTOCOL"] == f"HTTP/{version.decode()}"
    if kept:
        assert answer.headers.get("connection") == (None if version == b"1.1" else "keep-alive")
        wire.send(data)
        assert wire.answer().status == 200
    else:
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_http_1_0_needs_no_host(live):
    assert live.ask(b"GET /echo HTTP/1.0\r\n\r\n").status == 200


# Answers


def test_a_body_without_length_goes_in_chunks(wire):
    wire.send(request(target=b"/stream?5") + request(target=b"/stream?0"))
    answer = wire.answer()
    assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"x" * 5000)
    assert "content-length" not in answer.headers
    assert wire.answer().body == b""


def test_and_until_the_end_of_the_connection_for_http_1_0(wire):
    wire.send(b"GET /stream?5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = wire.answer()
    assert (answer.headers["connection"], answer.body) == ("close", b"x" * 5000)
    assert "transfer-encoding" not in answer.headers


def test_write_and_iteration_together(wire):
    wire.send(request(target=b"/written") * 2)
    for _ in range(2):
        assert wire.answer().body == b"by write, by iteration"


@pytest.mark.parametrize("target", [b"/echo", b"/stream?5", b"/announce?10", b"/written"])
def test_head_has_no_body(wire, target):
    wire.send(request(method=b"HEAD", target=target) + request(target=b"/next"))
    assert wire.answer(head_only=True).status == 200
    assert environ(wire.answer())["PATH_INFO"] == "/next"


@pytest.mark.parametrize("status", [b"204%20No%20Content", b"304%20Not%20Modified"])
def test_nor_have_these(wire, status):
    wire.send(request(target=b"/status?" + status) + request(target=b"/next"))
    assert wire.answer().status == int(status[:3])
    assert environ(wire.answer())["PATH_INFO"] == "/next"


def test_no_more_is_sent_than_was_announced(wire):
    wire.send(request(target=b"/announce?15") + request(target=b"/next"))
    assert wire.answer().body == b"x" * 10
    assert environ(wire.answer())["PATH_INFO"] == "/next"


def test_no_more_is_asked_for_than_was_announced(live, wire):
    """Part of a file, read through a filter, must not cost the reading of all the rest."""
    wire.send(request(target=b"/counted") + request(target=b"/counted?tell"))
    assert wire.answer().body == b"x" * 10
    assert int(wire.answer().body) <= 2


def test_less_than_announced_breaks_the_connection(live, wire):
    wire.send(request(target=b"/announce?5") + HIDDEN)
    assert wire.rest().endswith(b"\r\n\r\nxxxxx")
    assert "hidden" not in live.log()


def test_an_application_that_fails_is_a_500_that_tells_nothing(wire):
    wire.send(request(target=b"/fail"))
    answer = wire.answer()
    assert (answer.status, answer.headers["connection"]) == (500, "close")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body


def test_an_application_that_fails_late_breaks_the_connection(live, wire):
    wire.send(request(target=b"/fail?late") + HIDDEN)
    assert wire.rest().endswith(b"\r\n\r\n12345")
    assert "hidden" not in live.log()


@pytest.mark.parametrize("target", [
    b"/header?X=a%0d%0aSet-Cookie: evil=1", b"/header?X=a%0aSet-Cookie: evil=1", b"/header?X=a%0dSet-Cookie: evil=1", b"/header?X=a%00b", b"/header?X=%7f", b"/header?X%0d%0aSet-Cookie: evil=1",
    b"/header?X%20Y=z", b"/header?X:=z", b"/header?=z", b"/header?X=%e6%bc%a2", b"/header?X%c3%bc=y", b"/status?200%20OK%0d%0aSet-Cookie: evil=1", b"/status?",
])  # fmt: skip
def test_an_application_cannot_break_out_of_a_header(wire, target):
    wire.send(request(target=target.replace(b" ", b"%20")))
    answer = wire.answer()
    assert answer.status == 500
    assert "set-cookie" not in answer.headers
    assert b"evil" not in answer.body + wire.rest()


def test_a_header_may_hold_latin_1(wire):
    wire.send(request(target=b"/header?X=%c3%bc%09%c2%a0!"))
    assert wire.answer().headers["x"] == "ü\t\xa0!"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "big"
    path.write_bytes(os.urandom(5_000_000))
    return path


@pytest.mark.parametrize(
    ("start", "length"), [(0, 5_000_000), (0, 1), (1, 4_999_999), (1_234_567, 2_345_678), (4_999_999, 1)]
)
def test_a_file_is_sent_by_the_kernel(wire, big, start, length):
    for _ in range(2):
        wire.send(request(target=f"/file?{big},{start},{length}".encode()))
        answer = wire.answer()
        assert answer.body == big.read_bytes()[start : start + length]
        assert answer.headers["content-length"] == str(length)


def test_a_file_and_its_head(wire, big):
    wire.send(request(method=b"HEAD", target=f"/file?{big},0,5000000".encode()) + request(target=b"/next"))
    assert wire.answer(head_only=True).headers["content-length"] == "5000000"
    assert environ(wire.answer())["PATH_INFO"] == "/next"


def test_a_file_of_no_length_that_was_told_is_sent_to_its_end(wire, big):
    wire.send(request(target=f"/file?{big},1000000,".encode()))
    assert wire.answer().body == big.read_bytes()[1_000_000:]


@pytest.mark.parametrize(("start", "length"), [("0", "10"), ("3", "4"), ("3", "")])
def test_a_file_that_is_none_of_the_operating_system_is_read(wire, start, length):
    wire.send(request(target=f"/file?,{start},{length}".encode()))
    assert wire.answer().body == b"0123456789"[int(start) :][: int(length) if length else None]


def test_a_file_that_is_too_short_breaks_the_connection(wire, big):
    wire.send(request(target=f"/file?{big},4999990,20".encode()))
    assert wire.rest().endswith(b"\r\n\r\n" + big.read_bytes()[-10:])


def test_an_empty_file_is_answered_at_once(wire, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    times = []
    for _ in range(3):
        started = time.monotonic()
        wire.send(request(target=f"/file?{tmp_path}/empty,0,0".encode()))
        assert wire.answer().body == b""
        times.append(time.monotonic() - started)
    assert min(times) < 0.1


def test_a_reader_that_is_slow_holds_nobody_up(live, wire, big):
    wire.send(request(target=f"/file?{big},0,5000000".encode()))
    assert live.ask(request()).status == 200
    assert wire.answer().body == big.read_bytes()


def test_a_reader_that_leaves_is_news_not_a_fault(live, big):
    with live.connect() as wire:
        wire.send(request(target=f"/file?{big},0,5000000".encode()))
        wire.sock.recv(1)
    wait_until(lambda: re.search(r'GET /file.*" 200 \d+ .* broken off', live.log()), "the access log tells of it")


# Native threads


def test_the_body_in_a_native_thread(wire):
    data = os.urandom(1_000_000)
    wire.send(post(b"Content-Length: 1000000", target=b"/threads", body=data))
    assert wire.answer().body.decode() == hashlib.sha256(data).hexdigest()


def test_what_blocks_a_native_thread_blocks_nobody_else(live, wire, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    wire.send(request(target=f"/block?{tmp_path}/fifo".encode()))
    assert live.ask(request()).status == 200
    (tmp_path / "fifo").write_bytes(b"go on")
    assert wire.answer().body == b"go on"


# The access log


def logged(live: Live, wire: Wire, target: str, *, method: str = "GET") -> str:
    """What the access log tells of a request; the line is written before the next on the same connection is read."""
    mark = f"/{time.monotonic_ns()}"  # the first segment of a path is all that counts
    first, *rest = re.split(r"(?=[/?])", target[1:], maxsplit=1)
    wire.send(request(method=method.encode(), target=f"/{first}{mark}{''.join(rest)}".encode()) + request())
    wire.answer(head_only=method == "HEAD")
    wire.answer()
    (line,) = [line for line in live.log().splitlines() if mark in line]
    return line.replace(mark, "")


def test_the_log_tells_what_was_sent(live, wire, big):
    head = r"INFO glance.access 127\.0\.0\.1 "
    assert re.fullmatch(head + r'"GET /stream\?5" 200 5000 \d\.\d{3} -', logged(live, wire, "/stream?5"))
    assert re.fullmatch(head + r'"GET /file\S+" 200 4321 \d\.\d{3} -', logged(live, wire, f"/file?{big},7,4321"))
    assert re.fullmatch(head + r'"HEAD /stream\?5" 200 0 \d\.\d{3} -', logged(live, wire, "/stream?5", method="HEAD"))
    assert re.fullmatch(head + r'"GET /echo" 200 \d+ \d\.\d{3} req-echo', logged(live, wire, "/echo"))
    assert re.fullmatch(head + r'"POST /refuse" 404 2 \d\.\d{3} -', logged(live, wire, "/refuse", method="POST"))


def test_a_line_of_the_log_stays_one_line(live, wire):
    line = logged(live, wire, "/refuse/%0aINFO%20forged%1b%5b2J%c3%bc")
    assert r"/refuse/\nINFO forged\x1b[2J\xc3\xbc" in line


def test_a_refused_head_is_logged_with_its_request_id(live, wire):
    wire.send(b"garbage\r\n\r\n")
    answer = wire.answer()
    assert wire.is_closed()
    assert re.search(
        rf'"-" 400 {len(answer.body)} \d\.\d{{3}} {answer.headers["x-openstack-request-id"]}\n', live.log()
    )
