# SPDX-License-Identifier: Apache-2.0
"""Abilities that a file system may lack, and what the file store does without them.

vfat, exFAT, CIFS, NFS and many FUSE file systems lack some of these: files without a name, hard links, rename without
overwriting, fsync of a directory, O_DIRECT. None of them is required.
"""

import ctypes
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_MODE = 0o640
UNSUPPORTED = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})  # of a call that is known

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
UNNAMED_FILE = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC

# Kernels and file systems that do not know O_TMPFILE take the directory for the file to be opened.
_NO_UNNAMED = UNSUPPORTED | {errno.EISDIR, errno.ENOENT}
_NO_LINK = UNSUPPORTED | {errno.EPERM, errno.EMLINK, errno.EXDEV}
_NO_RENAME_FLAGS = UNSUPPORTED | {errno.EPERM}  # EPERM: a filter of system calls that does not know this one
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100

_LIBC = ctypes.CDLL(None, use_errno=True)


def open_unnamed(directory: Path) -> int | None:
    """Return the descriptor of a new file without a name, or None where there are none. Raises OSError."""
    try:
        return os.open(directory, UNNAMED_FILE, FILE_MODE)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
        return None


def link_unnamed(descriptor: int, target: Path) -> None:
    """Give a file without a name one. Raises FileExistsError, OSError."""
    # link(2) follows the symbolic link in /proc; os.link() does so only beside a directory descriptor.
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", target.name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)


def can_link_unnamed(directory: Path) -> bool:
    """Return True if the directory takes files without a name that can be given one later. Raises OSError."""
    descriptor = open_unnamed(directory)
    if descriptor is None:
        return False
    target = _unused(directory)
    try:
        link_unnamed(descriptor, target)
    except OSError as error:
        if error.errno not in _NO_LINK and error.errno != errno.ENOENT:  # ENOENT: /proc is not mounted
            raise
        return False
    finally:
        os.close(descriptor)
    target.unlink()
    return True


def move_exclusively(source: Path, target: Path) -> None:
    """Give a file another name in its file system, and maybe leave it the old one; never overwrites.

    Raises FileExistsError, OSError."""
    try:
        os.link(source, target)
        return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    try:
        _rename_exclusively(source, target)
        return
    except OSError as error:
        if error.errno not in _NO_RENAME_FLAGS:
            raise
    # An empty file takes the name, so that no other upload gets it, and is then replaced.
    os.close(os.open(target, NEW_FILE, FILE_MODE))
    try:
        source.rename(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def sync_directory(directory: Path) -> bool:
    """Wait until the names in the directory are on the disk; return False where that cannot be done. Raises OSError
    for a disk that fails."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def set_direct(descriptor: int, wanted: bool) -> bool:
    """Switch O_DIRECT on or off; return False if it was so already, or cannot be done. Raises OSError."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    changed = flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, changed)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return changed != flags


def try_writing(directory: Path) -> None:
    """Write a block to a file that has no name, or loses it before, and wait until it is on the disk.

    Raises OSError."""
    descriptor = open_unnamed(directory)
    if descriptor is None:
        with _new_file(directory) as (path, named):
            path.unlink()
            _write_block(named)
        return
    try:
        _write_block(descriptor)
    finally:
        os.close(descriptor)


def _write_block(descriptor: int) -> None:
    os.write(descriptor, bytes(4096))
    os.fsync(descriptor)


def find_missing(directory: Path) -> list[str]:
    """Try all abilities; return those that are missing, each with its consequence, in words. Raises OSError."""
    missing = []
    if not can_link_unnamed(directory):
        missing.append(
            "no files without a name (O_TMPFILE): unfinished uploads are files in tmp/, and those of a killed "
            "process stay there until their image is cleaned up"
        )
    with _new_file(directory) as (path, descriptor):
        if not set_direct(descriptor, True):
            missing.append("no O_DIRECT: uploads go through the page cache, and push other images out of it")
        if not _can_link(path):
            missing.append("no hard links: finished uploads get their names by rename")
        if not _can_rename_exclusively(path):
            missing.append(
                "no rename without overwriting (RENAME_NOREPLACE): if there are no hard links either, the name of an "
                "image is for a moment that of an empty file"
            )
    if not sync_directory(directory):
        missing.append(
            "no fsync of directories: an image that was stored just before a power failure may be missing afterwards"
        )
    return missing


def _can_link(path: Path) -> bool:
    target = _unused(path.parent)
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    target.unlink()
    return True


def _can_rename_exclusively(path: Path) -> bool:
    target = _unused(path.parent)
    try:
        _rename_exclusively(path, target)
    except OSError as error:
        if error.errno not in _NO_RENAME_FLAGS:
            raise
        return False
    target.rename(path)
    return True


@contextmanager
def _new_file(directory: Path) -> Iterator[tuple[Path, int]]:
    """A file that is removed in the end."""
    path = _unused(directory)
    descriptor = os.open(path, NEW_FILE, FILE_MODE)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _unused(directory: Path) -> Path:
    """A name that fsck knows for that of a trial (core/fsck.py), should this process be killed."""
    return directory / f"probe-{secrets.token_hex(8)}"


def _rename_exclusively(source: Path, target: Path) -> None:
    """renameat2(2) with RENAME_NOREPLACE, which Python does not offer. Raises OSError."""
    call = getattr(_LIBC, "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(target))
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
