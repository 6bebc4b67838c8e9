# SPDX-License-Identifier: Apache-2.0
"""What checks of a Glance that runs find (fsck.py, verify.py)."""

from dataclasses import dataclass

from glance.core.errors import GlanceError
from glance.core.image import Image


@dataclass(frozen=True, slots=True)
class Broken:
    """An active image whose bytes are not as its record says."""

    image: Image
    location: str | None
    problem: str
    missing: bool = False  # there are no bytes at all


@dataclass(frozen=True, slots=True)
class Unchecked:
    """What could not be looked at, and why."""

    what: str
    error: GlanceError
