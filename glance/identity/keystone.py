# SPDX-License-Identifier: Apache-2.0
"""OpenStack Keystone says who asks: its middleware `authtoken` checks the token, this filter reads what it found.

[pipeline:glance-api]
pipeline = authtoken keystone api
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = http://keystone.example.org:5000
...
[filter:keystone]
paste.filter_factory = glance.identity.keystone:filter_factory
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from webob import Request

from glance.core.context import Context
from glance.core.errors import NotAuthenticated
from glance.identity import guard
from glance.identity.proxy import confirmed

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

OPTIONS = ("admin_role",)
_CHECKED = "keystone.token_auth"  # what authtoken leaves in the environ; no client can


@guard.identity_filter
def filter_factory(global_conf: dict[str, str], **local_conf: str) -> "Callable[[WSGIApplication], WSGIApplication]":
    """Raises Invalid for options that cannot be used."""
    guard.check_options("keystone", local_conf, OPTIONS)
    guard.check_key("keystone", global_conf)
    admin_role = local_conf.get("admin_role", guard.ADMIN_ROLE)

    def who(request: Request) -> Context:
        if _CHECKED not in request.environ:
            raise NotAuthenticated("no token was checked: the filter authtoken must stand before this one")
        return confirmed(request, admin_role)

    return lambda app: guard.guarded(app, who)
