# SPDX-License-Identifier: Apache-2.0
"""What all clients share: one server, its answers, and what goes wrong on the way."""

from collections.abc import Iterator, Mapping
from http.client import responses
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from glance.client.body import CHUNK, Body, SourceFailed
from glance.core import values
from glance.core.errors import GlanceError, Invalid, NotAllowed, NotAuthenticated, TooLarge
from glance.wire.identity import REQUEST_ID_HEADER
from glance.wire.large_head import LargeHeadResponse
from glance.wire.status import REASON_HEADER, error_from

CONNECT_TIMEOUT = 60  # seconds to connect, and that the server may stall while it is sent to
READ_TIMEOUT = 600  # seconds that an answer may take; a server that flushes a big image to disk needs some
LONGEST_TEXT = 8_192  # bytes of an error's text that are read
LONGEST_FOREIGN_TEXT = 200  # characters of another server's error that are repeated
SUCCESS = (200, 201, 202, 204, 206)

Fields = dict[str, object]


class NoServer(GlanceError):
    """Nobody listens at that host and port."""

    reason = "no-server"


class Disconnected(GlanceError):
    """The server, or a proxy on the way to it, failed during a request; the outcome is unknown."""

    reason = "disconnected"


class NotGlance(GlanceError):
    """The answer comes from another server, such as a proxy, or is not in the format of Glance."""

    reason = "not-glance"


GATEWAY = (502, 504)  # statuses that Glance never answers itself
# What a status means if it comes from another server; NotGlance for all others. Its 404, for example, does not say
# that an image is missing.
_FOREIGN: dict[int, type[GlanceError]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    413: TooLarge,
    502: Disconnected,
    503: Disconnected,
    504: Disconnected,
}


class Connection:
    """Talks to one server; connections are kept and reused. Not to be shared by threads.

    `url` is what stands before the paths of requests. `verify`: False takes any certificate of the server, a path
    names a file of authorities. `cert` is a file with our own certificate and key, or the two files.

    `reached` is True if the last request may have had an effect: Glance answered it, or a part of its body was sent.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
    ) -> None:
        self.url = url
        self.where = url.split("://", 1)[-1].split("/", 1)[0]
        self.reached = False
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = verify
        self._session.cert = cert
        # A browser's "*/*" would have errors come as HTML, and JSON alone would make "/" a list of versions.
        self._session.headers["Accept"] = "text/plain, application/json, application/octet-stream"
        self._session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())
        self._session.headers.update(headers)

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        query: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Return the answer to a request, its body still to be read. Raises the error that the answer stands for.

        A server may refuse while it is still being sent to, and close the connection: urllib3 then drops the
        rest of the body and reads the answer that lies there.
        """
        self.reached = False
        try:
            response = self._session.request(
                method,
                self.url + path,
                params=query,
                headers=headers,
                data=body,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
                stream=True,
            )
        except SourceFailed as failure:
            self.reached = True
            raise failure.error from None
        except requests.RequestException as error:
            self.reached = isinstance(body, Body) and body.started
            raise self._failure(error) from error
        except UnicodeEncodeError as error:
            raise Invalid(f"{values.shown(error.object)} is not valid Unicode and cannot be sent") from error
        except OSError as error:  # a file of certificates that cannot be read
            raise Invalid(str(error)) from error
        if response.status_code in SUCCESS:
            self.reached = True
            return response
        with response:
            raw = _read_text(response)
        if body is not None:
            self.close()  # the rest of the body may not have gone out: that connection is of no more use
        if _is_from_glance(response, raw):
            self.reached = True
            text = _printable(raw.removeprefix(_status_line(response))) or f"{self.where} answers {_status(response)}"
            raise error_from(response.status_code, response.headers.get(REASON_HEADER), text)
        self.reached = isinstance(body, Body) and _may_have_forwarded(response.status_code, body)
        raise _FOREIGN.get(response.status_code, NotGlance)(_describe_foreign(response, raw))

    def member(self, response: requests.Response, name: str) -> object:
        """What stands under a name in an answer of JSON. Raises NotGlance."""
        try:
            answer: object = response.json()
        except requests.exceptions.JSONDecodeError as error:
            raise NotGlance(f"{self.where} answers, but not as a Glance API does") from error
        except requests.RequestException as error:
            raise self._failure(error) from error
        if not isinstance(answer, dict) or name not in answer:
            raise NotGlance(f"{self.where} answers, but not as a Glance API does")
        return answer[name]

    def record(self, response: requests.Response) -> Fields:
        """The image of an answer of JSON. Raises NotGlance."""
        image = self.member(response, "image")
        if not isinstance(image, dict):
            raise NotGlance(f"{self.where} answers an image that is none")
        return image

    def records(self, response: requests.Response, name: str) -> list[Fields]:
        """The list of objects of an answer of JSON. Raises NotGlance."""
        items = self.member(response, name)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise NotGlance(f"{self.where} answers a list that is none")
        return items

    def pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body of an answer, which is closed at the end."""
        with response:
            try:
                yield from response.iter_content(CHUNK)
            except requests.RequestException as error:
                raise Disconnected(f"{self.where} broke off in the middle of the image") from error

    def _failure(self, error: requests.RequestException) -> GlanceError:
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return NoServer(f"{self.where} does not answer")
        if isinstance(error, requests.exceptions.Timeout):
            return Disconnected(f"{self.where} does not answer any more")
        if isinstance(error, requests.exceptions.SSLError):
            return NoServer(f"no trustworthy TLS server at {self.where}")
        if isinstance(error, requests.exceptions.ConnectionError):
            # A connection that was never made comes as urllib3's MaxRetryError, a broken one as ProtocolError.
            cause = error.args[0] if error.args else None
            if hasattr(cause, "reason"):
                return NoServer(f"no server at {self.where}")
            return Disconnected(f"{self.where} broke the connection off")
        if isinstance(error, ValueError):  # a host, a port or a header that cannot be
            return Invalid(str(error))
        return Disconnected(f"the request to {self.where} failed: {error}")


def _read_text(response: requests.Response) -> str:
    """Return the beginning of an error's body, "" if it breaks off."""
    try:
        raw: bytes = next(response.iter_content(LONGEST_TEXT), b"")
    except requests.RequestException:
        raw = b""
    return raw.decode("utf-8", "replace")


