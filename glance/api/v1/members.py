# SPDX-License-Identifier: Apache-2.0
"""The handlers of members in the Images API v1. Who may not share an image is told that there is none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from webob import Request, Response

from glance.api.v1 import shapes
from glance.core import values
from glance.core.errors import Invalid, NotAllowed, NotFound
from glance.core.service import ImageService
from glance.wsgi.body import has_body, json_of
from glance.wsgi.identify import context_of
from glance.wsgi.send import json_answer


class Members:
    def __init__(self, service: ImageService) -> None:
        self._service = service

    def index(self, request: Request, image_id: str) -> Response:
        members = self._service.members(context_of(request), _id(image_id))
        return json_answer(
            {"members": [{"member_id": member.member, "can_share": member.can_share} for member in members]}
        )

    def replace(self, request: Request, image_id: str) -> Response:
        body = json_of(request)
        listed = body.get("memberships") if isinstance(body, dict) else None
        if not isinstance(listed, list):
            raise Invalid('the body must be {"memberships": [{"member_id": "…", "can_share": true or false}, …]}')
        wanted = dict(_membership(item) for item in listed)
        with _as_unknown():
            self._service.share(context_of(request), _id(image_id), wanted, replace=True)
        return shapes.nothing()

    def add(self, request: Request, image_id: str, member: str) -> Response:
        """Without a body a new member may not share, and one that is there keeps what he may."""
        can_share = _single(json_of(request)) if has_body(request) else None
        with _as_unknown():
            self._service.share(context_of(request), _id(image_id), {values.tenant("member_id", member): can_share})
        return shapes.nothing()

    def remove(self, request: Request, image_id: str, member: str) -> Response:
        with _as_unknown():
            self._service.unshare(context_of(request), _id(image_id), member)
        return shapes.nothing()

    def shared(self, request: Request, member: str) -> Response:
        memberships = self._service.memberships(context_of(request), values.tenant("a tenant", member))
        return json_answer(
            {"shared_images": [{"image_id": one.image_id, "can_share": one.can_share} for one in memberships]}
        )


def _id(image_id: str) -> str:
    try:
        return values.image_uuid("id", image_id)
    except Invalid:
        raise NotFound(f"there is no image {values.shown(image_id)}") from None


def _membership(item: object) -> tuple[str, bool | None]:
    if not isinstance(item, dict) or not {"member_id"} <= item.keys() <= {"member_id", "can_share"}:
        raise Invalid(f"a membership must have a member_id and maybe can_share, not {values.shown(item)}")
    return values.tenant("member_id", item["member_id"]), _can_share(item)


def _single(body: object) -> bool | None:
    member = body.get("member") if isinstance(body, dict) else None
    if not isinstance(member, dict):
        raise Invalid('the body must be {"member": {"can_share": true or false}}, or empty')
    return _can_share(member)


def _can_share(item: Mapping[str, object]) -> bool | None:
    can_share = item.get("can_share")
    return None if can_share is None else values.truth("can_share", can_share)


@contextmanager
def _as_unknown() -> Iterator[None]:
    try:
        yield
    except NotAllowed as error:
        raise NotFound(f"there is no such image that you may share: {error}") from None
