# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of the classic API, between webob and the 2011 record."""

from dataclasses import replace

from webob import Request, Response

from glance.core.image import Image, Status
from glance.wire import classic, headers
from glance.wsgi.send import json_answer

_HTTP = "HTTP_"


def fields_of(request: Request) -> dict[str, object]:
    """The fields of a record that a request's headers set. Raises Invalid."""
    return headers.fields_of_request(
        (key[len(_HTTP) :], value) for key, value in request.environ.items() if key.startswith(_HTTP)
    )


def brief(image: Image) -> dict[str, object]:
    return {**classic.brief_of(image), "size": image.size or 0}


def record(image: Image) -> dict[str, object]:
    """The twelve fields; in this API an image without bytes has 0 of them, and no location."""
    if image.status is not Status.ACTIVE:
        image = replace(image, locations=())
    return {**classic.record_of(image), "size": image.size or 0}


def single(image: Image) -> Response:
    return json_answer({"image": record(image)})


def with_meta(response: Response, image: Image) -> Response:
    """Add the record as headers, and the id that other APIs know the image by."""
    response.headerlist.extend(headers.headers_from_fields(record(image)).items())
    response.headerlist.append((headers.ID_HEADER, image.id))
    return response
