# SPDX-License-Identifier: Apache-2.0
"""Check a store by writing to it."""

import secrets

from glance.core.errors import StoreDown
from glance.core.ports import Store, Threads

PROBE = b"written to see whether this store works"


class _ProbeSource:
    sender = ""

    def __init__(self, threads: Threads) -> None:
        self.threads = threads
        self._left = PROBE

    def read(self, size: int, /) -> bytes:
        block, self._left = self._left[:size], self._left[size:]
        return block


def probe(store: Store, threads: Threads) -> None:
    """Write an object, read it, and delete it. Raises StoreDown, StoreFull, BlobMissing."""
    location = store.put(f"probe-{secrets.token_hex(8)}", _ProbeSource(threads), size=len(PROBE))
    try:
        blob = store.open(location)
        try:
            if b"".join(blob) != PROBE:
                raise StoreDown("the store gives back other bytes than it was given")
        finally:
            blob.close()
    finally:
        store.delete(location, threads=threads)
