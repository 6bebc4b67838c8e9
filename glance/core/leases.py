# SPDX-License-Identifier: Apache-2.0
"""Leases: how it shows that whoever works on an image's bytes is still there.

A transfer writes into the record who holds the image and how long he will be quiet at most, and reports again
and again. When a process dies its leases run out, and another one cleans up behind it (core/recovery.py).
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from glance.core.context import Context
from glance.core.errors import GlanceError
from glance.core.image import Image, ImageChange, Status
from glance.core.ports import Registry

LOG = logging.getLogger(__name__)

LEASE = 60  # seconds that it may be silent about a transfer before it counts as ended
RENEWALS = 3  # reports within that time


@contextmanager
def kept(registry: Registry, ctx: Context, image: Image, holder: str, lease: int) -> Iterator[None]:
    """Keep the lease, of so many seconds, of an image that is `saving` while this lasts."""
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(registry, ctx, image, holder, lease, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _renew(registry: Registry, ctx: Context, image: Image, holder: str, lease: int, done: threading.Event) -> None:
    while not done.wait(lease / RENEWALS):
        try:
            registry.update(ctx, image.id, ImageChange(lease=lease), expect=Status.SAVING, holder=holder)
        except GlanceError as error:  # if the image is lost, the last step of the transfer will find out
            LOG.warning("the lease of image %s (%s) is not renewed: %s", image.number, image.id, error)
