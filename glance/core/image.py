# SPDX-License-Identifier: Apache-2.0
"""The image and the values that travel with it. One vocabulary, the richest; poorer dialects translate.

What lists of images are asked with stands in core/query.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Final

DISK_FORMATS: Final = (
    "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
)  # fmt: skip
CONTAINER_FORMATS: Final = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")


class Status(StrEnum):
    """Where an image stands: queued → saving → active; or killed when the bytes did not come; at last deleted, and
    before it pending_delete where bytes are kept for a while."""

    QUEUED = "queued"
    SAVING = "saving"
    ACTIVE = "active"
    KILLED = "killed"
    PENDING_DELETE = "pending_delete"
    DELETED = "deleted"


class Visibility(StrEnum):
    """Who may see an image beside its owner and the admins (core/access.py)."""

    PUBLIC = "public"  # everybody
    PRIVATE = "private"  # nobody
    SHARED = "shared"  # its members
    COMMUNITY = "community"  # everybody who knows its name; it stands in nobody else's lists unless asked for


class MemberStatus(StrEnum):
    """A member's answer to an image that was shared with it. Which answers make lists show the image is a matter of
    the query: v1 shows all but rejected ones."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Unset(Enum):
    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET  # a field that a change leaves as it is; None is a value of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is known about one image.

    An image has two names: `id`, a lower-case UUID, and `number`, a positive integer that is never used again.
    An image that is not stored yet may leave either to the registry ("" and None).
    Times are UTC and carry no zone. Sizes are bytes, min_disk is GiB, min_ram is MiB.
    `locations` are store URLs; the first is the one that is read. While an image is not active they tell where
    bytes of it may lie that nobody needs.
    """

    id: str = ""
    number: int | None = None
    name: str | None = None
    status: Status = Status.QUEUED
    visibility: Visibility = Visibility.PRIVATE
    owner: str | None = None
    disk_format: str | None = None
    container_format: str | None = None
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None  # md5 in hex, as all clients since 2011 expect
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    hidden: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None  # at first equal to created_at
    deleted_at: datetime | None = None
    locations: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    properties: Mapping[str, str] = field(default_factory=dict)
    copy_from: str | None = None  # the URL that the bytes of a queued image will be copied from
    failure: str | None = None  # why the bytes did not come
    charged: int | None = None  # bytes in stores of ours, or on their way there, that count against a quota

    @property
    def is_public(self) -> bool:
        return self.visibility is Visibility.PUBLIC

    @property
    def deleted(self) -> bool:
        """Whether it is gone for its users; bytes may still be there."""
        return self.status in (Status.DELETED, Status.PENDING_DELETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """What an update sets; every field that is UNSET stays as it is.

    Named properties are set, those in `dropped` removed, others kept. `lease` is a number of seconds from now on,
    within which whoever works on the bytes will report again; None: nobody does. `holder` is who that is.
    """

    name: str | Unset | None = UNSET
    status: Status | Unset = UNSET
    visibility: Visibility | Unset = UNSET
    owner: str | Unset | None = UNSET
    disk_format: str | Unset | None = UNSET
    container_format: str | Unset | None = UNSET
    size: int | Unset | None = UNSET
    virtual_size: int | Unset | None = UNSET
    checksum: str | Unset | None = UNSET
    os_hash_algo: str | Unset | None = UNSET
    os_hash_value: str | Unset | None = UNSET
    min_disk: int | Unset = UNSET
    min_ram: int | Unset = UNSET
    protected: bool | Unset = UNSET
    hidden: bool | Unset = UNSET
    locations: tuple[str, ...] | Unset = UNSET
    tags: frozenset[str] | Unset = UNSET
    properties: Mapping[str, str] | Unset = UNSET
    dropped: frozenset[str] | Unset = UNSET
    copy_from: str | Unset | None = UNSET
    failure: str | Unset | None = UNSET
    charged: int | Unset | None = UNSET
    holder: str | Unset | None = UNSET
    lease: int | Unset | None = UNSET

    def given(self) -> dict[str, Any]:
        """The fields that are set, by name."""
        pairs = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: value for name, value in pairs if value is not UNSET}

    def applied_to(self, image: Image) -> Image:
        """The image after this change."""
        given = self.given()
        dropped = given.pop("dropped", ())
        kept = {name: value for name, value in image.properties.items() if name not in dropped}
        given["properties"] = {**kept, **given.get("properties", {})}
        return replace(image, **{name: value for name, value in given.items() if name not in ("holder", "lease")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A tenant with whom an image is shared. `can_share`: he may share it further, as v1 has it."""

    image_id: str
    member: str
    can_share: bool = False
    status: MemberStatus = MemberStatus.PENDING
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes: `length` bytes from `start`, both 0 or more."""

    start: int
    length: int
