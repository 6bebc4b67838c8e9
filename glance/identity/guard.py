# SPDX-License-Identifier: Apache-2.0
"""What all filters share: who is not known gets a 401 like every other answer, and the registry must have its key."""

import difflib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from webob import Request

from glance.core import values
from glance.core.context import Context
from glance.core.errors import Invalid, NotAuthenticated
from glance.wsgi.faults import Faults
from glance.wsgi.health import Check
from glance.wsgi.identify import Identify, RequestId, request_id_of
from glance.wsgi.negotiate import is_open

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ADMIN_ROLE = "admin"
Who = Callable[[Request], Context]
Factory = TypeVar("Factory", bound=Callable[..., object])


def guarded(app: "WSGIApplication", who: Who, *, challenge: str | None = None) -> "WSGIApplication":
    """The application behind a filter. `who` raises NotAuthenticated; `challenge` tells clients how to say who
    they are (WWW-Authenticate, RFC 9110 §11.6.1). Health and the list of versions are open to everybody."""
    inside = RequestId(Faults(Identify(app, who), challenge=challenge))

    def filtered(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return (app if is_open(environ) else inside)(environ, start_response)

    return filtered


def identity_filter(factory: Factory) -> Factory:
    """Mark a filter factory as one whose filter identifies callers: the daemon warns if there is none."""
    factory.identifies_callers = True  # type: ignore[attr-defined]
    return factory


def add_check(app: "WSGIApplication", name: str, check: Check) -> None:
    """Have /healthcheck/ready call `check`, which raises GlanceError if the filter cannot work.

    The application has to stand directly behind the filter in the pipeline.
    """
    if hasattr(app, "add_check"):
        app.add_check(name, check)


def context(
    request: Request, *, user: str | None, tenant: str | None, roles: Iterable[str], admin_role: str
) -> Context:
    """Raises NotAuthenticated for names that are none."""
    try:
        return Context(
            request_id=request_id_of(request),
            user=None if user is None else values.line("user", user, least=1),
            tenant=None if tenant is None else values.line("tenant", tenant, least=1),
            roles=frozenset(values.line("role", role, least=1) for role in roles),
            is_admin=admin_role in roles,
        )
    except Invalid as error:
        raise NotAuthenticated(str(error)) from error


def check_options(name: str, given: Mapping[str, str], known: Sequence[str]) -> None:
    """Raises Invalid for an option that the filter does not have."""
    for option in given:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise Invalid(f"the filter {name} has an unknown option {option}: {hint}")


def check_key(name: str, global_conf: Mapping[str, str]) -> None:
    """The registry judges by who asks, and it has to be sure of that. Raises Invalid."""
    if not global_conf.get("registry_key", "").strip():
        proposal = secrets.token_urlsafe(24)
        raise Invalid(
            f"the filter {name} identifies callers, so the registry needs a secret that it shares with glance-api: "
            f"set registry_key in [DEFAULT], for example to {proposal} (made at random just now)"
        )
