# SPDX-License-Identifier: Apache-2.0
"""Image bytes as files in one directory of the server: `filesystem_store_datadir`.

An upload is written to a file without a name (O_TMPFILE) and linked to its name when its bytes are on the disk.
So a name always means a whole image, link() never overwrites, and what a killed process leaves is removed by
the kernel. File systems that know no O_TMPFILE (NFS) get a file in `tmp/` instead, whose name begins like the
image's, and which delete() removes, too. What else a file system may lack: abilities.py.
"""

import errno
import logging
import os
import pwd
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from glance.core.errors import BlobMissing, Duplicate, GlanceError, OutsideStore, StoreDown, StoreFull
from glance.core.inline import INLINE
from glance.core.ports import Held, Source, Threads
from glance.store import abilities
from glance.store.abilities import FILE_MODE, NEW_FILE
from glance.store.blob import FileBlob
from glance.store.direct import DirectWriter

LOG = logging.getLogger(__name__)

BLOCK = 512 * 1024  # bytes read from the source at a time
TEMPORARY = "tmp"  # directory of unfinished files where O_TMPFILE is not known
DIRECTORY_MODE = 0o750

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}", re.ASCII)
_UNFINISHED = re.compile(rf"({_NAME.pattern})\.[0-9a-f]{{16}}", re.ASCII)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FilesystemStore:
    """A Store on a directory, which is made at the first upload. Locations are file:///directory/name."""

    schemes = frozenset({"file"})

    def __init__(self, datadir: Path) -> None:
        self._datadir = Path(os.path.abspath(datadir))  # noqa: PTH100 - Path.resolve() would follow symlinks
        self._takes_unnamed: bool | None = None  # None: not tried yet

    def location_of(self, name: str) -> str:
        return "file://" + quote(str(self._datadir / name))

    def connect(self) -> str:
        return f"user {_user(os.geteuid())}"

    def prepare(self) -> str:
        known = self._datadir.is_dir()
        with self._translated("write"):
            self._make(self._datadir)
            owner = self._datadir.stat().st_uid
        if not known:
            return f"{self._datadir}, made now for user {_user(owner)}"
        return f"{self._datadir}, of user {_user(owner)}"

    def check(self, threads: Threads) -> None:
        """Write some bytes to a file without a name: a full or failing disk shows, and nothing is left."""
        with self._translated("write"):
            self._make(self._datadir)
            threads.call(abilities.try_writing, self._datadir)

    def try_abilities(self) -> list[str]:
        with self._translated("write"):
            return abilities.find_missing(self._datadir)

    def traces(self, name: str) -> list[str]:
        return [f"the file {path}" for path in self._files(name) if os.path.lexists(path)]

    def held(self) -> Iterator[Held]:
        """Files only: directories and links are not of this store, nor are foreign files in TEMPORARY."""
        for directory in (self._datadir, self._datadir / TEMPORARY):
            with self._translated("list"), suppress(FileNotFoundError), os.scandir(directory) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # it went while we looked
                        found = entry.stat(follow_symlinks=False)
                        whole = directory == self._datadir
                        name = entry.name if whole else _owner(entry.name)
                        if name is not None and stat.S_ISREG(found.st_mode):
                            modified = datetime.fromtimestamp(found.st_mtime, UTC).replace(tzinfo=None)
                            yield Held(self.location_of(name), name, found.st_size, modified, whole)

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for a file: {name!r}")
        target = self._datadir / name
        with self._translated("write"):
            self._make(self._datadir)
            linked = False
            try:
                with self._unfinished(name, source.threads) as (descriptor, give_name):
                    _pour(source, descriptor)
                    source.threads.call(give_name, target)
                    linked = True
                source.threads.call(abilities.sync_directory, self._datadir)
            except BaseException:
                if linked:
                    source.threads.call(target.unlink, missing_ok=True)
                raise
        return self.location_of(name)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> FileBlob:
        path = self._path(location)
        with self._translated("read"):
            # O_NONBLOCK: a FIFO that somebody put there must not hold us up; it is refused below.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise BlobMissing("what has the image's name in the store is not a file")
                os.lseek(descriptor, start, os.SEEK_SET)
                file = os.fdopen(descriptor, "rb", buffering=0)
            except BaseException:
                os.close(descriptor)
                raise
        rest = max(found.st_size - start, 0)
        return FileBlob(file, size=rest if length is None else min(length, rest), total=found.st_size)

    def delete(self, location: str, *, threads: Threads | None = None) -> None:
        try:
            name = self._path(location).name
        except OutsideStore as error:  # the data may be there: it must not be taken for deleted
            raise StoreDown(str(error), advice=error.advice) from error
        try:
            with self._translated("delete"):
                (threads or INLINE).call(self._remove, name)  # of a large file, this takes seconds
        except BlobMissing as gone:
            if not self._datadir.is_dir():  # then it is not mounted, which says nothing of the file
                raise StoreDown("the folder of the file store is not there") from gone
            LOG.debug("nothing to delete: %s", gone)

    def _path(self, location: str) -> Path:
        """The file of one of our own locations; anything else names no image, wherever it points."""
        path = Path(unquote(location.removeprefix("file://")))
        if path.parent != self._datadir or not _NAME.fullmatch(path.name):
            advice = f"{location} is not in {self._datadir}: look at filesystem_store_datadir"
            raise OutsideStore("the location is outside of filesystem_store_datadir", advice=advice)
        return path

    def _files(self, name: str) -> list[Path]:
        """What may lie under a name: the file of an image, and those that were not finished."""
        return [self._datadir / name, *(self._datadir / TEMPORARY).glob(f"{name}.*")]

    def _remove(self, name: str) -> None:
        for path in self._files(name):
            path.unlink(missing_ok=True)
        abilities.sync_directory(self._datadir)  # else a power cut may bring back a deleted file

    def _make(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        except FileExistsError:  # which would mean that an image of that name is there
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from None

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        """OSError → GlanceError; the path and the cause go to the log and into the advice, not to the user."""
        try:
            yield
        except OSError as error:
            translated = _error(error, verb, self._datadir)
            level = logging.DEBUG if isinstance(translated, BlobMissing) else logging.ERROR  # whoever asked will say
            LOG.log(level, "file store, %s: %s", verb, error)
            raise translated from error

    @contextmanager
    def _unfinished(self, name: str, threads: Threads) -> Iterator[tuple[int, Callable[[Path], None]]]:
        """A descriptor to write to, and what gives its file a name; without that nothing is left of it."""
        path: Path | None = None
        give_name: Callable[[Path], None]
        if self._takes_unnamed is None:
            self._takes_unnamed = abilities.can_link_unnamed(self._datadir)
        unnamed = abilities.open_unnamed(self._datadir) if self._takes_unnamed else None
        if unnamed is not None:
            descriptor, give_name = unnamed, partial(abilities.link_unnamed, unnamed)
        else:
            self._make(self._datadir / TEMPORARY)
            path = self._datadir / TEMPORARY / f"{name}.{secrets.token_hex(8)}"
            descriptor, give_name = os.open(path, NEW_FILE, FILE_MODE), partial(abilities.move_exclusively, path)
        try:
            yield descriptor, give_name
        finally:
            threads.call(os.close, descriptor)  # of a file without a name, this is what frees its blocks
            if path is not None:
                threads.call(path.unlink, missing_ok=True)


def _owner(unfinished: str) -> str | None:
    """What the image is called whose unfinished file has this name."""
    found = _UNFINISHED.fullmatch(unfinished)
    return found and found[1]


def _pour(source: Source, descriptor: int) -> None:
    """Write the source to its clean end, and to the disk."""
    writer = DirectWriter(descriptor)
    lane = source.threads.lane(writer.write)
    try:
        while block := source.read(BLOCK):
            lane.put(block)
        lane.finish()
        source.threads.call(writer.finish)
    finally:
        lane.abandon()  # nobody may write to the descriptor once it is closed


def _error(error: OSError, verb: str, datadir: Path) -> GlanceError:
    if error.errno in _FULL:
        return StoreFull("the store has no room for these bytes", advice=_advice(error, datadir))
    if error.errno == errno.EEXIST:
        return Duplicate("the store holds bytes of that name already")
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR) and verb in ("read", "delete"):
        return BlobMissing("the image's file is not there")
    return StoreDown(f"the file store could not {verb}: {error.strerror}", advice=_advice(error, datadir))


def _advice(error: OSError, datadir: Path) -> str:
    user = _user(os.geteuid())
    advices = {
        errno.EACCES: f"user {user} must be allowed to write in {datadir}, and to make it if it is not there",
        errno.EPERM: f"user {user} may not do that in {datadir}: lsattr tells whether it is frozen",
        errno.EROFS: f"{datadir} is mounted read only: on purpose, or after an error of the disk, which dmesg tells",
        errno.ENOSPC: f"the file system of {datadir} has no room left: df -h and df -i tell",
        errno.EDQUOT: f"the quota of user {user} for {datadir} is used up",
        errno.EFBIG: f"user {user}, or the file system of {datadir}, may not have files of that size",
        errno.ENOTDIR: f"{error.filename or datadir} must be a directory: look at filesystem_store_datadir",
        errno.EIO: f"the disk of {datadir} fails: dmesg tells more",
    }
    return advices.get(error.errno or 0, f"{error.strerror}: {error.filename or datadir}")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
