# SPDX-License-Identifier: Apache-2.0
"""The door: builds the Context once per request, and puts the request id on every answer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from webob import Request

from glance.core.context import Context
from glance.wire.identity import REQUEST_ID_HEADER, context_from

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_KEY = "glance.context"


class Identify:
    """WSGI middleware; everything inside may ask context_of(request)."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        ctx = environ[_KEY] = context_from(Request(environ).headers)

        def start(status, headers, exc_info=None):  # type: ignore[no-untyped-def]
            return start_response(status, [*headers, (REQUEST_ID_HEADER, ctx.request_id)], exc_info)

        return self._app(environ, start)


def context_of(request: Request) -> Context:
    return cast(Context, request.environ[_KEY])
