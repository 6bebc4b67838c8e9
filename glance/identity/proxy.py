# SPDX-License-Identifier: Apache-2.0
"""Callers are identified by an authenticating proxy, in headers that are trusted from its addresses alone.

    [filter:proxy]
    paste.filter_factory = glance.identity.proxy:filter_factory
    addresses = 127.0.0.1, 10.0.5.0/24

The headers are X-Identity-Status (Confirmed), X-User-Id, X-Project-Id or X-Tenant-Id, and X-Roles, separated by
commas. Their values are UTF-8. The proxy must set or erase every one of them; a request that has one of them twice is
refused. glance-api sees that in the head of the request. Other WSGI servers join repeated headers by commas, so under
them none of the values may have a comma, and several roles need another `roles_separator`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from webob import Request

from glance.core import values
from glance.core.context import Context
from glance.core.errors import Invalid, NotAuthenticated
from glance.core.networks import Networks
from glance.identity import guard
from glance.wire.native import from_wire
from glance.wsgi.identify import check_single

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

OPTIONS = ("addresses", "admin_role", "roles_separator")
_STATUS, _USER, _PROJECT, _TENANT, _ROLES = "X-Identity-Status", "X-User-Id", "X-Project-Id", "X-Tenant-Id", "X-Roles"


@guard.identity_filter
def filter_factory(global_conf: dict[str, str], **local_conf: str) -> "Callable[[WSGIApplication], WSGIApplication]":
    """Raises Invalid for options that cannot be used."""
    guard.check_options("proxy", local_conf, OPTIONS)
    guard.check_key("proxy", global_conf)
    proxy = Proxy(
        local_conf.get("addresses", ""),
        local_conf.get("admin_role", guard.ADMIN_ROLE),
        local_conf.get("roles_separator", ","),
    )
    return lambda app: guard.guarded(app, proxy)


class Proxy:
    """Called with a request, returns its Context."""

    def __init__(self, addresses: str, admin_role: str, roles_separator: str = ",") -> None:
        """Raises Invalid."""
        try:
            self._addresses = Networks(addresses)
        except ValueError as error:
            raise Invalid(f"not an address or a network: {error}") from error
        self._admin_role = admin_role
        self._separator = roles_separator
        if not self._addresses:
            raise Invalid("the filter proxy needs addresses: those of the proxy that is to be believed")
        if len(roles_separator) != 1 or roles_separator.isalnum():
            raise Invalid(f"roles_separator must be one character such as ';', not {values.shown(roles_separator)}")

    def __call__(self, request: Request) -> Context:
        """Raises NotAuthenticated, Invalid."""
        if request.environ.get("REMOTE_ADDR", "") not in self._addresses:
            raise NotAuthenticated("authentication required: requests must come by the proxy that identifies callers")
        check_single(request.environ, _STATUS, _USER, _PROJECT, _TENANT)
        self._check_roles(request)
        return confirmed(request, self._admin_role, separator=self._separator, decode=from_wire)

    def _check_roles(self, request: Request) -> None:
        """Refuse several roles where they could be those of several headers. Raises Invalid."""
        try:
            check_single(request.environ, _ROLES)
        except Invalid:
            raise Invalid(
                f"several roles separated by commas cannot be told from a repeated {_ROLES} under this WSGI server: "
                "serve with glance-api, or set roles_separator of the filter proxy to another character, such as ;"
            ) from None


def confirmed(
    request: Request,
    admin_role: str,
    *,
    separator: str = ",",
    decode: Callable[[str, str], str] = lambda name, value: value,
) -> Context:
    """Return the Context of headers that can be believed. `decode` gets a header's name and its value in the environ.

    Raises NotAuthenticated, and what `decode` raises.
    """

    def read(name: str) -> str:
        return decode(name, request.headers.get(name, ""))

    if read(_STATUS) != "Confirmed":
        raise NotAuthenticated("authentication required")
    tenant = read(_PROJECT) or read(_TENANT)
    if not tenant:
        raise NotAuthenticated("the caller has no project")
    roles = [role for role in map(str.strip, read(_ROLES).split(separator)) if role]
    return guard.context(request, user=read(_USER) or None, tenant=tenant, roles=roles, admin_role=admin_role)
