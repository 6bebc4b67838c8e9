# SPDX-License-Identifier: Apache-2.0
"""Compare the records with the stores: find images without data, and data without an image.

The records are read first, then the stores are listed. Both change meanwhile, so every suspicion is checked again
before it is reported: a record names the location of its data before the first byte is written, and Glance names
objects after the number or id of their image, so the registry can be asked for the owner of any object.

After a change of the configuration (another directory, bucket or container) the data of every record seems to be
missing, and every object seems to have no image. So an object whose record names another location is compared with
the size and the checksums of the record; if they match it has been moved, and neither the object nor the record is
changed. And nothing at all is changed in a store where more than a few records miss their data.

It takes some 300 bytes of memory for each image.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

from glance.core.context import Context
from glance.core.errors import (
    BlobMissing,
    GlanceError,
    NotFound,
    OutsideStore,
    StoreDown,
    UnknownStore,
    WrongState,
)
from glance.core.findings import Broken, Unchecked
from glance.core.image import Image, ImageChange, Status
from glance.core.listing import every_record
from glance.core.ports import Held, Registry, Stores
from glance.core.verify import find_difference

LOG = logging.getLogger(__name__)

CTX = Context(is_admin=True)
LOST = "its bytes are not in the store any more"
MISSING_SHARE = 0.1  # of the records of a store; if more of them miss their data, nothing is changed there
FEW_MISSING = 1  # records without data that never prevent a change, however few records there are

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


@dataclass(frozen=True, slots=True)
class Moved:
    """An object with the data of an image, by name, size and checksum, at another location than its record names."""

    image: Image
    recorded: str  # location in the record
    found: str  # location of the object
    size: int
    copied: bool  # the data is also at the recorded location


Finding: TypeAlias = Broken | Stray | Moved | Unchecked


class Expected(NamedTuple):
    number: int
    size: int | None


class _Suspect(NamedTuple):
    """An active image whose data is not as its record says."""

    number: int
    location: str
    problem: str | GlanceError
    missing: bool = False


class Fsck:
    """One check of the stores with these names. Objects younger than `age` are never strays. `force` allows changes
    in a store that looks like the wrong one; what is found to be moved is kept even then.

    The counts are complete when run() has ended."""

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        names: Sequence[str],
        *,
        age: timedelta,
        force: bool = False,
    ) -> None:
        self.images = 0  # active, in these stores
        self.elsewhere = 0  # active, with bytes of third parties
        self.young = 0  # objects that belong to no image, and may be about to
        self.foreign = 0  # objects that Glance would not call so
        self._registry = registry
        self._stores = stores
        self._names = names
        self._age = age
        self._force = force
        self._by_scheme = {scheme: name for name in stores.names for scheme in stores.named(name).schemes}
        self._active: dict[str, list[Expected]] = {}  # location → images that have their bytes there
        self._known: set[str] = set()  # locations of other images, and of those that were found
        self._records: Counter[str] = Counter()  # active images, by store
        self._missing: Counter[str] = Counter()  # those whose data cannot be found where the record says
        self._matched: set[str] = set()  # stores where an image has been found
        self._wrong: list[tuple[str, Expected]] = []  # images of which a store lists another size
        self._astray: set[int] = set()  # images whose data is, or may be, at a location that the record does not name

    def run(self) -> Iterator[Finding]:
        """Yield the findings. Changes may be made as soon as the first Stray, Moved or Broken has been yielded.

        Raises RegistryDown."""
        yield from self._read_records()
        listed: dict[str, dict[str, Stray]] = {}
        for name in self._names:
            strays: dict[str, Stray] = {}
            try:
                for held in self._stores.named(name).held():
                    self._match(name, held, strays)
            except GlanceError as error:
                yield Unchecked(f"store {name}", error)
                continue
            listed[name] = strays
        suspects = list(self._find_suspects(listed))
        missing = {suspect.number for suspect in suspects}
        for strays in listed.values():
            for stray in strays.values():
                finding = self._judge(stray, missing)
                if finding is not None:
                    yield finding
        for suspect in suspects:
            if suspect.number not in self._astray:
                yield from self._report(suspect)

    def remove(self, stray: Stray) -> None:
        """Delete the object. Raises StoreDown, also if the store may be the wrong one; WrongState if the object may
        belong to an image by now."""
        self._check_store(stray.store)
        if self._judge(stray) is not stray:
            raise WrongState("it may belong to an image by now")
        self._stores.named(stray.store).delete(stray.location)

    def give_up(self, broken: Broken) -> None:
        """Change an image without data to `killed`; its record still names the location. Raises StoreDown if the
        store may be the wrong one, RegistryDown."""
        if broken.location is not None:
            self._check_store(self._name_of(broken.location))
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
                    self._records[name] += 1
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

    def _judge(self, stray: Stray, missing: Container[int] = ()) -> Finding | None:
        """Return the stray if it is certain that no image has, or will have, this object; what else is to be reported
        of it; or None. `missing` are the images whose data is not at the recorded location."""
        owner = _OF_IMAGE.fullmatch(stray.name)
        if not owner and not _OF_TRIAL.fullmatch(stray.name):
            LOG.debug("Glance would call nothing so: %s", stray.location)
            self.foreign += 1
            return None
        if owner:
            try:
                image = self._registry.get(CTX, owner[1], deleted=True)
            except NotFound:
                pass
            else:
                if stray.location in image.locations:
                    return None
                if (finding := self._find_moved(stray, image, missing)) is not None:
                    return finding
        # Some stores round up to whole seconds, or have another clock: nothing is younger than just now.
        age = max(datetime.now(UTC).replace(tzinfo=None) - stray.modified, timedelta())
        if age < self._age:
            self.young += 1
            return None
        return stray

    def _find_moved(self, stray: Stray, image: Image, missing: Container[int]) -> Moved | Unchecked | None:
        """Compare the object with the record of an image that names another location, whatever its status."""
        recorded = next((each for each in image.locations if each.rpartition("/")[2] == stray.name), None)
        if recorded is None or image.size not in (None, stray.whole, stray.parts):
            return None
        number = image.number or 0
        try:
            blob = self._stores.holding(stray.location).open(stray.location)
            try:
                difference = find_difference(image, blob)
            finally:
                blob.close()
        except GlanceError as error:
            self._astray.add(number)
            return Unchecked(f"{stray.location}, which may hold the data of image {number} ({image.id})", error)
        if difference:
            return None
        self._astray.add(number)
        copied = image.status is Status.ACTIVE and number not in missing
        return Moved(image, recorded, stray.location, stray.size, copied)

    def _find_suspects(self, listed: Collection[str]) -> Iterator[_Suspect]:
        """Yield the images that were not found in these stores, or with another size; count those without data."""
        for location, images in self._active.items():
            if self._name_of(location) in listed:
                for expected in images:
                    yield from self._inspect(location, expected)
        for location, expected in self._wrong:
            yield from self._inspect(location, expected)

    def _inspect(self, location: str, expected: Expected) -> Iterator[_Suspect]:
        image = self._find_active(expected.number, location)
        if image is None:
            return
        try:
            blob = self._stores.holding(location).open(location, length=0)
            total = blob.total
            blob.close()
        except GlanceError as error:
            # Only a store that was reached and has no such object proves that the data is gone.
            self._missing[self._name_of(location)] += 1
            if isinstance(error, BlobMissing) and not isinstance(error, OutsideStore):
                yield _Suspect(expected.number, location, "its bytes are missing", missing=True)
            else:
                yield _Suspect(expected.number, location, error)
        else:
            if total != image.size:
                yield _Suspect(expected.number, location, f"it has {total} bytes, recorded are {image.size}")

    def _report(self, suspect: _Suspect) -> Iterator[Finding]:
        image = self._find_active(suspect.number, suspect.location)
        if image is None:
            return
        if isinstance(suspect.problem, GlanceError):
            yield Unchecked(f"image {image.number} ({image.id})", suspect.problem)
        else:
            yield Broken(image, suspect.location, suspect.problem, suspect.missing)

    def _find_active(self, number: int, location: str) -> Image | None:
        """Return the image if it is still active and has its data at this location."""
        try:
            image = self._registry.get(CTX, str(number))
        except NotFound:
            return None
        return image if image.status is Status.ACTIVE and location in image.locations else None

    def _name_of(self, location: str) -> str:
        """The name of the store that keeps these bytes; empty: none of ours does."""
        return self._by_scheme.get(location.partition(":")[0], "")

    def _check_store(self, store: str) -> None:
        """Raise StoreDown if the store may be the wrong one for this registry."""
        if self._force:
            return
        if store not in self._matched:
            raise StoreDown(
                f"not one image of the registry has its bytes in store {store}, so nothing is changed there",
                advice="is it the right registry, and the right directory (is it mounted), bucket or container? If "
                "it is, --force allows the change",
            )
        missing, records = self._missing[store], self._records[store]
        if missing > max(FEW_MISSING, MISSING_SHARE * records):
            raise StoreDown(
                f"{missing} of {records} images of store {store} miss their data, so nothing is changed there",
                advice=f"at most {MISSING_SHARE:.0%} are expected: was the directory, bucket or container of the "
                "store changed, or is a disk not mounted? If the data is really lost, --force allows the change",
            )
