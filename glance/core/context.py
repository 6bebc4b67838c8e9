# SPDX-License-Identifier: Apache-2.0
"""Who asks, and in which request."""

import re
import uuid
from dataclasses import dataclass, field

_REQUEST_ID = re.compile(r"req-[0-9A-Za-z-]{1,60}")


def new_request_id() -> str:
    return f"req-{uuid.uuid4()}"


def acceptable_request_id(text: str | None) -> bool:
    """Whether a caller's own request id is short and plain enough to be logged and passed on."""
    return text is not None and _REQUEST_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Made once per request at the door (wsgi/identify.py), then the first argument of everything.

    Without identity every caller is the operator: an admin of no tenant.
    """

    request_id: str = field(default_factory=new_request_id)
    user: str | None = None
    tenant: str | None = None
    roles: frozenset[str] = frozenset()
    is_admin: bool = False
