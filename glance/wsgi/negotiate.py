# SPDX-License-Identifier: Apache-2.0
"""What a request wants to know that everybody may: whether the service works, and which versions there are."""

import re
from typing import TYPE_CHECKING

from glance.wsgi.health import LIVE, READY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_MEDIA_TYPE = re.compile(r"application/vnd\.openstack\.([a-z]+)-(v\d[\w.]*)(?:\+json)?", re.ASCII | re.IGNORECASE)


def asked_version(accept: str) -> re.Match[str] | None:
    """The first media type of a version in an Accept header; its groups are the service and the version."""
    return next(filter(None, map(_MEDIA_TYPE.fullmatch, _media_types(accept))), None)


def wants_versions(accept: str) -> bool:
    """Whether who asks for "/" looks for the versions there are: a program that names JSON and nothing beside it,
    or a media type of versions. A curl of 2011 takes everything, and means the list of images."""
    return asked_version(accept) is not None or _media_types(accept) == ["application/json"]


def _media_types(accept: str) -> list[str]:
    """What the client accepts, without the parameters."""
    return [item.split(";")[0].strip() for item in accept.split(",")]


def is_open(environ: "WSGIEnvironment") -> bool:
    """Whether nobody has to be known for this."""
    path = environ.get("PATH_INFO", "").rstrip("/")
    return environ["REQUEST_METHOD"] in ("GET", "HEAD") and (
        path in (LIVE, READY, "/versions") or (path == "" and wants_versions(environ.get("HTTP_ACCEPT", "")))
    )
