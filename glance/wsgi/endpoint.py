# SPDX-License-Identifier: Apache-2.0
"""The URL at which clients reach this service, also through proxies that end TLS or remove a path prefix."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from webob import Request

from glance.core.networks import Networks

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CLIENT_KEY = "glance.client_address"  # where glance/serve tells it; it reads X-Forwarded-For
SENT_HOST_KEY = "glance.sent_host"  # the host of the request itself, whatever public_endpoint says
_ROOT_KEY = "glance.root"  # SCRIPT_NAME of the whole service, before the versions add theirs
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+;=:@-]|%[0-9A-Fa-f]{2})+)+")


class PublicUrl(NamedTuple):
    """Parts of the URL below which clients find the service."""

    scheme: str
    host: str  # with the port, if it is not the scheme's own
    path: str  # decoded, as in SCRIPT_NAME; "" for the root


class Endpoint:
    """WSGI middleware that corrects the scheme, the host and the SCRIPT_NAME of requests.

    `public`, if set, holds for every request. Otherwise X-Forwarded-Proto, -Host and -Prefix are applied to requests
    from `trusted_proxies`. If such a header has several values, the last one counts: the nearest proxy added it, and
    the others may be the client's. Values that cannot be right are ignored.
    """

    def __init__(self, app: "WSGIApplication", public: PublicUrl | None, trusted_proxies: Networks) -> None:
        self._app = app
        self._public = public
        self._trusted_proxies = trusted_proxies

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get("REMOTE_ADDR", "") in self._trusted_proxies:
            _apply_forwarded(environ)
        environ[SENT_HOST_KEY] = environ.get("HTTP_HOST", "")
        if self._public is not None:
            environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ["SCRIPT_NAME"] = self._public
        environ[_ROOT_KEY] = environ.get("SCRIPT_NAME", "")
        return self._app(environ, start_response)


def get_client_address(environ: "WSGIEnvironment") -> str:
    """Return the address that limits per client count for; behind trusted proxies it is not that of the connection.

    Other WSGI servers have their own ways to put it into REMOTE_ADDR. It is empty if the server does not tell it."""
    address: str = environ.get(CLIENT_KEY) or environ.get("REMOTE_ADDR") or ""
    return address


def get_base_url(request: Request) -> str:
    """Return the URL of the service as the client sees it, without a slash at the end."""
    return f"{request.host_url}{quote(request.environ[_ROOT_KEY], encoding='latin-1')}"


def parse_public_endpoint(text: str) -> PublicUrl | None:
    """Parse a URL such as https://cloud.example.org/image; return None for an empty text. Raises ValueError."""
    if not text:
        return None
    url = urlsplit(text)
    path = url.path.rstrip("/")
    if (
        url.scheme not in ("http", "https")
        or not _HOST.fullmatch(url.netloc)
        or (url.port or 1) > 65535
        or (path and not _PREFIX.fullmatch(path))
        or text.endswith(("?", "#"))
        or url.query
        or url.fragment
    ):
        raise ValueError(f"{text!r} must be a URL such as https://cloud.example.org/image, without query and user")
    return PublicUrl(url.scheme, url.netloc, unquote(path, encoding="latin-1"))


def _apply_forwarded(environ: "WSGIEnvironment") -> None:
    proto, host, prefix = (_get_last(environ, name) for name in ("PROTO", "HOST", "PREFIX"))
    if proto.lower() in ("http", "https"):
        environ["wsgi.url_scheme"] = proto.lower()
    if _HOST.fullmatch(host):
        environ["HTTP_HOST"] = host
    if _PREFIX.fullmatch(prefix.rstrip("/")):
        decoded = unquote(prefix.rstrip("/"), encoding="latin-1")
        environ["SCRIPT_NAME"] = decoded + environ.get("SCRIPT_NAME", "")


def _get_last(environ: "WSGIEnvironment", name: str) -> str:
    value: str = environ.get(f"HTTP_X_FORWARDED_{name}", "")
    return value.rpartition(",")[2].strip()
