# SPDX-License-Identifier: Apache-2.0
"""The Python client against servers that are a few lines each: what it sends, and how it takes bad answers."""

import io
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from glance import client as client_module
from glance.client import Client, Disconnected, NoServer, NotGlance, V1Client
from glance.core.errors import (
    Duplicate,
    GlanceError,
    Invalid,
    Mismatch,
    NotAuthenticated,
    NotFound,
    StoreFull,
    TooLarge,
)

Serve = Callable[[socket.socket], None]

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


def answer(body: bytes) -> bytes:
    return JSON % (len(body), body)


def refusal(status: str, text: str, *headers: str, content_type: str = "text/plain") -> bytes:
    body = text.encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class Server:
    """Answers one connection by calling `serve` with its socket."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.port = self.listener.getsockname()[1]
        self.request = b""
        self.serve: Serve = lambda sock: None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(10)
            self.serve(sock)

    def answers(self, reply: bytes, until: bytes = b"\r\n\r\n") -> None:
        """Reply when the request has come up to these bytes."""

        def serve(sock: socket.socket) -> None:
            while until not in self.request:
                part = sock.recv(65_536)
                assert part
                self.request += part
            sock.sendall(reply)

        self.serve = serve
        self.thread.start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    if made.thread.is_alive():
        made.thread.join(10)
    made.listener.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client("127.0.0.1", server.port) as made:
        yield made


def test_lists(server: Server, client: Client) -> None:
    server.answers(answer(b'{"images": [{"id": 1}]}'))
    assert client.get_images() == [{"id": 1}]
    assert server.request.startswith(b"GET /images HTTP/1.1\r\n")
    assert b"*/*" not in server.request


def test_data_of_unknown_size_is_sent_in_chunks(server: Server, client: Client) -> None:
    server.answers(answer(b'{"image": {"id": 7}}'), until=b"\r\n0\r\n\r\n")
    data = b"z" * client_module.CHUNK, b"z" * 10
    fields = {"name": "Bücher 日本", "type": "raw", "is_public": True, "properties": {"kernel_id": "3"}}
    assert client.add_image(fields, iter(data)) == {"id": 7}
    head, _, body = server.request.partition(b"\r\n\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])}
    assert headers[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in headers
    assert headers[b"content-type"] == b"application/octet-stream"
    assert headers[b"x-image-meta-name"] == "Bücher 日本".encode()
    assert headers[b"x-image-meta-is-public"] == b"True"
    assert headers[b"x-image-meta-property-kernel-id"] == b"3"
    assert not any(b"_" in name for name in headers)  # nginx would drop it
    assert body.startswith(b"10000\r\nzzz")


@pytest.mark.parametrize(("data", "sent"), [(b"abc", b"Content-Length: 3\r\n"), ("日本", b"Content-Length: 6\r\n")])
def test_bytes_and_text_are_sent_with_their_length(
    server: Server, client: Client, data: bytes | str, sent: bytes
) -> None:
    server.answers(answer(b'{"image": {}}'), until=data if isinstance(data, bytes) else data.encode())
    client.add_image({"type": "raw"}, data)
    assert sent in server.request


def test_an_answer_in_the_middle_of_an_upload_is_heard(server: Server, client: Client) -> None:
    """The server refuses at once and closes; whether by an orderly end or by a reset, its text arrives."""
    server.answers(refusal("413 Request Entity Too Large", "disk full", "X-Glance-Reason: store-full"))
    with pytest.raises(StoreFull, match=r"^disk full$"):
        client.add_image({"type": "raw"}, io.BytesIO(b"x" * 50_000_000))


def test_errors_come_back_as_themselves(server: Server, client: Client) -> None:
    server.answers(refusal("404 Not Found", "404 Not Found\n\nno image\n'7'\n"))
    with pytest.raises(NotFound, match=r"^no image '7'$"):
        client.get_image(7)
    assert client._connection.reached


HTML = "<html><head><title>413</title></head><body><hr><center>nginx/1.22.1</center></body></html>"


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (
            refusal("413 Request Entity Too Large", HTML, "Server: nginx/1.22.1", content_type="text/html"),
            TooLarge,
            "413 Request Entity Too Large (from nginx, not Glance)",
        ),
        (
            refusal("404 Not Found", HTML, "Server: Apache/2.4.57 (Debian)", content_type="text/html"),
            NotGlance,
            "404 Not Found (from Apache, not Glance)",
        ),
        (refusal("404 Not Found", f"\n{HTML}"), NotGlance, "404 Not Found (not from Glance)"),
        (
            refusal("503 Service Unavailable", "upstream connect\x1b[31m error", "Server: envoy"),
            Disconnected,
            "503 Service Unavailable (from envoy, not Glance): upstream connect [31m error",
        ),
        (refusal("502 Bad Gateway", "502 Bad Gateway"), Disconnected, "502 Bad Gateway (not from Glance)"),
        (refusal("504 ", ""), Disconnected, "504 Gateway Timeout (not from Glance)"),
        (refusal("401 Unauthorized", "", "Server: a\x1b[2Jb"), NotAuthenticated, "401 Unauthorized (from a [2Jb, not Glance)"),
        (refusal("400 Bad Request", "x" * 5000), NotGlance, f"400 Bad Request (not from Glance): {'x' * 200}"),
        (refusal("599 ", ""), NotGlance, "599 (not from Glance)"),
    ],
)  # fmt: skip
def test_answers_of_other_servers_are_named_as_such(
    server: Server, client: Client, reply: bytes, error: type[Exception], text: str
) -> None:
    server.answers(reply)
    with pytest.raises(error) as caught:
        client.get_image(7)
    assert str(caught.value) == text
    assert not client._connection.reached


@pytest.mark.parametrize(
    ("headers", "error"),
    [((), NotFound), (("Server: nginx",), NotGlance), (("Server: nginx", "X-Openstack-Request-Id: req-1"), NotFound)],
)
def test_an_answer_without_a_body(
    server: Server, client: Client, headers: tuple[str, ...], error: type[Exception]
) -> None:
    server.answers(refusal("404 Not Found", "", *headers))
    with pytest.raises(error, match="404 Not Found"):
        client.get_image_meta(7)


@pytest.mark.parametrize(
    ("status", "size", "reached"),
    [("413 Too Large", None, True), ("413 Too Large", 5, False), ("400 Bad", None, False), ("502 Bad", 5, True)],
)
def test_a_proxy_may_have_passed_on_what_it_refuses_late(
    server: Server, status: str, size: int | None, reached: bool
) -> None:
    server.answers(refusal(status, HTML), until=b"12345")
    with V1Client(f"http://127.0.0.1:{server.port}") as client:
        with pytest.raises(GlanceError, match="not from Glance"):
            client.create({}, iter([b"12345"]), size=size)
        assert client.reached is reached


def test_what_is_refused_before_it_is_sent_reached_nothing(server: Server, client: Client) -> None:
    server.answers(answer(b'{"images": []}'))
    client.get_images()
    assert client._connection.reached
    with Client("127.0.0.1", 1) as other:
        for name in ("x", "a\nb"):
            with pytest.raises((NoServer, Invalid)):
                other.add_image({"name": name}, b"data")
            assert not other._connection.reached


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (
            refusal("409 Conflict", "409 Conflict\n\ntaken\x1b[31m\n", "X-Glance-Reason: duplicate"),
            Duplicate,
            r"^taken \[31m$",
        ),
        (refusal("400 Bad Request", "400 Bad Request\n\nbad type"), Invalid, r"^bad type$"),
        (refusal("418 I'm a teapot", ""), NotGlance, "418 I'm a teapot"),
        (refusal("302 Found", "", "Location: http://169.254.169.254/"), NotGlance, "302"),
        (answer(b"hello"), NotGlance, "not as a Glance API"),
        (answer(b'{"version": 1}'), NotGlance, "not as a Glance API"),
        (answer(b'{"images": 3}'), NotGlance, "a list that is none"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Disconnected, "failed"),
        (b"", Disconnected, "broke the connection off"),
        (b"SSH-2.0-OpenSSH\r\n", Disconnected, "broke the connection off"),
    ],
)
def test_bad_answers(server: Server, client: Client, reply: bytes, error: type[Exception], text: str) -> None:
    server.answers(reply)
    with pytest.raises(error, match=text):
        client.get_images()


def test_an_image_that_ends_too_early(server: Server, client: Client) -> None:
    server.answers(b"HTTP/1.1 200 OK\r\nX-Image-Meta-Id: 7\r\nContent-Length: 100\r\n\r\nabc")
    meta, chunks = client.get_image(7)
    assert meta == {"id": "7", "properties": {}}
    with pytest.raises(Disconnected, match="in the middle"):
        b"".join(chunks)


def test_an_image_that_ends_too_early_without_a_length(server: Server, client: Client) -> None:
    server.answers(b"HTTP/1.1 200 OK\r\nX-Image-Meta-Size: 100\r\nConnection: close\r\n\r\nabc")
    with pytest.raises(Disconnected, match="sent 3 bytes of an image that has 100"):
        b"".join(client.get_image(7)[1])


def test_an_image_that_goes_on_behind_its_size(server: Server, client: Client) -> None:
    server.answers(b"HTTP/1.1 200 OK\r\nX-Image-Meta-Size: 2\r\nConnection: close\r\n\r\nabc")
    with pytest.raises(Mismatch, match="sent more than the 2 bytes"):
        next(client.get_image(7)[1])


def test_a_page_of_another_server_is_no_image(server: Server, client: Client) -> None:
    server.answers(answer(b"<html>log in</html>"))
    with pytest.raises(NotGlance, match="not as a Glance API"):
        client.get_image(7)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "one\ntwo"}, "name must not contain line ends or other control characters, as 'one\\ntwo' does"),
        ({"name": "gr\udcfc\udcdfe"}, r"name must be valid UTF-8, which 'gr\udcfc\udcdfe' is not"),
        ({"name": " x"}, "name must not begin or end with a space, as ' x' does: HTTP would drop it"),
        ({"properties": {"a": "b\tc"}}, "property a must not contain line ends or other control characters, as 'b\\tc' does"),
        ({"properties": {"ä": "b"}}, "a property cannot be called 'ä': its name is part of a header's name"),
        ({"properties": {"A-b": "1", "a_B": "2"}}, "'A-b' and 'a_B' are the same property"),
    ],
)  # fmt: skip
def test_text_that_cannot_be_sent_unchanged_is_refused(fields: dict[str, object], text: str) -> None:
    with Client("127.0.0.1", 1) as client, pytest.raises(Invalid) as caught:
        client.update_image(7, fields)
    assert str(caught.value) == text


def test_a_field_that_is_none_is_not_sent(server: Server, client: Client) -> None:
    server.answers(answer(b'{"image": {}}'))
    client.add_image({"name": None, "type": "raw"})
    assert b"name" not in server.request.lower()


def test_an_image_is_never_decoded(server: Server, client: Client) -> None:
    server.answers(b"HTTP/1.1 200 OK\r\nX-Image-Meta-Id: 7\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08")
    assert b"".join(client.get_image(7)[1]) == b"\x1f\x8b\x08"
    assert b"Accept-Encoding: identity\r\n" in server.request


def test_a_file_that_fails_is_not_the_servers_fault(server: Server, client: Client) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    def serve(sock: socket.socket) -> None:
        while part := sock.recv(65_536):
            server.request += part

    server.serve = serve
    server.thread.start()
    with pytest.raises(OSError, match="Input/output error"):
        client.add_image({"type": "raw"}, Broken())
    server.thread.join(10)
    assert not server.request.endswith(b"0\r\n\r\n")  # an end that would pass for the image's


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client("127.0.0.1", port) as client, pytest.raises(NoServer, match=f"no server at 127.0.0.1:{port}"):
        client.delete_image(1)


@pytest.mark.parametrize("host", ["", "exa mple", "nowhere.invalid", "-"])
def test_odd_hosts(host: str) -> None:
    with Client(host, 9292) as client, pytest.raises((Invalid, NoServer)):
        client.get_images()


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_with_and_without_brackets(host: str) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
    with Client(host, port) as client, pytest.raises(NoServer, match=rf"no server at \[::1\]:{port}"):
        client.get_images()


@pytest.mark.parametrize("host", ["http://127.0.0.1", "127.0.0.1/v1"])
def test_a_url_is_no_host(host: str) -> None:
    with pytest.raises(Invalid, match="the host of a server is a name or an address"):
        Client(host, 9292)


@pytest.mark.parametrize("image_id", ["", ".", "..", "7/..", "\ud800"])
def test_text_that_would_be_another_path_is_not_sent(image_id: str) -> None:
    with Client("127.0.0.1", 1) as client:  # where nobody listens
        for call in (
            client.get_image,
            client.get_image_meta,
            client.delete_image,
            lambda text: client.update_image(text, {}),
        ):
            with pytest.raises(Invalid, match="an id or a name must"):
                call(image_id)
        with pytest.raises(NotFound):
            client.get_image("detail")  # which would be the list


@pytest.mark.parametrize(
    ("properties", "text"), [({"a b": "1"}, "cannot be called"), ({"a-b": "1", "a_b": "2"}, "are the same property")]
)
def test_properties_that_would_be_lost(properties: dict[str, str], text: str) -> None:
    with Client("127.0.0.1", 1) as client, pytest.raises(Invalid, match=text):
        client.add_image({"type": "raw", "properties": properties})
