# SPDX-License-Identifier: Apache-2.0
"""Delayed delete: the bytes of images that were deleted some time ago.

The registry says which these are, by its own clock, and to one of several scrubbers that ask. It marks an image as
deleted when its bytes are gone, and not before.
"""

import secrets
from collections.abc import Callable
from typing import NamedTuple

from glance.core.context import Context
from glance.core.inline import INLINE
from glance.core.ports import Registry
from glance.core.transfer import Transfers

AGAIN = 300  # seconds until an image whose bytes could not be removed is tried again


class Scrubbed(NamedTuple):
    """Images of one run."""

    done: int
    failed: int  # they stay `pending_delete`


def scrub(registry: Registry, transfers: Transfers, *, stop: Callable[[], bool] = lambda: False) -> Scrubbed:
    """Remove all bytes whose time has come, unless told to stop before the next image. Raises RegistryDown."""
    ctx, done, failed = Context(is_admin=True), 0, 0
    while not stop():
        holder = secrets.token_hex(8)
        claimed = registry.claim_stalled(ctx, holder, lease=AGAIN, limit=1, pending=True)
        if not claimed:
            break
        if transfers.discard(ctx, claimed[0], INLINE, holder=holder):
            done += 1
        else:
            failed += 1
    return Scrubbed(done, failed)
