# SPDX-License-Identifier: Apache-2.0
"""The Python client of v1: what it sends, and how it takes answers. tests/functional has the real server."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from glance.client import Client, Disconnected, NotGlance, V1Client, download
from glance.core.errors import BrokenUpload, Invalid, Mismatch, NotAuthenticated, NotFound, StoreDown
from tests.servers.scripted import Asked, Reply, Scripted, scripted

DATA = bytes(range(256)) * 2000
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
META = {"X-Image-Meta-Id": "7", "X-Image-Meta-Size": str(len(DATA)), "X-Image-Meta-Checksum": MD5}


def said(**answer: object) -> Reply:
    return Reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as made:
        yield made


@pytest.fixture
def client(server: Scripted) -> Iterator[V1Client]:
    with V1Client(server.url) as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.0)


# Records


def test_a_record_travels_in_headers(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: said(image={"id": "7"})
    properties = {"kernel_id": "3", "OS-Type": "linux", "none": None}
    fields = {"name": "Bücher 日本", "is_public": True, "min_disk": 2, "owner": None, "properties": properties}
    assert client.create(fields) == {"id": "7"}
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/images", b"")
    meta = {name: text for name, text in asked.headers.items() if name.startswith("x-image-meta-")}
    assert meta.pop("x-image-meta-name").encode("latin-1").decode() == "Bücher 日本"
    assert meta == {
        "x-image-meta-is-public": "True",
        "x-image-meta-min-disk": "2",
        "x-image-meta-owner": "",
        "x-image-meta-property-kernel-id": "3",
        "x-image-meta-property-os-type": "linux",
        "x-image-meta-property-none": "",
    }
    assert not {"content-type", "transfer-encoding"} & asked.headers.keys()


@pytest.mark.parametrize("key", ["", "a b", "a:b", "日本", "a\nb"])
def test_a_property_that_no_header_can_name(client: V1Client, server: Scripted, key: str) -> None:
    with pytest.raises(Invalid, match="a property cannot be called"):
        client.create({"properties": {key: "1"}})
    assert server.asked == []


@pytest.mark.parametrize("keys", [("a-b", "a_b"), ("A", "a"), ("kernel_id", "Kernel-ID")])
def test_properties_with_the_same_header(client: V1Client, server: Scripted, keys: tuple[str, str]) -> None:
    with pytest.raises(Invalid, match="are the same property"):
        client.create({"properties": dict.fromkeys(keys, "1")})
    assert server.asked == []


BAD_SEGMENTS = ["", ".", "..", "/", "a/b", "../..", "a/../b", "\ud800"]


@pytest.mark.parametrize("text", BAD_SEGMENTS)
def test_text_that_would_be_another_path_is_not_sent(client: V1Client, server: Scripted, text: str) -> None:
    calls = (
        lambda: client.show(text), lambda: client.delete(text), lambda: client.update(text, {}), lambda: client.download(text),
        lambda: client.members(text), lambda: client.memberships(text), lambda: client.set_member(text, "t"), lambda: client.set_member("7", text),
        lambda: client.replace_members(text, {}), lambda: client.remove_member(text, "t"), lambda: client.remove_member("7", text),
        lambda: client.find_id(text),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(Invalid, match=r"an id or a name must"):
            call()
    assert server.asked == []


def test_the_path_of_a_list_is_no_image(client: V1Client, server: Scripted) -> None:
    for call in (client.show, client.delete, client.download, client.members, client.find_id):
        with pytest.raises(NotFound, match="no image 'detail'"):
            call("detail")
    assert server.asked == []


def test_odd_text_is_one_segment(client: V1Client, server: Scripted) -> None:
    """The path that the server gets is the one that was meant, whatever the HTTP library makes of it."""
    server.answer = lambda asked: Reply(204, headers={"Content-Length": "0"})
    segments = {
        "%2e%2e": "%252e%252e", "...": "...", " ..": "%20..", "a?b#c": "a%3Fb%23c", "\\..": "%5C..", "é": "%C3%A9", "a\n": "a%0A", "~": "~",
    }  # fmt: skip
    for text in segments:
        client.remove_member("7", text)
    assert [asked.path for asked in server.asked] == [
        f"/v1/images/7/members/{segment}" for segment in segments.values()
    ]


def test_an_image_is_found_by_its_number(client: V1Client, server: Scripted) -> None:
    server.answer = lambda asked: Reply(headers={"X-Image-Meta-Id": "7", "X-Glance-Image-Id": "some-id"})
    assert (client.find_id(7), client.find_id("7")) == ("some-id", "some-id")
    assert {(asked.method, asked.path) for asked in server.asked} == {("HEAD", "/images/7")}
    server.answer = lambda asked: Reply(headers={"X-Image-Meta-Id": "7"})
    with pytest.raises(NotGlance, match="does not know images by number"):
        client.find_id(7)


def test_data_of_unknown_and_of_known_size(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: said(image={})
    client.create({}, iter([DATA]))
    client.create({}, io.BytesIO(DATA), size=1000)
    client.update("7", {}, iter([b"ab", b"", b"c"]))
    client.create({}, DATA)
    client.create({}, io.BytesIO(b""), size=0)
    client.create({}, b"")
    chunked, sized, iterated, whole, *empties = server.asked
    assert (chunked.body, chunked.headers["transfer-encoding"]) == (DATA, "chunked")
    assert "content-length" not in chunked.headers
    assert (sized.body, sized.headers["content-length"]) == (DATA[:1000], "1000")
    assert "transfer-encoding" not in sized.headers
    assert (iterated.method, iterated.body) == ("PUT", b"abc")
    assert (whole.body, whole.headers["content-length"]) == (DATA, str(len(DATA)))
    assert [(empty.body, empty.headers["transfer-encoding"]) for empty in empties] == [(b"", "chunked")] * 2
    assert {asked.headers["content-type"] for asked in server.asked} == {"application/octet-stream"}


def test_data_that_ends_before_its_size(client: V1Client) -> None:
    with pytest.raises(BrokenUpload, match="the data ended 3 bytes before its size of 10"):
        client.create({}, iter([b"x" * 7]), size=10)
    assert client.reached
    with pytest.raises(BrokenUpload, match="the data has 7 bytes, fewer than the announced 10"):
        client.create({}, b"x" * 7, size=10)


def test_data_that_cannot_be_read(client: V1Client) -> None:
    def broken() -> Iterator[bytes]:
        yield b"abc"
        raise OSError(5, "Input/output error")

    for size in (None, 10):
        with pytest.raises(OSError, match="Input/output error"):
            client.create({}, broken(), size=size)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.create({"name": "a\rb"}),
        lambda client: client.create({"properties": {"a": "b "}}),
        lambda client: client.create({"properties": {"a-b": "1", "a_b": "2"}}),
        lambda client: client.update("7", {}, copy_from="http://example.com/\udcff"),
        lambda client: client.page({"name": "\udcff"}),
        lambda client: client.create({}, "\udcff"),
    ],
)
def test_text_that_cannot_be_sent_unchanged_is_refused(client: V1Client, server: Scripted, call) -> None:
    with pytest.raises(Invalid):
        call(client)
    assert server.asked == []


def test_what_was_reached_is_told_of_the_last_request(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: said(images=[])
    client.page()
    assert client.reached
    with pytest.raises(Invalid):
        client.page({"name": "\udcff"})
    assert not client.reached


@pytest.mark.parametrize("purge", [True, False])
def test_an_update_says_what_becomes_of_other_properties(server: Scripted, client: V1Client, purge: bool) -> None:
    server.answer = lambda asked: said(image={})
    client.update("a b?", {"name": "x"}, purge=purge, copy_from="http://example.com/é")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("PUT", "/v1/images/a%20b%3F")
    assert asked.headers["x-glance-registry-purge-props"] == str(purge)
    assert asked.headers["x-glance-api-copy-from"].encode("latin-1").decode() == "http://example.com/é"


def test_an_image_is_shown_from_its_headers(server: Scripted, client: V1Client) -> None:
    headers = {**META, "X-Image-Meta-Is_public": "True", "x-image-meta-property-Arch": "amd64"}
    server.answer = lambda asked: Reply(headers=headers)
    assert client.show("7") == {
        "id": "7",
        "size": len(DATA),
        "checksum": MD5,
        "is_public": True,
        "properties": {"arch": "amd64"},
    }


@pytest.mark.parametrize(
    "headers", [{}, {"X-Image-Meta-Id": "7", "X-Image-Meta-Size": "much"}, {"X-Image-Meta-Id": "\xff"}]
)
def test_what_is_no_image(server: Scripted, client: V1Client, headers: dict[str, str]) -> None:
    server.answer = lambda asked: Reply(headers=headers)
    with pytest.raises(NotGlance):
        client.show("7")


def test_an_answer_with_many_headers(server: Scripted, client: V1Client) -> None:
    """Without raising the limit of http.client, which is one for the whole process."""
    properties = {f"key{number}": "x" * (number * 100) for number in range(1, 301)}
    headers = {**META, **{f"X-Image-Meta-Property-{key}": value for key, value in properties.items()}}
    server.answer = lambda asked: Reply(body=b"" if asked.method == "HEAD" else DATA, headers=headers)
    assert client.show("7")["properties"] == properties
    with client.download("7") as transfer:
        assert b"".join(transfer) == DATA
    assert client.show("7")["size"] == len(DATA)  # over the same connection
    with Client("127.0.0.1", server.server_port) as classic:
        fields, chunks = classic.get_image(7)
        assert (fields["properties"], b"".join(chunks)) == (properties, DATA)
    with requests.Session() as session, pytest.raises(requests.ConnectionError, match="got more than 100 headers"):
        session.head(server.url)


@pytest.mark.parametrize("headers", [
    {f"X-{number}": "x" for number in range(20_000)}, {"X-Image-Meta-Id": "7", "X-Image-Meta-Name": "x" * 70_000},
], ids=["too many", "too long"])  # fmt: skip
def test_an_answer_without_end_of_headers(server: Scripted, client: V1Client, headers: dict[str, str]) -> None:
    server.answer = lambda asked: Reply(headers=headers)
    with pytest.raises(Disconnected):
        client.show("7")


# Lists


def test_pages_are_asked_for_by_marker_up_to_an_empty_one(server: Scripted, client: V1Client) -> None:
    pages = [[{"id": "1"}, {"id": "2"}], [{"id": "3"}], []]
    server.answer = lambda asked: said(images=pages[len(server.asked) - 1])
    images = client.images({"limit": "2", "name": "a&b é"})
    assert next(images) == {"id": "1"}
    assert len(server.asked) == 1
    assert [image["id"] for image in images] == ["2", "3"]
    first, *others = [asked.path for asked in server.asked]
    assert first == "/v1/images/detail?limit=2&name=a%26b+%C3%A9"
    assert others == [f"{first}&marker=2", f"{first}&marker=3"]


def test_a_server_that_knows_no_marker(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: said(images=[{"id": "1"}])
    with pytest.raises(NotGlance, match="again and again"):
        list(client.images(detail=False))
    assert [asked.path for asked in server.asked] == ["/v1/images", "/v1/images?marker=1"]


@pytest.mark.parametrize("answer", [{"images": 3}, {"images": ["a"]}, {"list": []}])
def test_what_is_no_list(server: Scripted, client: V1Client, answer: dict[str, object]) -> None:
    server.answer = lambda asked: said(**answer)
    with pytest.raises(NotGlance):
        client.page()


def test_members(server: Scripted, client: V1Client) -> None:
    answers = {
        "/v1/images/7/members": said(members=[{"member_id": "t", "can_share": True}]),
        "/v1/shared-images/a%20b": said(shared_images=[]),
    }
    server.answer = lambda asked: (
        answers[asked.path] if asked.method == "GET" else Reply(204, headers={"Content-Length": "0"})
    )
    assert client.members("7") == [{"member_id": "t", "can_share": True}]
    assert client.memberships("a b") == []
    client.set_member("7", "t")
    client.set_member("7", "t", False)
    client.replace_members("7", {"t": None, "u": True})
    client.remove_member("7", "é")
    assert [(asked.method, asked.path, asked.body and json.loads(asked.body)) for asked in server.asked[2:]] == [
        ("PUT", "/v1/images/7/members/t", b""),
        ("PUT", "/v1/images/7/members/t", {"member": {"can_share": False}}),
        ("PUT", "/v1/images/7/members", {"memberships": [{"member_id": "t"}, {"member_id": "u", "can_share": True}]}),
        ("DELETE", "/v1/images/7/members/%C3%A9", b""),
    ]


# Server and credentials


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1.1", "/v2"])
def test_a_url_with_and_without_a_version(server: Scripted, suffix: str) -> None:
    server.answer = lambda asked: said(images=[])
    with V1Client(f"{server.url}/glance{suffix}") as client:
        client.page()
        assert client.url == f"{server.url}/glance"
        assert client.where == f"127.0.0.1:{server.server_port}"
    assert server.asked[0].path == "/glance/v1/images/detail"


@pytest.mark.parametrize(
    "url",
    ["", "localhost:9292", "ftp://localhost", "http://", "http:///v1", "http://[::1", "http://h/?a", "http://h/#a"],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(Invalid, match="the URL of a Glance server"):
        V1Client(url)


def test_credentials(server: Scripted) -> None:
    server.answer = lambda asked: said(images=[])
    for credentials in ({"token": "abc"}, {"user": ("Jürgen", "a:ß")}, {}):
        with V1Client(server.url, **credentials) as client:
            client.page()
    token, basic, none = (asked.headers for asked in server.asked)
    assert (token["x-auth-token"], "authorization" in token) == ("abc", False)
    assert base64.b64decode(basic["authorization"].removeprefix("Basic ")).decode() == "Jürgen:a:ß"
    assert not {"authorization", "x-auth-token"} & none.keys()


@pytest.mark.parametrize(
    "credentials",
    [
        {"token": ""},
        {"token": "a\nb"},
        {"token": " a"},
        {"token": "é"},
        {"user": ("a:b", "c")},
        {"user": ("a", "\udcff")},
    ],
)
def test_credentials_that_cannot_be_sent(credentials: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        V1Client("http://127.0.0.1:1", **credentials)


def test_refusals(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: Reply(401, b"who?", {"X-Glance-Reason": "not-authenticated"})
    with pytest.raises(NotAuthenticated, match=r"^who\?$"):
        client.page()
    server.answer = lambda asked: Reply(302, b"", {"Location": "http://169.254.169.254/"})
    with pytest.raises(Exception, match="302"):
        client.page()
    assert len(server.asked) == 2


# Downloads


def ranged(asked: Asked, cut: int | None = None) -> Reply:
    """A server that knows ranges."""
    if asked.method == "HEAD":
        return Reply(headers=META)
    start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
    headers = {**META, "Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return Reply(206 if start else 200, DATA[start:], headers, cut)


def plain(asked: Asked, cut: int | None = None) -> Reply:
    """A server that does not, as v1 is by contract."""
    return Reply(body=b"" if asked.method == "HEAD" else DATA, headers=META, cut=cut)


def gets(server: Scripted) -> list[str]:
    return [asked.headers.get("range", "") for asked in server.asked if asked.method == "GET"]


@pytest.mark.parametrize("kind", [ranged, plain])
def test_a_download(server: Scripted, client: V1Client, kind) -> None:
    server.answer = kind
    with client.download("7") as transfer:
        assert (transfer.size, transfer.position, transfer.checksum) == (len(DATA), 0, MD5)
        assert b"".join(transfer) == DATA
        assert transfer.position == len(DATA)
    assert gets(server) == [""]


@pytest.mark.parametrize("kind", [ranged, plain])
def test_a_download_goes_on_where_it_broke(server: Scripted, client: V1Client, kind) -> None:
    server.answer = lambda asked: kind(asked, 262_144 if len(gets(server)) == 1 else None)
    assert b"".join(client.download("7", retries=1)) == DATA
    assert gets(server) == ["", "bytes=262144-"]


@pytest.mark.parametrize("kind", [ranged, plain])
def test_a_download_goes_on_behind_what_there_is(server: Scripted, client: V1Client, kind) -> None:
    server.answer = kind
    assert b"".join(client.download("7", have=[DATA[:5], DATA[5:70_000]])) == DATA[70_000:]
    assert gets(server) == ["bytes=70000-"]


def test_all_there_already(server: Scripted, client: V1Client) -> None:
    server.answer = ranged
    assert b"".join(client.download("7", have=[DATA])) == b""
    assert gets(server) == []
    with pytest.raises(Mismatch):
        b"".join(client.download("7", have=[DATA[:-1] + b"x"]))
    with pytest.raises(Mismatch, match="there are"):
        client.download("7", have=[DATA, b"x"])


def test_an_end_of_patience(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: plain(asked, 0)
    with client.download("7", retries=3) as transfer, pytest.raises(Disconnected):
        b"".join(transfer)
    assert len(gets(server)) == 4


def test_progress_gives_new_patience(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: ranged(asked, 131_072)
    assert b"".join(client.download("7", retries=1)) == DATA
    assert len(gets(server)) == 4


def test_a_store_that_comes_back(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: {
        1: ranged(asked, 10), 2: Reply(503, b"away", {"X-Glance-Reason": "store-down"}), 3: ranged(asked),
    }.get(len(gets(server)), ranged(asked))  # fmt: skip
    assert b"".join(client.download("7", retries=2)) == DATA
    with pytest.raises(StoreDown):
        server.asked.clear()
        b"".join(client.download("7", retries=1))


def test_a_proxy_that_lost_its_server_for_a_moment(server: Scripted, client: V1Client) -> None:
    page = {"Content-Type": "text/html", "Content-Length": "6"}
    server.answer = lambda asked: {1: ranged(asked, 10), 2: Reply(502, b"<html>", page)}.get(
        len(gets(server)), ranged(asked)
    )
    assert b"".join(client.download("7", retries=2)) == DATA


@pytest.mark.parametrize(("change", "text"), [
    ({"X-Image-Meta-Checksum": "0" * 32}, "the MD5 of the bytes is"), ({"X-Image-Meta-Size": "9"}, "more data came than the 9 bytes of the image"),
    ({"X-Image-Meta-Size": "600000"}, "512000 bytes came, but the image has 600000"),
])  # fmt: skip
def test_a_corrupt_download(server: Scripted, client: V1Client, change: dict[str, str], text: str) -> None:
    server.answer = lambda asked: Reply(body=b"" if asked.method == "HEAD" else DATA, headers=META | change)
    with pytest.raises(Mismatch, match=text):
        b"".join(client.download("7"))


@pytest.mark.parametrize("kind", [ranged, plain])
@pytest.mark.parametrize("have", [0, 1000])
def test_a_download_ends_at_the_first_byte_beyond_its_size(
    server: Scripted, client: V1Client, kind, have: int
) -> None:
    """A server can send without end."""
    size = 100_000
    server.answer = lambda asked: replace(kind(asked), headers=kind(asked).headers | {"X-Image-Meta-Size": str(size)})
    received = have
    transfer = client.download("7", have=[DATA[:have]] if have else [])
    with pytest.raises(Mismatch, match="more data came"):
        for piece in transfer:
            received += len(piece)
    assert received <= size
    assert transfer._response is None


@pytest.mark.parametrize("checksum", [None, "", "f" * 31, "z" * 32])
def test_a_checksum_that_is_none(server: Scripted, client: V1Client, checksum: str | None) -> None:
    headers = {**META, "X-Image-Meta-Checksum": checksum} if checksum is not None else {"X-Image-Meta-Id": "7"}
    server.answer = lambda asked: Reply(body=b"" if asked.method == "HEAD" else DATA, headers=headers)
    transfer = client.download("7")
    assert transfer.checksum is None
    assert b"".join(transfer) == DATA


def test_another_range_than_asked_for(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: Reply(206, b"x", {**META, "Content-Range": "bytes 0-0/512000"})
    with pytest.raises(NotGlance, match="another range"):
        client.download("7", have=[b"abc"])


def test_an_image_without_bytes(server: Scripted, client: V1Client) -> None:
    server.answer = lambda asked: (
        Reply(headers=META) if asked.method == "HEAD" else Reply(404, b"404 Not Found\n\nnot active")
    )
    with pytest.raises(NotFound, match="not active"):
        client.download("7")
