# SPDX-License-Identifier: Apache-2.0
"""Image bytes as objects in one container of an OpenStack Swift.

An image is one object; above `large_object_size`, or when its size is not known and it does not fit into one
part, it is segments, and a static manifest that is written last:

    <image>                      the object, or the manifest
    <image>/<upload>/00000001    a segment; <upload> is a random word, another one for each upload
    <image>/<upload>/list-0001   a manifest of segments, where one manifest cannot hold them all

So all that belongs to an image lies under its name, and two uploads never share a segment. Locations are
swift://container/image and hold neither host nor user nor key: those may change without touching a record.
"""

import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from glance.core.errors import BlobMissing, Duplicate, GlanceError, Mismatch, OutsideStore, StoreDown
from glance.core.meter import Meter
from glance.core.ports import Held, Source, Threads
from glance.store.blob import StreamBlob
from glance.store.parts import BLOCK, MIB, MemoryBudget, Part, Parts
from glance.store.swift.account import Account, Body
from glance.store.swift.container import Container, Piece
from glance.store.swift.login import Login

__all__ = ["Account", "Login", "SwiftStore"]

LOG = logging.getLogger(__name__)

SMALL = 8 * MIB  # bytes; up to here an object is held in memory, so that it can be sent again
MANIFEST = 1000  # segments in one manifest: what Swift allows unless configured otherwise
UPLOAD = "X-Object-Meta-Glance-Upload"  # whose object it is, should an answer be lost

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}", re.ASCII)
_SEGMENT = re.compile(rf"({_NAME.pattern})/[0-9a-f]{{16}}/(?:[0-9]{{8}}|(list-)[0-9]{{4}})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,19})", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)


