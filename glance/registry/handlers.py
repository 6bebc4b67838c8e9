# SPDX-License-Identifier: Apache-2.0
"""The registry's own HTTP resource, spoken by glance-api: records, in the JSON of wire/records.py."""

from webob import Request, Response

from glance.core.errors import Invalid
from glance.core.image import Image, Status
from glance.core.ports import Registry
from glance.core.values import shown
from glance.wire import records
from glance.wsgi.body import json_of, parameters_of
from glance.wsgi.identify import context_of
from glance.wsgi.router import Handler
from glance.wsgi.send import json_answer


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
        ]

    def find(self, request: Request) -> Response:
        page = self._registry.find(context_of(request), records.decode_query(parameters_of(request)))
        return json_answer(records.encode_page(page))

    def add(self, request: Request) -> Response:
        image = records.decode_image(json_of(request))
        return _record(self._registry.add(context_of(request), image))

    def get(self, request: Request, image_id: str) -> Response:
        return _record(self._registry.get(context_of(request), image_id))

    def update(self, request: Request, image_id: str) -> Response:
        change = records.decode_change(json_of(request))
        expect = _status(request.headers.get(records.EXPECT_HEADER))
        return _record(self._registry.update(context_of(request), image_id, change, expect=expect))

    def remove(self, request: Request, image_id: str) -> Response:
        return _record(self._registry.remove(context_of(request), image_id))


def _status(text: str | None) -> Status | None:
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        raise Invalid(f"{records.EXPECT_HEADER} must be one of {', '.join(Status)}, not {shown(text)}") from None


def _record(image: Image) -> Response:
    return json_answer(records.encode_image(image))
