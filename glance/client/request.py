# SPDX-License-Identifier: Apache-2.0
"""What both clients put into a request: the path of an image, and the names of headers."""

from collections.abc import Mapping

from glance.core.errors import Invalid, NotFound
from glance.core.values import shown
from glance.wire import v1
from glance.wire.paths import build_path

LIST = "detail"  # /images/detail is the list of images


def image_path(image_id: str, *segments: str) -> str:
    """Return the path of an image, or of something below it.

    Raises Invalid for a segment that cannot be sent (wire/paths.py), and NotFound for an id that names a list.
    """
    if image_id == LIST:
        raise NotFound(f"there is no image {shown(image_id)}")
    return build_path("images", image_id, *segments)


def check_properties(properties: Mapping[str, object]) -> None:
    """Raise Invalid unless each property can be sent as a header of its own.

    The APIs compare these names without regard to case, and take "-" and "_" for the same.
    """
    names: dict[str, str] = {}
    for key in properties:
        folded = key.lower().replace("-", "_")
        if not v1.is_spellable(folded):
            raise Invalid(f"a property cannot be called {shown(key)}: its name is part of a header's name")
        if folded in names:
            raise Invalid(f"{shown(names[folded])} and {shown(key)} are the same property")
        names[folded] = key


def with_hyphens(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a record with hyphens in their names: nginx and others drop names with underscores."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
