# SPDX-License-Identifier: Apache-2.0
"""The one place that catches errors and makes answers of them."""

import html
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from webob import Response

from glance.core.errors import GlanceError, RangeNotSatisfiable, TooManyAttempts
from glance.wire.status import REASON_HEADER, status_of
from glance.wsgi.media_types import parse_media_types

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)
RETRY_AFTER = 5  # seconds that a client is asked to wait after a 503


class Faults:
    """WSGI middleware: a GlanceError becomes its status and its text, anything else a bare 500 and a traceback
    in the log. The body is HTML for whoever names text/html in Accept, plain text for all others.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        override: Mapping[type[GlanceError], int] | None = None,
        challenge: str | None = None,
    ) -> None:
        self._app = app
        self._challenge = challenge  # how a client may say who it is, told with a 401
        self._override = dict(override or {})  # statuses of an API that differ from those of wire/status.py

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            return self._app(environ, start_response)
        except GlanceError as error:
            response = _answer(environ, self._override.get(type(error)) or status_of(error), str(error))
            response.headers[REASON_HEADER] = error.reason
            if isinstance(error, RangeNotSatisfiable):
                response.headers["Content-Range"] = f"bytes */{error.total}"
            if response.status_int == 401 and self._challenge is not None:
                response.headers["WWW-Authenticate"] = self._challenge
            if isinstance(error, TooManyAttempts):
                response.retry_after = error.retry_after
            if response.status_int == 503:
                response.retry_after = RETRY_AFTER
        except Exception:
            LOG.exception("%s %s failed", environ["REQUEST_METHOD"], ascii(environ.get("PATH_INFO")))
            response = _answer(environ, 500, "the server failed; its log says why")
        return response(environ, start_response)


def _answer(environ: "WSGIEnvironment", status: int, message: str) -> Response:
    response = Response(status=status, charset="UTF-8")
    if "text/html" in parse_media_types(environ.get("HTTP_ACCEPT", "")):
        title = html.escape(response.status)
        response.content_type = "text/html"
        response.text = (
            f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
            f"<body><h1>{title}</h1><p>{html.escape(message)}</p></body></html>\n"
        )
    else:
        response.content_type = "text/plain"
        response.text = f"{response.status}\n\n{message}\n"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
