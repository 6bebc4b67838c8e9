# SPDX-License-Identifier: Apache-2.0
"""An authenticating proxy in front says who asks, in headers that are believed from its addresses alone.

    [filter:proxy]
    paste.filter_factory = glance.identity.proxy:filter_factory
    addresses = 127.0.0.1, 10.0.5.0/24

The headers are X-Identity-Status (Confirmed), X-User-Id, X-Project-Id or X-Tenant-Id, and X-Roles, separated by
commas. The proxy must set or erase every one of them.
"""

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING

from webob import Request

from glance.core.context import Context
from glance.core.errors import Invalid, NotAuthenticated
from glance.identity import guard

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

OPTIONS = ("addresses", "admin_role")


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> "Callable[[WSGIApplication], WSGIApplication]":
    """Raises Invalid for options that cannot be used."""
    guard.check_options("proxy", local_conf, OPTIONS)
    guard.check_key("proxy", global_conf)
    proxy = Proxy(local_conf.get("addresses", ""), local_conf.get("admin_role", guard.ADMIN_ROLE))
    return lambda app: guard.guarded(app, proxy)


class Proxy:
    """Called with a request, tells whose it is."""

    def __init__(self, addresses: str, admin_role: str) -> None:
        self._networks = guard.networks_of(addresses)
        self._admin_role = admin_role
        if not self._networks:
            raise Invalid("the filter proxy needs addresses: those of the proxy that is to be believed")

    def __call__(self, request: Request) -> Context:
        """Raises NotAuthenticated."""
        if not self._is_believed(request.environ.get("REMOTE_ADDR", "")):
            raise NotAuthenticated("who asks is not known: requests must come by the proxy that identifies callers")
        return confirmed(request, self._admin_role)

    def _is_believed(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def confirmed(request: Request, admin_role: str) -> Context:
    """Who asks, according to headers that can be believed. Raises NotAuthenticated."""
    headers = request.headers
    if headers.get("X-Identity-Status") != "Confirmed":
        raise NotAuthenticated("who asks is not known")
    tenant = headers.get("X-Project-Id") or headers.get("X-Tenant-Id")
    if not tenant:
        raise NotAuthenticated("who asks belongs to no project: images are a project's")
    roles = [role for role in map(str.strip, headers.get("X-Roles", "").split(",")) if role]
    return guard.context(
        request, user=headers.get("X-User-Id") or None, tenant=tenant, roles=roles, admin_role=admin_role
    )
