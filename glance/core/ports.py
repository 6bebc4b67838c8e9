# SPDX-License-Identifier: Apache-2.0
"""START HERE: the interfaces between the rooms.

Bytes come in by `read(n)` and go out by iteration, as WSGI gives and takes them. What an implementation may
rely on and must keep is written at each method; tests/contract runs one suite over all implementations.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, ParamSpec, Protocol, TypeVar

from glance.core.context import Context
from glance.core.image import Image, ImageChange, Member, MemberStatus, Status
from glance.core.query import Page, Query

P = ParamSpec("P")
R = TypeVar("R")

CLEANING = 60  # seconds that whoever deletes an image has to remove its bytes, if he asks for no other time


class Lane(Protocol):
    """Blocks of bytes on their way to one piece of work, which sees them one at a time and in order."""

    def put(self, block: bytes, /) -> None:
        """Hand over a block. Waits while too many are pending. Raises what the work raised on an earlier one."""

    def finish(self) -> None:
        """Wait until the work has seen every block. Raises what the work raised."""

    def abandon(self) -> None:
        """Forget what is pending and wait for the block at hand, so that the work's file may be closed. May
        be called at any time, more than once, and never raises what the work raised."""


class Threads(Protocol):
    """Where work may go that would make other requests wait: hashing, writing, fsync.

    An ability of the server, offered through the WSGI environ; without it the work is done inline.
    """

    def lane(self, work: Callable[[bytes], object], /) -> Lane: ...

    def call(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do the work elsewhere, wait for it, and return or raise what it did."""

    def separate(self, count: int, /) -> "Threads":
        """Return `count` further threads with a queue of their own, whose work never delays the work of these.
        Work that is done inline stays inline."""


class Source(Protocol):
    """Data that a store reads."""

    @property
    def threads(self) -> Threads: ...

    @property
    def sender(self) -> str:
        """The tenant that sends the data, or the client's address; shared memory is divided between senders."""

    def read(self, size: int, /) -> bytes:
        """1 to `size` bytes. b"" only at an honest end; a source that was cut short raises BrokenUpload."""


class Blob(Protocol):
    """Bytes on their way out: opened, standing at the first byte, to be closed once."""

    @property
    def size(self) -> int | None:
        """How many bytes it will deliver, if known."""

    @property
    def total(self) -> int | None:
        """How many bytes the whole object has, if known; more than `size` when a part was asked for."""

    @property
    def file(self) -> BinaryIO | None:
        """A real file of the operating system standing at the first byte, for sendfile; or None."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class ReadStore(Protocol):
    """A place that bytes can be read from."""

    @property
    def schemes(self) -> frozenset[str]:
        """The URL schemes of its locations."""

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> Blob:
        """`length` bytes from `start` on; None: to the end. Raises BlobMissing, StoreDown."""


class ExternalStore(ReadStore, Protocol):
    """A place of third parties, whose locations users may name."""

    def examine(self, location: str) -> int | None:
        """Judge a location that a user names, and ask for the number of its bytes; None: not told.

        Raises Invalid when it may not be used, or nothing is there."""


@dataclass(frozen=True, slots=True)
class Held:
    """Something that lies in a store. Location and name are those of the object that it is, or is a part of."""

    location: str  # delete() removes it
    name: str
    size: int  # bytes of its own
    modified: datetime  # UTC, without zone
    whole: bool = True  # False: a segment, or what an upload has sent so far


class Store(ReadStore, Protocol):
    """A place that bytes can also be written to."""

    def location_of(self, name: str) -> str:
        """The location of what put() keeps, or kept, under this name."""

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        """Read `source` to its end, keep the bytes under `name` (letters, digits, '-'), return their location.

        The bytes are durable and visible only after the source's clean end; on any error, the source's own
        included, nothing is left. Never overwrites. `size` is what the client announced, if it did.
        Raises Duplicate, StoreFull, StoreDown.
        """

    def delete(self, location: str, *, threads: Threads | None = None) -> None:
        """Remove the bytes, also what was left by a put() that ended with its process; no error when they are
        gone already. `threads` are for what would make other requests wait. Raises StoreDown."""

    def check(self, threads: Threads) -> None:
        """Reach the place, as far as an upload needs it, without keeping an object. A missing directory, bucket or
        container is no error if put() would make it. Raises StoreDown, StoreFull."""

    # For an operator's checks; put() and open() need none of these before them.

    def held(self) -> Iterator[Held]:
        """All that lies there, unfinished parts included, and what others have put there; nothing while the
        directory, bucket or container is not made. Listings of clouds may come late. Raises StoreDown."""

    def connect(self) -> str:
        """Reach the place, with this server's credentials; what was reached, in words. Raises StoreDown."""

    def prepare(self) -> str:
        """See that the directory, bucket or container is there, and make it where put() would; its name, in
        words. Raises StoreDown, StoreFull."""

    def try_abilities(self) -> list[str]:
        """Try what the place may lack, or do otherwise, and be usable; return what the operator should know, each
        with its consequence, in words. To be called after prepare(). Raises StoreDown, StoreFull."""

    def traces(self, name: str) -> list[str]:
        """All that lies under `name`, unfinished parts included, in words. Raises StoreDown."""


