# SPDX-License-Identifier: Apache-2.0
"""Are the bytes still those that were uploaded? They are read from their store and hashed once more."""

import hashlib
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from glance.core.context import Context
from glance.core.errors import BlobMissing, GlanceError, NotActive, NotFound, OutsideStore
from glance.core.findings import Broken, Unchecked
from glance.core.image import Image, Status
from glance.core.inline import INLINE
from glance.core.listing import every_record
from glance.core.meter import Meter
from glance.core.ports import Blob, ReadStore, Registry, Stores
from glance.core.source import BlobSource
from glance.core.values import shown

CTX = Context(is_admin=True)
BLOCK = 512 * 1024  # bytes read at a time
HASHES = {name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")}  # they have a length


class Chosen(NamedTuple):
    number: int
    size: int


@dataclass(frozen=True, slots=True)
class Sample:
    """So many images, or so many of a hundred."""

    count: float
    percent: bool = False

    def of(self, images: Sequence[Chosen]) -> list[Chosen]:
        """By chance, another one each time."""
        wanted = math.ceil(len(images) * self.count / 100) if self.percent else int(self.count)
        return sorted(random.sample(images, min(wanted, len(images))))


class Pace:
    """Waits so that no more than `rate` bytes go by in a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = 0.0  # when the bytes so far may have gone by

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        self._due = max(self._due, now) + count / self._rate
        time.sleep(self._due - now)


Outcome: TypeAlias = Broken | Unchecked | None


class Verification:
    """`watch` is called with the number of bytes whenever some were read. The counts are those of choose()."""

    def __init__(self, registry: Registry, stores: Stores, *, watch: Callable[[int], object]) -> None:
        self.unhashed = 0  # active images without a checksum
        self.elsewhere = 0  # active images whose bytes are a third party's
        self._registry = registry
        self._stores = stores
        self._watch = watch

    def choose(self, names: Sequence[str] = (), sample: Sample | None = None) -> list[Chosen]:
        """Active images in our stores: those that are named by id or number, or all, or some of all.

        Raises NotFound, NotActive, RegistryDown."""
        images = map(self._active, names) if names else every_record(self._registry)
        found = [Chosen(image.number or 0, image.size or 0) for image in images if self._can_be_verified(image)]
        return found if sample is None else sample.of(found)

    def verify(self, number: int) -> Outcome:
        """What is wrong with the bytes of this image; None: nothing, or the image is not there any more."""
        try:
            image = self._registry.get(CTX, str(number))
            if not self._can_be_verified(image):
                return None
            outcome = self._read(image)
            if outcome is not None:
                found = self._registry.get(CTX, image.id)
                if (found.status, found.locations) != (image.status, image.locations):
                    return None
        except NotFound:
            return None
        return outcome

    def _active(self, name: str) -> Image:
        image = self._registry.get(CTX, name)
        if image.status is not Status.ACTIVE:
            raise NotActive(f"image {shown(name)} is not active but {image.status}: it has no bytes to verify")
        return image

    def _can_be_verified(self, image: Image) -> bool:
        if image.status is not Status.ACTIVE or not image.locations:
            return False
        if self._stores.keeping(image.locations[0]) is None:
            self.elsewhere += 1
            return False
        if not _recorded(image):
            self.unhashed += 1
            return False
        return True

    def _read(self, image: Image) -> Outcome:
        location, read = image.locations[0], 0
        store = self._stores.holding(location)

        def watch(count: int) -> None:
            nonlocal read
            read += count
            self._watch(count)

        try:
            blob = store.open(location)
            try:
                difference = find_difference(image, blob, watch)
            finally:
                blob.close()
        except OutsideStore as error:
            return Unchecked(f"image {image.number} ({image.id})", error)
        except BlobMissing as error:
            return Broken(image, location, str(error))
        except GlanceError as error:
            return self._broken_off(image, store, read) or Unchecked(f"image {image.number} ({image.id})", error)
        return Broken(image, location, difference) if difference else None

    def _broken_off(self, image: Image, store: ReadStore, read: int) -> Broken | None:
        """Where a segment is missing or another one, Swift breaks off; asked for what follows, it says why."""
        location = image.locations[0]
        try:
            store.open(location, start=read).close()
        except BlobMissing as error:
            return Broken(image, location, f"{error}, from byte {read} on")
        except GlanceError:
            pass
        return None


def find_difference(image: Image, blob: Blob, watch: Callable[[int], object] = lambda count: None) -> str | None:
    """Read the data to its end, and return how it differs from the size and the checksums of the record, or None if
    it does not. `watch` is called with the number of bytes of each block. Raises what reading raises."""
    if blob.total is not None and image.size is not None and blob.total != image.size:
        return f"it has {blob.total} bytes, recorded are {image.size}"
    recorded = _recorded(image)
    meter = Meter(BlobSource(blob, INLINE), algorithms=tuple(recorded))
    while block := meter.read(BLOCK):
        watch(len(block))
    for name, digest in meter.digests().items():
        if digest != recorded[name]:
            return f"its bytes have changed: {name} is {digest}, recorded is {recorded[name]}"
    return None


def _recorded(image: Image) -> dict[str, str]:
    """Algorithm → digest in hex, of those that can be computed."""
    recorded = {"md5": image.checksum, image.os_hash_algo: image.os_hash_value}
    return {name: digest for name, digest in recorded.items() if name in HASHES and digest}
