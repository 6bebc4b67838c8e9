# SPDX-License-Identifier: Apache-2.0
"""(method, path template) → handler."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from webob import Request, Response

from glance.core.errors import Invalid, NotFound
from glance.core.values import shown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Handler = Callable[..., Response]

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)  # RFC 9110, RFC 5789, draft-ietf-httpbis-safe-method-w-body


class Router:
    """A WSGI application made of routes such as `("GET", "/images/{number}", show)`.

    A handler gets the request and, by name, what stands in the braces; it returns a Response or raises a
    GlanceError. Earlier routes win; "*" stands for any method. What no route matches raises NotFound: neither API of
    2011 answers 405, others have not_allowed() in their tables.

    A template that ends in a slash, as those of collections do, matches with and without it. Any other path must not
    end in one: "/images/ID/members/" with an empty name, or with ".." that a library or a proxy resolved, would reach
    a resource that the client did not mean. No parameter is empty, and an encoded slash separates nothing.
    """

    def __init__(self, routes: Iterable[tuple[str, str, Handler]]) -> None:
        self._routes = [(method, *_split(template), handler) for method, template, handler in routes]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        segments, ends_in_slash = _split(_path(environ))
        if not _has_encoded_slash(environ):
            for method, template, is_collection, handler in self._routes:
                if (
                    method in ("*", environ["REQUEST_METHOD"])
                    and (is_collection or not ends_in_slash)
                    and (params := _match(template, segments)) is not None
                ):
                    return handler(Request(environ), **params)(environ, start_response)
        raise NotFound("there is nothing at this address, or not for this method")


def not_allowed(allowed: str) -> Handler:
    """What answers the other methods of a path: 405, or 501 to a method that HTTP does not know."""

    def answer(request: Request, **_: str) -> Response:
        known = request.method in METHODS
        status = "405 Method Not Allowed" if known else "501 Not Implemented"
        text = f"{status}\n\nthis address takes {allowed}, not {shown(request.method)}\n"
        response = Response(text, status=status, content_type="text/plain", charset="UTF-8")
        if known:
            response.headers["Allow"] = allowed
        return response

    return answer


def _path(environ: "WSGIEnvironment") -> str:
    try:
        path: str = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise Invalid("the path of a URL must be UTF-8") from None
    return path


def _split(path: str) -> tuple[list[str], bool]:
    """Return the segments of a path, and whether a slash follows them.

    Slashes at the start count as one: clients join "http://host:9292/" and "/images"."""
    path = path.lstrip("/")
    if not path:
        return [], True
    segments = path.split("/")
    return (segments[:-1], True) if segments[-1] == "" else (segments, False)


def _has_encoded_slash(environ: "WSGIEnvironment") -> bool:
    """Return True if a segment contains a slash, which PATH_INFO does not tell from one that separates segments.

    Servers pass the path as it was sent under one of these names, if at all."""
    target: str = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    return "%2" in target and "%2f" in target.partition("?")[0].lower()


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    params = {}
    for expected, found in zip(template, segments, strict=True):
        if expected.startswith("{"):
            if not found:
                return None
            params[expected[1:-1]] = found
        elif expected != found:
            return None
    return params
