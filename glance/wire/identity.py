# SPDX-License-Identifier: Apache-2.0
"""Context ↔ request headers: how one daemon tells the other who asks."""

from collections.abc import Mapping

from glance.core.context import Context, acceptable_request_id

REQUEST_ID_HEADER = "X-Openstack-Request-Id"


def context_from(headers: Mapping[str, str]) -> Context:
    """The Context that the headers of a request describe; a request id that is too odd to log is replaced."""
    request_id = headers.get(REQUEST_ID_HEADER)
    return Context(request_id=request_id) if request_id and acceptable_request_id(request_id) else Context()


def headers_for(ctx: Context) -> dict[str, str]:
    return {REQUEST_ID_HEADER: ctx.request_id}
