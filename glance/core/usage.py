# SPDX-License-Identifier: Apache-2.0
"""Who has how many images, and how many bytes where."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from glance.core.image import Image, Status
from glance.core.ports import Stores


@dataclass(slots=True)
class Amount:
    images: int = 0
    bytes: int = 0

    def add(self, images: int, count: int) -> None:
        self.images += images
        self.bytes += count


@dataclass(frozen=True, slots=True)
class Usage:
    """`active`: by tenant and store; None: nobody's, or nowhere. `others`: images that are not active, by status."""

    active: Mapping[tuple[str | None, str | None], Amount]
    others: Mapping[Status, Amount]

    @property
    def total(self) -> Amount:
        return _sum(self.active.values())

    def by_tenant(self) -> Mapping[str | None, Amount]:
        return {tenant: self._of(0, tenant) for tenant in _sorted({tenant for tenant, _ in self.active})}

    def by_store(self) -> Mapping[str | None, Amount]:
        return {store: self._of(1, store) for store in _sorted({store for _, store in self.active})}

    def _of(self, position: int, value: str | None) -> Amount:
        return _sum(amount for key, amount in self.active.items() if key[position] == value)


def usage_of(images: Iterable[Image], stores: Stores) -> Usage:
    """A third party's store is called `http`, one that is not configured by the scheme of its locations."""
    names = {scheme: name for name in stores.names for scheme in stores.named(name).schemes} | {"https": "http"}
    active: dict[tuple[str | None, str | None], Amount] = defaultdict(Amount)
    others: dict[Status, Amount] = defaultdict(Amount)
    for image in images:
        if image.status is Status.ACTIVE:
            scheme = image.locations[0].partition(":")[0].lower() if image.locations else None
            store = None if scheme is None else names.get(scheme, scheme)
            active[image.owner, store].add(1, image.size or 0)
        else:
            others[image.status].add(1, image.size or 0)
    return Usage({key: active[key] for key in sorted(active, key=lambda key: tuple(map(_rank, key)))}, dict(others))


def _sum(amounts: Iterable[Amount]) -> Amount:
    total = Amount()
    for amount in amounts:
        total.add(amount.images, amount.bytes)
    return total


def _sorted(values: Iterable[str | None]) -> list[str | None]:
    return sorted(values, key=_rank)


def _rank(value: str | None) -> tuple[bool, str]:
    """None after all names."""
    return value is None, value or ""
