# SPDX-License-Identifier: Apache-2.0
"""The registry's own HTTP resource, spoken by glance-api: records and members, in the JSON of wire/records.py."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from webob import Request, Response

from glance.core.errors import Invalid
from glance.core.image import Image, MemberStatus, Status
from glance.core.ports import CLEANING, Registry
from glance.core.values import MAX_INT, line, shown, whole_number
from glance.wire import queries, records
from glance.wire.decode import object_of, one_of
from glance.wsgi.body import json_of, parameters_of
from glance.wsgi.identify import context_of
from glance.wsgi.router import Handler
from glance.wsgi.send import json_answer

_answer = partial(json_answer, ensure_ascii=False)


class Records:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/records", self.find),
            ("POST", "/records", self.add),
            ("GET", "/records/{image_id}", self.get),
            ("PATCH", "/records/{image_id}", self.update),
            ("DELETE", "/records/{image_id}", self.remove),
            ("GET", "/records/{image_id}/members", self.members),
            ("PUT", "/records/{image_id}/members", self.replace_members),
            ("PATCH", "/records/{image_id}/members", self.add_members),
            ("PUT", "/records/{image_id}/member", self.answer),
            ("DELETE", "/records/{image_id}/member", self.drop_member),
            ("GET", "/memberships", self.memberships),
            ("POST", "/records/{image_id}/release", self.release),
            ("POST", "/claims", self.claim_stalled),
        ]

    def find(self, request: Request) -> Response:
        parameters = _parameters(request, queries.PARAMETER)
        query = queries.decode_query(parameters.get(queries.PARAMETER, "{}"))
        query = replace(query, brief=request.headers.get(queries.BRIEF_HEADER) == "true")
        return _answer(queries.encode_page(self._registry.find(context_of(request), query)))

    def add(self, request: Request) -> Response:
        image = records.decode_draft(json_of(request))
        return _record(self._registry.add(context_of(request), image, lease=_lease(request)))

    def get(self, request: Request, image_id: str) -> Response:
        deleted = _parameters(request, records.DELETED).get(records.DELETED) == "true"
        return _record(self._registry.get(context_of(request), image_id, deleted=deleted))

    def update(self, request: Request, image_id: str) -> Response:
        change = records.decode_change(json_of(request))
        expect = _status(request.headers.get(records.EXPECT_HEADER))
        holder = request.headers.get(records.HOLDER_HEADER)
        return _record(self._registry.update(context_of(request), image_id, change, expect=expect, holder=holder))

    def remove(self, request: Request, image_id: str) -> Response:
        lease = _lease(request)
        delay = _parameters(request, records.DELAY).get(records.DELAY)
        removed = self._registry.remove(
            context_of(request),
            image_id,
            lease=CLEANING if lease is None else lease,
            delay=None if delay is None else whole_number(records.DELAY, delay, most=MAX_INT),
        )
        return _record(removed)

    def release(self, request: Request, image_id: str) -> Response:
        self._registry.release(context_of(request), image_id, holder=request.headers.get(records.HOLDER_HEADER))
        return _answer({})

    def claim_stalled(self, request: Request) -> Response:
        holder, lease, limit, pending = records.decode_claim(json_of(request))
        ctx = context_of(request)
        claimed = self._registry.claim_stalled(ctx, holder, lease=lease, limit=limit, pending=pending)
        return _answer(records.encode_images(claimed))

    def members(self, request: Request, image_id: str) -> Response:
        return _answer(records.encode_members(self._registry.members(context_of(request), image_id)))

    def replace_members(self, request: Request, image_id: str) -> Response:
        return self._set_members(request, image_id, replace=True)

    def add_members(self, request: Request, image_id: str) -> Response:
        return self._set_members(request, image_id, replace=False)

    def _set_members(self, request: Request, image_id: str, *, replace: bool) -> Response:
        wanted = records.decode_wanted(json_of(request))
        members = self._registry.set_members(context_of(request), image_id, wanted, replace=replace)
        return _answer(records.encode_members(members))

    def answer(self, request: Request, image_id: str) -> Response:
        status = one_of(MemberStatus)("status", object_of("an answer", json_of(request)).get("status"))
        answered = self._registry.set_member_status(context_of(request), image_id, _tenant(request), status)
        return _answer(records.encode_member(answered))

    def drop_member(self, request: Request, image_id: str) -> Response:
        self._registry.drop_member(context_of(request), image_id, _tenant(request))
        return _answer({})

    def memberships(self, request: Request) -> Response:
        return _answer(records.encode_members(self._registry.memberships(context_of(request), _tenant(request))))


def _tenant(request: Request) -> str:
    """Whom it is about; not in the path, where not every name is one segment."""
    parameters = _parameters(request, records.TENANT)
    if records.TENANT not in parameters:
        raise Invalid(f"the parameter {records.TENANT} must say who the member is")
    return line("the member", parameters[records.TENANT])


def _parameters(request: Request, known: str) -> Mapping[str, str]:
    parameters = parameters_of(request)
    for name in parameters:
        if name != known:
            raise Invalid(f"unknown parameter {shown(name)}: expected {known}")
    return parameters


def _status(text: str | None) -> Status | None:
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        raise Invalid(f"{records.EXPECT_HEADER} must be one of {', '.join(Status)}, not {shown(text)}") from None


def _lease(request: Request) -> int | None:
    return records.decode_lease(request.headers.get(records.LEASE_HEADER))


def _record(image: Image) -> Response:
    return _answer(records.encode_image(image))
