# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of the Images API v1, between webob and the record of wire/v1.py."""

from webob import Request, Response

from glance.core.image import Image
from glance.wire import v1
from glance.wsgi.send import json_answer

COPY_FROM = "X-Glance-Api-Copy-From"

_HTTP = "HTTP_"
_PERCENT_ENCODING = "python-glanceclient"  # the one client that encodes header names and values


def texts_of(request: Request) -> tuple[v1.Texts, v1.Texts]:
    """The fields and properties that a request's headers set. Raises Invalid."""
    headers = ((key[len(_HTTP) :], value) for key, value in request.environ.items() if key.startswith(_HTTP))
    return v1.texts_of(headers, encoded=_is_encoded(request))


def copy_from_of(request: Request) -> str | None:
    """The URL that the bytes shall be fetched from. Raises Invalid."""
    return v1.text_of(COPY_FROM, request.headers.get(COPY_FROM, ""), encoded=_is_encoded(request)) or None


def single(image: Image, status: int = 200) -> Response:
    response = json_answer({"image": v1.record_of(image)})
    response.status_int = status
    return with_etag(response, image)


def with_meta(response: Response, image: Image) -> Response:
    """Add the record as headers."""
    response.headerlist.extend(v1.headers_of(v1.record_of(image)).items())
    return with_etag(response, image)


def with_etag(response: Response, image: Image) -> Response:
    if image.checksum is not None:
        response.headers["ETag"] = image.checksum  # bare, as it always was in this API
    return response


def nothing() -> Response:
    """204: no body, and no type of one."""
    return Response(status=204)


def _is_encoded(request: Request) -> bool:
    return request.headers.get("User-Agent", "").startswith(_PERCENT_ENCODING)
