# SPDX-License-Identifier: Apache-2.0
"""Protection from web pages, which can make a browser inside a network send requests to services there.

Browsers mark requests of a page of another site. A page whose host name was rebound to the address of this service
(DNS rebinding) is of the same site for them, but its requests name a host that this service does not have.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from glance.core.errors import Invalid, NotAllowed
from glance.core.hosts import AllowedHosts
from glance.core.values import shown
from glance.wsgi.endpoint import SENT_HOST_KEY
from glance.wsgi.identify import CONTEXT_KEY
from glance.wsgi.media_types import parse_media_types
from glance.wsgi.negotiate import is_open

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

JSON = "application/json"


class KnownHosts:
    """WSGI middleware that takes requests of browsers for `hosts` only, unless a filter in front has identified the
    caller. Raises NotAllowed."""

    def __init__(self, app: "WSGIApplication", hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if CONTEXT_KEY not in environ and not is_open(environ) and is_of_browser(environ):
            host = environ.get(SENT_HOST_KEY) or environ.get("HTTP_HOST", "")
            if host and host not in self._hosts:
                raise NotAllowed(
                    "this service identifies no callers, and takes requests of browsers only for host names that it "
                    f"knows: if {shown(host)} is one of this service, add it to the option allowed_hosts"
                )
        return self._app(environ, start_response)


class SameSite:
    """WSGI middleware that refuses requests of pages of other sites, and bodies that are not JSON.

    A page may send some media types anywhere without asking first; JSON is not one of them. A body without a
    Content-Type is taken, because clients of 2011 send none. Raises NotAllowed, Invalid."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if "HTTP_ORIGIN" in environ or environ.get("HTTP_SEC_FETCH_SITE", "").lower() == "cross-site":
            raise NotAllowed("this service takes no requests of web pages (Origin, Sec-Fetch-Site: cross-site)")
        content_type = environ.get("CONTENT_TYPE", "")
        has_body = "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "") not in ("", "0")
        if content_type and has_body and parse_media_types(content_type) != [JSON]:
            raise Invalid(f"the Content-Type of a body must be {JSON}, not {shown(content_type)}")
        return self._app(environ, start_response)


def is_of_browser(environ: "WSGIEnvironment") -> bool:
    """Return True if a request has headers that browsers send."""
    return (
        "HTTP_ORIGIN" in environ
        or environ.get("HTTP_USER_AGENT", "").startswith("Mozilla/")
        or any(name.startswith("HTTP_SEC_FETCH_") for name in environ)
    )
