# SPDX-License-Identifier: Apache-2.0
"""The Python client of the Images API v1.

with V1Client("http://127.0.0.1:9292", token="…") as client, open("disk.qcow2", "rb") as data:
    image = client.create({"name": "disk", "disk_format": "qcow2", "container_format": "bare"}, data)
    for piece in client.download(image["id"], retries=5):
        ...
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Self
from urllib.parse import urlsplit

from glance.client.body import Body, Data
from glance.client.connection import Connection, Fields, NotGlance
from glance.client.download import Download
from glance.client.request import check_properties, image_path, with_hyphens
from glance.core.errors import Invalid
from glance.wire import v1
from glance.wire.headers import ID_HEADER
from glance.wire.native import check_sendable, to_wire
from glance.wire.paths import build_path

OCTETS = {"Content-Type": "application/octet-stream"}
LISTS = {False: "/v1/images", True: "/v1/images/detail"}  # by whether all fields are wanted

_VERSION = re.compile(r"/v[0-9]+(\.[0-9]+)?\Z", re.ASCII)


class V1Client:
    """Talks to one server; connections are kept and reused. Not to be shared by threads.

    `url` is the server's, with or without a version. Who we are is told by a token, or by a user and his password,
    or not at all. For `verify` and `cert` see Connection.

    A record is a dict with the names of the API: id, name, status, size, is_public … and `properties`, a dict of
    texts; in what is sent, None empties a field. In a property's name the API knows no upper case, and no "-"
    beside "_". Every method raises the error that the server answered, from glance.core.errors, with the server's
    text; and NoServer, Disconnected or NotGlance. Redirects are not followed, proxies and ~/.netrc not consulted.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        user: tuple[str, str] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
    ) -> None:
        """Raises Invalid for a URL or credentials that cannot be sent."""
        self.url = _root(url)
        self._connection = Connection(self.url, _identity(token, user), verify=verify, cert=cert)

    @property
    def reached(self) -> bool:
        """True if the last request may have had an effect: Glance answered it, or a part of its body was sent."""
        return self._connection.reached

    @property
    def where(self) -> str:
        """The server's host and port."""
        return self._connection.where

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def page(self, query: Mapping[str, str] | None = None, *, detail: bool = True) -> list[Fields]:
        """One page of the list of images: with all fields, or id, name, formats, checksum and size of each.

        `query` are the API's own words: limit, marker, sort_key, sort_dir, name, status, property-arch …
        """
        with self._connection.ask("GET", LISTS[detail], query=query) as response:
            return self._connection.records(response, "images")

    def pages(self, query: Mapping[str, str] | None = None, *, detail: bool = True) -> Iterator[list[Fields]]:
        """All pages, each fetched when it is asked for, up to the first empty one."""
        query = dict(query or {})
        while page := self.page(query, detail=detail):
            yield page
            last = str(page[-1].get("id"))
            if last == query.get("marker"):
                raise NotGlance(f"{self.where} answers the same page of images again and again")
            query["marker"] = last

    def images(self, query: Mapping[str, str] | None = None, *, detail: bool = True) -> Iterator[Fields]:
        """All images, page by page."""
        for page in self.pages(query, detail=detail):
            yield from page

    def show(self, image_id: str) -> Fields:
        """One image. A field that is not set is missing."""
        with self._connection.ask("HEAD", _path(image_id)) as response:
            try:
                record = v1.record_from(response.headers.items())
            except Invalid as error:
                raise NotGlance(f"{self.where} answers an image that is none: {error}") from error
        if "id" not in record:
            raise NotGlance(f"{self.where} answers, but not as a Glance API does")
        return record

    def find_id(self, number: int | str) -> str:
        """Return the id of the image that has this number in the classic API: the one that glance-upload prints.

        Raises NotFound, and NotGlance when the server does not tell."""
        with self._connection.ask("HEAD", image_path(str(number))) as response:
            image_id: str | None = response.headers.get(ID_HEADER)
        if image_id is None:
            raise NotGlance(f"{self.where} does not know images by number: use the id of the image, a UUID")
        return image_id

    def create(
        self,
        fields: Mapping[str, object],
        data: Data | None = None,
        *,
        size: int | None = None,
        copy_from: str | None = None,
    ) -> Fields:
        """Make an image and return its record.

        `data` is bytes, text, a file or anything that yields bytes, and is sent as it is read: its first `size`
        bytes, or all of it. The size of a regular file is announced: BrokenUpload if it shrinks during the transfer,
        and a warning of the logger `glance.client` if it grows. A non-blocking file is waited for. Errors of the data
        are passed on. Without data the image stays queued, unless `fields` has a location. `copy_from` is a URL whose
        data the server fetches. Raises Invalid for text that a header cannot carry exactly: control characters,
        blanks at either end, lone surrogates.
        """
        return self._send("POST", "/v1/images", fields, data, size, _source(copy_from))

    def update(
        self,
        image_id: str,
        fields: Mapping[str, object],
        data: Data | None = None,
        *,
        size: int | None = None,
        copy_from: str | None = None,
        purge: bool = False,
    ) -> Fields:
        """Change the fields that are named, and return the record. `data`, `size` and `copy_from` are as in create(),
        for a queued image. `purge` removes the properties that are not named."""
        headers = {"X-Glance-Registry-Purge-Props": str(purge), **_source(copy_from)}
        return self._send("PUT", _path(image_id), fields, data, size, headers)

    def delete(self, image_id: str) -> None:
        self._connection.ask("DELETE", _path(image_id)).close()

    def download(self, image_id: str, *, have: Iterable[bytes] = (), retries: int = 0) -> Download:
        """The bytes of an image, to be iterated over once."""
        return Download(self._connection, _path(image_id), self.show(image_id), have=have, retries=retries)

    def members(self, image_id: str) -> list[Fields]:
        """With whom an image is shared: member_id and can_share of each."""
        with self._connection.ask("GET", _path(image_id, "members")) as response:
            return self._connection.records(response, "members")

    def memberships(self, member: str) -> list[Fields]:
        """What is shared with somebody: image_id and can_share of each."""
        with self._connection.ask("GET", build_path("v1", "shared-images", member)) as response:
            return self._connection.records(response, "shared_images")

    def set_member(self, image_id: str, member: str, can_share: bool | None = None) -> None:
        """Share an image. None: somebody new may not share it further, a member may what he might before."""
        body = None if can_share is None else {"member": {"can_share": can_share}}
        self._put(_path(image_id, "members", member), body)

    def replace_members(self, image_id: str, members: Mapping[str, bool | None]) -> None:
        """Share an image with these and nobody else; the values are as in set_member()."""
        listed = [
            {"member_id": member} | ({} if can_share is None else {"can_share": can_share})
            for member, can_share in members.items()
        ]
        self._put(_path(image_id, "members"), {"memberships": listed})

    def remove_member(self, image_id: str, member: str) -> None:
        self._connection.ask("DELETE", _path(image_id, "members", member)).close()

    def _send(
        self,
        method: str,
        path: str,
        fields: Mapping[str, object],
        data: Data | None,
        size: int | None,
        headers: Mapping[str, str],
    ) -> Fields:
        headers = {**_headers(fields), **headers, **({} if data is None else OCTETS)}
        body = None if data is None else Body(data, size)
        with self._connection.ask(method, path, headers, body) as response:
            return self._connection.record(response)

    def _put(self, path: str, value: object) -> None:
        headers = {} if value is None else {"Content-Type": "application/json"}
        body = None if value is None else json.dumps(value).encode()
        self._connection.ask("PUT", path, headers, body).close()


