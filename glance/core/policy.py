# SPDX-License-Identifier: Apache-2.0
"""What takes a role beyond owning an image. The words are those of the policy files of old."""

from collections.abc import Mapping
from enum import StrEnum

from glance.core.context import Context
from glance.core.errors import NotAllowed

EVERYBODY = "*"


class Action(StrEnum):
    PUBLICIZE_IMAGE = "publicize_image"
    SET_IMAGE_LOCATION = "set_image_location"
    COPY_FROM = "copy_from"
    DELETE_FOREIGN_IMAGE = "delete_foreign_image"


_DEEDS = {
    Action.PUBLICIZE_IMAGE: "make an image public",
    Action.SET_IMAGE_LOCATION: "set the location of an image",
    Action.COPY_FROM: "have an image copied from a URL",
    Action.DELETE_FOREIGN_IMAGE: "delete the image of another tenant",
}


class Policy:
    """Action → roles that may do it; "*" is everybody. Admins may do all; what is not named is theirs alone."""

    def __init__(self, rules: Mapping[Action, frozenset[str]] | None = None) -> None:
        self._rules = dict(rules or {})

    def allows(self, ctx: Context, action: Action) -> bool:
        roles = self._rules.get(action, frozenset())
        return ctx.is_admin or EVERYBODY in roles or bool(ctx.roles & roles)

    def check(self, ctx: Context, action: Action) -> None:
        """Raises NotAllowed."""
        if not self.allows(ctx, action):
            raise NotAllowed(f"you may not {_DEEDS[action]}: that takes a role that the operator gives")
