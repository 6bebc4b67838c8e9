# SPDX-License-Identifier: Apache-2.0
"""Which API a request is for: by the first segment of its path, or by the media type that it accepts.

`GET /` has two meanings: for the curl of 2011 it is the list of images, for programs that look for an API the
versions there are. Those say that they want JSON, or a media type of versions, and nothing else.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webob import Request, Response

from glance.wsgi.endpoint import get_base_url
from glance.wsgi.negotiate import asked_version, wants_versions
from glance.wsgi.router import answer_options, refuse_method
from glance.wsgi.send import json_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ALLOWED = "GET, HEAD"  # of /versions

_VERSION = re.compile(r"v\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """`id` such as v1.1, `status` CURRENT, SUPPORTED or DEPRECATED; `prefix` is the first segment of its URLs."""

    id: str
    status: str
    prefix: str


class Versions:
    """WSGI application: hands requests to the API of their version, and all without one to `classic`.

    `apis` are by their prefix; a version is also named by the id of one of its `versions`."""

    def __init__(
        self,
        classic: "WSGIApplication",
        apis: Mapping[str, "WSGIApplication"],
        versions: Iterable[Version],
    ) -> None:
        self._classic = classic
        self._apis = dict(apis)
        self._versions = tuple(versions)
        self._prefixes = {version.id: version.prefix for version in self._versions} | {name: name for name in apis}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        first, slash, rest = path.lstrip("/").partition("/")
        accepted = asked_version(environ.get("HTTP_ACCEPT", ""))
        if first in self._prefixes:
            if not slash and environ["REQUEST_METHOD"] in ("GET", "HEAD"):  # clients repeat others as a GET
                query = environ.get("QUERY_STRING")
                base = get_base_url(Request(environ))
                location = f"{base}/{self._prefixes[first]}/" + (f"?{query}" if query else "")
                return Response(status=302, location=location)(environ, start_response)
            return self._pass(environ, start_response, self._prefixes[first], first, "/" + rest)
        if _VERSION.fullmatch(first):
            return self._document(environ, 300)(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if first == "versions":
            if method == "OPTIONS":
                return answer_options(ALLOWED)(environ, start_response)
            if method not in ("GET", "HEAD"):
                return refuse_method(method, ALLOWED)(environ, start_response)
            return self._document(environ, 200)(environ, start_response)
        if accepted is not None:
            prefix = self._prefixes.get(accepted[2].lower()) if accepted[1].lower() == "images" else None
            if prefix is None:
                return self._document(environ, 300)(environ, start_response)
            if first:
                return self._pass(environ, start_response, prefix, "", path)
        if not first and method != "OPTIONS" and wants_versions(environ.get("HTTP_ACCEPT", "")):
            return self._document(environ, 300)(environ, start_response)
        return self._classic(environ, start_response)

    def _pass(
        self, environ: "WSGIEnvironment", start_response: "StartResponse", prefix: str, taken: str, path: str
    ) -> Iterable[bytes]:
        if taken:
            environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}/{taken}"
        environ["PATH_INFO"] = path
        return self._apis[prefix](environ, start_response)

    def _document(self, environ: "WSGIEnvironment", status: int) -> Response:
        base = get_base_url(Request(environ))
        response = json_answer(
            {
                "versions": [
                    {
                        "id": version.id,
                        "status": version.status,
                        "links": [{"rel": "self", "href": f"{base}/{version.prefix}/"}],
                    }
                    for version in self._versions
                ]
            }
        )
        response.status_int = status
        return response
