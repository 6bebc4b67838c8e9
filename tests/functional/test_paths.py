# SPDX-License-Identifier: Apache-2.0
"""Paths over raw connections, which no library normalises: each resource has one, and no other reaches it."""

import json
import socket

import pytest

from glance.client import V1Client
from tests.functional.daemons import Installation, answer_of

pytestmark = pytest.mark.functional


def ask(port: int, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    head = f"{method} {target} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(head.encode() + body)
        answer, _, rest = answer_of(sock).partition(b"\r\n\r\n")
    return int(answer.split()[1]), rest


@pytest.fixture
def image(running: Installation) -> tuple[str, int]:
    """The id and the number of an image that is shared with the tenant `t`."""
    with V1Client(f"http://127.0.0.1:{running.api_port}") as client:
        image_id = str(
            client.create({"disk_format": "raw", "container_format": "bare", "is_public": True}, b"data")["id"]
        )
        client.set_member(image_id, "t")
    number = json.loads(ask(running.api_port, "GET", "/images")[1])["images"][-1]["id"]
    return image_id, number


def check_untouched(running: Installation, image: tuple[str, int]) -> None:
    assert ask(running.api_port, "GET", f"/v1/images/{image[0]}") == (200, b"data")
    members = json.loads(ask(running.api_port, "GET", f"/v1/images/{image[0]}/members")[1])["members"]
    assert members == [{"member_id": "t", "can_share": False}]


@pytest.mark.parametrize("target", [
    "/v1/images/", "/v1/images/{id}/", "/v1/images/{id}//", "/v1/images/{id}%2F", "/v1/images/{id}%2f%2F", "/v1/images//{id}",
    "/v1%2Fimages/{id}", "/v1/images%2F{id}", "/v1/images/{id}/.", "/v1/images/x/../{id}", "/v1/images/{id}/%2e",
    "/v1/images/{id}/members/", "/v1/images/{id}/members/..", "/v1/images/{id}/members/%2e%2e", "/v1/images/{id}/members/.",
    "/v1/images/{id}/members//t", "/v1/images/{id}/members/t/", "/v1/images/{id}/members%2Ft", "/v1/images/{id}%2Fmembers/t",
    "/v1/images/{id}/members/%2e%2e%2f..", "/v1/./images/{id}", "/v1/../v1/images/{id}",
    "/images/", "/images/{number}/", "/images/{number}%2F", "/images//{number}", "/images%2f{number}", "/images/x/../{number}",
    "http://here/v1/images/{id}/", "http://here/v1/images%2f{id}",
])  # fmt: skip
def test_nothing_is_deleted_by_another_path(running: Installation, image: tuple[str, int], target: str) -> None:
    assert ask(running.api_port, "DELETE", target.format(id=image[0], number=image[1]))[0] == 404
    check_untouched(running, image)


@pytest.mark.parametrize("target", [
    "/images/", "/images/{number}/", "/images/{number}%2F", "/images//{number}", "/images%2f{number}",
    "/records/{id}/", "/records/{id}%2f", "/records//{id}", "/records%2f{id}", "/records/", "/records/{id}/member/?tenant=t",
])  # fmt: skip
def test_nothing_is_deleted_by_another_path_of_the_registry(
    running: Installation, image: tuple[str, int], target: str
) -> None:
    assert ask(running.registry_port, "DELETE", target.format(id=image[0], number=image[1]))[0] == 404
    check_untouched(running, image)


@pytest.mark.parametrize("target", [
    "/v1/images/{id}/", "/v1/images/{id}%2F", "/images/{number}/", "/v1/images/{id}/members/", "/v1/images/{id}/members/t/",
])  # fmt: skip
def test_nothing_is_changed_by_another_path(running: Installation, image: tuple[str, int], target: str) -> None:
    target = target.format(id=image[0], number=image[1])
    assert ask(running.api_port, "PUT", target, b'{"memberships": []}')[0] == 404
    check_untouched(running, image)


@pytest.mark.parametrize(
    "target", ["/images/", "/images/detail/", "/v1/images/", "/v1/images/detail/", "/v1/images/{id}/members/"]
)
def test_collections_may_end_in_a_slash(running: Installation, image: tuple[str, int], target: str) -> None:
    target = target.format(id=image[0])
    status, body = ask(running.api_port, "GET", target)
    assert (status, body) == ask(running.api_port, "GET", target.rstrip("/"))
    assert status == 200
    assert ask(running.api_port, "GET", f"{target}/")[0] == 404


def test_collections_of_the_registry_may_end_in_a_slash(running: Installation) -> None:
    for target in ("/images/", "/images/detail/"):
        assert ask(running.registry_port, "GET", target) == ask(running.registry_port, "GET", target.rstrip("/"))


@pytest.mark.parametrize("target", ["//v1/images", "/v1//images", "//images", "///images"])
def test_slashes_at_the_start_count_as_one(running: Installation, target: str) -> None:
    """A client joins "http://host:9292/" and "/images"."""
    assert ask(running.api_port, "GET", target) == ask(
        running.api_port, "GET", target.replace("//", "/").replace("//", "/")
    )
    assert ask(running.api_port, "GET", target)[0] == 200


@pytest.mark.parametrize("member", ["..", ""])
def test_glance_sends_no_such_member(running: Installation, image: tuple[str, int], member: str) -> None:
    for words in (["member-delete", image[0], member], ["member-add", image[0], member]):
        done = running.glance(*words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "an id or a name must not be empty, '.' or '..'" in done.stderr
    check_untouched(running, image)


@pytest.mark.parametrize("words", [
    ["show"], ["delete", "-f"], ["update", "name=x"], ["download"], ["upload"], ["image-members"], ["member-add", "t"], ["member-delete", "t"],
    ["members-replace", "t"],
], ids=" ".join)  # fmt: skip
def test_glance_sends_no_such_id(running: Installation, words: list[str]) -> None:
    done = running.glance(words[0], "..", *words[1:], stdin=b"abc")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "an id or a name must not be empty, '.' or '..'" in done.stderr
