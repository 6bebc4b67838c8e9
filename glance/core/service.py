# SPDX-License-Identifier: Apache-2.0
"""The use cases, once for all dialects: each is a few turns between the registry and a store.

Two rules keep images safe. Upload: bytes are durable first, the record says `active` after. Delete: the record
goes first, the bytes after. So there may be bytes that nobody needs, but never an active image without its bytes;
and bytes are removed only once the registry has said that no record needs, or will need, them.

And one keeps stores clean: where bytes will lie stands in the record before the first of them is written, with a
lease (core/leases.py). What its holder does not bring to an end, core/recovery.py does.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from glance.core.context import Context
from glance.core.errors import (
    BlobMissing,
    Conflict,
    GlanceError,
    Invalid,
    NotActive,
    NotFound,
    RangeNotSatisfiable,
    UnknownStore,
)
from glance.core.image import UNSET, Image, ImageChange, Member, MemberStatus, Span, Status, Unset
from glance.core.inline import INLINE
from glance.core.leases import LEASE
from glance.core.listing import iter_pages
from glance.core.policy import Action, Policy
from glance.core.ports import Blob, Registry, Source, Stores, Threads
from glance.core.query import Page, Query, position_of
from glance.core.transfer import PATIENCE, Transfer, Transfers, unused_name
from glance.core.values import line_of, shown

LOG = logging.getLogger(__name__)


class ImageService:
    """`hashing_algorithm`, `limit`, `lease` and `patience` are those of `transfers`; `wake` is called when they have
    work that core/recovery.py does. `keep` is for how many seconds the bytes of deleted images are kept, for
    core/scrub.py to remove; None: they are removed at once.

    Whatever takes a context may also raise NotAllowed, where the registry or `policy` says so.
    """

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        *,
        hashing_algorithm: str = "sha512",
        limit: int | None = None,
        lease: int = LEASE,
        patience: float = PATIENCE,
        policy: Policy | None = None,
        keep: int | None = None,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        self._registry = registry
        self._stores = stores
        self.transfers = Transfers(
            registry, stores, hashing_algorithm=hashing_algorithm, limit=limit, lease=lease, patience=patience
        )
        self._policy = policy or Policy()
        self._keep = keep
        self._wake = wake

    def reserve(self, ctx: Context, draft: Image, *, at_once: bool = False) -> Image:
        """Make the record of an image whose bytes come later; or `at_once`, by upload() in the same request. Then it
        does not stay queued if they do not. Raises Duplicate, Invalid, AnnouncedTooLarge, OverQuota."""
        self.transfers.check(draft.size)
        queued = replace(draft, status=Status.QUEUED, locations=())
        return self._registry.add(ctx, queued, lease=self.transfers.lease if at_once else None)

    def check_store(self, name: str) -> None:
        """Raises UnknownStore, StoreReadOnly for a store that no bytes can be brought to."""
        self._stores.named(name)

    def upload(
        self,
        ctx: Context,
        image: Image,
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
        `change` is applied with the first step. Raises OverQuota; DeletedMeanwhile when the image is gone at the end.
        """
        try:
            self.transfers.check(size)
            driver = self._stores.named(store)
        except GlanceError as error:
            self.abandon(ctx, image, str(error), on_failure=on_failure)
            raise
        name = unused_name(driver, image, str(image.number))
        transfer = Transfer(image, driver, name, on_failure=on_failure)
        return self.transfers.run(ctx, transfer, body, change or ImageChange(), size=size, checksum=checksum)

    def abandon(self, ctx: Context, image: Image, reason: str, *, on_failure: Status = Status.KILLED) -> None:
        """End a reservation whose upload cannot even begin. Raises WrongState when it is not queued."""
        change = ImageChange(status=on_failure, failure=line_of(reason), lease=None)
        self._registry.update(ctx, image.id, change, expect=Status.QUEUED)

    def copy_from(self, ctx: Context, draft: Image, url: str, *, store: str | None = None) -> Image:
        """Make the record of an image whose bytes are fetched from a URL in the background.

        Raises NotAllowed, Invalid, UnknownStore, StoreReadOnly, Duplicate, OverQuota."""
        draft = replace(draft, id=draft.id or str(uuid.uuid4()))
        size, location = self._plan_copy(ctx, draft, url, store)
        image = self._registry.add(
            ctx, replace(draft, status=Status.QUEUED, size=size, copy_from=url, locations=(location,), charged=size)
        )
        self._wake()
        return image

    def copy_into(
        self, ctx: Context, image: Image, url: str, *, store: str | None = None, change: ImageChange | None = None
    ) -> Image:
        """Have the bytes of a queued image fetched from a URL, as copy_from() does. Raises WrongState, too."""
        wanted = ImageChange() if change is None else change
        promised = image.size if isinstance(wanted.size, Unset) else wanted.size or image.size
        size, location = self._plan_copy(ctx, replace(image, size=promised), url, store)
        change = replace(wanted, size=size, copy_from=url, locations=(location,), charged=size, lease=0)
        image = self._registry.update(ctx, image.id, change, expect=Status.QUEUED)
        self._wake()
        return image

    def register(self, ctx: Context, draft: Image, location: str, *, size: int | None = None) -> Image:
        """Make an active image of bytes that lie elsewhere, which are not fetched. Its size is what their server
        says; what the draft says, if the server says nothing. `size` is a promise that is checked.

        Raises NotAllowed, Invalid, Duplicate, Conflict."""
        announced = self._examine(ctx, Action.SET_IMAGE_LOCATION, location, size)
        size = _choose_size(announced, draft.size)
        return self._registry.add(ctx, replace(draft, status=Status.ACTIVE, locations=(location,), size=size))

    def activate(
        self,
        ctx: Context,
        image: Image,
        location: str,
        *,
        change: ImageChange | None = None,
        size: int | None = None,
    ) -> Image:
        """Make a queued image of bytes that lie elsewhere, as register() does. Raises WrongState, too."""
        announced = self._examine(ctx, Action.SET_IMAGE_LOCATION, location, size)
        change = change or ImageChange()
        given = image.size if isinstance(change.size, Unset) else change.size
        size = _choose_size(announced, given)
        active = replace(change, status=Status.ACTIVE, locations=(location,), size=size)
        return self._registry.update(ctx, image.id, active, expect=Status.QUEUED)

    def get(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        """With `deleted`, an image is found that is deleted, too. Raises NotFound."""
        return self._registry.get(ctx, image_id, deleted=deleted)

    def list(self, ctx: Context, query: Query) -> Iterator[Page]:
        """Return an iterator over all images that match, in pages."""
        return iter_pages(self._registry, ctx, query)

    def find(self, ctx: Context, query: Query, *, marker: str | None = None) -> Iterator[Page]:
        """Return an iterator over the first `query.limit` images that match, or the first ones after the image that
        `marker` names. They come in pages of the registry, which may be smaller.

        Raises Invalid when there is no such image for this caller."""
        if marker is not None:
            try:
                last = self._registry.get(ctx, marker, deleted=query.deleted)
            except NotFound:
                raise Invalid(f"marker must be the id of an image in this list, not {shown(marker)}") from None
            query = replace(query, after=position_of(last, query.order))
        return iter_pages(self._registry, ctx, query, limit=query.limit)

    def open(self, ctx: Context, image: Image, span: Span | None = None) -> Blob:
        """Open the bytes of what get() returned, to be closed by the caller.

        Raises NotActive, BlobMissing, StoreDown; RangeNotSatisfiable when the span lies behind the end.
        """
        if image.status is not Status.ACTIVE or not image.locations:
            reason = f": {image.failure}" if image.failure else ""
            raise NotActive(f"the image is not active but {image.status}, it has no bytes{reason}")
        if span is not None and image.size is not None and span.start + span.length > image.size:
            raise RangeNotSatisfiable(f"the image has {image.size} bytes", image.size)
        location = image.locations[0]
        try:
            store = self._stores.holding(location)
            if span is None:
                blob = store.open(location)
            else:
                blob = store.open(location, start=span.start, length=span.length)
        except (BlobMissing, UnknownStore) as error:
            LOG.error("image %s (%s): %s", image.number, image.id, error)
            raise BlobMissing("the bytes of the image are not to be had") from error
        if blob.total is not None and image.size is not None and blob.total != image.size:
            blob.close()
            LOG.error("image %s has %s bytes, recorded are %s", image.id, blob.total, image.size)
            raise BlobMissing("the bytes of the image are damaged")
        return blob

    def update(self, ctx: Context, image_id: str, change: ImageChange, *, expect: Status | None = None) -> Image:
        """Change the image; with `expect`, only while it has that status. Raises NotFound, WrongState,
        AnnouncedTooLarge."""
        if change.size is not UNSET:
            self.transfers.check(change.size)
        return self._registry.update(ctx, image_id, change, expect=expect)

    def delete(self, ctx: Context, image_id: str, *, threads: Threads = INLINE) -> None:
        """Delete the record, then its bytes. What cannot be removed now, or is to be kept, is removed later."""
        removed = self._registry.remove(ctx, image_id, lease=self.transfers.lease, delay=self._keep)
        if removed.locations and self._keep is None:
            self.transfers.discard(ctx, removed, threads)

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

    def _examine(self, ctx: Context, action: Action, url: str, size: int | None) -> int | None:
        """Return the size that the server of a URL announces, or None, if the caller may name URLs.

        `size` is the promise of the caller, where 0 means unknown. Raises NotAllowed, Invalid, Conflict."""
        self._policy.check(ctx, action)
        announced = self._stores.external(url).examine(url)
        if size and announced is not None and announced != size:
            raise Conflict(f"the image is said to have {size} bytes, its server says {announced}")
        return announced

    def _plan_copy(self, ctx: Context, image: Image, url: str, store: str | None) -> tuple[int | None, str]:
        """Return the size of the data, if it is announced or promised, and the location of the copy."""
        driver = self._stores.named(store)
        announced = self._examine(ctx, Action.COPY_FROM, url, image.size)
        return _choose_size(announced, image.size), driver.location_of(image.id)


def _choose_size(announced: int | None, promised: int | None) -> int | None:
    """Return the size that a server announces, or else the caller's promise, where 0 means unknown."""
    return (promised or None) if announced is None else announced
