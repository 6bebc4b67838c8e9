# SPDX-License-Identifier: Apache-2.0
"""The one container of a Swift that images lie in: its objects, segments and manifests."""

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from glance.core.errors import GlanceError, StoreDown
from glance.store.swift.account import Account, Answer, Payload

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a manifest says about a segment, or about another manifest."""

    name: str
    etag: str
    size: int


class Container:
    """`parallel` is how many objects are deleted at a time. Methods raise what Account.open() raises."""

    def __init__(self, account: Account, name: str, *, parallel: int) -> None:
        """Raises ValueError for a name that Swift does not take."""
        if not 1 <= len(name.encode()) <= 256 or "/" in name:
            raise ValueError("the name of a Swift container has 1 to 256 bytes and no '/'")
        self.name = name
        self._account = account
        self._parallel = parallel

    def prepare(self, *, create: bool) -> None:
        """See that the container is there. It gets no ACL: nobody reads it but this server's own user."""
        if self.check(create=create):
            return
        self._account.ask("PUT", self._path(), good=(201, 202))

    def check(self, *, create: bool) -> bool:
        """Return True if the container is there, False if it is missing and may be made. Raises StoreDown."""
        if self.exists():
            return True
        if not create:
            advice = f"make the container {self.name!r}, or set swift_store_create_container_on_put = True"
            LOG.error("swift store: %s", advice)
            raise StoreDown("Swift's container is missing", advice=advice)
        return False

    def exists(self) -> bool:
        status, _, _ = self._account.ask("HEAD", self._path(), good=(200, 204, 404))
        return status != 404

    def keeps_versions(self) -> bool:
        """Return True if deleted objects live on as versions."""
        _, headers, _ = self._account.ask("HEAD", self._path(), good=(200, 204))
        enabled = headers.get("X-Versions-Enabled", "").lower() == "true"
        return enabled or bool(headers.get("X-Versions-Location") or headers.get("X-History-Location"))

    def head(self, name: str) -> Mapping[str, str] | None:
        """The headers of an object; None: there is none."""
        status, headers, _ = self._account.ask("HEAD", self._path(name), good=(200, 404))
        return headers if status == 200 else None

    def get(self, name: str, headers: Mapping[str, str]) -> Answer:
        """The answer to a GET: 200, 206 or 416. To be closed."""
        return self._account.open("GET", self._path(name), good=(200, 206, 416), headers=headers)

    def put(self, name: str, body: Payload, headers: Mapping[str, str], query: str = "") -> Mapping[str, str]:
        """Write an object or, with the query, a manifest; the headers of the answer."""
        headers = {"Content-Type": "application/octet-stream", **headers}
        _, answered, _ = self._account.ask("PUT", self._path(name, query), good=(201,), headers=headers, body=body)
        return answered

    def manifest(self, pieces: Iterable[Piece]) -> bytes:
        """A static manifest, as Swift reads it."""
        return json.dumps(
            [{"path": f"/{self.name}/{piece.name}", "etag": piece.etag, "size_bytes": piece.size} for piece in pieces]
        ).encode()

    def listed(self, prefix: str) -> Iterator[str]:
        """The names of all objects that begin so. A listing may lag behind what was written."""
        return (str(entry["name"]) for entry in self.entries(prefix))

    def entries(self, prefix: str = "") -> Iterator[dict[str, Any]]:
        """The same, as the listing tells them: name, bytes, last_modified."""
        marker = ""
        while True:
            query = f"format=json&prefix={quote(prefix, safe='')}&marker={quote(marker, safe='')}"
            status, _, body = self._account.ask("GET", self._path(query=query), good=(200, 204, 404))
            found = _entries(body) if status == 200 else []
            if not found:
                return
            yield from found
            marker = str(found[-1]["name"])

    def segments(self, name: str) -> set[str]:
        """The names of all that a manifest holds, other manifests and what they hold included."""
        found: set[str] = set()
        path = self._path(name, "multipart-manifest=get")
        status, _, body = self._account.ask("GET", path, good=(200, 404))
        for entry in _entries(body) if status == 200 else []:
            container, _, segment = str(entry["name"]).removeprefix("/").partition("/")
            if container != self.name or not segment.startswith(f"{name.partition('/')[0]}/"):
                continue  # no upload of ours wrote this
            if entry.get("sub_slo"):
                found |= self.segments(segment)
            found.add(segment)
        return found

    def delete(self, name: str) -> None:
        """No error when it is gone already."""
        self._account.ask("DELETE", self._path(name), good=(204, 404))

    def delete_all(self, names: Iterable[str]) -> None:
        """Several at a time; when one cannot be deleted no other one is begun, and that error is raised.

        In order of names: without its first segment, an image is not opened any more."""
        left = sorted(names, reverse=True)
        errors: list[GlanceError] = []

        def work() -> None:
            while not errors:
                try:
                    name = left.pop()
                except IndexError:
                    return
                try:
                    self.delete(name)
                except GlanceError as error:
                    errors.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in left[: self._parallel]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _path(self, name: str = "", query: str = "") -> str:
        """What follows the URL of the account. Names of objects are ours, and need no quoting."""
        return f"/{quote(self.name, safe='')}" + (f"/{name}" if name else "") + (f"?{query}" if query else "")


def _entries(body: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, dict) and "name" in entry for entry in found):
        raise StoreDown("Swift's list of objects cannot be read")
    return found