class Stores(Protocol):
    """The stores of this server."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of those that can be written to."""

    def named(self, name: str | None) -> Store:
        """The store to write to; None: the default one. Raises UnknownStore, StoreReadOnly."""

    def holding(self, location: str) -> ReadStore:
        """The store that a location can be read from. Raises UnknownStore."""

    def external(self, location: str) -> ExternalStore:
        """The store for a location that a user names: of a third party, never one of our own. Raises Invalid."""

    def keeping(self, location: str) -> Store | None:
        """The store that keeps these bytes as its own and may delete them; None: they are a third party's."""


class Registry(Protocol):
    """What is known about images. The registry is the judge: every method decides by `ctx` and core/access.py.

    An image is named by its `id` or, as text, by its number ("7"); both find the same image. Deleted images, and
    those that the caller may not see, are not found. All methods may raise RegistryDown.
    """

    def check(self) -> None:
        """Whether it can be asked, and changed: raises RegistryDown if not."""

    def add(self, ctx: Context, image: Image, *, lease: int | None = None) -> Image:
        """Keep a new image; with `copy_from`, one that claim_stalled() finds; with `lease`, one that it finds if
        nobody works on its bytes within so many seconds. Who is no admin owns it. It is given what it lacks of id,
        number and created_at.

        Raises Duplicate when the id or number is taken, also by a deleted image; NotAllowed, Invalid, OverQuota,
        TooMany."""

    def get(self, ctx: Context, image_id: str, *, deleted: bool = False) -> Image:
        """With `deleted`, an image is found that is deleted, too. Raises NotFound."""

    def find(self, ctx: Context, query: Query) -> Page: ...

    def update(
        self,
        ctx: Context,
        image_id: str,
        change: ImageChange,
        *,
        expect: Status | None = None,
        holder: str | None = None,
    ) -> Image:
        """Change the image and return it. With `expect`, only if it has that status at the moment of the
        change, so that of two racing callers one wins; with `holder`, only if he holds it still. To charge for more
        bytes than before is possible within the quota of the image's owner only; when there is none, an image is
        charged for once it is active.

        Raises NotFound, NotAllowed, WrongState; OverQuota; TooMany for more properties, tags or locations than
        ImageQuota allows and the image has; Invalid for properties that are too long."""

    def remove(self, ctx: Context, image_id: str, *, lease: int = CLEANING, delay: int | None = None) -> Image:
        """Delete the image and return it, so that the bytes at its locations can be removed: it has none when
        somebody holds it, who will find it gone and remove them himself. Its names are never given again.

        If release() does not come within the lease of whoever removes them, claim_stalled() finds it. With `delay`,
        its bytes are kept for so many seconds: it is `pending_delete` until release(), for which claim_stalled()
        offers it then.

        Raises NotFound, NotAllowed, Protected."""

    def release(self, ctx: Context, image_id: str, *, holder: str | None = None) -> None:
        """No bytes of this image are left that nobody needs: forget its locations and what it is charged for, if it
        is not active, and who held it. Does nothing when that is not `holder`. It may be deleted; if it was
        `pending_delete`, it is `deleted` from now on. For admins.

        Raises NotFound, NotAllowed."""

    def claim_stalled(
        self, ctx: Context, holder: str, *, lease: int, limit: int, pending: bool = False
    ) -> tuple[Image, ...]:
        """Images, deleted ones included, whose lease is over: whoever worked on their bytes is gone. With `pending`,
        those instead whose bytes were kept long enough. From now on `holder` has them, for `lease` seconds. Of
        several callers each image goes to one.

        For admins. Raises NotAllowed."""

    def members(self, ctx: Context, image_id: str) -> tuple[Member, ...]:
        """With whom an image is shared, by their names; a member sees himself alone. Raises NotFound."""

    def memberships(self, ctx: Context, tenant: str) -> tuple[Member, ...]:
        """What is shared with a tenant, by number; others than himself and admins see of it what they own."""

    def set_members(
        self, ctx: Context, image_id: str, wanted: Mapping[str, bool | None], *, replace: bool = False
    ) -> tuple[Member, ...]:
        """Share an image with these tenants; return all its members, or of them what members() would. An image
        that was private is shared then, if it was given any.

        The values are `can_share`; None keeps what is, or is False for a new member, who starts as `pending`.
        With `replace`, all others cease to be members. Raises NotFound, NotAllowed, TooMany."""

    def set_member_status(self, ctx: Context, image_id: str, tenant: str, status: MemberStatus) -> Member:
        """The answer of a member, which only he or an admin gives. Raises NotFound, NotAllowed."""

    def drop_member(self, ctx: Context, image_id: str, tenant: str) -> None:
        """Raises NotFound, also when the tenant is no member; NotAllowed."""
