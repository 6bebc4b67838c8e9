# SPDX-License-Identifier: Apache-2.0
"""What an Accept header says about versions."""

import re

MEDIA_TYPE = re.compile(r"application/vnd\.openstack\.([a-z]+)-(v\d[\w.]*)", re.ASCII)


def wants_versions(accept: str) -> bool:
    """Whether who asks for "/" looks for the versions there are: a program that names JSON, or a media type of
    versions, and nothing beside it. A curl of 2011 takes everything, and means the list of images."""
    only = accept.split(";")[0].strip()
    return "," not in accept and (only == "application/json" or MEDIA_TYPE.fullmatch(only) is not None)
