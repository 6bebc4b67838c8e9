# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way into a store: the one use case that has many ways to end.

Where the bytes will lie stands in the record before the first of them is written, with a lease (leases.py). What
a transfer does not bring to an end itself, because its process dies or the registry is away, recovery.py does.
"""

import logging
import secrets
import time
from dataclasses import dataclass, field, replace

from glance.core.context import Context
from glance.core.errors import (
    AnnouncedTooLarge,
    BlobMissing,
    DeletedMeanwhile,
    Duplicate,
    GlanceError,
    Invalid,
    NotFound,
    RegistryDown,
    WrongState,
)
from glance.core.image import Image, ImageChange, Status
from glance.core.leases import LEASE, kept
from glance.core.meter import Meter
from glance.core.ports import Registry, Source, Store, Stores, Threads
from glance.core.source import BlobSource
from glance.core.values import line_of

LOG = logging.getLogger(__name__)

FINISH_PAUSES = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0)  # seconds between the tries of an upload's last step


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes on their way into a store: of which image, where to, and by whom."""

    image: Image
    store: Store
    name: str
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    claimed: bool = False  # the record names this holder already
    on_failure: Status = Status.KILLED

    @property
    def location(self) -> str:
        return self.store.location_of(self.name)

    def is_done(self, found: Image) -> bool:
        """Whether the record holds these bytes."""
        return found.status is Status.ACTIVE and self.location in found.locations


def unused_name(store: Store, image: Image, first: str) -> str:
    """What to keep the bytes under: `first`, if it was never used.

    After a failure somebody may be late with the bytes of that name; and there may be some that another registry
    has put there. Whatever is left at a location in a record is removed one day, so it has to be our own."""
    if image.failure is None:
        try:
            store.open(store.location_of(first), length=0).close()
        except BlobMissing:
            return first
        except GlanceError:
            pass  # then it is not known
    return f"{first}-{secrets.token_hex(4)}"


