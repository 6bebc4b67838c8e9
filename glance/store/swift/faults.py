# SPDX-License-Identifier: Apache-2.0
"""What went wrong with a Swift: errors of the libraries and bad statuses → GlanceError.

Nothing of an answer's text, and no URL, is repeated to users or in the log.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
import urllib3

from glance.core.errors import BlobMissing, Duplicate, GlanceError, StoreDown, StoreFull
from glance.store import reach

LOG = logging.getLogger(__name__)

AGAIN = frozenset({408, 422, 429, 498, 499, 500, 502, 503, 504})  # statuses after which another try may help
CACERT = "swift_store_cacert"

_TRANSACTION = re.compile(r"[0-9A-Za-z-]{1,80}", re.ASCII)
_REFUSED = "Swift refuses this server's user"


class NoAnswer(StoreDown):
    """No answer came, or not all of it. Another try may help."""


def failure(method: str, status: int, headers: Mapping[str, str], where: str) -> GlanceError:
    """What a bad status of Swift means."""
    if status == 404:
        return (
            StoreDown("Swift's container is missing") if method == "PUT" else BlobMissing("Swift has no such bytes")
        )
    if status == 409 and method in ("GET", "HEAD"):
        return BlobMissing("a segment of the bytes is missing, or is not the one that was stored")
    if status == 412 and method == "PUT":
        return Duplicate("the store holds bytes of that name already")
    if status in (413, 507):
        return StoreFull("the store has no room for these bytes", advice="make room in Swift, or raise the quota")
    if status == 401:
        return StoreDown(_REFUSED, advice=f"{where} does not know the tokens of that authentication")
    if status == 403:
        advice = (
            "swift_store_user needs the right to read and write swift_store_container; where users are Keystone's, "
            "that is a role on the tenant that Swift's operator_roles names"
        )
        return StoreDown(_REFUSED, advice=advice)
    transaction = headers.get("X-Trans-Id", "")
    told = f"{status}, {transaction}" if _TRANSACTION.fullmatch(transaction) else f"{status}"
    return StoreDown(f"Swift answered {told}", advice=f"{where} answered {told}: its log should tell why")


@contextmanager
def logging_in(where: str, version: str) -> Iterator[None]:
    """Any error of a login → StoreDown; NoAnswer where another try may help."""
    try:
        yield
    except GlanceError as error:
        LOG.error("swift store, login: %s", error)
        raise
    except ImportError as error:
        LOG.error("swift store: the package %s is not installed", error.name)
        raise StoreDown("this server lacks a package that it needs for Swift") from None
    except Exception as error:  # swiftclient and keystoneauth have families of their own
        status = getattr(error, "http_status", None)
        if status is not None:
            cause, found = f"status {status}", _refused(int(status), where, version)
        else:
            cause, found = _unreached(error, "the authentication of Swift", where)
        LOG.error("swift store, login: %s", cause)
        raise found from None


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Errors of the connection → NoAnswer, or StoreDown. What the source of a body raises passes through."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        cause, found = _unreached(error, "Swift", where)
    else:
        return
    LOG.warning("swift store: %s", cause)
    # Not from the error: its text has the URL, and a traceback in a log would show it.
    raise found


def _unreached(error: Exception, who: str, where: str) -> tuple[str, StoreDown]:
    found = reach.trouble(error, where, CACERT)
    kind = StoreDown if found.lasting else NoAnswer
    return found.cause, kind(f"{who} {found.text}", advice=found.advice)


def _refused(status: int, where: str, version: str) -> StoreDown:
    """What a bad status of the authentication means."""
    if status == 401:
        advice = f"{where} does not accept swift_store_user with swift_store_key; a user is written as tenant:user"
        if version == "3":
            advice += (
                ", has a role on the tenant, and both are of the domain Default unless swift_store_user_domain_name "
                "and swift_store_project_domain_name say otherwise"
            )
        return StoreDown(_REFUSED, advice=advice)
    if status == 403:
        return StoreDown(_REFUSED, advice=f"{where} knows swift_store_user, and forbids it to log in")
    if status in AGAIN:
        advice = f"{where} answered {status}: its log should tell why"
        return NoAnswer("the authentication of Swift does not answer", advice=advice)
    advice = (
        f"{where} answered {status}, and not as version {version} of the authentication does: look at its path "
        f"(…/auth/v1.0 of version 1, …/v3 of version 3), and at swift_store_auth_version"
    )
    return StoreDown("the authentication of Swift is not where it is looked for", advice=advice)


def not_in_catalogue(where: str, region: str | None, regions: str) -> StoreDown:
    """`regions` are those of the Swifts that the catalogue has."""
    advice = f"the service catalogue of {where} has no public endpoint of an object-store"
    if region and regions:
        told = f"in the region {region}: look at swift_store_region; there is one in {regions}"
        LOG.error("swift store, login: no Swift %s", told)
        advice += f" {told}"
    return StoreDown("the authentication of Swift knows no Swift for this server", advice=advice)
