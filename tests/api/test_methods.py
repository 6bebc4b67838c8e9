# SPDX-License-Identifier: Apache-2.0
"""What holds for every resource of all APIs: HEAD, OPTIONS, and media types in any spelling."""

from collections.abc import Callable

import pytest
from webob import Request, Response

from glance.config import RegistryConfig
from glance.core.context import Context
from glance.core.errors import NotAuthenticated
from glance.core.image import Image, Status
from glance.identity.guard import guarded
from glance.registry.classic import Images
from glance.registry.handlers import Records
from glance.registry.server import build
from glance.wire.identity import KEY_HEADER
from tests.api.conftest import Api
from tests.fakes.registry import MemoryRegistry

BYTES = b"0123456789"
OPERATOR = Context(is_admin=True)
KEY = "a key that both daemons share"
IMAGE_ID = "71c675ab-d94f-49cd-a114-e12490b328d9"
JSON = {"Accept": "Application/JSON;charset=utf-8"}
OCTETS = [
    "Application/Octet-Stream",
    "application/octet-stream;foo=bar",
    'application/octet-stream ; x="a,b"; charset=UTF-8',
]


@pytest.fixture
def registry() -> MemoryRegistry:
    found = MemoryRegistry()
    found.add(OPERATOR, Image(id=IMAGE_ID, status=Status.ACTIVE, locations=("file:///1",)))
    return found


@pytest.fixture
def ask_registry(registry: MemoryRegistry) -> Callable[..., Response]:
    app = build(RegistryConfig(registry_key=KEY), registry=registry)

    def ask(method: str, path: str, headers: dict[str, str] | None = None, **more: object) -> Response:
        headers = {KEY_HEADER: KEY, "X-Glance-Admin": "True"} if headers is None else headers
        return Request.blank(path, method=method, headers=headers, **more).get_response(app)

    return ask


def plain(response: Response) -> tuple[str, list[tuple[str, str]]]:
    """Status and headers, without what differs from request to request."""
    return response.status, [item for item in response.headerlist if item[0].lower() != "x-openstack-request-id"]


def path_of(template: str) -> str:
    return template.format(number=1, image_id=IMAGE_ID)


# HEAD


@pytest.mark.parametrize(("path", "headers"), [
    ("/", {}), ("/", JSON), ("/images", {}), ("/images/", {}), ("/images/detail", {}), ("/images/99", {}), ("/images/99", {"Accept": "text/html"}), ("/nothing", {}),
    ("/versions", {}), ("/v9/images", {}), ("/v1", {}), ("/v1/", {}), ("/v1/images", {}), ("/v1/images?limit=x", {}), ("/v1/images/detail", {}), (f"/v1/images/{IMAGE_ID}/members", {}),
    ("/v1/shared-images/tenant", {}), ("/images", {"Accept": "application/vnd.openstack.images-v1"}), ("/healthcheck", {}), ("/healthcheck/ready", {}),
])  # fmt: skip
def test_head_is_get_without_its_body(api: Api, path: str, headers: dict[str, str]) -> None:
    image = {"x-image-meta-id": IMAGE_ID, "x-image-meta-is_public": "1", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}  # fmt: skip
    assert api("POST", "/v1/images", image, BYTES).status_int == 201
    get, head = api("GET", path, headers), api("HEAD", path, headers)
    assert plain(head) == plain(get)
    assert (head.body, int(head.headers["Content-Length"])) == (b"", len(get.body))


ROUTES = [*Images(MemoryRegistry()).routes(), *Records(MemoryRegistry()).routes()]


@pytest.mark.parametrize("template", [path for method, path, _ in ROUTES if method == "GET"] + ["/healthcheck", "/healthcheck/ready", "/nothing", "/images/99"])  # fmt: skip
def test_head_is_get_without_its_body_in_the_registry(ask_registry, template: str) -> None:
    path = path_of(template) + ("?tenant=b" if template == "/memberships" else "")
    get, head = ask_registry("GET", path), ask_registry("HEAD", path)
    assert plain(head) == plain(get)
    assert (head.body, int(head.headers["Content-Length"])) == (b"", len(get.body))
    assert get.body
    assert (get.status_int == 404) == (template in ("/nothing", "/images/99"))


