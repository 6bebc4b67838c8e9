# SPDX-License-Identifier: Apache-2.0
"""Users for tests over real daemons: a filter of PasteDeploy that believes every token `tenant.user.role`."""

from glance.core.context import Context
from glance.wsgi.identify import CONTEXT_KEY


class Tokens:
    """WSGI middleware. Who brings no token is the operator, as without this filter."""

    def __init__(self, app) -> None:
        self._app = app

    def __call__(self, environ, start_response):
        token = environ.get("HTTP_X_AUTH_TOKEN")
        if token is not None:
            tenant, user, role = token.split(".")
            environ[CONTEXT_KEY] = Context(
                user=user, tenant=tenant, roles=frozenset({role}), is_admin=role == "admin"
            )
        return self._app(environ, start_response)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> type[Tokens]:
    return Tokens
