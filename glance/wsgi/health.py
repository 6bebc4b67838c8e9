# SPDX-License-Identifier: Apache-2.0
"""Health of a daemon, for load balancers and monitoring.

`/healthcheck` answers as long as requests are answered at all; `/healthcheck/ready` only while everything works that
requests need. Neither requires authentication, so they say only what does not work, in the words that a user would
get (core/errors.py).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from webob import Response

from glance.core.errors import GlanceError
from glance.core.inline import INLINE
from glance.core.ports import Threads
from glance.wire.status import REASON_HEADER
from glance.wsgi.body import THREADS_KEY
from glance.wsgi.router import answer_options, refuse_method

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

LIVE = "/healthcheck"
READY = "/healthcheck/ready"
ALLOWED = "GET, HEAD"
FRESH = 5.0  # seconds for which what was found holds: asking is cheap for everybody, and looking is not


# Raises GlanceError if what it is named after does not work. The threads are for what would make other requests wait.
Check: TypeAlias = Callable[[Threads], object]


class Failure(NamedTuple):
    text: str
    reason: str


class Health:
    """WSGI middleware that answers health checks."""

    def __init__(self, app: "WSGIApplication", checks: Mapping[str, Check]) -> None:
        self._app = app
        self._checks = dict(checks)
        self._looking = threading.Lock()
        self._found: list[Failure] = []
        self._until = 0.0  # monotonic

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").rstrip("/")
        if path not in (LIVE, READY):
            return self._app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return answer_options(ALLOWED)(environ, start_response)
        if method not in ("GET", "HEAD"):
            return refuse_method(method, ALLOWED)(environ, start_response)
        failed = self._failed(environ.get(THREADS_KEY, INLINE)) if path == READY else []
        text = "".join(f"not working: {failure.text}\n" for failure in failed) or "OK\n"
        response = Response(text, status=503 if failed else 200, content_type="text/plain", charset="UTF-8")
        response.cache_control = "no-store"
        if failed:
            response.headers[REASON_HEADER] = failed[0].reason
        return response(environ, start_response)

    def add_check(self, name: str, check: Check) -> None:
        """Add a check to those of READY."""
        self._checks[name] = check

    def _failed(self, threads: Threads) -> list[Failure]:
        """Return the checks that fail; one run serves all requests of that time."""
        with self._looking:
            if time.monotonic() >= self._until:
                self._found = list(_failures(self._checks, threads))
                self._until = time.monotonic() + FRESH
            return self._found


def _failures(checks: Mapping[str, Check], threads: Threads) -> Iterator[Failure]:
    for name, check in checks.items():
        try:
            check(threads)
        except GlanceError as error:
            LOG.error("%s: %s", name, error)
            yield Failure(f"{name}: {error}", error.reason)
