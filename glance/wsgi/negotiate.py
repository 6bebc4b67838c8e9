# SPDX-License-Identifier: Apache-2.0
"""What a request wants to know that everybody may: whether the service works, and which versions there are."""

import re
from typing import TYPE_CHECKING

from glance.wsgi.health import LIVE, READY
from glance.wsgi.media_types import parse_media_types

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_MEDIA_TYPE = re.compile(r"application/vnd\.openstack\.([a-z]+)-(v\d[\w.]*)(?:\+json)?", re.ASCII | re.IGNORECASE)


def asked_version(accept: str) -> re.Match[str] | None:
    """The first media type of a version in an Accept header; its groups are the service and the version."""
    return next(filter(None, map(_MEDIA_TYPE.fullmatch, parse_media_types(accept))), None)


def wants_versions(accept: str) -> bool:
    """Whether who asks for "/" looks for the versions there are: a program that names JSON and nothing beside it,
    or a media type of versions. A curl of 2011 takes everything, and means the list of images."""
    return asked_version(accept) is not None or parse_media_types(accept) == ["application/json"]


def is_open(environ: "WSGIEnvironment") -> bool:
    """Return True if the request needs no authentication. Must not be more lenient than what serves these paths."""
    path, method = environ.get("PATH_INFO", "").rstrip("/"), environ["REQUEST_METHOD"]
    return method == "OPTIONS" or (
        method in ("GET", "HEAD")
        and (path in (LIVE, READY, "/versions") or (path == "" and wants_versions(environ.get("HTTP_ACCEPT", ""))))
    )