class SwiftStore:
    """A Store in a Swift. All sizes are in bytes; `parallel` is how many segments of an image travel at once.

    Segments wait in memory within `budget`, which stores may share. Swift never overwrites with `If-None-Match: *`,
    but judges that header only when a PUT begins. So the one PUT that makes an image visible is short; where it is
    not, the store looks once more before it sends the last bytes.
    """

    schemes = frozenset({"swift"})

    def __init__(
        self,
        account: Account,
        *,
        container: str = "glance",
        create_container_on_put: bool = False,
        large_object_size: int = 5120 * MIB,
        large_object_chunk_size: int = 32 * MIB,
        parallel: int = 4,
        budget: MemoryBudget | None = None,
        small: int = SMALL,
        manifest: int = MANIFEST,
    ) -> None:
        """Raises ValueError for a container that Swift cannot have, and for sizes below 1."""
        if min(large_object_size, large_object_chunk_size, parallel) < 1:
            raise ValueError("swift_store_large_object_size and swift_store_large_object_chunk_size start at 1")
        self._account = account
        self._container = Container(account, container, parallel=parallel)
        self._create = create_container_on_put
        self._large = large_object_size
        self._chunk = min(large_object_chunk_size, large_object_size)
        self._parallel = parallel
        self._budget = budget or MemoryBudget.for_part_size(max(self._chunk, small))
        self._small = small
        self._manifest = manifest
        self._left: set[str] = set()  # segments of broken uploads that could not be deleted yet
        self._unclear: set[tuple[str, str]] = set()  # (object, upload) that may exist though the upload failed

    def location_of(self, name: str) -> str:
        return f"swift://{quote(self._container.name, safe='')}/{name}"

    def connect(self) -> str:
        self._container.exists()
        return self._account.told()

    def prepare(self) -> str:
        known = self._container.exists()
        self._container.prepare(create=self._create)
        return self._container.name + ("" if known else ", made now")

    def check(self, threads: Threads) -> None:
        self._container.check(create=self._create)

    def try_abilities(self) -> list[str]:
        if not self._container.keeps_versions():
            return []
        return [
            f"the container {self._container.name} keeps versions: what Glance deletes lives on there, and its space "
            "is not freed until the versions are removed by hand"
        ]

    def traces(self, name: str) -> list[str]:
        found = (item for item in self._container.listed(name) if item == name or item.startswith(f"{name}/"))
        return [f"the object {item} in the container {self._container.name}" for item in found]

    def held(self) -> Iterator[Held]:
        return map(self._held, self._container.entries())

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for an object: {name!r}")
        self._container.prepare(create=self._create)
        self._sweep()
        if self._container.head(name) is not None:
            raise Duplicate("the store holds bytes of that name already")
        upload = secrets.token_hex(8)
        if size is not None and self._small < size <= self._large:
            self._stream(name, upload, source, size)
        else:
            fits = size is not None and size <= min(self._small, self._large)
            part_size = max(self._small, 1) if fits else self._chunk
            with Parts(source, size=size, part_size=part_size, parallel=self._parallel, budget=self._budget) as parts:
                self._cut(name, upload, source, parts)
        return self.location_of(name)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> StreamBlob:
        name = self._name(location)
        if length == 0:  # no Range can say so
            return self._nothing(name)
        last = "" if length is None else str(start + length - 1)
        answer = self._container.get(name, {"Range": f"bytes={start}-{last}"} if start or last else {})
        try:
            if answer.status == 416:  # there is nothing from `start` on
                return self._nothing(name, answer.headers)
            size = _length(answer.headers)
            begins, total = 0, size
            if answer.status == 206:
                part = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                begins, total = (int(part[1]), int(part[2])) if part else (-1, 0)
            if begins != start or size != min(total - start, length or total):
                raise StoreDown("Swift sent another part than it was asked for")
            blob = StreamBlob(answer.read, size=size, total=total, close=answer.close)
        except BaseException:
            answer.close()
            raise
        return blob

    def delete(self, location: str, *, threads: Threads | None = None) -> None:
        """The manifest goes last, so that a delete that failed can be tried again and finds the rest."""
        try:
            name = self._name(location)
        except OutsideStore as error:  # the data may be there: it must not be taken for deleted
            raise StoreDown(str(error), advice=error.advice) from error
        found = self._container.head(name)
        names = set(self._container.listed(f"{name}/"))
        if found is not None and found.get("X-Static-Large-Object", "").lower() == "true":
            names |= self._container.segments(name)
        self._container.delete_all(names)
        self._container.delete(name)
        self._sweep()

    def _held(self, entry: dict[str, Any]) -> Held:
        """Of what the container's listing tells of an object; of a manifest it tells the bytes of its segments."""
        segment = _SEGMENT.fullmatch(str(entry["name"]))
        name = segment[1] if segment else str(entry["name"])
        try:
            size, modified = int(entry["bytes"]), datetime.fromisoformat(entry["last_modified"])
        except (KeyError, TypeError, ValueError):
            raise StoreDown("Swift's list of objects cannot be read") from None
        size = 0 if segment and segment[2] else size
        return Held(self.location_of(name), name, size, modified.replace(tzinfo=None), whole=segment is None)

    def _name(self, location: str) -> str:
        """The object of one of our own locations; anything else names no image, wherever it points."""
        container, _, name = location.removeprefix("swift://").partition("/")
        known = location.startswith("swift://") and unquote(container) == self._container.name
        if not known or not _NAME.fullmatch(name):
            advice = f"the record does not name the container {self._container.name!r}: look at swift_store_container"
            raise OutsideStore("the location is outside of swift_store_container", advice=advice)
        return name

    def _nothing(self, name: str, headers: Mapping[str, str] | None = None) -> StreamBlob:
        """No bytes of an object. `headers` are those of an answer 416, which may tell how many it has."""
        told = _UNSATISFIED.fullmatch((headers or {}).get("Content-Range", ""))
        if told is not None:
            total = int(told[1])
        else:
            found = self._container.head(name)
            if found is None:
                raise BlobMissing("Swift has no such bytes")
            total = _length(found)
        return StreamBlob(lambda size: b"", size=0, total=total, close=lambda: None)

    def _stream(self, name: str, upload: str, source: Source, size: int) -> None:
        """One object, as its bytes come. It cannot be sent again, and begins to exist with its last byte."""
        meter = source if isinstance(source, Meter) else Meter(source, algorithms=("md5",))
        complete = False

        def blocks() -> Iterator[memoryview]:
            nonlocal complete
            held = b""
            while (block := meter.read(BLOCK)) and meter.count <= size:
                if held:
                    yield memoryview(held)
                held = block
            if meter.count != size:
                came = "more" if meter.count > size else meter.count
                raise Mismatch(f"{size} bytes were announced, {came} came")
            if self._container.head(name) is not None:
                raise Duplicate("the store holds bytes of that name already")
            complete = True
            yield memoryview(held)

        try:
            headers = {"If-None-Match": "*", UPLOAD: upload}
            answer = self._container.put(name, Body(blocks(), size), headers)
            if answer.get("Etag", "").strip('"') != meter.digests()["md5"]:
                raise StoreDown("Swift has other bytes than were sent")
        except BaseException:
            if complete:
                self._withdraw(name, upload)
            raise
        finally:
            if meter is not source:
                meter.close()

    def _cut(self, name: str, upload: str, source: Source, parts: Parts) -> None:
        """One object that is held in memory, or segments and their manifest."""
        part = parts.whole(self._large)
        if part is not None:
            self._commit(name, upload, part, source.threads.call(_md5, part))
            return
        del part
        sent: list[str] = []  # also what may have arrived although it failed

        def send(number: int, part: Part) -> Piece:
            piece = Piece(f"{name}/{upload}/{number:08d}", source.threads.call(_md5, part), len(part))
            sent.append(piece.name)
            self._container.put(piece.name, part, {"ETag": piece.etag})
            return piece

        try:
            pieces = parts.send(send)
            if len(pieces) > self._manifest:
                groups = [pieces[at : at + self._manifest] for at in range(0, len(pieces), self._manifest)]
                pieces = []
                for number, group in enumerate(groups, 1):
                    piece = Piece(f"{name}/{upload}/list-{number:04d}", _joined(group), sum(p.size for p in group))
                    sent.append(piece.name)
                    body = self._container.manifest(group)
                    self._container.put(piece.name, body, {"ETag": piece.etag}, "multipart-manifest=put")
                    pieces.append(piece)
            self._commit(name, upload, self._container.manifest(pieces), _joined(pieces), "multipart-manifest=put")
        except BaseException:
            self._discard(sent)
            raise

    def _commit(self, name: str, upload: str, body: bytes | Part, etag: str, query: str = "") -> None:
        """The PUT that makes the image visible. Of a Swift without `slo` the etag of a manifest is refused."""
        try:
            self._container.put(name, body, {"If-None-Match": "*", UPLOAD: upload, "ETag": etag}, query)
        except Duplicate:
            found = self._container.head(name)
            if found is None or found.get(UPLOAD) != upload:
                raise
            # It is ours: an earlier try had arrived, and only its answer was lost.
        except BaseException:
            self._withdraw(name, upload)
            raise

    def _withdraw(self, name: str, upload: str) -> None:
        """Delete the object if it is this upload's; what cannot be done now is done by _sweep()."""
        try:
            found = self._container.head(name)
            if found is not None and found.get(UPLOAD) == upload:
                self._container.delete(name)
        except GlanceError:
            LOG.error("swift store: an object of a broken upload may remain until Swift answers: %s", name)
            self._unclear.add((name, upload))

    def _discard(self, names: list[str]) -> None:
        """Delete segments; what cannot be done now is done by _sweep()."""
        try:
            self._container.delete_all(names)
        except GlanceError:
            LOG.error("swift store: up to %d segments of a broken upload remain until Swift answers", len(names))
            self._left.update(names)

    def _sweep(self) -> None:
        """Delete what broken uploads left while Swift did not answer."""
        if self._unclear:
            unclear, self._unclear = self._unclear, set()
            for name, upload in unclear:
                self._withdraw(name, upload)
        if self._left:
            left, self._left = self._left, set()
            self._discard(sorted(left))


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("Content-Length", "")
    if not _LENGTH.fullmatch(text):
        raise StoreDown("Swift does not tell how long an object is")
    return int(text)


def _md5(part: Part) -> str:
    return part.digest("md5")


def _joined(pieces: list[Piece]) -> str:
    """The etag that Swift gives to what a manifest holds."""
    return _md5(Part(piece.etag.encode() for piece in pieces))