# Caches


@pytest.mark.parametrize(("method", "path", "caching"), [
    ("GET", f"/v1/images/{IMAGE_ID}", "private"), ("GET", "/images/1", "private"), ("HEAD", f"/v1/images/{IMAGE_ID}", "no-store"), ("HEAD", "/images/1", "no-store"),
    ("GET", "/v1/images", "no-store"), ("GET", "/v1/images/detail", "no-store"), ("GET", "/images", "no-store"), ("GET", f"/v1/images/{IMAGE_ID}/members", "no-store"),
    ("GET", "/v1/images/nothing", "no-store"), ("PATCH", "/v1/images", "no-store"), ("PUT", f"/v1/images/{IMAGE_ID}", "no-store"), ("GET", "/", "no-store"), ("GET", "/healthcheck", "no-store"),
])  # fmt: skip
def test_caches_keep_no_metadata_and_share_no_data(api: Api, method: str, path: str, caching: str) -> None:
    image = {"x-image-meta-id": IMAGE_ID, "x-image-meta-is_public": "1", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}  # fmt: skip
    assert api("POST", "/v1/images", image, BYTES).headers.getall("Cache-Control") == ["no-store"]
    assert api(method, path).headers.getall("Cache-Control") == [caching]


def test_a_part_of_an_image_is_not_shared_by_caches(api: Api) -> None:
    assert api("POST", "/images", {"x-image-meta-name": "a", "x-image-meta-type": "raw", "x-image-meta-is_public": "True"}, BYTES).status_int == 200  # fmt: skip
    part = api("GET", "/images/1", {"Range": "bytes=1-2"})
    assert (part.status_int, part.headers.getall("Cache-Control")) == (206, ["private"])


def test_answers_of_the_registry_and_of_filters_are_not_kept(ask_registry) -> None:
    def refuse(request: Request) -> Context:
        raise NotAuthenticated("who?")

    filtered = Request.blank("/images").get_response(
        guarded(build(RegistryConfig(), registry=MemoryRegistry()), refuse)
    )
    for response in (ask_registry("GET", "/records"), ask_registry("GET", "/records", {}), filtered):
        assert response.headers.getall("Cache-Control") == ["no-store"]


# OPTIONS


@pytest.mark.parametrize(("path", "allowed"), [
    ("/", "GET, HEAD"), ("/images", "GET, HEAD, POST"), ("/images/", "GET, HEAD, POST"), ("/images/detail", "GET, HEAD"), ("/images/1", "GET, HEAD, PUT, DELETE"),
    ("/images/99", "GET, HEAD, PUT, DELETE"), ("/versions", "GET, HEAD"), ("/v1", "GET, HEAD"), ("/v1/", "GET, HEAD"), ("/v1.1/images", "GET, HEAD, POST"),
    (f"/v1/images/{IMAGE_ID}", "GET, HEAD, PUT, DELETE"), (f"/v1/images/{IMAGE_ID}/members", "GET, HEAD, PUT"), (f"/v1/images/{IMAGE_ID}/members/b", "PUT, DELETE"),
    ("/v1/shared-images/b", "GET, HEAD"), ("/healthcheck", "GET, HEAD"), ("/healthcheck/ready", "GET, HEAD"),
])  # fmt: skip
@pytest.mark.parametrize("headers", [{}, JSON])
def test_options(api: Api, path: str, allowed: str, headers: dict[str, str]) -> None:
    response = api("OPTIONS", path, headers)
    assert (response.status_int, response.headers["Allow"], response.body) == (204, allowed, b"")


def test_options_of_the_server(api: Api, ask_registry) -> None:
    for response, allowed in (
        (options_of_the_server(api.app), "GET, HEAD, POST, PUT, DELETE"),
        (options_of_the_server(build(RegistryConfig(), registry=MemoryRegistry())), "GET, HEAD, POST, PUT, PATCH, DELETE"),
    ):  # fmt: skip
        assert (response.status_int, response.headers["Allow"], response.body) == (204, allowed, b"")


