# SPDX-License-Identifier: Apache-2.0
"""What all clients share: one server, its answers, and what goes wrong on the way."""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from glance.client.body import CHUNK, Sized, SourceFailed
from glance.core.errors import GlanceError, Invalid
from glance.wire.large_head import LargeHeadResponse
from glance.wire.status import REASON_HEADER, error_from

CONNECT_TIMEOUT = 60  # seconds to connect, and that the server may stall while it is sent to
READ_TIMEOUT = 600  # seconds that an answer may take; a server that flushes a big image to disk needs some
LONGEST_TEXT = 8_192  # bytes of an error's text that are read
SUCCESS = (200, 201, 202, 204, 206)

Fields = dict[str, object]


class NoServer(GlanceError):
    """Nobody listens at that host and port."""

    reason = "no-server"


class Disconnected(GlanceError):
    """The server, or the way to it, failed in the middle of a request; what became of it is not known."""

    reason = "disconnected"


class NotGlance(GlanceError):
    """Somebody answers, but not in the language of Glance."""

    reason = "not-glance"


class Connection:
    """Talks to one server; connections are kept and reused. Not to be shared by threads.

    `url` is what stands before the paths of requests. `verify`: False takes any certificate of the server, a path
    names a file of authorities. `cert` is a file with our own certificate and key, or the two files.
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
        body: bytes | Iterator[bytes] | Sized | None = None,
        query: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The answer to a request, its body still to be read. Raises what an answer of failure stands for.

        A server may refuse while it is still being sent to, and close the connection: urllib3 then drops the
        rest of the body and reads the answer that lies there.
        """
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
            raise failure.error from None
        except requests.RequestException as error:
            raise self._failure(error) from error
        except OSError as error:  # a file of certificates that cannot be read
            raise Invalid(str(error)) from error
        if response.status_code in SUCCESS:
            return response
        with response:
            text = self._text(response)
        if body is not None:
            self.close()  # the rest of the body may not have gone out: that connection is of no more use
        raise error_from(response.status_code, response.headers.get(REASON_HEADER), text)

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

    def _text(self, response: requests.Response) -> str:
        """What an answer of failure says, on one line, without markup and control characters."""
        status = f"{response.status_code} {response.reason}"
        try:
            raw = next(response.iter_content(LONGEST_TEXT), b"")
        except requests.RequestException:
            raw = b""
        text = raw.decode("utf-8", "replace")
        if "html" in response.headers.get("Content-Type", ""):
            text = html.unescape(re.sub(r"<(style|script|title|h1)\b.*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I))
        text = text.removeprefix(status)
        plain = "".join(character if character.isprintable() else " " for character in text)
        return " ".join(plain.split()) or f"{self.where} answers {status}"


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
