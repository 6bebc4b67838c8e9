# SPDX-License-Identifier: Apache-2.0
"""Requests that web pages make the browsers of their visitors send."""

import json

import pytest
from webob import Request, Response

from glance.config import ApiConfig, ConfigError, RegistryConfig
from glance.core.context import Context
from glance.registry.server import build as build_registry
from glance.server import build
from tests.api.conftest import Api

KEY = "a-key-of-both"
BROWSER = [{"Origin": "http://evil.example"}, {"Sec-Fetch-Mode": "navigate"}, {"User-Agent": "Mozilla/5.0 (X11)"}]
SCRIPTS = [
    {},
    {"User-Agent": "curl/8.5.0"},
    {"User-Agent": "python-requests/2.32"},
    {"Referer": "http://evil.example"},
]
DRAFT = json.dumps({"image": {"type": "raw", "is_public": True}}).encode()


@pytest.mark.parametrize(
    ("daemon", "headers"),
    [*(("api", headers) for headers in BROWSER), *(("registry", headers) for headers in BROWSER[1:])],
)
def test_browsers_need_a_known_host(api: Api, daemon: str, headers: dict[str, str]) -> None:
    if daemon == "registry":
        app = build_registry(RegistryConfig(allowed_hosts="images.example.org"), registry=api.registry)
    else:
        app = build(ApiConfig(allowed_hosts="images.example.org"), registry=api.registry)

    def ask(host: str) -> Response:
        return Request.blank("/images", headers={"Host": host, **headers}).get_response(app)

    refused = ask("evil.example:9292")
    assert (refused.status_int, refused.headers["X-Glance-Reason"]) == (403, "not-allowed")
    assert "'evil.example:9292'" in refused.text and "allowed_hosts" in refused.text
    for host in ("localhost:9292", "127.0.0.1:9292", "[::1]:9292", "images.example.org"):
        assert ask(host).status_int == 200


@pytest.mark.parametrize("headers", SCRIPTS)
def test_other_clients_do_not(api: Api, headers: dict[str, str]) -> None:
    for app in (api.app, build_registry(RegistryConfig(), registry=api.registry)):
        request = Request.blank("/images", headers={"Host": "glance.example", **headers})
        assert request.get_response(app).status_int == 200


@pytest.mark.parametrize("headers", BROWSER)
def test_nor_do_browsers_whose_caller_is_identified(api: Api, headers: dict[str, str]) -> None:
    assert api("GET", "/images", {"Host": "evil.example", **headers}, ctx=Context(tenant="t")).status_int == 200
    with_key = build_registry(RegistryConfig(registry_key=KEY), registry=api.registry)
    if "Origin" not in headers:
        sent = {"Host": "evil.example", "X-Glance-Registry-Key": KEY, **headers}
        assert Request.blank("/images", headers=sent).get_response(with_key).status_int == 200


@pytest.mark.parametrize("path", ["/healthcheck", "/versions"])
def test_nor_for_what_is_open_to_everybody(api: Api, path: str) -> None:
    assert api("GET", path, {"Host": "evil.example", **BROWSER[2]}).status_int == 200


def test_the_host_of_the_public_endpoint_is_known(api: Api) -> None:
    app = build(ApiConfig(public_endpoint="https://Cloud.example.org:8443/image"), registry=api.registry)
    for host, status in (("cloud.example.org", 200), ("evil.example", 403)):
        request = Request.blank("/images", headers={"Host": host, **BROWSER[2]})
        assert request.get_response(app).status_int == status


def test_behind_a_trusted_proxy_the_host_is_the_forwarded_one(api: Api) -> None:
    config = ApiConfig(trusted_proxies="10.0.0.1", allowed_hosts="images.example.org")
    app = build(config, registry=api.registry)
    for peer, forwarded, status in (
        ("10.0.0.1", "images.example.org", 200),
        ("10.0.0.1", "evil.example", 403),
        ("10.0.0.2", "images.example.org", 403),
    ):
        request = Request.blank("/images", headers={"Host": "backend", "X-Forwarded-Host": forwarded, **BROWSER[2]})
        request.environ["REMOTE_ADDR"] = peer
        assert request.get_response(app).status_int == status


def test_an_option_that_is_not_a_list_of_hosts(api: Api) -> None:
    for make in (
        lambda: build(ApiConfig(allowed_hosts="http://a"), registry=api.registry),
        lambda: build_registry(RegistryConfig(allowed_hosts="http://a"), registry=api.registry),
    ):
        with pytest.raises(ConfigError, match="allowed_hosts: 'http://a' is not a host name"):
            make()


@pytest.mark.parametrize("key", ["", KEY])
@pytest.mark.parametrize("headers", [{"Origin": "null"}, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "Cross-Site"}])  # fmt: skip
def test_the_registry_takes_no_requests_of_web_pages(api: Api, key: str, headers: dict[str, str]) -> None:
    app = build_registry(RegistryConfig(registry_key=key), registry=api.registry)
    sent = {"Content-Type": "application/json", "X-Glance-Registry-Key": key, **headers} if key else headers
    answer = Request.blank("/images", method="POST", body=DRAFT, headers=sent).get_response(app)
    assert (answer.status_int, answer.headers["X-Glance-Reason"]) == (403, "not-allowed")


@pytest.mark.parametrize(("content_type", "status"), [
    ("application/json", 200), ("Application/JSON; charset=utf-8", 200), (None, 200), ("text/plain", 400), ("application/x-www-form-urlencoded", 400), ("multipart/form-data; boundary=x", 400),
    ("application/json, text/plain", 400), ("text/plain; application/json", 400), ("application/json-patch", 400), (" ", 400), (",", 400),
])  # fmt: skip
def test_the_registry_takes_json_only(api: Api, content_type: str | None, status: int) -> None:
    app = build_registry(RegistryConfig(), registry=api.registry)
    request = Request.blank("/images", method="POST", body=DRAFT)
    if content_type is not None:
        request.environ["CONTENT_TYPE"] = content_type
    assert request.get_response(app).status_int == status
    assert len(json.loads(Request.blank("/images").get_response(app).body)["images"]) == (status == 200)
