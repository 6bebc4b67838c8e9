# SPDX-License-Identifier: Apache-2.0
"""JSON → Response. Blob → Response: whole or in part, by the server's `wsgi.file_wrapper` where there is a file."""

import re
from collections.abc import Callable, Iterator
from itertools import chain

from webob import Request, Response

from glance.core.errors import RangeNotSatisfiable
from glance.core.image import Image, Span
from glance.core.ports import Blob
from glance.core.query import Page
from glance.wire import jsontext

BLOCK = 64 * 1024  # bytes that a server without sendfile reads at a time, and of a long list that are sent at a time

_RANGE = re.compile(r"bytes=(?:([0-9]{1,99})-([0-9]{0,99})|-([0-9]{1,99}))", re.ASCII | re.IGNORECASE)


def json_answer(value: object, *, ensure_ascii: bool = True) -> Response:
    return Response(jsontext.write(value, ensure_ascii=ensure_ascii), content_type="application/json")


def list_answer(key: str, pages: Iterator[Page], encode: Callable[[Image], object]) -> Response:
    """Return the answer {key: [the images of all pages, encoded]}.

    A list of one page has a Content-Length. A longer one is sent as its pages are read, so that it is never in memory
    as a whole; an error after the first page breaks the answer off."""
    first = next(pages)
    if first.after is None:
        return json_answer({key: list(map(encode, first.images))})
    return Response(app_iter=_write_list(key, chain([first], pages), encode), content_type="application/json")


def _write_list(key: str, pages: Iterator[Page], encode: Callable[[Image], object]) -> Iterator[bytes]:
    block = bytearray(b'{"%b": [' % key.encode())
    separator = b""
    for page in pages:
        texts = map(jsontext.write, map(encode, page.images))
        del page  # so that its images are freed before the next page is fetched
        for text in texts:
            block += separator + text
            separator = b", "
            if len(block) >= BLOCK:
                yield bytes(block)
                block.clear()
    yield bytes(block) + b"]}"


def span_of(request: Request, total: int | None) -> Span | None:
    """The bytes that a request asks for of `total`; None: all of them.

    Several ranges, another unit, or an If-Range (we hand out no validator it could hold) mean all of them, as
    RFC 9110 §14.2 allows. Raises RangeNotSatisfiable.
    """
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if found is None or total is None or "If-Range" in request.headers:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(total - int(suffix), 0), total
    else:
        start, end = int(first), min(int(last) + 1, total) if last else total
        if last and int(last) < int(first):
            return None  # not a range at all, RFC 9110 §14.1.1
    if start >= end:
        raise RangeNotSatisfiable(f"no such range in {total} bytes", total)
    return Span(start, end - start)


def send(request: Request, blob: Blob, *, total: int | None, span: Span | None = None) -> Response:
    """The answer that delivers an opened blob; `total` is the number of bytes of the whole."""
    response = Response(content_type="application/octet-stream")
    response.headers["Cache-Control"] = "private"  # data may be kept by its caller, and by no cache that others share
    response.accept_ranges = "bytes" if total is not None else "none"
    if span is not None:
        response.status_int = 206
        response.headers["Content-Range"] = f"bytes {span.start}-{span.start + span.length - 1}/{total}"
    wrapper = request.environ.get("wsgi.file_wrapper")
    if blob.file is not None and wrapper is not None and blob.size is not None:
        response.app_iter = wrapper(blob.file, BLOCK)
    else:
        response.app_iter = blob
    response.content_length = blob.size  # None: the bytes are sent until they end, whatever was recorded
    return response
