# SPDX-License-Identifier: Apache-2.0
"""The handlers of images in the Images API v1: decode, one use case of the service, encode."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from webob import Request, Response

from glance.api.v1 import lists, shapes
from glance.core import values
from glance.core.access import OPEN, can_change
from glance.core.context import Context
from glance.core.errors import Invalid, Mismatch, NotAllowed, NotFound, WrongState
from glance.core.image import UNSET, Image, ImageChange, Status, Unset
from glance.core.query import Page
from glance.core.service import ImageService
from glance.wire import v1
from glance.wsgi.body import BodySource, has_body, has_content_type, parameters_of, source_of, threads_of
from glance.wsgi.endpoint import get_base_url
from glance.wsgi.identify import context_of
from glance.wsgi.send import list_answer, send

T = TypeVar("T")

OCTETS = "application/octet-stream"
PURGE = "X-Glance-Registry-Purge-Props"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """Images in one page of a list."""

    default: int = 25
    most: int = 1000


class Images:
    def __init__(self, service: ImageService, paging: Paging) -> None:
        self._service = service
        self._paging = paging

    def index(self, request: Request) -> Response:
        return list_answer("images", self._find(request, brief=True), v1.brief_of)

    def detail(self, request: Request) -> Response:
        return list_answer("images", self._find(request), v1.record_of)

    def meta(self, request: Request, image_id: str) -> Response:
        return shapes.with_meta(Response(), self._found(request, image_id))

    def show(self, request: Request, image_id: str) -> Response:
        image = self._found(request, image_id)
        response = send(request, self._service.open(context_of(request), image), total=image.size)
        del response.headers["Accept-Ranges"]  # this API knows no ranges
        return shapes.with_meta(response, image)

    def create(self, request: Request) -> Response:
        """Bytes in the body now; or elsewhere, and maybe to be fetched; or later, by PUT."""
        ctx = context_of(request)
        fields, properties = shapes.texts_of(request)
        draft = v1.draft_from(fields, properties, owner=ctx.tenant)
        source = self._source_of(request, fields)
        if source.is_any:
            v1.check_formats(draft)
        if source.body:
            image = self._service.reserve(ctx, replace(draft, checksum=None), at_once=True)
            image = self._upload(request, image, ImageChange(size=draft.size, checksum=draft.checksum), source)
        elif source.location is not None:
            image = self._service.register(ctx, draft, source.location, size=draft.size)
        elif source.copy_from is not None:
            image = self._service.copy_from(ctx, draft, source.copy_from, store=source.store)
        else:
            image = self._service.reserve(ctx, draft, at_once=draft.size == 0)
            if draft.size == 0:  # told to be empty, so there is nothing to wait for
                image = self._service.upload(ctx, image, source_of(request), size=0, store=source.store)
        response = shapes.single(image, status=201)
        response.location = f"{get_base_url(request)}/v1/images/{image.id}"
        return response

    def update(self, request: Request, image_id: str) -> Response:
        """Absent fields stay, absent properties go unless the purge is declined. Bytes are taken while the image
        is queued, and then only."""
        image = self._found(request, image_id)
        with _judged(context_of(request), image):
            return shapes.single(self._update(request, image))

    def delete(self, request: Request, image_id: str) -> Response:
        ctx = context_of(request)
        image = self._found(request, image_id)
        if image.status is Status.PENDING_DELETE:
            raise NotAllowed(f"image {image_id} is deleted already, and its bytes are going to be")
        if image.deleted:
            raise NotFound(f"image {image_id} is deleted already")
        with _judged(ctx, image):
            self._service.delete(ctx, image.id, threads=threads_of(request))
        return Response(content_length=0)

    def _update(self, request: Request, image: Image) -> Image:
        ctx = context_of(request)
        if image.deleted or not can_change(ctx, image):
            raise NotAllowed(f"image {image.id} is {'deleted' if image.deleted else 'of another tenant'}")
        fields, properties = shapes.texts_of(request)
        source = self._source_of(request, fields)
        change = v1.change_from(fields, properties, image)
        change = _without_fixed(image, fields, change)
        if not ctx.is_admin:
            change = replace(change, owner=UNSET)
        if not source.body and v1.is_true(request.headers.get(PURGE, "true")):
            unnamed = (key for key in image.properties if v1.is_spellable(key) and key not in properties)
            change = replace(change, dropped=frozenset(unnamed))
        if source.is_any:
            v1.check_formats(change.applied_to(image))
        return self._apply(request, image, change, source)

    def _apply(self, request: Request, image: Image, change: ImageChange, source: "Source") -> Image:
        ctx = context_of(request)
        if source.body:
            if image.status is not Status.QUEUED:
                raise WrongState(f"the image is {image.status}, and takes bytes only while it is queued")
            return self._upload(request, image, change, source)
        if source.is_any and image.status is not Status.QUEUED:
            raise Invalid(f"the image is {image.status}, not in queued status: it takes no bytes from elsewhere")
        if source.location is not None:
            size = _promised(change.size) or image.size
            return self._service.activate(ctx, image, source.location, change=change, size=size)
        if source.copy_from is not None:
            return self._service.copy_into(ctx, image, source.copy_from, store=source.store, change=change)
        # A size is right for the status it was judged by, and an upload may be about to change that.
        expect = None if change.size is UNSET else image.status
        return self._service.update(ctx, image.id, change, expect=expect)

    def _upload(self, request: Request, image: Image, change: ImageChange, source: "Source") -> Image:
        """Store the body as the data of a queued image.

        The size and the checksum in `change` are promises, and so are those of the reservation. Beside data, a size
        of 0 means that the size is unknown."""
        ctx = context_of(request)
        size = _promised(change.size) or image.size or None
        checksum = _promised(change.checksum) or image.checksum
        try:
            body = _octets_of(request, size)
        except Invalid as error:
            self._service.abandon(ctx, image, str(error))
            raise
        return self._service.upload(
            ctx,
            image,
            body,
            size=body.length if size is None else size,
            checksum=checksum,
            store=source.store,
            change=replace(change, size=UNSET, checksum=UNSET),
        )

    def _source_of(self, request: Request, fields: v1.Texts) -> "Source":
        """Raises Invalid when there is more than one, or no store for it."""
        source = Source(
            body=has_body(request),
            location=fields.get("location"),
            copy_from=shapes.copy_from_of(request),
            store=fields.get("store"),
        )
        if source.body + (source.location is not None) + (source.copy_from is not None) > 1:
            raise Invalid("multiple image sources: send the bytes, or name a location, or a URL to copy from")
        if source.store is not None:
            self._service.check_store(source.store)
        return source

    def _find(self, request: Request, *, brief: bool = False) -> Iterator[Page]:
        ctx, parameters = context_of(request), parameters_of(request)
        query = lists.query_of(parameters, ctx, limit=self._paging.default, most=self._paging.most)
        marker = lists.marker_of(parameters)
        return (
            iter([Page(images=())])
            if query is None
            else self._service.find(ctx, replace(query, brief=brief), marker=marker)
        )

    def _found(self, request: Request, image_id: str) -> Image:
        """An image by its id, and no other name; admins see deleted ones, too. Raises NotFound."""
        ctx = context_of(request)
        try:
            values.image_uuid("id", image_id)
        except Invalid:
            raise NotFound(f"there is no image {values.shown(image_id)}") from None
        return self._service.get(ctx, image_id, deleted=ctx.is_admin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the bytes of an image come from, according to one request."""

    body: bool
    location: str | None
    copy_from: str | None
    store: str | None  # where they shall be kept

    @property
    def is_any(self) -> bool:
        return self.body or self.location is not None or self.copy_from is not None