def _root(url: str) -> str:
    """Return a server's URL without the version of the API. Raises Invalid."""
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
    except ValueError:  # brackets without an IPv6 address
        complete = False
    if not complete:
        raise Invalid(f"the URL of a Glance server is such as http://127.0.0.1:9292, not {url!r}")
    return _VERSION.sub("", url.rstrip("/"))


def _identity(token: str | None, user: tuple[str, str] | None) -> dict[str, str]:
    """The headers that say who we are."""
    headers = {}
    if token is not None:
        if not (token.isascii() and token.isprintable() and token.strip() == token != ""):
            raise Invalid("a token consists of ASCII characters without blanks around it")
        headers["X-Auth-Token"] = token
    if user is not None:
        if ":" in user[0]:
            raise Invalid("the name of a user must not have a colon")  # RFC 7617 §2
        try:
            credentials = ":".join(user).encode()
        except UnicodeEncodeError:
            raise Invalid("the name and the password of a user must be valid UTF-8") from None
        headers["Authorization"] = "Basic " + base64.b64encode(credentials).decode()
    return headers


def _source(copy_from: str | None) -> dict[str, str]:
    if copy_from is None:
        return {}
    check_sendable("copy_from", copy_from)
    return {"X-Glance-Api-Copy-From": to_wire(copy_from)}


def _headers(fields: Mapping[str, object]) -> dict[str, str]:
    """Return the headers of a request that sets these fields; None empties a field. Raises Invalid."""
    properties = fields.get("properties")
    own = dict(properties) if isinstance(properties, Mapping) else {}
    check_properties(own)
    record = {name: "" if value is None else value for name, value in {**fields, "properties": own}.items()}
    record["properties"] = {key: "" if value is None else value for key, value in own.items()}
    return with_hyphens(v1.headers_of(record, exact=True))


def _path(image_id: str, *segments: str) -> str:
    return f"/v1{image_path(image_id, *segments)}"
