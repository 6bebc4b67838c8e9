# SPDX-License-Identifier: Apache-2.0
"""Our APIs under servers that are not ours: what they need of a server is PEP 3333 and no more."""

import contextlib
import http.client
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
import requests
from waitress.server import create_server

from glance.config import ApiConfig
from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from glance.registry.db.sql import SqlRegistry
from glance.server import build
from glance.store import StoreSet
from glance.store.filesystem import FilesystemStore

pytestmark = pytest.mark.functional

DATA = os.urandom(300_000)
META = {
    "X-Image-Meta-Type": "raw",
    "X-Image-Meta-Name": "Bücher 漢字".encode().decode("latin-1"),
    "X-Image-Meta-Is-Public": "True",  # wsgiref and waitress drop what is spelled with an underscore
    "Content-Type": "application/octet-stream",
}


class Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def under_waitress(app, threads: int = 2, **options: object) -> Iterator[int]:
    server = create_server(app, host="127.0.0.1", port=0, threads=threads, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        with contextlib.suppress(OSError):  # it has heard of it already, and has closed what would wake it
            server.trigger.pull_trigger(server.close)  # in its own thread, which ends by it
        thread.join()
        server.task_dispatcher.shutdown()


def under_wsgiref(app) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, handler_class=Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def under_wsgiref_and_its_validator(app) -> Iterator[int]:
    yield from under_wsgiref(validator(app))


@pytest.fixture(
    params=[under_waitress, under_wsgiref, under_wsgiref_and_its_validator], ids=lambda serve: serve.__name__[6:]
)
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    prepare(engine)
    stores = StoreSet("file", {"file": FilesystemStore(tmp_path / "images")})
    yield from request.param(build(ApiConfig(), registry=SqlRegistry(engine), stores=stores))
    engine.dispose()


@pytest.fixture
def ask(port: int, capfd: pytest.CaptureFixture[str]):
    """(status, headers, body) of one request."""

    def ask(
        method: str, path: str, body: object = None, headers: dict[str, str] | None = None, *, chunked: bool = False
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    yield ask
    assert "AssertionError" not in capfd.readouterr().err  # the validator's


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "images").rglob("*") if path.is_file())


def test_an_image_by_its_length(ask, tmp_path):
    status, headers, body = ask("POST", "/images", DATA, META)
    assert status == 200
    record = json.loads(body)["image"]
    assert (record["size"], record["status"], record["name"], record["is_public"]) == (
        len(DATA),
        "active",
        "Bücher 漢字",
        True,
    )
    assert headers["Location"].endswith("/images/1")
    assert (tmp_path / "images" / "1").read_bytes() == DATA
    status, headers, body = ask("GET", "/images/1")
    assert (status, body, headers["Content-Length"]) == (200, DATA, str(len(DATA)))
    assert headers["X-Image-Meta-Is_public"] == "True"
    assert headers["X-Image-Meta-Name"].encode("latin-1").decode() == "Bücher 漢字"
    assert headers["X-Openstack-Request-Id"].startswith("req-")


def test_lists_and_metadata(ask):
    ask("POST", "/images", DATA, META)
    assert json.loads(ask("GET", "/")[2]) == {
        "images": [{"id": 1, "name": "Bücher 漢字", "type": "raw", "size": len(DATA)}]
    }
    status, headers, body = ask("HEAD", "/images/1")
    assert (status, headers["Content-Length"], headers["X-Image-Meta-Size"], body) == (200, "0", str(len(DATA)), b"")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("1000-200999", 1000, 200_999), ("299999-", 299_999, 299_999), ("-7", 299_993, 299_999)],
)
def test_a_range(ask, asked, first, last):
    ask("POST", "/images", DATA, META)
    status, headers, body = ask("GET", "/images/1", headers={"Range": f"bytes={asked}"})
    assert (status, headers["Content-Range"], headers["Content-Length"]) == (
        206,
        f"bytes {first}-{last}/300000",
        str(last - first + 1),
    )
    assert body == DATA[first : last + 1]


