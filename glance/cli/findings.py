# SPDX-License-Identifier: Apache-2.0
"""What checks have found, in words."""

from glance.cli.images.output import printable
from glance.core.errors import GlanceError
from glance.core.findings import Broken, Unchecked


def words_of(finding: Broken | Unchecked) -> str:
    if isinstance(finding, Unchecked):
        return f"{printable(finding.what)}: cannot be checked: {finding.error}{advice_of(finding.error)}"
    image = finding.image
    name = f" {image.name!r}" if image.name else ""
    where = f": {printable(finding.location)}" if finding.location else ""
    return f"image {image.number} ({image.id}){name}: {finding.problem}{where}"


def advice_of(error: GlanceError) -> str:
    """On a line of its own, if there is one."""
    return f"\n    {error.advice}" if error.advice else ""
