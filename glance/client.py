# SPDX-License-Identifier: Apache-2.0
"""The Python client of the classic API, with the method names of 2011.

client = Client("127.0.0.1", 9292)
with open("disk.raw", "rb") as data:
    image = client.add_image({"name": "disk", "type": "raw", "is_public": True}, data)
meta, chunks = client.get_image(image["id"])
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Self, cast
from urllib.parse import quote

import requests

from glance.core.errors import GlanceError, Invalid
from glance.wire.headers import fields_from_headers, headers_from_fields
from glance.wire.status import REASON_HEADER, error_from

CHUNK = 65_536  # bytes of one piece, up and down
CONNECT_TIMEOUT = 60  # seconds to connect, and that the server may stall while it is sent to
READ_TIMEOUT = 600  # seconds that an answer may take; a server that flushes a big image to disk needs some
LONGEST_TEXT = 8_192  # bytes of an error's text that are read

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


class Client:
    """Talks to one server; connections are kept and reused. Not to be shared by threads.

    Every method raises the error that the server answered, from glance.core.errors, with the server's text;
    and NoServer, Disconnected or NotGlance. Redirects are not followed, proxies and ~/.netrc not consulted.
    """

    def __init__(self, host: str, port: int, use_ssl: bool = False) -> None:
        name = f"[{host}]" if ":" in host else host
        self._where = f"{name}:{port}"
        self._base = f"{'https' if use_ssl else 'http'}://{self._where}"
        self._session = requests.Session()
        self._session.trust_env = False
        # A browser's "*/*" would have errors come as HTML, and JSON alone would make "/" a list of versions.
        self._session.headers["Accept"] = "text/plain, application/json, application/octet-stream"
        self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_images(self) -> list[Fields]:
        """The public images: id, name, type and size of each."""
        return self._list("/images")

    def get_images_detailed(self) -> list[Fields]:
        """The public images with all their fields."""
        return self._list("/images/detail")

    def get_image(self, image_id: int | str) -> tuple[Fields, Iterator[bytes]]:
        """An image's fields, as text, and its bytes in pieces of at most 64 KiB.

        The iterator raises Disconnected when the bytes end too early; closing it ends the transfer.
        """
        response = self._ask("GET", _path(image_id))
        return fields_from_headers(response.headers.items()), self._pieces(response)

    def get_image_meta(self, image_id: int | str) -> Fields:
        """An image's fields, as text."""
        with self._ask("HEAD", _path(image_id)) as response:
            return fields_from_headers(response.headers.items())

    def add_image(self, image_meta: Mapping[str, object], image_data: bytes | str | BinaryIO | None = None) -> Fields:
        """Make an image and return its fields.

        A file (anything with `read`) is sent as it is read, in chunks; an OSError of its own is passed on.
        Without data the image stays queued, unless `image_meta` has a location.
        """
        return self._send("POST", "/images", image_meta, image_data)

    def update_image(
        self,
        image_id: int | str,
        image_meta: Mapping[str, object],
        image_data: bytes | str | BinaryIO | None = None,
    ) -> Fields:
        """Change the fields that are named, give a queued image its bytes, return all fields."""
        return self._send("PUT", _path(image_id), image_meta, image_data)

    def delete_image(self, image_id: int | str) -> bool:
        """Delete an image and its bytes. Always True: everything else raises."""
        self._ask("DELETE", _path(image_id)).close()
        return True

    def _list(self, path: str) -> list[Fields]:
        with self._ask("GET", path) as response:
            images = self._member(response, "images")
        if not isinstance(images, list):
            raise NotGlance(f"{self._where} answers a list that is none")
        return images

    def _send(
        self, method: str, path: str, fields: Mapping[str, object], data: bytes | str | BinaryIO | None
    ) -> Fields:
        # A blank before or after a value is not part of it in HTTP, and requests refuses to send it.
        headers = {name: value.strip(" \t") for name, value in headers_from_fields(fields).items()}
        if data is not None:
            headers["Content-Type"] = "application/octet-stream"
        body: bytes | Iterator[bytes] | None
        if isinstance(data, str):
            body = data.encode()
        elif data is None or isinstance(data, bytes):
            body = data
        else:
            body = _chunks(data)
        with self._ask(method, path, headers, body) as response:
            image = self._member(response, "image")
        if not isinstance(image, dict):
            raise NotGlance(f"{self._where} answers an image that is none")
        return cast(Fields, image)

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> requests.Response:
        """The answer to a request, its body still to be read. Raises what an answer of failure stands for.

        A server may refuse while it is still being sent to, and close the connection: urllib3 then drops the
        rest of the body and reads the answer that lies there.
        """
        try:
            response = self._session.request(
                method,
                self._base + path,
                headers=headers,
                data=body,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
                stream=True,
            )
        except _SourceFailed as failure:
            raise failure.error from None
        except requests.RequestException as error:
            raise self._failure(error) from error
        if response.status_code in (200, 201):
            return response
        with response:
            text = self._text(response)
        if body is not None:
            self.close()  # the rest of the body may not have gone out: that connection is of no more use
        raise error_from(response.status_code, response.headers.get(REASON_HEADER), text)

    def _failure(self, error: requests.RequestException) -> GlanceError:
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return NoServer(f"{self._where} does not answer")
        if isinstance(error, requests.exceptions.Timeout):
            return Disconnected(f"{self._where} does not answer any more")
        if isinstance(error, requests.exceptions.SSLError):
            return NoServer(f"no trustworthy TLS server at {self._where}")
        if isinstance(error, requests.exceptions.ConnectionError):
            # A connection that was never made comes as urllib3's MaxRetryError, a broken one as ProtocolError.
            cause = error.args[0] if error.args else None
            if hasattr(cause, "reason"):
                return NoServer(f"no server at {self._where}")
            return Disconnected(f"{self._where} broke the connection off")
        if isinstance(error, ValueError):  # a host, a port or a header that cannot be
            return Invalid(str(error))
        return Disconnected(f"the request to {self._where} failed: {error}")

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
        return " ".join(plain.split()) or f"{self._where} answers {status}"

    def _member(self, response: requests.Response, name: str) -> object:
        try:
            answer: object = response.json()
        except requests.exceptions.JSONDecodeError as error:
            raise NotGlance(f"{self._where} answers, but not as a Glance API does") from error
        except requests.RequestException as error:
            raise self._failure(error) from error
        if not isinstance(answer, dict) or name not in answer:
            raise NotGlance(f"{self._where} answers, but not as a Glance API does")
        return answer[name]

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        with response:
            try:
                yield from response.iter_content(CHUNK)
            except requests.RequestException as error:
                raise Disconnected(f"{self._where} broke off in the middle of the image") from error


class _SourceFailed(Exception):
    """Carries an error of the caller's own file past requests, which takes every OSError for the network's."""

    def __init__(self, error: OSError) -> None:
        self.error = error


def _chunks(data: BinaryIO) -> Iterator[bytes]:
    """A file's bytes; a generator, because requests would look up a file's length and send no chunks."""
    while True:
        try:
            chunk = data.read(CHUNK)
        except OSError as error:
            raise _SourceFailed(error) from error
        if not chunk:
            return
        yield chunk


def _path(image_id: int | str) -> str:
    return f"/images/{quote(str(image_id), safe='')}"
