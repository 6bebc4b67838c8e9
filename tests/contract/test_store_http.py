# SPDX-License-Identifier: Apache-2.0
"""The store of third parties' images, against a web server that is not always honest."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from glance.core import pace
from glance.core.errors import BlobMissing, Invalid, StoreDown
from glance.core.ports import Source
from glance.store.guard import Guard
from glance.store.http import HttpStore
from tests.contract.test_store import (  # noqa: F401 - what every store promises to readers is promised here, too
    test_a_location_is_a_url_of_the_stores_own_schemes,
    test_any_number_of_bytes,
    test_names_do_not_mix,
    test_parts,
    test_what_is_put_is_read,
)
from tests.functional.debian import program
from tests.servers.processes import free_port
from tests.servers.scripted import Reply, scripted
from tests.servers.web import DATA, Web, web_server


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


class Fed(HttpStore):
    """What is put here lies on the web server at once; the third party does that by ways of its own."""

    def __init__(self, web: Web) -> None:
        super().__init__(Guard(["127.0.0.1"]), timeout=1)
        self._web = web

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        self._web.files[name] = b"".join(iter(lambda: source.read(65_536), b""))
        return self._web.url(f"file?name={name}")

    def delete(self, location: str) -> None:
        del self._web.files[location.partition("=")[2]]


@pytest.fixture
def store(web: Web) -> HttpStore:
    return Fed(web)


def read(store: HttpStore, url: str, **span: int | None) -> bytes:
    blob = store.open(url, **span)
    try:
        data = b"".join(blob)
        assert blob.size in (None, len(data))
        assert blob.total in (None, len(DATA))
        return data
    finally:
        blob.close()


@pytest.mark.parametrize("path", ["ranged", "whole", "chunked"])
@pytest.mark.parametrize(("start", "length"), [
    (0, None), (0, 1), (0, len(DATA)), (1, 2), (len(DATA) - 1, 1), (300_000, 400_000), (500_000, None), (len(DATA) - 1, None),
])  # fmt: skip
def test_bytes_with_and_without_range(store, web, path, start, length):
    end = None if length is None else start + length
    assert read(store, web.url(path), start=start, length=length) == DATA[start:end]


def test_a_range_is_asked_for_and_passed_through(store, web):
    read(store, web.url("ranged"), start=10, length=5)
    assert web.requests[-1][2]["Range"] == "bytes=10-14"


def test_the_size_is_asked_by_head(store, web):
    assert store.examine(web.url("whole")) == len(DATA)
    assert [request[0] for request in web.requests] == ["HEAD"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 500, 501])
def test_size_is_asked_by_get_if_head_fails(store, web, status):
    assert store.examine(web.url(f"get_only?status={status}")) == len(DATA)
    assert [request[0] for request in web.requests] == ["HEAD", "GET"]
    assert web.requests[-1][2]["Range"] == "bytes=0-0"


@pytest.mark.parametrize(("path", "size"), [
    ("head_of_0", len(DATA)), ("head_of_0?then=whole", len(DATA)), ("head_of_0?then=chunked", None), ("head_of_0?then=empty", 0),
    ("get_only?then=whole", len(DATA)), ("get_only?then=changed_on_the_way", len(DATA)), ("get_only?then=empty", 0),
    ("chunked", None), ("empty", 0), ("changed_on_the_way", len(DATA)), ("drops_head", len(DATA)),
    ("to?url=/get_only", len(DATA)),
])  # fmt: skip
def test_size_that_get_announces(store, web, path, size):
    assert store.examine(web.url(path)) == size
    if size is not None:
        assert store.open(web.url(path)).total == size


@pytest.mark.parametrize("path", ["head_of_0?then=nothing", "get_only?then=broken", "get_only?then=gone"])
def test_a_location_whose_get_fails_is_refused(store, web, path):
    with pytest.raises(Invalid):
        store.examine(web.url(path))


def test_data_is_not_read_to_learn_its_size(store, web):
    assert store.examine(web.url("get_only?then=endless")) == 10**12
    assert web.sent < 100 * len(DATA)


def test_a_server_that_is_silent_is_asked_once(store, web):
    with pytest.raises(Invalid):
        store.examine(web.url("silent"))
    assert [request[0] for request in web.requests] == ["HEAD"]


def test_ranges_that_the_data_does_not_have(store, web):
    with pytest.raises(BlobMissing):
        store.open(web.url("empty"), start=1)
    assert read(store, web.url("ranged"), length=0) == b""


@pytest.mark.parametrize("path", ["nothing", "gone"])
def test_what_is_not_there(store, web, path):
    with pytest.raises(BlobMissing):
        store.open(web.url(path))


@pytest.mark.parametrize(
    "path", ["broken", "silent", "nonsense", "hops?n=6", "to?url=/to?url=/x&status=304", "ranged?shift=1"]
)
def test_a_server_that_does_not_do_its_work(store, web, path):
    with pytest.raises(StoreDown):
        store.open(web.url(path), start=1)


def test_nobody_there(store):
    with pytest.raises(StoreDown):
        store.open("http://127.0.0.1:1/")


@pytest.mark.parametrize("path", ["cut", "stalls"])
@pytest.mark.parametrize("start", [0, 700_000])
def test_bytes_that_break_off_are_no_end(store, web, path, start):
    began = time.monotonic()
    with pytest.raises(StoreDown):
        read(store, web.url(path), start=start)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["drips", "drips?head=1"])
@pytest.mark.parametrize("start", [0, 700_000])
def test_a_server_that_is_slow_on_purpose_is_given_up(store, web, path, start, monkeypatch):
    monkeypatch.setattr(pace, "WINDOW", 0.3)
    with pytest.raises(StoreDown):
        read(store, web.url(path), start=start)


def test_a_beginning_behind_the_end(store, web):
    with pytest.raises(BlobMissing):
        store.open(web.url("whole"), start=len(DATA) + 1)


def test_an_object_of_another_size_is_told(store, web):
    assert store.examine(web.url("grows")) != store.open(web.url("grows")).total


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(store, web, status):
    assert read(store, web.url(f"to?status={status}&url=/ranged"), start=7, length=3) == DATA[7:10]
    assert read(store, web.url("hops?n=5")) == DATA


@pytest.mark.parametrize(
    "place", ["/Bild für alle", "HTTP://LOCALHOST.:{}/Bild für alle", "/Bild%20f%C3%BCr alle?a=ü b"]
)
def test_redirects_to_urls_that_are_not_encoded(web, place):
    store = HttpStore(Guard(["localhost."]), timeout=1)
    start = f"Http://Localhost:{web.server_port}/to_raw?url={quote(place.format(web.server_port))}"
    assert read(store, start, start=3, length=4) == DATA[3:7]
    assert web.requests[-1][1].startswith("/Bild%20f%C3%BCr%20alle")
    assert web.requests[-1][2]["Host"] == f"localhost:{web.server_port}"


def test_urls_that_are_not_encoded(store, web):
    assert store.examine(web.url("Bild für alle")) == len(DATA)
    assert read(store, web.url("Bild für alle?x=a b")) == DATA


@pytest.mark.parametrize("place", ["http://127.0.0.2:{}/a b", "HTTP://127.0.0.2.:{}/", "http://127.0.0.2 :{}/"])
def test_a_redirect_that_is_not_encoded_is_judged(store, web, place):
    with web_server() as canary:
        with pytest.raises(Invalid):
            store.open(web.url(f"to_raw?url={quote(place.format(canary.server_port))}"))
        assert canary.requests == []


@pytest.fixture
def addresses(monkeypatch):
    """The addresses that the host many.example resolves to, to be filled by the test."""
    found: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        hosts = found if host == "many.example" else [host]
        return [entry for each in hosts for entry in real(each, port, *rest, **options)]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    return found


def test_further_addresses_are_tried(web, addresses):
    """Of a host with several addresses some may not answer: they refuse, or are of a family that is switched off."""
    addresses += ["::1", "127.0.0.2", "127.0.0.1", "127.0.0.3"]
    store = HttpStore(Guard(["many.example"]), timeout=1)
    url = f"http://many.example:{web.server_port}/ranged"
    assert store.examine(url) == len(DATA)
    assert read(store, url) == DATA


def test_an_address_that_is_silent_leaves_time_for_the_next(web, addresses):
    with socket.socket() as silent:  # its queue is full: further connections wait for ever
        silent.bind(("127.0.0.2", web.server_port))
        silent.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.2", web.server_port))
        addresses += ["127.0.0.2", "127.0.0.1"]
        store = HttpStore(Guard(["many.example"]), connect_timeout=0.4, timeout=1)
        assert store.examine(f"http://many.example:{web.server_port}/whole") == len(DATA)
        for sock in waiting:
            sock.close()


def test_one_denied_address_denies_all(web, addresses):
    addresses += ["127.0.0.1", "127.0.0.2"]
    with pytest.raises(Invalid):
        HttpStore(Guard(["127.0.0.1"])).examine(f"http://many.example:{web.server_port}/whole")
    assert web.requests == []


@pytest.mark.parametrize("way", ["to?url={}", "to?url=/to?url={}", "to?status=308&url={}"])
@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.2:{}/whole",
        "//127.0.0.2:{}/whole",
        "http://2130706434:{}/",
        "file:///etc/passwd",
        "http://[::1]:{}/",
    ],
)
def test_a_redirect_to_where_nobody_may_go_is_not_followed(store, web, way, place):
    with web_server() as canary:
        with pytest.raises(Invalid):
            store.open(web.url(way.format(place.format(canary.server_port))))
        assert canary.requests == []


def test_nothing_is_sent_on_that_was_not_for_the_next_server(store, web):
    read(store, web.url("to?url=/ranged"))
    assert {name.lower() for name in web.requests[-1][2]} == {
        "host",
        "accept",
        "accept-encoding",
        "user-agent",
        "connection",
    }


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:{}/", "http://localhost:{}/", "http://2130706433:{}/", "http://127.1:{}/", "http://[::ffff:127.0.0.1]:{}/",
    "http://0.0.0.0:{}/", "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://x@127.0.0.1:{}/",
])  # fmt: skip
def test_by_default_nothing_inside_is_reached_and_one_text_says_so(web, url):
    closed = HttpStore(Guard())
    for call in (closed.examine, closed.open):
        with pytest.raises(Invalid):
            call(url.format(web.server_port))
    assert web.requests == []


def test_an_open_port_and_a_closed_one_cannot_be_told_apart(store, web):
    texts = set()
    for url in (web.url("nothing"), web.url("broken"), web.url("nonsense"), web.url("silent"), "http://127.0.0.1:1/"):
        with pytest.raises(Invalid) as refused:
            store.examine(url)
        texts.add(str(refused.value))
    assert len(texts) == 1


def test_the_reason_of_a_failed_copy_does_not_tell_ports_apart(web, caplog):
    """A closed port, one that says nothing, one that takes no more connections, and one that does not speak HTTP."""
    store = HttpStore(Guard(["127.0.0.1"]), timeout=0.3, connect_timeout=0.3)
    texts = set()
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())  # further ones get no answer
        silent = f"http://127.0.0.1:{full.getsockname()[1]}/"
        closed = f"http://127.0.0.1:{free_port()}/"
        for url in (closed, closed.replace("http:", "https:"), silent, web.url("nonsense"), web.url("silent")):
            with pytest.raises(StoreDown) as failed:
                store.open(url)
            texts.add(str(failed.value))
    assert texts == {"the server of the image cannot be reached, or does not answer"}
    for told in ("ConnectionRefusedError: ", "TimeoutError: ", "BadStatusLine", closed.removesuffix("/")):
        assert told in caplog.text


def test_the_names_address_is_judged_and_used(store, web, monkeypatch):
    """A name that resolves to another address the second time gets no second time."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: object, **options: object) -> object:
        return real(next(answers) if host == "rebinding.example" else host, port, *rest, **options)

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    assert read(store, f"http://rebinding.example:{web.server_port}/whole") == DATA
    assert web.requests[-1][2]["Host"] == f"rebinding.example:{web.server_port}"


def test_a_server_with_a_certificate_of_its_own_is_not_believed(store, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        program("openssl", "openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Web() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with pytest.raises(StoreDown):
            store.open(f"https://127.0.0.1:{server.server_port}/whole")
        server.shutdown()
        thread.join()
        assert server.requests == []


def test_an_answer_with_many_headers(store):
    """As another Glance sends it for an image with many properties."""
    with scripted() as server:
        headers = {f"X-Image-Meta-Property-{number}": "x" for number in range(130)}
        server.answer = lambda asked: Reply(body=DATA, headers=headers)
        assert read(store, server.url) == DATA
        assert store.examine(server.url) == len(DATA)
