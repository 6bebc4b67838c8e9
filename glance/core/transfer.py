# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way into a store: the one use case that has many ways to end.

Where the bytes will lie stands in the record before the first of them is written, with a lease (leases.py). What
a transfer does not bring to an end itself, because its process dies or the registry is away, recovery.py does.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain, repeat

from glance.core.allowance import Allowance
from glance.core.context import Context
from glance.core.errors import (
    AnnouncedTooLarge,
    BlobMissing,
    DeletedMeanwhile,
    Duplicate,
    GlanceError,
    Invalid,
    NotFound,
    OverQuota,
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

PATIENCE = 30  # seconds for which a transfer that has begun waits for a registry that is away
PAUSES = (0.1, 0.2, 0.5, 1.0)  # seconds between its tries; the last one again and again


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
    which a transfer that is not heard of counts as ended; `patience` those for which it tries its steps again while
    the registry is away."""

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        *,
        hashing_algorithm: str = "sha512",
        limit: int | None = None,
        lease: int = LEASE,
        patience: float = PATIENCE,
    ) -> None:
        self.lease = lease
        self._patience = patience
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

        The checksum in the record is a promise; so is its size, if the source does not announce one.
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
            source = BlobSource(blob, threads, sender=image.owner or "")
            size = image.size or None if blob.size is None else blob.size
            return self.run(ctx, transfer, source, ImageChange(), size=size, checksum=image.checksum)
        except NotFound:  # maybe before it was ours to fail
            self._withdraw(_ourselves(ctx), transfer, threads, theirs=False)
            raise
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
        OverQuota, DeletedMeanwhile when it is gone at the end, and what reading and keeping the bytes raises."""
        ours = _ourselves(ctx)
        claim = replace(
            change,
            status=Status.SAVING,
            locations=(transfer.location,),
            charged=size or 0,
            holder=transfer.holder,
            lease=self.lease,
        )
        try:
            image = self._insist(lambda again: self._claim(ctx, transfer, claim, again))
        except OverQuota as error:
            self.fail(ctx, transfer, error, body.threads, expect=Status.QUEUED)
            raise
        try:
            with kept(self._registry, ours, image, transfer.holder, self.lease) as lease:
                source = self._allowed(ours, transfer, image.charged, lease.bound(body))
                done = self._receive(transfer, source, size, checksum)
                return self._insist(lambda _: self._finish(ours, transfer, done))
        except BaseException as error:  # also the end of a greenlet: the image must not stay `saving`
            self.fail(ctx, transfer, error, body.threads)
            raise

    def _insist(self, attempt: Callable[[bool], Image]) -> Image:
        """Do a step again while the registry is away: its restart must not cost an image. `attempt` is told whether
        an earlier one may have come through, and only its answer was lost."""
        end = time.monotonic() + self._patience
        pauses = chain(PAUSES, repeat(PAUSES[-1]))
        again = False
        while True:
            try:
                return attempt(again)
            except RegistryDown:
                pause = next(pauses)
                if time.monotonic() + pause > end:
                    raise
                time.sleep(pause)
                again = True

    def _claim(self, ctx: Context, transfer: Transfer, claim: ImageChange, again: bool) -> Image:
        name = transfer.image.id
        claimed = transfer.holder if transfer.claimed else None
        try:
            return self._registry.update(ctx, name, claim, expect=Status.QUEUED, holder=claimed)
        except WrongState:
            if not again:
                raise
            renewal = ImageChange(lease=self.lease)
            return self._registry.update(_ourselves(ctx), name, renewal, expect=Status.SAVING, holder=transfer.holder)

    def _allowed(self, ctx: Context, transfer: Transfer, charged: int | None, body: Source) -> Source:
        """The same bytes, each within the quota of whose image it is; None: there is no quota."""
        if charged is None:
            return body

        def charge(total: int) -> None:
            more = ImageChange(charged=total)
            name, holder = transfer.image.id, transfer.holder
            self._insist(lambda _: self._registry.update(ctx, name, more, expect=Status.SAVING, holder=holder))

        return Allowance(body, charged, charge)

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
            charged=meter.count,
            holder=None,
            lease=None,
        )

    def _finish(self, ctx: Context, transfer: Transfer, done: ImageChange) -> Image:
        name = transfer.image.id
        try:
            return self._registry.update(ctx, name, done, expect=Status.SAVING, holder=transfer.holder)
        except NotFound as error:
            raise DeletedMeanwhile("the image was deleted while its bytes came") from error
        except WrongState:
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
        theirs = isinstance(error, Duplicate)  # the bytes at our location are another's: nothing is to be removed
        if theirs:
            change = replace(change, locations=(), charged=None, lease=None)
        holder = transfer.holder if transfer.claimed or expect is Status.SAVING else None
        try:
            image = self._registry.update(ours, image.id, change, expect=expect, holder=holder)
            if not theirs:
                self.discard(ctx, image, threads)
        except (NotFound, WrongState):
            self._withdraw(ours, transfer, threads, theirs=theirs)
        except GlanceError as failure:
            LOG.error("image %s (%s) stays %s until its lease is over: %s", image.number, image.id, expect, failure)

    def _withdraw(self, ctx: Context, transfer: Transfer, threads: Threads, *, theirs: bool) -> None:
        """Remove the bytes of a transfer whose image was deleted, or went to somebody else, in the meantime."""
        image = transfer.image
        try:
            found = self._registry.get(ctx, image.id, deleted=True)
            if transfer.is_done(found):  # only an answer was lost
                return
            if not theirs:
                transfer.store.delete(transfer.location, threads=threads)
            self._registry.release(ctx, image.id, holder=transfer.holder)
        except GlanceError as error:
            LOG.error("bytes of image %s (%s) may be left behind: %s", image.number, image.id, error)

    def discard(self, ctx: Context, image: Image, threads: Threads, *, holder: str | None = None) -> bool:
        """Remove the bytes of an image that is not active, and forget them; whether that is done. `holder` is who
        holds the image, if anybody does."""
        try:
            for location in image.locations:
                self.remove_bytes(location, threads)
            self._registry.release(_ourselves(ctx), image.id, holder=holder)
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
