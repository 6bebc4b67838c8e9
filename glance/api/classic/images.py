# SPDX-License-Identifier: Apache-2.0
"""The handlers of the classic API: decode, one use case of the service, encode."""

from collections.abc import Iterator
from dataclasses import replace

from webob import Request, Response

from glance.api.classic import shapes
from glance.core import values
from glance.core.errors import Invalid, NotFound, WrongState
from glance.core.image import UNSET, Image, ImageChange, Status, Visibility
from glance.core.query import Page, Query, Sort
from glance.core.service import ImageService
from glance.wire import classic
from glance.wsgi.body import has_body, has_content_type, source_of, threads_of
from glance.wsgi.endpoint import get_base_url
from glance.wsgi.identify import context_of
from glance.wsgi.send import list_answer, send, span_of

OCTETS = "application/octet-stream"


class Images:
    def __init__(self, service: ImageService) -> None:
        self._service = service

    def index(self, request: Request) -> Response:
        return list_answer("images", self._list(request, brief=True), shapes.brief)

    def detail(self, request: Request) -> Response:
        return list_answer("images", self._list(request), shapes.record)

    def meta(self, request: Request, number: str) -> Response:
        return shapes.with_meta(Response(), self._image(request, number))

    def show(self, request: Request, number: str) -> Response:
        image = self._image(request, number)
        span = span_of(request, image.size) if image.status is Status.ACTIVE else None
        blob = self._service.open(context_of(request), image, span)
        return shapes.with_meta(send(request, blob, total=image.size, span=span), image)

    def create(self, request: Request) -> Response:
        """Bytes in the body now; or elsewhere, at x-image-meta-location; or later, by PUT."""
        ctx = context_of(request)
        fields = shapes.fields_of(request)
        draft = classic.draft_from({**fields, "status": str(Status.QUEUED)})
        draft = replace(draft, owner=ctx.tenant, locations=())
        location = _location(fields)
        if has_body(request):
            image = self._upload(request, self._service.reserve(ctx, draft, at_once=True), ImageChange())
        elif location is not None:
            image = self._service.register(ctx, draft, location)
        else:
            image = self._service.reserve(ctx, draft)
        # The steps from queued to active are one creation to the client, not updates.
        response = shapes.single(replace(image, updated_at=image.created_at))
        response.location = f"{get_base_url(request)}/images/{image.number}"
        return response

    def update(self, request: Request, number: str) -> Response:
        """Absent fields stay. Bytes or a location are taken while the image is queued, and then only."""
        ctx = context_of(request)
        image = self._image(request, number)
        if has_body(request) and image.status is not Status.QUEUED:
            raise WrongState(f"image {number} is {image.status}: bytes are taken while it is queued")
        fields = shapes.fields_of(request)
        fields.pop("status", None)  # the server's own; clients of 2011 send it with every update
        change = replace(classic.change_from(fields), locations=UNSET)
        location = _location(fields)
        if has_body(request):
            image = self._upload(request, image, change)
        elif location is not None and location not in image.locations:
            if image.status is not Status.QUEUED:
                raise WrongState(f"image {number} is {image.status}: a location is taken while it is queued")
            image = self._service.activate(ctx, image, location, change=change)
        else:
            if image.status is Status.ACTIVE:  # clients send back the size of an answer, 0 for an unknown one
                if change.size not in (UNSET, image.size or 0):
                    raise Invalid(f"image {number} has {image.size} bytes: the size of an active image is fixed")
                change = replace(change, size=UNSET)
            # A size is right for the status it was judged by, and an upload may be about to change that.
            expect = None if change.size is UNSET else image.status
            image = self._service.update(ctx, image.id, change, expect=expect)
        return shapes.single(image)

    def delete(self, request: Request, number: str) -> Response:
        self._service.delete(context_of(request), self._image(request, number).id, threads=threads_of(request))
        return Response(content_length=0)

    def _list(self, request: Request, *, brief: bool = False) -> Iterator[Page]:
        query = Query(visibility=frozenset({Visibility.PUBLIC}), sort=(Sort("number"),), brief=brief)
        return self._service.list(context_of(request), query)

    def _image(self, request: Request, number: str) -> Image:
        if not classic.is_number(number):
            raise NotFound(f"there is no image {values.shown(number)}: an image is named by a whole number")
        return self._service.get(context_of(request), number)

    def _upload(self, request: Request, image: Image, change: ImageChange) -> Image:
        """The size header promises nothing here: in this API the bytes that came are the size."""
        ctx = context_of(request)
        try:
            if not has_content_type(request, OCTETS):
                raise Invalid(f"a body with image data must have the Content-Type {OCTETS}")
            body = source_of(request)
        except Invalid as error:
            self._service.abandon(ctx, image, str(error))
            raise
        return self._service.upload(
            ctx,
            image,
            body,
            size=body.length,
            store=request.headers.get("X-Image-Meta-Store"),
            change=replace(change, size=UNSET),
        )


def _location(fields: dict[str, object]) -> str | None:
    location = fields.get("location")
    return str(location) if location else None
