# SPDX-License-Identifier: Apache-2.0
"""The door: a request id for every request and answer, and the Context, built once per request.

Who asks is found out by a filter in front of the application (glance/identity); without one every caller is the
operator, as in 2011.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from webob import Request

from glance.core.context import Context
from glance.core.errors import Invalid, NotAuthenticated
from glance.wire.identity import KEY_HEADER, REQUEST_ID_HEADER, SINGLE_HEADERS, context_from, request_id_from

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CONTEXT_KEY = "glance.context"
SINGLE_HEADERS_KEY = "glance.single_headers"  # in the environ of a server that refuses repeated identity headers
NO_STORE = ("Cache-Control", "no-store")
_REQUEST_ID_KEY = "glance.request_id"


def check_single(environ: "WSGIEnvironment", *names: str) -> None:
    """Refuse a header that may have been sent several times, which most servers join by commas. Raises Invalid."""
    if environ.get(SINGLE_HEADERS_KEY):
        return
    for name in names:
        if "," in environ.get(f"HTTP_{name.upper().replace('-', '_')}", ""):
            raise Invalid(f"the header {name} must be sent once and have no comma")


class RequestId:
    """WSGI middleware, the outermost: give the request an id, and put it on the answer.

    Answers that do not say otherwise are not to be stored by caches: what one caller may see, another may not."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if _REQUEST_ID_KEY in environ:  # a filter in front has done it
            return self._app(environ, start_response)
        request_id = environ[_REQUEST_ID_KEY] = request_id_from(Request(environ).headers)

        def start(status, headers, exc_info=None):  # type: ignore[no-untyped-def]
            caching = [] if any(name.lower() == "cache-control" for name, _ in headers) else [NO_STORE]
            return start_response(status, [*headers, *caching, (REQUEST_ID_HEADER, request_id)], exc_info)

        return self._app(environ, start)


class Identify:
    """WSGI middleware: everything inside may ask context_of(request). `who` may raise NotAuthenticated.

    OPTIONS needs no authentication and has no context: load balancers probe with it, and browsers ask so before they
    send credentials."""

    def __init__(self, app: "WSGIApplication", who: Callable[[Request], Context]) -> None:
        self._app = app
        self._who = who

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "OPTIONS":
            environ[CONTEXT_KEY] = self._who(Request(environ))
        return self._app(environ, start_response)


def anybody(request: Request) -> Context:
    """Whom a filter in front has identified; the operator where there is none."""
    given = request.environ.get(CONTEXT_KEY)
    return cast(Context, given) if given is not None else operator(request)


def operator(request: Request) -> Context:
    return Context(request_id=request_id_of(request), is_admin=True)


class KeyHolders:
    """Who knows the key is believed about whom he asks for. Without a key (""), every caller is the operator."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def __call__(self, request: Request) -> Context:
        """Raises NotAuthenticated."""
        given = request.headers.get(KEY_HEADER)
        if not self._key:
            if given is not None:  # its sender takes us for a judge that we are not
                raise NotAuthenticated("this registry has no registry_key, but the caller sent one")
            return operator(request)
        if given is None or not hmac.compare_digest(given.encode("latin-1", "replace"), self._key):
            raise NotAuthenticated(f"this registry answers only callers that send its key in {KEY_HEADER}")
        check_single(request.environ, *SINGLE_HEADERS)
        return context_from(request.headers)


def context_of(request: Request) -> Context:
    return cast(Context, request.environ[CONTEXT_KEY])


def request_id_of(request: Request) -> str:
    return cast(str, request.environ[_REQUEST_ID_KEY])
