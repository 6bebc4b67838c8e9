# SPDX-License-Identifier: Apache-2.0
"""The use cases, once for all dialects: each is a few turns between the registry and a store.

Two rules keep images safe. Upload: bytes are durable first, the record says `active` after. Delete: the record
goes first, the bytes after. So there may be bytes without a record, but never a record without its bytes; and
bytes are removed only once the registry has said that no record points, or will point, to them.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from glance.core.context import Context
from glance.core.errors import (
    AnnouncedTooLarge,
    BlobMissing,
    Conflict,
    DeletedMeanwhile,
    GlanceError,
    Invalid,
    NotActive,
    NotFound,
    RangeNotSatisfiable,
    RegistryDown,
    UnknownStore,
    WrongState,
)
from glance.core.image import Image, ImageChange, Member, MemberStatus, Span, Status
from glance.core.listing import every
from glance.core.meter import Meter
from glance.core.policy import Action, Policy
from glance.core.ports import Blob, Registry, Source, Stores
from glance.core.query import Page, Query, position_of
from glance.core.values import shown

LOG = logging.getLogger(__name__)

FINISH_PAUSES = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0)  # seconds between the tries of an upload's last step


class ImageService:
    """`hashing_algorithm` is computed beside md5; `limit` is the most bytes of one image.

    Whatever takes a context may also raise NotAllowed, where the registry or `policy` says so.
    """

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        *,
        hashing_algorithm: str = "sha512",
        limit: int | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._registry = registry
        self._stores = stores
        self._hashing_algorithm = hashing_algorithm
        self._limit = limit
        self._policy = policy or Policy()

    def reserve(self, ctx: Context, draft: Image) -> Image:
        """Make the record of an image whose bytes come later. Raises Duplicate, Invalid."""
        return self._registry.add(ctx, replace(draft, status=Status.QUEUED, locations=()))

    def upload(
        self,
        ctx: Context,
        image_id: str,
        body: Source,
        *,
        size: int | None = None,
        checksum: str | None = None,
        store: str | None = None,
        change: ImageChange | None = None,
        on_failure: Status = Status.KILLED,
    ) -> Image:
        """Take the bytes of a queued image: queued → saving → active, or → `on_failure` when they do not come.

        Of two racing uploads one gets WrongState. `size` and `checksum` (md5) are promises that are checked;
        `change` is applied with the first step. Raises DeletedMeanwhile when the image is gone at the end.
        """
        claim = replace(change or ImageChange(), status=Status.SAVING)
        image = self._registry.update(ctx, image_id, claim, expect=Status.QUEUED)
        try:
            if size is not None and self._limit is not None and size > self._limit:
                raise AnnouncedTooLarge(f"an image may have at most {self._limit} bytes")
            driver = self._stores.named(store)
            meter = Meter(
                body,
                algorithms=tuple(dict.fromkeys(("md5", self._hashing_algorithm))),
                size=size,
                checksum=checksum,
                limit=self._limit,
            )
            try:
                location = driver.put(str(image.number), meter, size=size)
            finally:
                meter.close()
        except BaseException as error:  # also the end of a greenlet: the image must not stay `saving`
            self._settle(ctx, image, on_failure, error)
            raise
        digests = meter.digests()
        done = ImageChange(
            status=Status.ACTIVE,
            size=meter.count,
            checksum=digests["md5"],
            os_hash_algo=self._hashing_algorithm,
            os_hash_value=digests[self._hashing_algorithm],
            locations=(location,),
        )
        try:
            return self._finish(ctx, image, done)
        except BaseException as error:
            if self._settle(ctx, image, on_failure, error):
                self._remove_bytes(image, location)
            if isinstance(error, NotFound):
                raise DeletedMeanwhile(f"image {image.number} was deleted while its bytes came") from error
            raise

    def abandon(self, ctx: Context, image_id: str, *, on_failure: Status = Status.KILLED) -> None:
        """End a reservation whose upload cannot even begin. Raises WrongState when it is not queued."""
        self._registry.update(ctx, image_id, ImageChange(status=on_failure), expect=Status.QUEUED)

    def register(self, ctx: Context, draft: Image, location: str) -> Image:
        """Make an active image of bytes that lie elsewhere, which are not fetched. Its size is what their server
        says; what the draft says, if the server says nothing. Raises Invalid, Duplicate."""
        self._policy.check(ctx, Action.SET_IMAGE_LOCATION)
        size = self._stores.external(location).examine(location)
        size = draft.size if size is None else size
        return self._registry.add(ctx, replace(draft, status=Status.ACTIVE, size=size, locations=(location,)))

    def activate(self, ctx: Context, image_id: str, location: str, *, change: ImageChange | None = None) -> Image:
        """Make a queued image of bytes that lie elsewhere, as register() does. Raises Invalid, WrongState."""
        self._policy.check(ctx, Action.SET_IMAGE_LOCATION)
        size = self._stores.external(location).examine(location)
        active = replace(change or ImageChange(), status=Status.ACTIVE, locations=(location,))
        if size is not None:
            active = replace(active, size=size)
        return self._registry.update(ctx, image_id, active, expect=Status.QUEUED)

    def get(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        """With `deleted`, an admin gets a deleted image, too. Raises NotFound."""
        return self._registry.get(ctx, image_id, deleted=deleted)

    def list(self, ctx: Context, query: Query) -> Iterator[Image]:
        """All images that match."""
        return every(self._registry, ctx, query)

    def find(self, ctx: Context, query: Query, *, marker: str | None = None) -> Page:
        """One page of the images that match: the first, or the one behind the image that `marker` names.

        Raises Invalid when there is no such image for this caller."""
        if marker is not None:
            try:
                last = self._registry.get(ctx, marker)
            except NotFound:
                raise Invalid(f"marker must be the id of an image in this list, not {shown(marker)}") from None
            query = replace(query, after=position_of(last, query.order))
        return self._registry.find(ctx, query)

    def open(self, ctx: Context, image: Image, span: Span | None = None) -> Blob:
        """Open the bytes of what get() returned, to be closed by the caller.

        Raises NotActive, BlobMissing, StoreDown; RangeNotSatisfiable when the span lies behind the end.
        """
        if image.status is not Status.ACTIVE or not image.locations:
            raise NotActive(f"image {image.number} is {image.status}, its bytes cannot be read")
        if span is not None and image.size is not None and span.start + span.length > image.size:
            raise RangeNotSatisfiable(f"image {image.number} has {image.size} bytes", image.size)
        location = image.locations[0]
        try:
            store = self._stores.holding(location)
            if span is None:
                blob = store.open(location)
            else:
                blob = store.open(location, start=span.start, length=span.length)
        except (BlobMissing, UnknownStore) as error:
            LOG.error("image %s (%s): %s", image.number, image.id, error)
            raise BlobMissing(f"the bytes of image {image.number} are not to be had") from error
        if blob.total is not None and image.size is not None and blob.total != image.size:
            blob.close()
            LOG.error("image %s has %s bytes, recorded are %s", image.id, blob.total, image.size)
            raise BlobMissing(f"the bytes of image {image.number} are damaged")
        return blob

    def update(self, ctx: Context, image_id: str, change: ImageChange, *, expect: Status | None = None) -> Image:
        """Change the image; with `expect`, only while it has that status. Raises NotFound, WrongState."""
        return self._registry.update(ctx, image_id, change, expect=expect)

    def delete(self, ctx: Context, image_id: str) -> None:
        """Delete the record, then its bytes. Bytes that cannot be removed now are logged as orphans."""
        removed = self._registry.remove(ctx, image_id)
        for location in removed.locations:
            self._remove_bytes(removed, location)

    def members(self, ctx: Context, image_id: str) -> tuple[Member, ...]:
        """With whom an image is shared; a member sees himself alone. Raises NotFound."""
        return self._registry.members(ctx, image_id)

    def memberships(self, ctx: Context, tenant: str) -> tuple[Member, ...]:
        """What is shared with a tenant, as far as the caller may know."""
        return self._registry.memberships(ctx, tenant)

    def share(
        self, ctx: Context, image_id: str, wanted: Mapping[str, bool | None], *, replace: bool = False
    ) -> tuple[Member, ...]:
        """Make these tenants members, or the only ones; the values are `can_share`, None: as it is.

        Raises NotFound, NotAllowed, TooMany."""
        return self._registry.set_members(ctx, image_id, wanted, replace=replace)

    def answer(self, ctx: Context, image_id: str, tenant: str, status: MemberStatus) -> Member:
        """What a member says to an image that was shared with him. Raises NotFound, NotAllowed."""
        return self._registry.set_member_status(ctx, image_id, tenant, status)

    def unshare(self, ctx: Context, image_id: str, tenant: str) -> None:
        """Raises NotFound, NotAllowed."""
        self._registry.drop_member(ctx, image_id, tenant)

    def _remove_bytes(self, image: Image, location: str) -> None:
        store = self._stores.keeping(location)
        if store is None:
            return  # bytes of a third party: forgetting them is all there is to do
        try:
            store.delete(location)
        except GlanceError as error:
            LOG.error("bytes of image %s (%s) are left behind: %s", image.number, image.id, error)

    def _finish(self, ctx: Context, image: Image, done: ImageChange) -> Image:
        """The last step of an upload, tried for some seconds: a registry that restarts must not cost an image."""
        for pause in FINISH_PAUSES:
            try:
                return self._registry.update(ctx, image.id, done, expect=Status.SAVING)
            except RegistryDown:
                time.sleep(pause)
            except WrongState:
                # An earlier try may have come through, and only its answer was lost.
                found = self._registry.get(ctx, image.id)
                if found.locations != done.locations:
                    raise
                return found
        return self._registry.update(ctx, image.id, done, expect=Status.SAVING)

    def _settle(self, ctx: Context, image: Image, on_failure: Status, error: BaseException) -> bool:
        """Give a failed upload its final status, without masking the error. True: no record holds its bytes."""
        LOG.warning("upload of image %s (%s) failed: %s", image.number, image.id, error)
        try:
            self._registry.update(ctx, image.id, ImageChange(status=on_failure), expect=Status.SAVING)
        except NotFound:
            return True  # deleted in the meantime
        except WrongState:
            # An answer that was lost on its way may have made it active all the same.
            try:
                return not self._registry.get(ctx, image.id).locations
            except NotFound:
                return True
            except GlanceError:
                return False
        except (Conflict, RegistryDown, Invalid) as failure:
            LOG.error("image %s stays %s: %s", image.id, Status.SAVING, failure)
            return False
        return True