def options_of_the_server(app) -> Response:
    request = Request.blank("/", method="OPTIONS")
    request.environ["PATH_INFO"] = "*"
    return request.get_response(app)


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/images/1/members", f"/v1/images/{IMAGE_ID}/"])
def test_options_of_what_is_not_there(api: Api, path: str) -> None:
    assert api("OPTIONS", path).status_int == 404


@pytest.mark.parametrize("template", sorted({path for _, path, _ in ROUTES}))
def test_options_of_the_registry_need_no_key(ask_registry, template: str) -> None:
    response = ask_registry("OPTIONS", path_of(template), {})
    assert response.status_int == 204
    allowed = set(response.headers["Allow"].split(", "))
    assert allowed - {"HEAD"} == {method for method, path, _ in ROUTES if path.rstrip("/") == template.rstrip("/")}
    assert ("HEAD" in allowed) == ("GET" in allowed)
    assert ask_registry("HEAD", path_of(template), {}).status_int == 401


def test_options_need_no_authentication_and_reach_no_handler(api: Api) -> None:
    def nobody(request: Request) -> Context:
        raise NotAuthenticated("not known")

    def ask(method: str, path: str) -> Response:
        return Request.blank(path, method=method).get_response(guarded(api.app, nobody))

    for path in ("/images", "/v1/images", "/v1/images/1"):
        assert ask("OPTIONS", path).status_int == 204
        assert ask("HEAD", path).status_int == ask("GET", path).status_int == 401


# Media types


@pytest.mark.parametrize("content_type", OCTETS)
@pytest.mark.parametrize("path", ["/images", "/v1/images"])
def test_a_type_of_data_in_any_spelling(api: Api, path: str, content_type: str) -> None:
    fields = {"type": "raw"} if path == "/images" else {"disk_format": "raw", "container_format": "bare"}
    headers = {f"x-image-meta-{name}": value for name, value in fields.items()}
    made = api("POST", path, {**headers, "Content-Type": content_type}, BYTES)
    assert (made.status_int, made.json["image"]["status"]) == (200 if path == "/images" else 201, "active")
    queued = api("POST", path, headers).json["image"]
    brought = api("PUT", f"{path}/{queued['id']}", {"Content-Type": content_type}, BYTES)
    assert brought.json["image"]["status"] == "active"


@pytest.mark.parametrize("content_type", ["Application/JSON; charset=utf-8", "application/json", None])
def test_a_type_of_records_in_any_spelling(ask_registry, content_type: str | None) -> None:
    headers = {KEY_HEADER: KEY, "X-Glance-Admin": "True", **({"Content-Type": content_type} if content_type else {})}
    made = ask_registry("POST", "/images", headers, body=b'{"image": {"type": "raw"}}')
    assert (made.status_int, made.json["image"]["type"]) == (200, "raw")


@pytest.mark.parametrize(("accept", "status"), [
    ("application/json", 300), ("Application/JSON; charset=utf-8", 300), ('APPLICATION/json;x="a,b"', 300), ("Application/Vnd.OpenStack.Images-V1.1; q=0.5", 300),
    ("application/json, text/html;q=0", 300), ("application/json;q=0.5, */*", 200), ("application/jsonx", 200), ("", 200),
])  # fmt: skip
def test_what_is_accepted_in_any_spelling(api: Api, accept: str, status: int) -> None:
    assert api("GET", "/", {"Accept": accept}).status_int == status


@pytest.mark.parametrize(("accept", "content_type"), [
    ("Text/HTML; charset=utf-8", "text/html"), ("application/json, TEXT/html;q=0.1", "text/html"), ("text/html;q=0", "text/plain"), ("text/html; q=0.000, */*", "text/plain"),
    ("text/html-like", "text/plain"), ('text/plain; note="text/html"', "text/plain"),
])  # fmt: skip
def test_errors_are_html_for_those_who_accept_it(api: Api, accept: str, content_type: str) -> None:
    assert api("GET", "/images/99", {"Accept": accept}).content_type == content_type
