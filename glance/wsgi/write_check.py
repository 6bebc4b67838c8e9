# SPDX-License-Identifier: Apache-2.0
"""The check of a store by writing an object, for /healthcheck/ready: seldom, and once for all processes of a host.

When it was last done, and how it ended, stands in a small file that the processes share. Objects are not free: on a
bucket that keeps versions, for example, each leaves one behind unless it can be deleted too.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from glance.core.errors import GlanceError
from glance.core.ports import Store, Threads
from glance.core.probe import probe
from glance.wire.status import error_from, status_of

LOG = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds for which a result holds
LONGEST = 4096  # bytes of the file that are read


class Result(NamedTuple):
    """When an object was last written, in seconds since the start of this machine, and how that failed, if it did."""

    moment: float
    failure: tuple[int, str, str] | None = None  # status, reason, text

    def is_fresh(self, now: float) -> bool:
        return 0 <= now - self.moment < INTERVAL  # a file may be older than the last start of the machine

    def raise_failure(self) -> None:
        """Raises GlanceError."""
        if self.failure is not None:
            raise error_from(*self.failure)


class WriteCheck:
    """`path` is the file that the processes of this host share. Where it cannot be used, each writes for itself."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self._own = Result(-INTERVAL)
        self._warned = False

    def __call__(self, threads: Threads) -> None:
        """Write, read and delete an object, unless that was done within INTERVAL; raise what the last time raised."""
        with self._shared() as descriptor:
            result = self._read(descriptor)
            if not result.is_fresh(_now()) and _lock(descriptor):
                result = self._read(descriptor)  # another process may have been faster
                if not result.is_fresh(_now()):
                    result = self._write(descriptor, result, threads)
        result.raise_failure()

    def _write(self, descriptor: int | None, before: Result, threads: Threads) -> Result:
        moment = _now()
        self._keep(descriptor, before._replace(moment=moment))  # so that others do not write meanwhile
        failure = None
        try:
            probe(self._store, threads)
        except GlanceError as error:
            failure = (status_of(error), error.reason, str(error))
        result = Result(moment, failure)
        self._keep(descriptor, result)
        return result

    def _read(self, descriptor: int | None) -> Result:
        if descriptor is None:
            return self._own
        try:
            moment, failure = json.loads(os.pread(descriptor, LONGEST, 0))
            if failure is not None:
                status, reason, text = failure
                failure = int(status), str(reason), str(text)
            return Result(float(moment), failure)
        except (ValueError, TypeError, LookupError):
            return Result(-INTERVAL)  # empty, or being written

    def _keep(self, descriptor: int | None, result: Result) -> None:
        self._own = result
        if descriptor is not None:
            data = json.dumps(result).encode()
            with suppress(OSError):  # the disk is full: then it is written once more than needed
                os.pwrite(descriptor, data, 0)
                os.ftruncate(descriptor, len(data))

    @contextmanager
    def _shared(self) -> Iterator[int | None]:
        descriptor = None
        try:
            descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600
            )
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise OSError(errno.EPERM, "it belongs to another user", str(self._path))
        except OSError as error:
            if not self._warned:
                LOG.warning("each process checks the store for itself: %s: %s", self._path, error.strerror)
                self._warned = True
            if descriptor is not None:
                os.close(descriptor)
                descriptor = None
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)


def find_shared_file(*names: str) -> Path:
    """Return the path of the file for the store that these names tell apart: in the runtime directory of the service
    or of the user, or in the directory for temporary files."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or os.environ.get("XDG_RUNTIME_DIR", "")
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]
    return Path(runtime or tempfile.gettempdir(), f"glance-api-{os.geteuid()}-store-{digest}.json")


def _lock(descriptor: int | None) -> bool:
    """Return False if another process is just writing an object."""
    if descriptor is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            LOG.debug("no locks: %s", error)
    return True


def _now() -> float:
    """The same clock in all processes, and no one sets it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