class Transfers:
    """`hashing_algorithm` is computed beside md5; `limit` is the most bytes of one image; `lease` the seconds after
    which a transfer that is not heard of counts as ended."""

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        *,
        hashing_algorithm: str = "sha512",
        limit: int | None = None,
        lease: int = LEASE,
    ) -> None:
        self.lease = lease
        self._registry = registry
        self._stores = stores
        self._hashing_algorithm = hashing_algorithm
        self._limit = limit

    def check(self, size: int | None) -> None:
        """Raises AnnouncedTooLarge."""
        if size is not None and self._limit is not None and size > self._limit:
            raise AnnouncedTooLarge(f"an image may have at most {self._limit} bytes")

    def copy(self, ctx: Context, image: Image, holder: str, threads: Threads) -> Image:
        """Fetch the bytes of a queued image from the URL in its record, which names this holder.

        Raises what run() raises."""
        url, driver = image.copy_from, self._stores.keeping(image.locations[0])
        if url is None or driver is None:
            raise Invalid(f"image {image.number} is not one to be copied")
        transfer = Transfer(image, driver, unused_name(driver, image, image.id), holder=holder, claimed=True)
        try:
            blob = self._stores.external(url).open(url)
        except GlanceError as error:
            self.fail(ctx, transfer, error, threads, expect=Status.QUEUED)
            raise
        try:
            return self.run(ctx, transfer, BlobSource(blob, threads), ImageChange(), size=blob.size)
        finally:
            blob.close()

    def run(
        self,
        ctx: Context,
        transfer: Transfer,
        body: Source,
        change: ImageChange,
        *,
        size: int | None = None,
        checksum: str | None = None,
    ) -> Image:
        """Have the bytes of a queued image kept, and the record say so. Raises WrongState when it is not queued,
        DeletedMeanwhile when it is gone at the end, and what reading and keeping the bytes raises."""
        ours = _ourselves(ctx)
        claim = replace(
            change, status=Status.SAVING, locations=(transfer.location,), holder=transfer.holder, lease=self.lease
        )
        claimed = transfer.holder if transfer.claimed else None
        image = self._registry.update(ctx, transfer.image.id, claim, expect=Status.QUEUED, holder=claimed)
        try:
            with kept(self._registry, ours, image, transfer.holder, self.lease):
                done = self._receive(transfer, body, size, checksum)
                return self._finish(ours, transfer, done)
        except BaseException as error:  # also the end of a greenlet: the image must not stay `saving`
            self.fail(ctx, transfer, error, body.threads)
            raise

    def _receive(self, transfer: Transfer, body: Source, size: int | None, checksum: str | None) -> ImageChange:
        """Have the store keep the bytes; what the record is to say then."""
        meter = Meter(
            body,
            algorithms=tuple(dict.fromkeys(("md5", self._hashing_algorithm))),
            size=size,
            checksum=checksum,
            limit=self._limit,
        )
        try:
            location = transfer.store.put(transfer.name, meter, size=size)
        finally:
            meter.close()
        digests = meter.digests()
        return ImageChange(
            status=Status.ACTIVE,
            size=meter.count,
            checksum=digests["md5"],
            os_hash_algo=self._hashing_algorithm,
            os_hash_value=digests[self._hashing_algorithm],
            locations=(location,),
            copy_from=None,
            failure=None,
            holder=None,
            lease=None,
        )

    def _finish(self, ctx: Context, transfer: Transfer, done: ImageChange) -> Image:
        """The last step of an upload, tried for some seconds: a registry that restarts must not cost an image."""
        pauses = iter(FINISH_PAUSES)
        name = transfer.image.id
        while True:
            try:
                return self._registry.update(ctx, name, done, expect=Status.SAVING, holder=transfer.holder)
            except RegistryDown:
                pause = next(pauses, None)
                if pause is None:
                    raise
                time.sleep(pause)
            except NotFound as error:
                raise DeletedMeanwhile("the image was deleted while its bytes came") from error
            except WrongState:
                # An earlier try may have come through, and only its answer was lost.
                found = self._registry.get(ctx, name)
                if not transfer.is_done(found):
                    raise
                return found

    def fail(
        self,
        ctx: Context,
        transfer: Transfer,
        error: BaseException,
        threads: Threads,
        *,
        expect: Status = Status.SAVING,
    ) -> None:
        """Give a failed transfer its final status, without masking the error, and remove what it left."""
        image, ours = transfer.image, _ourselves(ctx)
        LOG.warning("upload of image %s (%s) failed: %s", image.number, image.id, error)
        reason = line_of(str(error)) if isinstance(error, GlanceError) else "the server failed"
        change = ImageChange(
            status=transfer.on_failure, failure=reason, copy_from=None, holder=None, lease=self.lease
        )
        try:
            image = self._registry.update(ours, image.id, change, expect=expect, holder=transfer.holder)
            if isinstance(error, Duplicate):  # these bytes are another's
                self._registry.release(ours, image.id)
            else:
                self.discard(ctx, image, threads)
        except (NotFound, WrongState):
            self._withdraw(ours, transfer, threads)
        except GlanceError as failure:
            LOG.error("image %s (%s) stays %s until its lease is over: %s", image.number, image.id, expect, failure)

    def _withdraw(self, ctx: Context, transfer: Transfer, threads: Threads) -> None:
        """Remove the bytes of a transfer whose image was deleted, or went to somebody else, in the meantime."""
        try:
            try:
                found = self._registry.get(ctx, transfer.image.id)
            except NotFound:
                found = None
            if found is None or not transfer.is_done(found):  # else only an answer was lost, and it is active
                transfer.store.delete(transfer.location, threads=threads)
        except GlanceError as error:
            LOG.error(
                "bytes of image %s (%s) may be left behind: %s", transfer.image.number, transfer.image.id, error
            )

    def discard(self, ctx: Context, image: Image, threads: Threads) -> bool:
        """Remove the bytes of an image that is not active, and forget them; whether that is done."""
        try:
            for location in image.locations:
                self.remove_bytes(location, threads)
            self._registry.release(_ourselves(ctx), image.id)
        except GlanceError as error:
            LOG.error("bytes of image %s (%s) are still there: %s", image.number, image.id, error)
            return False
        return True

    def remove_bytes(self, location: str, threads: Threads) -> None:
        """Remove bytes that no record needs. Raises StoreDown."""
        store = self._stores.keeping(location)
        if store is not None:  # bytes of a third party: forgetting them is all there is to do
            store.delete(location, threads=threads)


def _ourselves(ctx: Context) -> Context:
    """What the service does of itself, whoever asked for the beginning."""
    return replace(ctx, is_admin=True)
