# SPDX-License-Identifier: Apache-2.0
"""Where bytes lie: the stores of one server, by name and by the scheme of a location."""

from collections.abc import Iterable, Mapping

from glance.core.errors import StoreReadOnly, UnknownStore
from glance.core.ports import ReadStore, Store
from glance.core.values import shown


class StoreSet:
    """Stores (core/ports.py) made of stores to write to, by name, and others that can only be read."""

    def __init__(self, default: str, stores: Mapping[str, Store], read_only: Iterable[ReadStore] = ()) -> None:
        self._default = default
        self._stores = dict(stores)
        self._writable = {scheme: store for store in stores.values() for scheme in store.schemes}
        self._read_only = {scheme: store for store in read_only for scheme in store.schemes}

    def named(self, name: str | None) -> Store:
        name = name or self._default
        if name in self._stores:
            return self._stores[name]
        if name in self._read_only:
            raise StoreReadOnly(f"store {shown(name)} can be read, but not written to")
        raise UnknownStore(f"no store {shown(name)} here: expected one of {', '.join(self._stores)}")

    def holding(self, location: str) -> ReadStore:
        scheme = location.partition(":")[0]
        store = self._writable.get(scheme) or self._read_only.get(scheme)
        if store is None:
            raise UnknownStore(f"no store here reads {shown(scheme)} locations")
        return store

    def keeping(self, location: str) -> Store | None:
        return self._writable.get(location.partition(":")[0])
