# SPDX-License-Identifier: Apache-2.0
"""Where bytes lie: the stores of one server, by name and by the scheme of a location."""

from collections.abc import Iterable, Mapping

from glance.core.errors import Invalid, StoreReadOnly, UnknownStore
from glance.core.ports import ExternalStore, ReadStore, Store
from glance.core.values import shown


class StoreSet:
    """Stores (core/ports.py) made of stores to write to, by name, and of third parties' that can only be read.

    A location of a user's may only be a third party's: whoever names our own files and objects could read or
    delete what is not his (CVE-2014-9493, CVE-2015-1195).
    """

    def __init__(self, default: str, stores: Mapping[str, Store], external: Iterable[ExternalStore] = ()) -> None:
        self._default = default
        self._stores = dict(stores)
        self._writable = {scheme: store for store in stores.values() for scheme in store.schemes}
        self._external = {scheme: store for store in external for scheme in store.schemes}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._stores)

    def named(self, name: str | None) -> Store:
        name = name or self._default
        if name in self._stores:
            return self._stores[name]
        if name in self._external:
            raise StoreReadOnly(f"store {shown(name)} can be read, but not written to")
        raise UnknownStore(f"no store {shown(name)} here: expected one of {', '.join(self._stores)}")

    def holding(self, location: str) -> ReadStore:
        scheme = location.partition(":")[0].lower()
        store: ReadStore | None = self._writable.get(scheme) or self._external.get(scheme)
        if store is None:
            raise UnknownStore(f"no store here reads {shown(scheme)} locations")
        return store

    def external(self, location: str) -> ExternalStore:
        store = self._external.get(location.partition("://")[0].lower())
        if store is None:
            name = location.partition(":")[0].strip().lower()
            schemes = " or ".join(f"{scheme}://" for scheme in sorted(self._external)) or "no"
            raise Invalid(
                f"External sourcing not supported for store {shown(name)}: a location must be a URL with {schemes}"
            )
        return store

    def keeping(self, location: str) -> Store | None:
        return self._writable.get(location.partition(":")[0])
