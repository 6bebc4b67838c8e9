# SPDX-License-Identifier: Apache-2.0
"""What a process does beside answering requests: it copies images, and cleans up behind those who died.

Both begin in the same way: with an image whose lease is over. A copy that was asked for has none from the start,
so any process of any host takes it up, after a restart as well. Everything else that is found was left behind: an
upload whose process was killed, bytes that could not be removed when their image was deleted.
"""

import logging
import secrets
import threading
import time

from glance.core.context import Context
from glance.core.errors import GlanceError, NotFound, WrongState
from glance.core.image import Image, ImageChange, Status
from glance.core.leases import RETRY
from glance.core.ports import Registry, Threads
from glance.core.transfer import Transfers

LOG = logging.getLogger(__name__)

AT_ONCE = 4  # images that one process works on beside its requests
GRACE = 4 * RETRY  # seconds that holders of leases get to report to a registry that was away
ENDED = "the server that was to bring its bytes ended before they were complete"


class Recovery:
    """`work` is set by who knows that there is some; otherwise it is looked for twice in the time of a lease."""

    def __init__(self, transfers: Transfers, registry: Registry, work: threading.Event) -> None:
        self._transfers = transfers
        self._registry = registry
        self._work = work
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def start(self, threads: Threads) -> None:
        """Work in the background from now on; to be called once in each process, after it was forked."""
        threading.Thread(target=self._run, args=(threads,), daemon=True, name="recovery").start()

    def _run(self, threads: Threads) -> None:
        while True:
            self._work.clear()
            try:
                self.look(threads)
            except GlanceError as error:
                LOG.warning("cannot look for stalled images: %s", error)
                self._await_registry()
                continue
            except Exception:
                LOG.exception("looking for stalled images failed")
            self._work.wait(self._transfers.lease / 2)

    def _await_registry(self) -> None:
        """While the registry was away nobody could renew a lease. Who is alive gets the time to do so, or to finish,
        before leases are judged."""
        while True:
            try:
                self._registry.check()
            except GlanceError:
                time.sleep(RETRY)
            else:
                time.sleep(GRACE)
                return

    def look(self, threads: Threads) -> None:
        """Take up what there is; waits while too much is in work."""
        while True:
            self._free.acquire()
            ctx, holder = Context(is_admin=True), secrets.token_hex(8)
            try:
                found = self._registry.claim_stalled(ctx, holder, lease=self._transfers.lease, limit=1)
            except BaseException:
                self._free.release()
                raise
            if not found:
                self._free.release()
                return
            threading.Thread(target=self._take_up, args=(ctx, found[0], holder, threads), daemon=True).start()

    def _take_up(self, ctx: Context, image: Image, holder: str, threads: Threads) -> None:
        try:
            self.settle(ctx, image, holder, threads)
        except (NotFound, WrongState):
            pass  # deleted, or somebody else's, by now
        except GlanceError as error:
            LOG.warning("image %s (%s) is not settled: %s", image.number, image.id, error)
        except Exception:
            LOG.exception("settling image %s failed", image.id)
        finally:
            self._free.release()

    def settle(self, ctx: Context, image: Image, holder: str, threads: Threads) -> None:
        """Bring one image that this holder has claimed to its end."""
        if image.status is Status.ACTIVE:
            self._registry.release(ctx, image.id, holder=holder)
        elif image.copy_from is None or image.status not in (Status.QUEUED, Status.SAVING):
            if image.status is Status.SAVING or _was_to_come_at_once(image):
                LOG.warning("image %s (%s): %s", image.number, image.id, ENDED)
                killed = ImageChange(status=Status.KILLED, failure=ENDED)
                self._registry.update(ctx, image.id, killed, expect=image.status, holder=holder)
            self._transfers.discard(ctx, image, threads, holder=holder)
        else:
            if image.status is Status.SAVING:
                image = self._begin_again(ctx, image, holder, threads)
            self._transfers.copy(ctx, image, holder, threads)

    def _begin_again(self, ctx: Context, image: Image, holder: str, threads: Threads) -> Image:
        """A copy that was cut off starts anew, at a place of its own."""
        LOG.warning("image %s (%s) is copied anew: %s", image.number, image.id, ENDED)
        for location in image.locations:
            self._transfers.remove_bytes(location, threads)
        queued = ImageChange(status=Status.QUEUED, failure=ENDED)
        return self._registry.update(ctx, image.id, queued, expect=Status.SAVING, holder=holder)


def _was_to_come_at_once(image: Image) -> bool:
    """Whether this reservation had a lease of its own (ImageService.reserve), and none of bytes that remained of an
    upload that failed."""
    return image.status is Status.QUEUED and image.failure is None