def test_a_range_behind_the_end(ask):
    ask("POST", "/images", DATA, META)
    status, headers, _ = ask("GET", "/images/1", headers={"Range": "bytes=300000-"})
    assert (status, headers["Content-Range"]) == (416, "bytes */300000")


@pytest.mark.parametrize("port", [under_waitress], indirect=True)
def test_an_image_in_chunks(ask):
    status, _, body = ask(
        "POST", "/images", iter([DATA[:1], DATA[1:]]), META | {"Transfer-Encoding": "chunked"}, chunked=True
    )
    assert (status, json.loads(body)["image"]["size"]) == (200, len(DATA))
    assert ask("GET", "/images/1")[2] == DATA


@pytest.mark.parametrize("port", [under_wsgiref, under_wsgiref_and_its_validator], indirect=True)
def test_chunks_where_the_server_cannot_take_them_are_refused_and_leave_nothing(ask, tmp_path):
    status, _, body = ask("POST", "/images", iter([b""]), META | {"Transfer-Encoding": "chunked"}, chunked=True)
    assert status == 400
    assert b"Content-Length" in body
    assert files(tmp_path) == []
    assert json.loads(ask("GET", "/images/detail")[2])["images"][0]["status"] == "killed"


def test_a_reservation_and_its_bytes_later(ask):
    status, _, body = ask("POST", "/images", headers=META | {"Content-Length": "0"})
    assert (status, json.loads(body)["image"]["status"]) == (200, "queued")
    assert ask("GET", "/images/1")[0] == 404
    status, _, body = ask("PUT", "/images/1", DATA, {"Content-Type": "application/octet-stream"})
    assert (status, json.loads(body)["image"]["status"]) == (200, "active")
    assert ask("GET", "/images/1")[2] == DATA


