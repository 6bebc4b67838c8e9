# SPDX-License-Identifier: Apache-2.0
"""Context ↔ request headers: how glance-api tells the registry who asks.

The registry believes these headers of whoever knows its key (wsgi/identify.py), and of nobody else.
"""

from collections.abc import Mapping
from urllib.parse import quote, unquote

from glance.core.context import Context, acceptable_request_id, new_request_id
from glance.core.errors import Invalid
from glance.core.values import shown

REQUEST_ID_HEADER = "X-Openstack-Request-Id"
KEY_HEADER = "X-Glance-Registry-Key"
_USER = "X-User-Id"
_TENANT = "X-Tenant-Id"
_ROLES = "X-Roles"
_ADMIN = "X-Glance-Admin"
SINGLE_HEADERS = (_USER, _TENANT, _ADMIN)  # headers_for() writes no comma into these


def request_id_from(headers: Mapping[str, str]) -> str:
    """The request id of the caller, or a new one in place of one that is too odd to log."""
    request_id = headers.get(REQUEST_ID_HEADER)
    return request_id if request_id and acceptable_request_id(request_id) else new_request_id()


def context_from(headers: Mapping[str, str]) -> Context:
    """Return the Context that headers_for() wrote. Raises Invalid for a name that is not percent-encoded UTF-8."""
    roles = headers.get(_ROLES, "")
    return Context(
        request_id=request_id_from(headers),
        user=_read(headers, _USER),
        tenant=_read(headers, _TENANT),
        roles=frozenset(_decode(_ROLES, role) for role in roles.split(",") if role),
        is_admin=headers.get(_ADMIN) == "True",
    )


def headers_for(ctx: Context) -> dict[str, str]:
    """Names are percent-encoded, so that any text is one header, and one name in a list of them."""
    headers = {REQUEST_ID_HEADER: ctx.request_id, _ADMIN: str(ctx.is_admin)}
    for name, value in ((_USER, ctx.user), (_TENANT, ctx.tenant)):
        if value is not None:
            headers[name] = quote(value, safe="")
    if ctx.roles:
        headers[_ROLES] = ",".join(quote(role, safe="") for role in sorted(ctx.roles))
    return headers


def _read(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else _decode(name, value)


def _decode(name: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")  # a replacement character would make one tenant of two
    except UnicodeDecodeError:
        raise Invalid(f"header {name} must be percent-encoded UTF-8, not {shown(value)}") from None
