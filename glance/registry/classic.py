# SPDX-License-Identifier: Apache-2.0
"""The registry API of March 2011, for clients of that time: numbers, twelve fields, 200 for every success."""

from collections.abc import Iterator

from webob import Request, Response

from glance.core.errors import Invalid, NotFound
from glance.core.image import Image, Visibility
from glance.core.listing import iter_pages
from glance.core.ports import Registry
from glance.core.query import Page, Query, Sort
from glance.core.values import shown
from glance.wire import classic
from glance.wsgi.body import json_of
from glance.wsgi.identify import context_of
from glance.wsgi.router import Handler
from glance.wsgi.send import json_answer, list_answer


class Images:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/", self.index),
            ("GET", "/images/", self.index),
            ("GET", "/images/detail/", self.detail),
            ("POST", "/images/", self.create),
            ("GET", "/images/{number}", self.show),
            ("PUT", "/images/{number}", self.update),
            ("DELETE", "/images/{number}", self.delete),
        ]

    def index(self, request: Request) -> Response:
        return list_answer("images", self._list(request, brief=True), classic.brief_of)

    def detail(self, request: Request) -> Response:
        return list_answer("images", self._list(request), classic.record_of)

    def show(self, request: Request, number: str) -> Response:
        return _single(self._image(request, number))

    def create(self, request: Request) -> Response:
        return _single(self._registry.add(context_of(request), classic.draft_from(_fields(request))))

    def update(self, request: Request, number: str) -> Response:
        try:
            image = self._image(request, number)
        except NotFound:
            return Response("Image not found", status=404, content_type="text/plain", charset="UTF-8")
        change = classic.change_from(_fields(request))
        return _single(self._registry.update(context_of(request), image.id, change))

    def delete(self, request: Request, number: str) -> Response:
        self._registry.remove(context_of(request), self._image(request, number).id)
        return Response(content_length=0)

    def _image(self, request: Request, number: str) -> Image:
        if not classic.is_number(number):
            raise NotFound(f"there is no image {shown(number)}: an image is named by a whole number")
        return self._registry.get(context_of(request), number)

    def _list(self, request: Request, *, brief: bool = False) -> Iterator[Page]:
        query = Query(visibility=frozenset({Visibility.PUBLIC}), sort=(Sort("number"),), brief=brief)
        return iter_pages(self._registry, context_of(request), query)


def _fields(request: Request) -> dict[str, object]:
    body = json_of(request)
    fields = body.get("image") if isinstance(body, dict) else None
    if not isinstance(fields, dict):
        raise Invalid('the body must be {"image": {…}}')
    return fields


def _single(image: Image) -> Response:
    return json_answer({"image": classic.record_of(image)})
