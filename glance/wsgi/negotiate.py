# SPDX-License-Identifier: Apache-2.0
"""What a request wants to know that everybody may: whether the service works, and which versions there are."""

import re
from typing import TYPE_CHECKING

from glance.wsgi.health import LIVE, READY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MEDIA_TYPE = re.compile(r"application/vnd\.openstack\.([a-z]+)-(v\d[\w.]*)", re.ASCII)


def wants_versions(accept: str) -> bool:
    """Whether who asks for "/" looks for the versions there are: a program that names JSON, or a media type of
    versions, and nothing beside it. A curl of 2011 takes everything, and means the list of images."""
    only = accept.split(";")[0].strip()
    return "," not in accept and (only == "application/json" or MEDIA_TYPE.fullmatch(only) is not None)


def is_open(environ: "WSGIEnvironment") -> bool:
    """Whether nobody has to be known for this."""
    path = environ.get("PATH_INFO", "").rstrip("/")
    return environ["REQUEST_METHOD"] in ("GET", "HEAD") and (
        path in (LIVE, READY, "/versions") or (path == "" and wants_versions(environ.get("HTTP_ACCEPT", "")))
    )
