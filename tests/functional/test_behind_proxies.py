# SPDX-License-Identifier: Apache-2.0
"""The nginx and the HAProxy of etc/examples in front of a real glance-api: links, the access log and limits are right, and
clients cannot change them."""

import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.functional.daemons import Installation
from tests.functional.live import wait_until
from tests.servers.haproxy import Haproxy
from tests.servers.nginx import nginx
from tests.servers.processes import free_port

pytestmark = pytest.mark.functional

EXAMPLE = Path(__file__).parents[2] / "etc/examples/nginx.conf"
LIES = {
    "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "ftp", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil",
}  # fmt: skip


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Front:
    """What clients see of a glance-api: its URL, and who may vouch for its TLS."""

    def __init__(self, port: int, path: str = "", ca: Path | None = None) -> None:
        self.url = f"{'https' if ca else 'http'}://127.0.0.1:{port}{path}"
        self._port, self._path, self._ca = port, path, ca

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, *, source: str = "127.0.0.2") -> Answer:  # fmt: skip
        """Ask from another address than that of the proxy."""
        at = {"timeout": 20, "source_address": (source, 0)}
        if self._ca is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, **at)
        else:
            context = ssl.create_default_context(cafile=self._ca)
            connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=context, **at)
        try:
            connection.request(method, self._path + path, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture
def behind_nginx(installation: Installation) -> Iterator[Front]:
    port, folder = free_port(), installation.folder
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    site = EXAMPLE.read_text()
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"), ("/etc/nginx/cloud.example.org.pem", f"{folder}/server.pem"),
        ("/etc/nginx/cloud.example.org.key", f"{folder}/server.pem"), ("http://127.0.0.1:9292/", f"http://127.0.0.1:{installation.api_port}/"),
    ):  # fmt: skip
        assert old in site
        site = site.replace(old, new)
    with nginx(folder, port, site):
        yield Front(port, "/image", folder / "ca.pem")


@pytest.fixture
def behind_haproxy(installation: Installation) -> Iterator[Front]:
    api, registry = installation.api_port, installation.registry_port
    haproxy = Haproxy(installation.folder, {"api1": api, "api2": api, "registry1": registry, "registry2": registry})
    yield Front(haproxy.api_port)
    haproxy.stop()


@pytest.fixture(params=["behind_nginx", "behind_haproxy"])
def front(request: pytest.FixtureRequest) -> Front:
    return request.getfixturevalue(request.param)


def clients(installation: Installation, path: str) -> list[str]:
    """The addresses in glance-api's access log of requests for a path."""
    return re.findall(rf'\[glance\.access\] (\S+) "\w+ {re.escape(path)}[?"]', installation.logs())


def wait_until_served(front: Front) -> None:
    """HAProxy checks its servers every second. Each request here counts for another client's limits."""
    sources = (f"127.0.1.{number}" for number in range(1, 255))
    wait_until(
        lambda: front.ask("GET", "/healthcheck", source=next(sources)).status == 200, "the proxy uses the server"
    )


def begins(link: str | None, url: str) -> bool:
    return link is not None and link.startswith(f"{url}/")


def test_links_and_the_log_are_those_of_the_client(installation: Installation, front: Front) -> None:
    installation.configure(common="trusted_proxies = 127.0.0.1")
    installation.start()
    wait_until_served(front)
    for headers in ({}, LIES):
        versions = json.loads(front.ask("GET", "/versions", headers).body)["versions"]
        assert {version["links"][0]["href"] for version in versions} == {f"{front.url}/v1/"}
        redirected = front.ask("GET", "/v1?limit=1", headers)
        assert (redirected.status, redirected.headers["Location"]) == (302, f"{front.url}/v1/?limit=1")
        for path, fields in (("/v1/images", {}), ("/images", {"x-image-meta-type": "raw"})):
            made = front.ask("POST", path, {**fields, **headers, "Content-Length": "0"})
            location = made.headers["Location"]
            assert begins(location, front.url)
            assert front.ask("HEAD", location.removeprefix(front.url)).status == 200
    wait_until(lambda: len(clients(installation, "/versions")) == 2, "both requests are logged")
    assert clients(installation, "/versions") == ["127.0.0.2"] * 2
    direct = Front(installation.api_port)
    assert direct.ask("GET", "/v1", LIES).headers["Location"] == f"{direct.url}/v1/"
    assert "203.0.113.9" not in installation.logs()


def test_limits_are_of_each_client(installation: Installation, front: Front) -> None:
    installation.configure(common="trusted_proxies = 127.0.0.1", api="rate_limit = 1\nrate_burst = 2")
    installation.start()
    wait_until_served(front)
    deadline = time.monotonic() + 20
    lies = (f"203.0.113.{number}" for number in range(1, 255))
    while front.ask("GET", "/versions", {"X-Forwarded-For": next(lies)}).status == 200:
        assert time.monotonic() < deadline
    assert front.ask("GET", "/versions", source="127.0.0.3").status == 200


def test_what_is_configured_wins(installation: Installation, behind_nginx: Front) -> None:
    public = "https://images.example.org/glance"
    installation.configure(common="trusted_proxies = 127.0.0.1", api=f"public_endpoint = {public}/")
    installation.start()
    assert behind_nginx.ask("GET", "/v1").headers["Location"] == f"{public}/v1/"
    assert Front(installation.api_port).ask("GET", "/v1", LIES).headers["Location"] == f"{public}/v1/"


def test_without_trusted_proxies_the_proxy_is_the_client(installation: Installation, behind_nginx: Front) -> None:
    installation.start()
    location = behind_nginx.ask("GET", "/v1").headers["Location"]
    assert location == f"http://{behind_nginx.url.split('/')[2]}/v1/"
    wait_until(lambda: clients(installation, "/v1") == ["127.0.0.1"], "the log names the proxy")


def test_our_own_client_below_a_prefix(installation: Installation, behind_nginx: Front) -> None:
    installation.configure(common="trusted_proxies = 127.0.0.1")
    installation.start()
    certificate = {
        "REQUESTS_CA_BUNDLE": f"{installation.folder}/ca.pem",
        "OS_CACERT": f"{installation.folder}/ca.pem",
    }
    added = installation.glance(
        "--url", behind_nginx.url, "add", "name=x", "disk_format=raw", "container_format=bare", "is_public=true",
        stdin=b"data", **certificate,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    listed = installation.glance("--url", behind_nginx.url, "index", **certificate)
    assert (listed.returncode, "x" in listed.stdout) == (0, True), listed.stderr


@pytest.mark.parametrize(("options", "told"), [
    ({"common": "trusted_proxies = proxy.example.org"}, "trusted_proxies must be addresses and networks"), ({"api": "public_endpoint = cloud.example.org"}, "public_endpoint"),
])  # fmt: skip
def test_options_that_cannot_be_used_are_told_at_start(installation: Installation, options: dict[str, str], told: str) -> None:  # fmt: skip
    installation.configure(**options)
    started = installation.control("api", "start")
    assert (started.returncode, told in started.stdout + started.stderr) == (1, True)
