# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of the classic API, between webob and the 2011 record."""

from collections.abc import Iterable

from webob import Request, Response

from glance.core.image import Image
from glance.wire import classic, headers
from glance.wsgi.send import json_answer

_HTTP = "HTTP_"


def fields_of(request: Request) -> dict[str, object]:
    """The fields of a record that a request's headers set. Raises Invalid."""
    return headers.fields_of_request(
        (key[len(_HTTP) :], value) for key, value in request.environ.items() if key.startswith(_HTTP)
    )


def collection(records: Iterable[dict[str, object]]) -> Response:
    return json_answer({"images": list(records)})


def single(image: Image) -> Response:
    return json_answer({"image": classic.record_of(image)})


def with_meta(response: Response, image: Image) -> Response:
    """Add the record as headers."""
    response.headers.update(list(headers.headers_from_fields(classic.record_of(image)).items()))
    return response
