# SPDX-License-Identifier: Apache-2.0
"""Find the handler of a method and a path."""

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from webob import Request, Response

from glance.core.errors import Invalid, NotFound
from glance.core.values import shown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Handler = Callable[..., Response]
Handlers = dict[str, Handler]  # by method

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)  # RFC 9110, RFC 5789, draft-ietf-httpbis-safe-method-w-body
ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")  # of the methods in Allow


class Router:
    """A WSGI application made of routes such as `("GET", "/images/{number}", show)`.

    A handler gets the request and the values of the names in braces; it returns a Response or raises a GlanceError.
    The first template that matches a path decides which methods it takes; routes of one template belong together.
    HEAD is answered by the handler of GET unless it has a route of its own; webob leaves out the body. OPTIONS is
    answered with the methods of the path, and `OPTIONS *` with those of all paths.

    A path that no template matches raises NotFound. So does another method, as in the APIs of 2011, unless
    `refuse_methods` is set: then it is answered with 405.

    A template that ends in a slash, as those of collections do, matches with and without it. Any other path must not
    end in one: "/images/ID/members/" with an empty name, or with ".." that a library or a proxy resolved, would reach
    a resource that the client did not mean. No parameter is empty, and an encoded slash separates nothing.
    """

    def __init__(self, routes: Iterable[tuple[str, str, Handler]], *, refuse_methods: bool = False) -> None:
        self._refuse_methods = refuse_methods
        resources: dict[tuple[str, ...], tuple[Handlers, Handlers]] = {}
        for method, template, handler in routes:
            segments, is_collection = _split(template)
            without_slash, with_slash = resources.setdefault(tuple(segments), ({}, {}))
            without_slash[method] = handler
            if is_collection:
                with_slash[method] = handler
        self._resources = [(list(segments), *handlers) for segments, handlers in resources.items()]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path, method = _path(environ), environ["REQUEST_METHOD"]
        if path == "*" and method == "OPTIONS":
            every = {method for _, handlers, _ in self._resources for method in handlers}
            return answer_options(_allowed(every))(environ, start_response)
        segments, ends_in_slash = _split(path)
        if not _has_encoded_slash(environ):
            for template, without_slash, with_slash in self._resources:
                if (params := _match(template, segments)) is not None:
                    handlers = with_slash if ends_in_slash else without_slash
                    handler = handlers.get(method) or (handlers.get("GET") if method == "HEAD" else None)
                    if handler is not None:
                        return handler(Request(environ), **params)(environ, start_response)
                    if method == "OPTIONS" and handlers:
                        return answer_options(_allowed(handlers))(environ, start_response)
                    if self._refuse_methods and (not ends_in_slash or not segments):
                        return refuse_method(method, _allowed(handlers))(environ, start_response)
                    break
        raise NotFound("there is nothing at this address, or not for this method")


def answer_options(allowed: str) -> Response:
    """Return the answer to OPTIONS. `allowed` is a list such as "GET, HEAD"."""
    return Response(status=204, headerlist=[("Allow", allowed)])


def refuse_method(method: str, allowed: str) -> Response:
    """Return the answer to a method that a path does not take: 405, or 501 if HTTP does not know the method."""
    known = method in METHODS
    status = "405 Method Not Allowed" if known else "501 Not Implemented"
    text = f"{status}\n\nthis address takes {allowed}, not {shown(method)}\n"
    response = Response(text, status=status, content_type="text/plain", charset="UTF-8")
    if known:
        response.headers["Allow"] = allowed
    return response


def _allowed(methods: Collection[str]) -> str:
    """OPTIONS, which every path takes, is not listed."""
    taken = set(methods) | ({"HEAD"} if "GET" in methods else set())
    return ", ".join(method for method in ORDER if method in taken)


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