def _octets_of(request: Request, size: int | None) -> BodySource:
    """The body, if it is image data and its length is the one promised. Raises Invalid."""
    if not has_content_type(request, OCTETS):
        raise Invalid(f"a body with image data must have the Content-Type {OCTETS}")
    body = source_of(request)
    if size is not None and body.length not in (None, size):
        raise Mismatch(f"x-image-meta-size says {size} bytes, Content-Length {body.length}")
    return body


def _without_fixed(image: Image, fields: v1.Texts, change: ImageChange) -> ImageChange:
    """Return the change without the fields that no client sets.

    Clients send back the fields of an answer, so the recorded values are accepted; there an unknown size is 0.
    Raises NotAllowed for other values."""
    for name, now in (("id", image.id), ("status", str(image.status))):
        if fields.get(name) not in (None, now):
            raise NotAllowed(f"the {name} of an image cannot be set")
    if image.status is not Status.ACTIVE:
        return change
    pairs = {"size": (change.size, image.size or 0), "checksum": (change.checksum, image.checksum)}
    for name, (given, recorded) in pairs.items():
        if given not in (UNSET, None, recorded):
            raise NotAllowed(f"the {name} of an active image cannot be set: it follows from the image data")
    return replace(change, size=UNSET, checksum=UNSET)


def _promised(value: T | Unset) -> T | None:
    return None if isinstance(value, Unset) else value


@contextmanager
def _judged(ctx: Context, image: Image) -> Iterator[None]:
    """Who may not change an image that is not open to everybody is told as much as who cannot see it."""
    try:
        yield
    except WrongState as error:
        raise WrongState(f"Image operation conflicts: {error}") from error
    except NotAllowed:
        if can_change(ctx, image) or image.visibility in OPEN:
            raise
        raise NotFound(f"there is no image {values.shown(image.id)}") from None