def _is_from_glance(response: requests.Response, text: str) -> bool:
    """Return True for an answer of Glance, False for one of a proxy or another server in its place.

    Glance's applications set headers of their own; refusals of its HTTP server, and answers of older releases, begin
    with their status line. An answer to HEAD without any of these is Glance's unless it shows the opposite."""
    if REASON_HEADER in response.headers or REQUEST_ID_HEADER in response.headers:
        return True
    if response.status_code in GATEWAY:
        return False
    if response.request.method == "HEAD":
        return "Server" not in response.headers
    return text.startswith(_status_line(response))


def _may_have_forwarded(status: int, body: Body) -> bool:
    """Return True if a proxy that answers this status may have sent a part of the body on.

    It decides on most errors of the client when it has read the head of the request, on 413 only if the size was
    announced there."""
    is_late = status >= 500 or status == 408 or (status == 413 and not body.size)
    return body.started and is_late


def _describe_foreign(response: requests.Response, text: str) -> str:
    """Return the status of another server and its name, with its text unless that is a page of HTML."""
    name = _printable(response.headers.get("Server", "")).partition("/")[0][:LONGEST_FOREIGN_TEXT]
    origin = f"from {name}, not Glance" if name else "not from Glance"
    described = f"{_status(response)} ({origin})"
    if "html" in response.headers.get("Content-Type", "").lower() or text.lstrip().startswith("<"):
        return described
    shown = _printable(text.removeprefix(_status_line(response)))[:LONGEST_FOREIGN_TEXT]
    return f"{described}: {shown}" if shown else described


def _status_line(response: requests.Response) -> str:
    return f"{response.status_code} {response.reason}"


def _status(response: requests.Response) -> str:
    """Return the status with its reason phrase, which may be missing behind an HTTP/2 proxy."""
    reason = _printable(response.reason or "") or responses.get(response.status_code, "")
    return f"{response.status_code} {reason}".rstrip()


def _printable(text: str) -> str:
    """Return text on one line, without control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


class _PlainConnection(HTTPConnection):
    response_class = LargeHeadResponse  # an image has a header for each of its properties


class _TlsConnection(HTTPSConnection):
    response_class = LargeHeadResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Connects as requests does, and reads answers with many headers."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
