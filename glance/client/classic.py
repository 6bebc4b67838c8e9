# SPDX-License-Identifier: Apache-2.0
"""The Python client of the classic API, with the method names of 2011.

client = Client("127.0.0.1", 9292)
with open("disk.raw", "rb") as data:
    image = client.add_image({"name": "disk", "type": "raw", "is_public": True}, data)
meta, chunks = client.get_image(image["id"])
"""

from collections.abc import Iterator, Mapping
from typing import Self

import requests

from glance.client.body import Body, Data
from glance.client.connection import Connection, Disconnected, Fields, NotGlance
from glance.client.request import check_properties, image_path, with_hyphens
from glance.core.errors import Invalid, Mismatch
from glance.wire.headers import fields_from_headers, headers_from_fields

MAX_DIGITS = 20  # of a size; Python itself refuses to read thousands


class Client:
    """Talks to one server; connections are kept and reused. Not to be shared by threads.

    Every method raises the error that the server answered, from glance.core.errors, with the server's text;
    and NoServer, Disconnected or NotGlance. Redirects are not followed, proxies and ~/.netrc not consulted.
    """

    def __init__(self, host: str, port: int, use_ssl: bool = False) -> None:
        """`host` is a name or an address; an IPv6 address may stand in brackets. Raises Invalid for a URL."""
        if "/" in host:
            raise Invalid(f"the host of a server is a name or an address, such as 127.0.0.1, not {host!r}")
        name = f"[{host}]" if ":" in host and not host.startswith("[") else host
        self._connection = Connection(f"{'https' if use_ssl else 'http'}://{name}:{port}", {})

    def close(self) -> None:
        self._connection.close()

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
        """Return an image's fields, as text, and an iterator of its data in chunks of at most 64 KiB.

        The iterator raises Disconnected when the data ends early, and Mismatch when it exceeds the image's size.
        Closing it ends the transfer.
        """
        response = self._connection.ask("GET", _path(image_id))
        try:
            fields = self._fields(response)
        except NotGlance:
            response.close()
            raise
        return fields, self._check_size(self._connection.pieces(response), fields)

    def get_image_meta(self, image_id: int | str) -> Fields:
        """An image's fields, as text."""
        with self._connection.ask("HEAD", _path(image_id)) as response:
            return self._fields(response)

    def add_image(self, image_meta: Mapping[str, object], image_data: Data | None = None) -> Fields:
        """Make an image and return its fields.

        Data is bytes, text, a file (anything with `read`) or anything that yields bytes, and is sent as it is read.
        The size of a regular file is announced: BrokenUpload if it shrinks during the transfer, and a warning of the
        logger `glance.client` if it grows. Errors of the data are passed on. Without data the image stays queued,
        unless `image_meta` has a location. Fields that are None are not set. Raises Invalid for text that a header
        cannot carry exactly: control characters, blanks at either end, lone surrogates.
        """
        return self._send("POST", "/images", image_meta, image_data)

    def update_image(
        self,
        image_id: int | str,
        image_meta: Mapping[str, object],
        image_data: Data | None = None,
    ) -> Fields:
        """Change the fields that are named, give a queued image its data, and return all fields.

        Fields and data are as for add_image(). A field that is None stays as it is."""
        return self._send("PUT", _path(image_id), image_meta, image_data)

    def delete_image(self, image_id: int | str) -> bool:
        """Delete an image and its bytes. Always True: everything else raises."""
        self._connection.ask("DELETE", _path(image_id)).close()
        return True

    def _list(self, path: str) -> list[Fields]:
        with self._connection.ask("GET", path) as response:
            return self._connection.records(response, "images")

    def _fields(self, response: requests.Response) -> Fields:
        """Return the fields in the headers of an answer. Raises NotGlance if there are none."""
        fields = fields_from_headers(response.headers.items())
        if not fields:
            raise NotGlance(f"{self._connection.where} answers, but not as a Glance API does")
        return fields

    def _check_size(self, chunks: Iterator[bytes], fields: Fields) -> Iterator[bytes]:
        """Pass the data on.

        Raises Mismatch for data beyond the image's size, and Disconnected if there is less, which the end of a
        connection does not show where a server sends no Content-Length."""
        text = str(fields.get("size"))
        size = int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else None
        count = 0
        for chunk in chunks:
            count += len(chunk)
            if size is not None and count > size:
                raise Mismatch(f"{self._connection.where} sent more than the {size} bytes of the image")
            yield chunk
        if size is not None and count < size:
            raise Disconnected(f"{self._connection.where} sent {count} bytes of an image that has {size}")

    def _send(self, method: str, path: str, fields: Mapping[str, object], data: Data | None) -> Fields:
        properties = fields.get("properties")
        if isinstance(properties, Mapping):
            check_properties(properties)
        given = {name: value for name, value in fields.items() if value is not None}
        headers = with_hyphens(headers_from_fields(given, exact=True))
        if data is not None:
            headers["Content-Type"] = "application/octet-stream"
        body = None if data is None else Body(data)
        with self._connection.ask(method, path, headers, body) as response:
            return self._connection.record(response)


def _path(image_id: int | str) -> str:
    return image_path(str(image_id))
