# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on this side."""

from glance.core.errors import GlanceError


class Failed(GlanceError):
    """The text is all that there is to say."""

    reason = "failed"
