# SPDX-License-Identifier: Apache-2.0
"""What a request brings: its body, as a Source or as a JSON value, and its query.

A WSGI server's `wsgi.input` may end early as if all were well when the client vanishes, so the promised length
is watched here; and a body without length can only be read where the server ends the input by itself
(`wsgi.input_terminated`), else there would be no end to wait for.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from webob import Request

from glance.core import values
from glance.core.context import Context
from glance.core.errors import BrokenUpload, Invalid, ServerBusy, TooLarge, UploadTimeout
from glance.core.inline import INLINE
from glance.core.ports import Threads
from glance.wire import jsontext
from glance.wsgi.endpoint import get_client_address
from glance.wsgi.identify import CONTEXT_KEY
from glance.wsgi.media_types import parse_media_types

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream

THREADS_KEY = "glance.threads"  # where glance/serve offers native threads in the environ
MAX_JSON = 1024 * 1024  # bytes of a JSON body
JSON_BLOCK = 8 * 1024  # bytes of it that are read at a time
JSON_MEMORY = 32 * 1024 * 1024  # bytes of all JSON bodies that one process is reading


class BodyMemory:
    """Memory for bodies that are being read, `limit` bytes in one process and half of that for one sender.

    Bytes count when they have arrived, so a slow sender holds only what it has sent. The first block of a body does
    not count: short bodies are read however many long ones are unfinished."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._used = 0
        self._held: Counter[str] = Counter()  # by sender

    @property
    def used(self) -> int:
        return self._used

    def take(self, sender: str, size: int) -> None:
        """Raises ServerBusy if there is no room."""
        with self._lock:
            if self._used + size > self._limit or self._held[sender] + size > self._limit // 2:
                raise ServerBusy("too many request bodies are unfinished; try again later")
            self._used += size
            self._held[sender] += size

    def give_back(self, sender: str, size: int) -> None:
        with self._lock:
            self._used -= size
            self._held[sender] -= size
            if not self._held[sender]:
                del self._held[sender]


_json_memory = BodyMemory(JSON_MEMORY)


def has_body(request: Request) -> bool:
    """A body is there when its length is not zero, or is not told in advance."""
    return "HTTP_TRANSFER_ENCODING" in request.environ or bool(_announced(request))


def has_content_type(request: Request, expected: str) -> bool:
    """Return True if the body is of this media type. Parameters and letter case do not matter."""
    return parse_media_types(request.headers.get("Content-Type", "")) == [expected]


def threads_of(request: Request) -> Threads:
    """What the server offers for work that would make other requests wait."""
    return cast(Threads, request.environ.get(THREADS_KEY, INLINE))


def source_of(request: Request) -> "BodySource":
    """The body as a Source; to be read once. Raises Invalid when its length cannot be known."""
    length: int | None = _announced(request)
    if "HTTP_TRANSFER_ENCODING" in request.environ:
        if not request.environ.get("wsgi.input_terminated"):
            raise Invalid("a body needs a Content-Length here: this server cannot take it in chunks")
        length = None
    sender = request.environ.get(CONTEXT_KEY, Context()).tenant or get_client_address(request.environ)
    return BodySource(request.environ["wsgi.input"], length, threads_of(request), sender)


def json_of(request: Request, *, limit: int = MAX_JSON) -> object:
    """Return the body as a JSON value.

    Raises TooLarge over `limit` bytes, Invalid when it is not strict JSON, and ServerBusy if too many bodies are
    being read."""
    source = source_of(request)
    if (source.length or 0) > limit:
        raise TooLarge(f"a JSON body may have at most {limit} bytes")
    text, counted = bytearray(), 0
    try:
        while block := source.read(min(limit + 1 - len(text), JSON_BLOCK)):
            if text:
                _json_memory.take(source.sender, len(block))
                counted += len(block)
            text += block
            if len(text) > limit:
                raise TooLarge(f"a JSON body may have at most {limit} bytes")
        return jsontext.parse(bytes(text))
    finally:
        _json_memory.give_back(source.sender, counted)


def parameters_of(request: Request) -> Mapping[str, str]:
    """The parameters of the URL. Raises Invalid when they are not UTF-8."""
    try:
        return dict(request.GET.items())  # dict(request.GET) would search the whole list for each name
    except UnicodeDecodeError:
        raise Invalid("the parameters of a URL must be UTF-8") from None


class BodySource:
    """The body of a request. `length` is the number of bytes announced, or None if it is not known."""

    def __init__(self, stream: "InputStream", length: int | None, threads: Threads, sender: str = "") -> None:
        self.length = length
        self.threads = threads
        self.sender = sender
        self._stream = stream
        self._left = length

    def read(self, size: int, /) -> bytes:
        if self._left is not None:
            size = min(size, self._left)
            if size == 0:
                return b""
        try:
            block = self._stream.read(size)
        except TimeoutError as error:
            raise UploadTimeout(f"the body broke off: {error}") from error
        except (OSError, ValueError) as error:  # cut, or not in the grammar of chunks
            raise BrokenUpload(f"the body broke off: {error}") from error
        if block is None:  # a non-blocking stream, against PEP 3333: no data yet, and no end
            raise BrokenUpload("the body broke off: the WSGI server ran out of data before its end")
        if self._left is not None:
            if not block:
                raise BrokenUpload(f"the body broke off, {self._left} of {self.length} bytes before its end")
            self._left -= len(block)
        return block


def _announced(request: Request) -> int:
    text = request.environ.get("CONTENT_LENGTH") or "0"
    return values.whole_number("Content-Length", text)
