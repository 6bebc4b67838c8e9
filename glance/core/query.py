# SPDX-License-Identifier: Apache-2.0
"""What a list of images is asked with, and the page that answers.

A list has a total order, so that a page continues where the last one ended (keyset pagination), whatever was
added or deleted in between: the keys that are asked for, then created_at, then id. None sorts before all values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from glance.core.image import Image, MemberStatus, Visibility

MAX_PAGE: Final = 1000  # images
# Characters of all properties, tags, locations and copy_from URLs in a page of more than one image. Python takes up
# to four bytes for one, and several copies of a page are in memory at a time.
MAX_PAGE_TEXT: Final = 512 * 1024
ITEM_TEXT: Final = 64  # characters that each property, tag and location counts in addition to its text
MAX_VALUES: Final = 100  # that one filter may name
MAX_CONDITIONS: Final = 20  # filters, properties and tags, of each, in one query

Value = str | int | bool | datetime | None
Position = tuple[Value, ...]  # an image's place in a list: its values of the keys that the list is sorted by

SORT_KEYS: Final = (
    "name", "status", "container_format", "disk_format", "size", "id", "number", "created_at", "updated_at",
)  # fmt: skip
UNIQUE_KEYS: Final = frozenset({"id", "number"})
FILTER_FIELDS: Final[Mapping[str, type]] = {
    "id": str,
    "name": str,
    "status": str,
    "owner": str,
    "disk_format": str,
    "container_format": str,
    "checksum": str,
    "os_hash_value": str,
    "size": int,
    "min_disk": int,
    "min_ram": int,
    "protected": bool,
    "hidden": bool,
    "created_at": datetime,
    "updated_at": datetime,
}


class Comparison(StrEnum):
    IN = "in"
    NOT_IN = "not-in"
    LESS = "lt"
    LESS_OR_EQUAL = "le"
    MORE = "gt"
    MORE_OR_EQUAL = "ge"


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one of FILTER_FIELDS. Only IN and NOT_IN take more than one value, or truth values; an unset
    field fulfils none of the others."""

    field: str
    comparison: Comparison
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Sort:
    key: str  # one of SORT_KEYS
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which images to list. All conditions must hold; nobody gets to see by them what access.py does not let him.

    By default: what is public, one's own, and what is shared with one and accepted. Defaults are part of the protocol
    between the daemons (wire/records.py).
    """

    everyone: bool = False  # also what is private to others, or shared among them; has an effect for admins alone
    visibility: frozenset[Visibility] | None = None  # None: all, but of community images one's own alone
    # Memberships by which images that are shared with the caller are listed; None: any.
    member_status: frozenset[MemberStatus] | None = frozenset({MemberStatus.ACCEPTED})
    deleted: bool = False  # deleted ones, too
    filters: tuple[Filter, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    sort: tuple[Sort, ...] = (Sort("created_at", descending=True),)
    after: Position | None = None  # the place of the last image already seen, by order_of(sort)
    limit: int = MAX_PAGE  # images in one page
    brief: bool = False  # leave out locations, properties and tags, as if the images had none

    @property
    def order(self) -> tuple[Sort, ...]:
        return order_of(self.sort)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list. `after` continues it: the next Query's `after`; None at the end.

    A page that is not the last may have fewer images than the limit, because of MAX_PAGE_TEXT, but at least one."""

    images: tuple[Image, ...]
    after: Position | None = None


def order_of(sort: tuple[Sort, ...]) -> tuple[Sort, ...]:
    """The total order: ties are broken by created_at, then id, in the direction of the last key."""
    order: list[Sort] = []
    descending = sort[-1].descending if sort else False
    for item in (*sort, Sort("created_at", descending), Sort("id", descending)):
        if item.key not in {known.key for known in order}:
            order.append(item)
        if item.key in UNIQUE_KEYS:
            break
    return tuple(order)


def position_of(image: Image, order: tuple[Sort, ...]) -> Position:
    values = (getattr(image, item.key) for item in order)
    return tuple(str(value) if isinstance(value, StrEnum) else value for value in values)
