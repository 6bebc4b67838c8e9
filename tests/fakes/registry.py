# SPDX-License-Identifier: Apache-2.0
"""A Registry in memory, for tests; passes the suite of tests/contract like the real ones.

It decides by core/access.py, so that a test can hold the SQL of the real one against it."""

import operator
import threading
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from glance.core.access import can_change, can_see, can_share, check_members_change, is_listed, speaks_for
from glance.core.context import Context
from glance.core.errors import Duplicate, Invalid, NotAllowed, NotFound, OverQuota, Protected, WrongState
from glance.core.image import Image, ImageChange, Member, MemberStatus, Status, Visibility
from glance.core.policy import Action, Policy
from glance.core.ports import CLEANING
from glance.core.query import ITEM_TEXT, MAX_PAGE, MAX_PAGE_TEXT, Comparison, Filter, Page, Query, position_of
from glance.core.quota import ImageQuota
from glance.core.values import MAX_INT, check_properties
from glance.registry.db.quota import Quota

NO_QUOTA = Quota()
IMAGE_QUOTA = ImageQuota()
ORDERED = {
    Comparison.LESS: operator.lt,
    Comparison.LESS_OR_EQUAL: operator.le,
    Comparison.MORE: operator.gt,
    Comparison.MORE_OR_EQUAL: operator.ge,
}


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class MemoryRegistry:
    """`images` are by number, deleted ones included; `shares` by number and tenant, `leases` (holder, end) by number."""

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        accept_members: bool = False,
        quota: Quota = NO_QUOTA,
        image_quota: ImageQuota = IMAGE_QUOTA,
    ) -> None:
        self._quota = quota
        self._image_quota = image_quota
        self.images: dict[int, Image] = {}
        self.shares: dict[tuple[int, str], Member] = {}
        self.leases: dict[int, tuple[str | None, datetime]] = {}
        self._policy = policy or Policy()
        self._first_answer = MemberStatus.ACCEPTED if accept_members else MemberStatus.PENDING
        self._lock = threading.RLock()

    def check(self) -> None:
        pass

    def add(self, ctx: Context, image: Image, *, lease: int | None = None) -> Image:
        with self._lock:
            number = max(self.images, default=0) + 1 if image.number is None else image.number
            if not 1 <= number <= MAX_INT or image.deleted:
                raise Invalid("no image can be added with this number or status")
            if image.visibility is Visibility.PUBLIC:
                self._policy.check(ctx, Action.PUBLICIZE_IMAGE)
            self._image_quota.check(image)
            if number in self.images or image.id in {kept.id for kept in self.images.values()}:
                raise Duplicate("an image of that identifier exists, or existed")
            created_at = image.created_at or now()
            owner = image.owner if ctx.is_admin else ctx.tenant
            if self._quota.images and self._alive(owner) >= self._quota.images:
                raise OverQuota("too many images for the quota image_count_quota")
            charged = self._charged(owner, None, image.charged, image.status)
            if image.copy_from is not None:
                lease = 0
            if lease is not None:
                self.leases[number] = (None, now() + timedelta(seconds=lease))
            return self._keep(
                replace(
                    image,
                    number=number,
                    id=image.id or str(uuid.uuid4()),
                    owner=owner,
                    charged=charged,
                    created_at=created_at,
                    updated_at=created_at,
                )
            )

    def get(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        with self._lock:
            return self._found(ctx, image_id, deleted=deleted)

    def find(self, ctx: Context, query: Query) -> Page:
        with self._lock:
            limit = min(query.limit, MAX_PAGE)
            order = query.order
            found = [image for image in self.images.values() if self._matches(ctx, query, image)]
            for item in reversed(order):
                found.sort(key=lambda image, key=item.key: _rank(getattr(image, key)), reverse=item.descending)
            if query.after is not None:
                found = [image for image in found if _is_behind(position_of(image, order), query)]
            if query.brief:
                found = [replace(image, locations=(), properties={}, tags=frozenset()) for image in found]
            texts = list(accumulate(map(_text, found[:limit])))
            count = max(sum(text <= MAX_PAGE_TEXT for text in texts), min(len(texts), 1))
            after = position_of(found[count - 1], order) if len(found) > count else None
            return Page(images=tuple(found[:count]), after=after)

    def update(
        self,
        ctx: Context,
        image_id: str,
        change: ImageChange,
        *,
        expect: Status | None = None,
        holder: str | None = None,
    ) -> Image:
        with self._lock:
            if change.status in (Status.DELETED, Status.PENDING_DELETE):
                raise Invalid("an image is removed, not updated to be deleted")
            image = self._changeable(ctx, image_id)
            if change.visibility is Visibility.PUBLIC:
                self._policy.check(ctx, Action.PUBLICIZE_IMAGE)
            given = change.given()
            if "owner" in given and not ctx.is_admin:
                raise NotAllowed("only an admin may give an image to another owner")
            holds, until = self.leases.get(image.number, (None, None))
            if expect not in (None, image.status):
                raise WrongState(f"the image is {image.status}, not {expect}")
            if holder not in (None, holds):
                raise WrongState("another request has taken the image over")
            changed = change.applied_to(image)
            if "charged" in given:
                charged = self._charged(image.owner, image, given["charged"], given.get("status"))
                changed = replace(changed, charged=charged)
            self._image_quota.check(changed, image)
            check_properties(changed.properties)
            updated_at = now()
            if updated_at == image.created_at:
                updated_at += timedelta(microseconds=1)
            if given and not given.keys() - {"lease", "charged"}:
                updated_at = image.updated_at
            holds = given.get("holder", holds)
            if "lease" in given:
                lease = given["lease"]
                until = None if lease is None else now() + timedelta(seconds=lease)
            self.leases[image.number] = (holds, until)
            return self._keep(replace(changed, updated_at=updated_at))

    def remove(self, ctx: Context, image_id: str, *, lease: int = CLEANING, delay: int | None = None) -> Image:
        with self._lock:
            foreign = self._policy.allows(ctx, Action.DELETE_FOREIGN_IMAGE)
            image = self._found(ctx, image_id) if foreign else self._changeable(ctx, image_id)
            if image.protected:
                raise Protected("the image is protected against deletion: update it first")
            for key in [key for key in self.shares if key[0] == image.number]:
                del self.shares[key]
            moment = now()
            holder, until = self.leases.get(image.number, (None, None))
            held = holder is not None and until is not None and until > moment
            pending = delay is not None and bool(image.locations) and not held
            status = Status.PENDING_DELETE if pending else Status.DELETED
            deleted = self._keep(replace(image, status=status, deleted_at=moment, updated_at=moment))
            if held:
                return replace(deleted, locations=())
            until = moment + timedelta(seconds=lease if delay is None else delay)
            self.leases[image.number] = (None, until if image.locations else None)
            return deleted

    def release(self, ctx: Context, image_id: str, *, holder: str | None = None) -> None:
        with self._lock:
            if not ctx.is_admin:
                raise NotAllowed("only the daemons and admins may do this")
            image = self._found(ctx, image_id, deleted=True)
            if self.leases.get(image.number, (None, None))[0] != holder:
                return
            self.leases.pop(image.number, None)
            if image.status is not Status.ACTIVE:
                pending = image.status is Status.PENDING_DELETE
                status = Status.DELETED if pending else image.status
                self._keep(replace(image, locations=(), charged=None, status=status))

    def claim_stalled(
        self, ctx: Context, holder: str, *, lease: int, limit: int, pending: bool = False
    ) -> tuple[Image, ...]:
        with self._lock:
            if not ctx.is_admin:
                raise NotAllowed("only the daemons and admins may do this")
            over = [
                number
                for number, (_, until) in self.leases.items()
                if until is not None
                and until <= now()
                and (self.images[number].status is Status.PENDING_DELETE) is pending
            ]
            over.sort(key=lambda number: self.leases[number][1])
            for number in over[:limit]:
                self.leases[number] = (holder, now() + timedelta(seconds=lease))
            return tuple(self.images[number] for number in over[:limit])

    def members(self, ctx: Context, image_id: str) -> tuple[Member, ...]:
        with self._lock:
            return self._members(ctx, self._found(ctx, image_id))

    def memberships(self, ctx: Context, tenant: str) -> tuple[Member, ...]:
        with self._lock:
            mine = speaks_for(ctx, tenant)
            return tuple(
                member
                for (number, who), member in sorted(self.shares.items())
                if who == tenant and (mine or can_change(ctx, self.images[number]))
            )

    def set_members(
        self, ctx: Context, image_id: str, wanted: Mapping[str, bool | None], *, replace: bool = False
    ) -> tuple[Member, ...]:
        with self._lock:
            image = self._shareable(ctx, image_id)
            there = {who: member for (number, who), member in self.shares.items() if number == image.number}
            rights = {who: member.can_share for who, member in there.items()}
            check_members_change(ctx, image, rights, wanted, replace=replace)
            kept = {who: member for who, member in there.items() if who in wanted or not replace}
            self._image_quota.check_members(len(kept.keys() | wanted.keys()), len(there))
            if wanted:
                self._share(image)
            for who in there.keys() - kept.keys():
                del self.shares[image.number, who]
            moment = now()
            for who, can_share_it in wanted.items():
                old = kept.get(who)
                if old is None or can_share_it is not None:
                    self.shares[image.number, who] = Member(
                        image_id=image.id,
                        member=who,
                        can_share=bool(can_share_it),
                        status=old.status if old else self._first_answer,
                        created_at=old.created_at if old else moment,
                        updated_at=moment,
                    )
            return self._members(ctx, image)

    def set_member_status(self, ctx: Context, image_id: str, tenant: str, status: MemberStatus) -> Member:
        with self._lock:
            image = self._found(ctx, image_id)
            if not speaks_for(ctx, tenant):
                raise NotAllowed("only the member himself says whether he accepts an image")
            if (image.number, tenant) not in self.shares:
                raise NotFound("no member of this image")
            member = replace(self.shares[image.number, tenant], status=status, updated_at=now())
            self.shares[image.number, tenant] = member
            return member

    def drop_member(self, ctx: Context, image_id: str, tenant: str) -> None:
        with self._lock:
            image = self._shareable(ctx, image_id)
            check_members_change(ctx, image, {tenant: False}, {}, replace=True)
            if self.shares.pop((image.number, tenant), None) is None:
                raise NotFound("no member of this image")

    def _alive(self, owner: str | None) -> int:
        return sum(image.owner == owner and not image.deleted for image in self.images.values())

    def _charged(self, owner: str | None, image: Image | None, charged: int | None, status: object) -> int | None:
        """What an image is charged for, after a change. Raises OverQuota."""
        most = self._quota.bytes
        if charged is None or not (most or status is Status.ACTIVE):
            return None
        others = sum(other.charged or 0 for other in self.images.values() if other.owner == owner and other != image)
        grows = image is None or image.charged is None or charged > image.charged
        if most and grows and others + charged > most:
            raise OverQuota(f"the quota user_storage_quota gives {most} bytes: other images use {others}")
        return charged

    def _members(self, ctx: Context, image: Image) -> tuple[Member, ...]:
        members = (member for (number, _), member in sorted(self.shares.items()) if number == image.number)
        return tuple(member for member in members if can_change(ctx, image) or member.member == ctx.tenant)

    def _membership(self, ctx: Context, image: Image) -> Member | None:
        return self.shares.get((image.number, ctx.tenant)) if ctx.tenant else None

    def _found(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        named = (image for image in self.images.values() if image_id in (image.id, str(image.number)))
        image = next(named, None)
        if image and (deleted or not image.deleted) and can_see(ctx, image, self._membership(ctx, image)):
            return image
        raise NotFound(f"there is no image {image_id!r}")

    def _changeable(self, ctx: Context, image_id: str) -> Image:
        image = self._found(ctx, image_id)
        if not can_change(ctx, image):
            raise NotAllowed("the image belongs to another tenant")
        return image

    def _shareable(self, ctx: Context, image_id: str) -> Image:
        image = self._found(ctx, image_id)
        if not can_share(ctx, image, self._membership(ctx, image)):
            raise NotAllowed("only the owner of an image, and members that may share it, give it members")
        return image

    def _share(self, image: Image) -> None:
        if image.visibility is Visibility.PRIVATE:
            self._keep(replace(image, visibility=Visibility.SHARED))

    def _matches(self, ctx: Context, query: Query, image: Image) -> bool:
        return (
            (query.deleted or not image.deleted)
            and is_listed(ctx, query, image, self._membership(ctx, image))
            and all(_fulfils(image, item) for item in query.filters)
            and query.properties.items() <= dict(image.properties).items()
            and query.tags <= image.tags
        )

    def _keep(self, image: Image) -> Image:
        self.images[image.number] = replace(image, properties=dict(image.properties))
        return image


def _text(image: Image) -> int:
    """The characters that an image counts in a page."""
    items = [*image.locations, *image.tags, *(name + value for name, value in image.properties.items())]
    return len(image.copy_from or "") + sum(len(item) + ITEM_TEXT for item in items)


def _rank(value: object) -> tuple[object, ...]:
    """None before all values."""
    return (False,) if value is None else (True, value)


def _is_behind(position: tuple[object, ...], query: Query) -> bool:
    for item, value, last in zip(query.order, position, query.after, strict=True):
        if value != last:
            return (_rank(value) > _rank(last)) != item.descending
    return False


def _fulfils(image: Image, item: Filter) -> bool:
    value = getattr(image, item.field)
    if item.comparison is Comparison.IN:
        return value in item.values
    if item.comparison is Comparison.NOT_IN:
        return value not in item.values
    return value is not None and ORDERED[item.comparison](value, item.values[0])
