# SPDX-License-Identifier: Apache-2.0
"""The Python client of the classic API, with the method names of 2011.

client = Client("127.0.0.1", 9292)
with open("disk.raw", "rb") as data:
    image = client.add_image({"name": "disk", "type": "raw", "is_public": True}, data)
meta, chunks = client.get_image(image["id"])
"""

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Self

from glance.client.body import body_of
from glance.client.connection import Connection, Fields
from glance.client.request import check_properties, image_path, with_hyphens
from glance.core.errors import Invalid
from glance.wire.headers import fields_from_headers, headers_from_fields


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
        """An image's fields, as text, and its bytes in pieces of at most 64 KiB.

        The iterator raises Disconnected when the bytes end too early; closing it ends the transfer.
        """
        response = self._connection.ask("GET", _path(image_id))
        return fields_from_headers(response.headers.items()), self._connection.pieces(response)

    def get_image_meta(self, image_id: int | str) -> Fields:
        """An image's fields, as text."""
        with self._connection.ask("HEAD", _path(image_id)) as response:
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
        self._connection.ask("DELETE", _path(image_id)).close()
        return True

    def _list(self, path: str) -> list[Fields]:
        with self._connection.ask("GET", path) as response:
            return self._connection.records(response, "images")

    def _send(
        self, method: str, path: str, fields: Mapping[str, object], data: bytes | str | BinaryIO | None
    ) -> Fields:
        properties = fields.get("properties")
        if isinstance(properties, Mapping):
            check_properties(properties)
        headers = with_hyphens(headers_from_fields(fields))
        if data is not None:
            headers["Content-Type"] = "application/octet-stream"
        body = None if data is None else body_of(data)
        with self._connection.ask(method, path, headers, body) as response:
            return self._connection.record(response)


def _path(image_id: int | str) -> str:
    return image_path(str(image_id))
