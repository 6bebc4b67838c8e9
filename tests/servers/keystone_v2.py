# SPDX-License-Identifier: Apache-2.0
"""Version 2.0 of Keystone's tokens, which Keystone itself no longer has, before a real Keystone of version 3.

POST /v2.0/tokens is asked of the Keystone as POST /v3/auth/tokens, and its answer said in the words of 2.0: projects
are tenants, all of the domain Default, and the catalogue has one entry per region with a URL of each kind. A bad
status, such as 401 for a wrong password, is the Keystone's own.
"""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import requests

from tests.servers.keystone import DEFAULT

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

TIMEOUT = 60  # seconds


class TokensV2:
    """A WSGI application; `url` is that of the Keystone, with /v3."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) != ("POST", "/v2.0/tokens"):
            status, body = "404 Not Found", _error(404, "the one resource here is POST /v2.0/tokens")
        else:
            asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            answer = requests.post(f"{self._url}/auth/tokens", json=_to_v3(asked["auth"]), timeout=TIMEOUT)
            told = answer.json()
            if answer.status_code == 201:
                status, body = "200 OK", _to_v2(answer.headers["X-Subject-Token"], told["token"])
            else:
                status, body = f"{answer.status_code} {answer.reason}", told
        data = json.dumps(body).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
        return [data]


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "title": "Not Found", "message": message}}


def _to_v3(auth: dict[str, Any]) -> dict[str, Any]:
    domain = {"id": DEFAULT}
    if "token" in auth:
        identity: dict[str, Any] = {"methods": ["token"], "token": {"id": auth["token"]["id"]}}
    else:
        known = auth["passwordCredentials"]
        user = {"id": known["userId"]} if "userId" in known else {"name": known["username"], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user | {"password": known["password"]}}}
    asked: dict[str, Any] = {"identity": identity}
    if "tenantId" in auth:
        asked["scope"] = {"project": {"id": auth["tenantId"]}}
    elif "tenantName" in auth:
        asked["scope"] = {"project": {"name": auth["tenantName"], "domain": domain}}
    return {"auth": asked}


def _to_v2(token_id: str, token: dict[str, Any]) -> dict[str, Any]:
    made = {"id": token_id, "expires": token["expires_at"], "issued_at": token["issued_at"]}
    if "project" in token:
        made["tenant"] = {"id": token["project"]["id"], "name": token["project"]["name"], "enabled": True}
    roles = [{"name": role["name"]} for role in token.get("roles", [])]
    user = {"id": token["user"]["id"], "name": token["user"]["name"], "username": token["user"]["name"]}
    catalogue = [
        {"type": service["type"], "name": service["name"], "endpoints": _endpoints(service), "endpoints_links": []}
        for service in token.get("catalog", [])
    ]
    return {
        "access": {"token": made, "user": user | {"roles": roles, "roles_links": []}, "serviceCatalog": catalogue}
    }


def _endpoints(service: dict[str, Any]) -> list[dict[str, str]]:
    regions: dict[str, dict[str, str]] = {}
    for endpoint in service["endpoints"]:
        region = regions.setdefault(endpoint["region"], {"region": endpoint["region"], "id": endpoint["id"]})
        region[f"{endpoint['interface']}URL"] = endpoint["url"]
    return list(regions.values())


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """The Keystone's log tells."""


@contextmanager
def keystone_v2(url: str) -> Iterator[str]:
    """Serve it before the Keystone at `url`; the URL of it, with /v2.0."""
    with _Server(("127.0.0.1", 0), _Quiet) as server:
        server.set_app(TokensV2(url))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v2.0"
        finally:
            server.shutdown()
            thread.join()
