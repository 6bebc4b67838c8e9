# SPDX-License-Identifier: Apache-2.0
"""Leases: how it shows that whoever works on an image's bytes is still there.

A transfer writes into the record who holds the image and how long he will be quiet at most, and reports again
and again. When a process dies its leases run out, and another one cleans up behind it (core/recovery.py). Whoever
finds that he holds the image no more stops.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from glance.core.context import Context
from glance.core.errors import DeletedMeanwhile, GlanceError, NotFound, WrongState
from glance.core.image import Image, ImageChange, Status
from glance.core.ports import Registry, Source, Threads

LOG = logging.getLogger(__name__)

LEASE = 60  # seconds that it may be silent about a transfer before it counts as ended
RENEWALS = 3  # reports within that time
RETRY = 1.0  # seconds between two tries to report to a registry that is away; at most


class Lease:
    """Of one transfer. `lost` is why it is not held any more: None as long as nobody has said that."""

    def __init__(self) -> None:
        self.lost: GlanceError | None = None

    def bound(self, source: Source) -> Source:
        """The same bytes, as long as the lease is held: then reading raises DeletedMeanwhile or WrongState."""
        return _Bound(source, self)


class _Bound:
    def __init__(self, source: Source, lease: Lease) -> None:
        self.threads: Threads = source.threads
        self.sender = source.sender
        self._source = source
        self._lease = lease

    def read(self, size: int, /) -> bytes:
        block = self._source.read(size)
        if self._lease.lost is not None:
            raise self._lease.lost
        return block


@contextmanager
def kept(registry: Registry, ctx: Context, image: Image, holder: str, seconds: int) -> Iterator[Lease]:
    """Keep the lease of an image that is `saving` while this lasts."""
    lease, done = Lease(), threading.Event()
    arguments = (registry, ctx, image, holder, seconds, lease, done)
    threading.Thread(target=_renew, args=arguments, daemon=True).start()
    try:
        yield lease
    finally:
        done.set()


def _renew(
    registry: Registry, ctx: Context, image: Image, holder: str, seconds: int, lease: Lease, done: threading.Event
) -> None:
    pause = seconds / RENEWALS
    while not done.wait(pause):
        pause = seconds / RENEWALS
        try:
            registry.update(ctx, image.id, ImageChange(lease=seconds), expect=Status.SAVING, holder=holder)
        except NotFound:
            lease.lost = DeletedMeanwhile("the image was deleted while its bytes came")
        except WrongState as error:
            lease.lost = error
        except GlanceError as error:
            LOG.warning("the lease of image %s (%s) is not renewed: %s", image.number, image.id, error)
            pause = min(pause, RETRY)
        if lease.lost is not None:
            return
