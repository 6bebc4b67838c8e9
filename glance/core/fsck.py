# SPDX-License-Identifier: Apache-2.0
"""Do the records and the stores agree? Images without their bytes, and bytes without an image.

The records are read first, then what lies in each store. Both change meanwhile, so whatever seems wrong is looked
at once more before it is told: a record names the place of its bytes before the first of them is written, and what
Glance writes is called after the image's number or id, so the registry can be asked for the owner of any object.

What a store holds of images is 300 bytes of memory for each.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

from glance.core.context import Context
from glance.core.errors import BlobMissing, GlanceError, NotFound, StoreDown, UnknownStore, WrongState
from glance.core.findings import Broken, Unchecked
from glance.core.image import ImageChange, Status
from glance.core.listing import every_record
from glance.core.ports import Held, Registry, Stores

LOG = logging.getLogger(__name__)

CTX = Context(is_admin=True)
LOST = "its bytes are not in the store any more"

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OF_IMAGE = re.compile(rf"([0-9]+|{_UUID})(?:-[0-9a-f]{{8}})?", re.ASCII)  # transfer.unused_name()
_OF_TRIAL = re.compile(r"(?:probe|store-check-[a-z]+)-[0-9a-f]{16}", re.ASCII)


@dataclass(slots=True)
class Stray:
    """Bytes that belong to no image: an object with all its parts, as old as the youngest of them."""

    store: str
    location: str
    name: str
    modified: datetime = datetime.min  # UTC, without zone
    whole: int | None = None  # bytes of the object, if there is one
    parts: int | None = None  # bytes of its parts, if there are some

    def add(self, held: Held) -> None:
        self.modified = max(self.modified, held.modified)
        if held.whole:
            self.whole = held.size
        else:
            self.parts = (self.parts or 0) + held.size

    @property
    def size(self) -> int:
        """What is freed with it: an object that is made of parts has no bytes beside them."""
        return (self.whole or 0) if self.parts is None else self.parts


Finding: TypeAlias = Broken | Stray | Unchecked


class Expected(NamedTuple):
    number: int
    size: int | None


class Fsck:
    """One look at the stores of these names. Bytes that are younger than `age` are no stray ones.

    The counts are complete when run() has ended."""

    def __init__(self, registry: Registry, stores: Stores, names: Sequence[str], *, age: timedelta) -> None:
        self.images = 0  # active, in these stores
        self.elsewhere = 0  # active, with bytes of third parties
        self.young = 0  # objects that belong to no image, and may be about to
        self.foreign = 0  # objects that Glance would not call so
        self._registry = registry
        self._stores = stores
        self._names = names
        self._age = age
        self._by_scheme = {scheme: name for name in stores.names for scheme in stores.named(name).schemes}
        self._active: dict[str, list[Expected]] = {}  # location → images that have their bytes there
        self._known: set[str] = set()  # locations of other images, and of those that were found
        self._matched: set[str] = set()  # stores where an image has been found
        self._wrong: list[tuple[str, Expected]] = []  # of which a store tells another size

    def run(self) -> Iterator[Finding]:
        """Raises RegistryDown."""
        yield from self._read_records()
        listed = []
        for name in self._names:
            strays: dict[str, Stray] = {}
            try:
                for held in self._stores.named(name).held():
                    self._match(name, held, strays)
            except GlanceError as error:
                yield Unchecked(f"store {name}", error)
                continue
            listed.append(name)
            yield from filter(self._is_stray, strays.values())
        for location, images in self._active.items():
            if self._name_of(location) in listed:
                for expected in images:
                    yield from self._look_again(location, expected)
        for location, expected in self._wrong:
            yield from self._look_again(location, expected)

    def remove(self, stray: Stray) -> None:
        """Delete the bytes. Raises StoreDown, also when the store may be the wrong one."""
        self._check_match(stray.store)
        if self._is_stray(stray):
            self._stores.named(stray.store).delete(stray.location)

    def give_up(self, broken: Broken) -> None:
        """Let an image without bytes be `killed`; the record still says where they were. Raises StoreDown when the
        store may be the wrong one, RegistryDown."""
        if broken.location is not None:
            self._check_match(self._name_of(broken.location))
        try:
            change = ImageChange(status=Status.KILLED, failure=LOST)
            self._registry.update(CTX, broken.image.id, change, expect=Status.ACTIVE)
        except (NotFound, WrongState):
            pass  # deleted by now

    def _read_records(self) -> Iterator[Finding]:
        unknown: dict[str, GlanceError] = {}
        for image in every_record(self._registry, deleted=True):
            if image.status is Status.ACTIVE and not image.locations:
                self.images += 1
                yield Broken(image, None, "its record does not say where its bytes are", missing=True)
            for location in image.locations:
                name = self._name_of(location)
                if image.status is not Status.ACTIVE:
                    self._known.add(location)
                elif name in self._names:
                    self.images += 1
                    self._active.setdefault(location, []).append(Expected(image.number or 0, image.size))
                elif not name:
                    try:
                        self._stores.holding(location)
                        self.elsewhere += 1
                    except UnknownStore as error:
                        unknown.setdefault(location.partition(":")[0], error)
        for scheme, why in unknown.items():
            yield Unchecked(f"images at {scheme}://", why)

    def _match(self, store: str, held: Held, strays: dict[str, Stray]) -> None:
        if held.location in self._known:
            return
        if held.location not in self._active:
            strays.setdefault(held.location, Stray(store, held.location, held.name)).add(held)
        elif held.whole:
            self._matched.add(store)
            self._known.add(held.location)
            images = self._active.pop(held.location)
            self._wrong += ((held.location, each) for each in images if each.size not in (None, held.size))

    def _is_stray(self, found: Stray) -> bool:
        """Whether it is certain that no image has, or will have, these bytes."""
        owner = _OF_IMAGE.fullmatch(found.name)
        if not owner and not _OF_TRIAL.fullmatch(found.name):
            LOG.debug("Glance would call nothing so: %s", found.location)
            self.foreign += 1
            return False
        age = datetime.now(UTC).replace(tzinfo=None) - found.modified
        if age < self._age:
            self.young += 1
            return False
        try:
            return not owner or found.location not in self._registry.get(CTX, owner[1], deleted=True).locations
        except NotFound:
            return True

    def _look_again(self, location: str, expected: Expected) -> Iterator[Finding]:
        try:
            image = self._registry.get(CTX, str(expected.number))
        except NotFound:
            return
        if image.status is not Status.ACTIVE or location not in image.locations:
            return
        try:
            blob = self._stores.holding(location).open(location, length=0)
            total = blob.total
            blob.close()
        except BlobMissing:
            yield Broken(image, location, "its bytes are missing", missing=True)
        except GlanceError as error:
            yield Unchecked(f"image {image.number} ({image.id})", error)
        else:
            if total != image.size:
                yield Broken(image, location, f"it has {total} bytes, recorded are {image.size}")

    def _name_of(self, location: str) -> str:
        """The name of the store that keeps these bytes; empty: none of ours does."""
        return self._by_scheme.get(location.partition(":")[0], "")

    def _check_match(self, store: str) -> None:
        if store not in self._matched:
            raise StoreDown(
                f"not one image of the registry has its bytes in store {store}, so nothing is changed there",
                advice="is it the right registry, and the right directory (is it mounted), bucket or container?",
            )