def test_a_body_that_is_cut_is_no_image(ask, port, tmp_path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/images", DATA[:1000], META | {"Content-Length": "300000"})
    connection.sock.shutdown(1)
    try:
        status = connection.getresponse().status
    except (http.client.BadStatusLine, ConnectionError):
        status = None  # waitress does not even ask the application
    finally:
        connection.close()
    assert status in (400, None)
    assert files(tmp_path) == []
    assert all(image["status"] == "killed" for image in json.loads(ask("GET", "/images/detail")[2])["images"])


@pytest.mark.parametrize("path", ["/images/1/", "/images/1%2F", "/images//1"])
def test_another_path_does_not_reach_an_image(ask, path):
    ask("POST", "/images", DATA, META)
    assert ask("DELETE", path)[0] == 404
    assert ask("GET", "/images/1")[2] == DATA


@pytest.mark.parametrize("port", [under_waitress], indirect=True)
def test_an_encoded_slash_where_the_server_tells_it(ask):
    ask("POST", "/images", DATA, META)
    assert ask("DELETE", "/images%2f1")[0] == 404
    assert ask("GET", "/images/1")[2] == DATA


def test_delete(ask, tmp_path):
    ask("POST", "/images", DATA, META)
    assert ask("DELETE", "/images/1")[0] == 200
    assert files(tmp_path) == []
    assert ask("GET", "/images/1")[0] == 404


def test_v1(ask, tmp_path):
    meta = {name: value for name, value in META.items() if name != "X-Image-Meta-Type"}
    meta |= {"X-Image-Meta-Disk-Format": "raw", "X-Image-Meta-Container-Format": "bare"}
    status, headers, body = ask("POST", "/v1/images", DATA, meta)
    image = json.loads(body)["image"]
    assert (status, image["status"], image["name"], image["is_public"]) == (201, "active", "Bücher 漢字", True)
    path = f"/v1/images/{image['id']}"
    assert headers["Location"].endswith(path)
    assert [item["id"] for item in json.loads(ask("GET", "/v1/images")[2])["images"]] == [image["id"]]
    status, headers, body = ask("HEAD", path)
    assert (status, headers["Content-Length"], headers["X-Image-Meta-Size"], body) == (200, "0", str(len(DATA)), b"")
    assert headers["X-Image-Meta-Name"].encode("latin-1").decode() == "Bücher 漢字"
    status, headers, body = ask("GET", path)
    assert (status, headers["Content-Type"], body) == (200, "application/octet-stream", DATA)
    status, headers, body = ask("PUT", f"{path}/members/b")
    assert (status, headers.get("Content-Type"), body) == (204, None, b"")
    status, headers, _ = ask("PATCH", path)
    assert (status, headers["Allow"]) == (405, "GET, HEAD, PUT, DELETE")
    assert ask("GET", "/v9/images")[0] == 300
    assert ask("DELETE", path)[0] == 200
    assert files(tmp_path) == []


FORWARDED = {
    "X-Forwarded-For": "198.51.100.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "cloud.example.org",
    "X-Forwarded-Prefix": "/image",
}
ITS_OWN = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": ["x-forwarded-proto", "x-forwarded-host"]}


@pytest.mark.parametrize(("options", "server_options", "expected"), [
    ({}, {}, "http://127.0.0.1:{port}"),
    ({"trusted_proxies": "127.0.0.1"}, {}, "https://cloud.example.org/image"),
    ({"trusted_proxies": "10.0.0.1"}, {}, "http://127.0.0.1:{port}"),
    ({"public_endpoint": "https://images.example.org/v"}, {}, "https://images.example.org/v"),
    ({"trusted_proxies": "127.0.0.1"}, {"url_prefix": "/inner"}, "https://cloud.example.org/image/inner"),
    ({}, ITS_OWN, "https://cloud.example.org"),  # waitress itself believes the proxy, and we believe waitress
], ids=str)  # fmt: skip
def test_links_behind_a_proxy(tmp_path, options, server_options, expected):
    server_options = {"clear_untrusted_proxy_headers": False, **server_options}
    engine = connect(f"sqlite:///{tmp_path}/glance.sqlite")
    prepare(engine)
    stores = StoreSet("file", {"file": FilesystemStore(tmp_path / "images")})
    app = build(ApiConfig(**options), registry=SqlRegistry(engine), stores=stores)
    inner = server_options.get("url_prefix", "")
    for port in under_waitress(app, **server_options):
        expected = expected.format(port=port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", f"{inner}/v1?limit=1", headers=FORWARDED)
            response = connection.getresponse()
            response.read()
            assert (response.status, response.headers["Location"]) == (302, f"{expected}/v1/?limit=1")
            connection.request("GET", f"{inner}/versions", headers=FORWARDED)
            versions = json.loads(connection.getresponse().read())["versions"]
            assert {version["links"][0]["href"] for version in versions} == {f"{expected}/v1/"}
            connection.request("POST", f"{inner}/v1/images", headers=FORWARDED)
            response = connection.getresponse()
            image = json.loads(response.read())["image"]
            assert response.headers["Location"] == f"{expected}/v1/images/{image['id']}"
            connection.request("POST", f"{inner}/images", headers={**META, **FORWARDED, "Content-Length": "0"})
            response = connection.getresponse()
            image = json.loads(response.read())["image"]
            assert response.headers["Location"] == f"{expected}/images/{image['id']}"
    engine.dispose()


def test_many_threads_ask_one_registry(installation, tmp_path):
    """Each thread of the server uses the connections to the registry that others have kept."""
    installation.start("registry")
    stores = StoreSet("file", {"file": FilesystemStore(tmp_path / "images")})
    app = build(ApiConfig(registry_port=installation.registry_port), stores=stores)

    def use(number: int) -> list[int]:
        with requests.Session() as session:
            made = session.post(url, headers={"x-image-meta-name": str(number)}, timeout=30)
            path = f"{url}/{made.json()['image']['id']}"
            asked = [("HEAD", path)] * 5 + [("GET", url), ("DELETE", path)]
            return [made.status_code, *(session.request(*one, timeout=30).status_code for one in asked)]

    with contextlib.closing(under_waitress(app, threads=8)) as served, ThreadPoolExecutor(8) as pool:
        url = f"http://127.0.0.1:{next(served)}/v1/images"
        assert list(pool.map(use, range(24))) == [[201, *[200] * 7]] * 24
