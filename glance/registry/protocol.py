# SPDX-License-Identifier: Apache-2.0
"""The version of the protocol between the two daemons, which wire/records.py describes, on the registry's side."""

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from glance.wire.records import PROTOCOL, PROTOCOL_HEADER

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

_KEY = "HTTP_" + PROTOCOL_HEADER.upper().replace("-", "_")


class Protocol:
    """WSGI middleware: name our version in every answer, and log that a caller has a newer one.

    No request is refused for its version: a newer glance-api is served as long as it asks for nothing new.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        version = environ.get(_KEY, "")
        if version.isdecimal() and version.isascii() and len(version) < 10 and int(version) > PROTOCOL:
            _log_newer(version)

        def start(status, headers, exc_info=None):  # type: ignore[no-untyped-def]
            return start_response(status, [*headers, (PROTOCOL_HEADER, str(PROTOCOL))], exc_info)

        return self._app(environ, start)


@lru_cache(1)  # not for every request
def _log_newer(version: str) -> None:
    LOG.warning(
        "a glance-api speaks version %s of the protocol, this registry %s: upgrade glance-registry before glance-api",
        version,
        PROTOCOL,
    )
