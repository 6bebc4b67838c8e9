# SPDX-License-Identifier: Apache-2.0
"""download, upload: the bytes."""

import errno
import fcntl
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from glance.cli.images import output
from glance.cli.images.errors import Failed
from glance.cli.images.session import Session
from glance.cli.images.source import source_of
from glance.cli.process import plain
from glance.cli.progress import counted
from glance.client import CHUNK, Download
from glance.core.errors import GlanceError, Mismatch

NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})  # of flock()

_OCTAL = re.compile(rb"\\([0-7]{3})")  # blanks and the like in /proc/self/mountinfo


def upload(session: Session) -> None:
    options = session.options
    with source_of(options.file) as source:
        if source.file is None:
            raise Failed("The bytes come from a FILE or from standard input, and this is a terminal")
        image = session.client.update(options.id, {}, source.file, size=source.size)
    if options.json:
        output.print_json(image)
        return
    print(f"Uploaded image {options.id}")
    if options.verbose:
        print(f"It has this metadata now:\n{output.metadata(image)}")


def download(session: Session) -> None:
    options = session.options
    if options.file not in (None, "-"):
        path = Path(os.path.realpath(options.file))  # a symbolic link stays one
        if path.exists() and (not path.is_file() or _is_mount_point(path)):
            _in_place(session, path)
        else:
            _into_file(session, path)
    elif sys.stdout.isatty():
        raise Failed("An image is nothing for a terminal: name a FILE, or - for standard output in any case")
    else:
        with session.client.download(options.id, retries=options.retries) as transfer:
            _copy(transfer, sys.stdout.buffer, options.id)
            sys.stdout.buffer.flush()
            _tell_unverified(session, transfer)


def _in_place(session: Session, path: Path) -> None:
    """Over a disk, into a pipe, or into a file that is mounted there: nothing can take the place of these."""
    with session.client.download(session.options.id, retries=session.options.retries) as transfer:
        with _writing(path), path.open("r+b" if path.is_block_device() else "wb", buffering=0) as file:
            try:
                _copy(transfer, file, path.name)
            except (GlanceError, KeyboardInterrupt):
                if path.is_file():
                    session.note(f"{path} is a mount point, which no other file can replace: it is incomplete now")
                raise
            if path.is_block_device() or path.is_file():
                os.fsync(file.fileno())
        _tell_unverified(session, transfer)


def _into_file(session: Session, path: Path) -> None:
    """Into a file beside it, which gets the name when it is whole and right."""
    options = session.options
    with _writing(path), _part_of(path, options.id) as (part, file):
        have = os.fstat(file.fileno()).st_size
        if have:
            session.note(f"{have} bytes lie in {part} already")
        try:
            with session.client.download(options.id, have=_read(file), retries=options.retries) as transfer:
                _copy(transfer, file, path.name)
        except Mismatch:
            part.unlink()
            raise
        except (GlanceError, KeyboardInterrupt):
            if os.fstat(file.fileno()).st_size:
                session.note(f"What came is kept in {part}: the same command goes on there")
            else:
                part.unlink()
            raise
        os.fsync(file.fileno())
        part.replace(path)
    _tell_unverified(session, transfer)


@contextmanager
def _part_of(path: Path, image_id: str) -> Iterator[tuple[Path, BinaryIO]]:
    """The beginning of this image beside that path, ours alone. The bytes of an image never change, so one that
    was made earlier can be continued."""
    part = path.with_name(f"{path.name}.{quote(image_id, safe='')}.part")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(part, flags, 0o666), "r+b", buffering=0) as file:
        try:
            _lock(file)
            if not (
                stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                and os.path.samestat(part.lstat(), os.fstat(file.fileno()))
            ):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise Failed(f"Somebody else downloads this image to {path} at this moment") from None
        yield part, file


def _lock(file: BinaryIO) -> None:
    """Lock the file, where its file system has locks: without them, two downloads to one file at once end with a
    checksum that does not match. Raises BlockingIOError."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _is_mount_point(path: Path) -> bool:
    """Return True if a file is mounted on this path, as containers do; rename() onto it would fail. os.path.ismount()
    notices only what comes from another file system."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    return os.fsencode(path) in (_OCTAL.sub(_decode_octal, line.split(b" ")[4]) for line in mounts)


def _decode_octal(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failed(f"cannot write {path}: {plain(error)}") from error


def _read(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(CHUNK):
        yield block


def _copy(transfer: Download, file: BinaryIO, name: str) -> None:
    for piece in counted(transfer, name, transfer.size, transfer.position):
        view = memoryview(piece)
        while view:  # a pipe, or a file without a buffer, may take less
            view = view[file.write(view) :]


def _tell_unverified(session: Session, transfer: Download) -> None:
    if transfer.checksum is None:
        session.note("The image has no checksum: whether its bytes are right is not known")
