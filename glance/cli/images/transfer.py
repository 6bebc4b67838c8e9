# SPDX-License-Identifier: Apache-2.0
"""The commands download and upload."""

import errno
import fcntl
import hashlib
import os
import re
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from glance.cli.images import output
from glance.cli.images.errors import Failed
from glance.cli.images.session import Session
from glance.cli.images.source import open_source
from glance.cli.process import plain
from glance.cli.progress import counted
from glance.client import CHUNK, Download
from glance.core.errors import GlanceError, Mismatch

NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})  # of flock()

_OCTAL = re.compile(rb"\\([0-7]{3})")  # blanks and the like in /proc/self/mountinfo
NAME_MAX = 255  # bytes of a file name, where the file system does not say
MAX_LINKS = 40  # symbolic links that are followed, as in the kernel


def upload(session: Session) -> None:
    options = session.options
    with open_source(options.file) as data:
        if data is None:
            raise Failed("The data comes from a FILE or from standard input, and this is a terminal")
        image = session.client.update(options.id, {}, data)
    if options.json:
        output.print_json(image)
        return
    print(f"Uploaded image {options.id}")
    if options.verbose:
        print(f"It has this metadata now:\n{output.metadata(image)}")


def download(session: Session) -> None:
    options = session.options
    if options.file in (None, "-"):
        if sys.stdout.isatty():
            raise Failed("Image data is not written to a terminal: name a FILE, or redirect standard output")
        _into_stream(session, "standard output", sys.stdout.fileno())
        return
    with _writing(options.file):
        descriptor = _find_descriptor(options.file)
    if descriptor is not None:
        _into_stream(session, options.file, descriptor)
        return
    path = Path(os.path.realpath(options.file))  # a symbolic link stays one
    if _is_file(path) and not _is_mount_point(path):
        _into_file(session, path)
    else:
        _into_stream(session, str(path), path)


def _find_descriptor(name: str) -> int | None:
    """Return the descriptor that a name such as /dev/stdout or /dev/fd/63 stands for; None for other names.

    It is written to as it is: behind `>>` the name could only be opened at the start of the file."""
    folders = {os.path.realpath("/dev/fd"), os.path.realpath("/proc/self/fd")}
    path = Path(name)
    for _ in range(MAX_LINKS):
        number = path.name
        if number.isascii() and number.isdigit() and len(number) < 10 and os.path.realpath(path.parent) in folders:
            return int(number)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _is_file(path: Path) -> bool:
    """Return True for a regular file and for a name that is free. Raises Failed for one that cannot be."""
    with _writing(path):
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except FileNotFoundError:
            return True


def _into_stream(session: Session, name: str, target: int | Path) -> None:
    """Write to an open descriptor, a disk, a pipe, or a file that is a mount point and so cannot be replaced.

    It is opened before the server is asked."""
    options = session.options
    with (
        _writing(name),
        os.fdopen(_open_stream(target), "wb", buffering=0) as file,
        session.client.download(options.id, retries=options.retries) as transfer,
    ):
        mode = os.fstat(file.fileno()).st_mode
        is_mount_point = isinstance(target, Path) and stat.S_ISREG(mode)
        if is_mount_point:
            file.truncate(0)
        try:
            _copy(transfer, file, name)
        except (GlanceError, KeyboardInterrupt):
            if is_mount_point:
                session.note(f"{name} is a mount point, which no other file can replace: it is incomplete now")
            raise
        if is_mount_point or stat.S_ISBLK(mode):
            os.fsync(file.fileno())
    _tell_unverified(session, transfer)


def _open_stream(target: int | Path) -> int:
    if isinstance(target, Path):
        return os.open(target, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)  # O_CREAT may be refused for others' pipes
    if fcntl.fcntl(target, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "it is open for reading only")
    return os.dup(target)


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
        _share(file)
        os.fsync(file.fileno())
        part.replace(path)
    _tell_unverified(session, transfer)


@contextmanager
def _part_of(path: Path, image_id: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Open the beginning of this image beside that path, ours alone. The data of an image never changes, so one that
    was made earlier can be continued."""
    part = _name_part(path, image_id)
    with os.fdopen(_open_part(part), "r+b", buffering=0) as file:
        try:
            _lock(file)
            if not os.path.samestat(part.lstat(), os.fstat(file.fileno())):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise Failed(f"Somebody else downloads this image to {path} at this moment") from None
        yield part, file


def _open_part(part: Path) -> int:
    """Create or open a part. Raises Failed for one that another user could change or has put there: with write
    access, the data can be replaced after it was compared with the checksum."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    with suppress(FileExistsError):
        return os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        descriptor = os.open(part, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Failed(f"{part} is a symbolic link: delete it, and the download begins anew") from None
        raise
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a file"
    elif status.st_uid != os.geteuid():
        problem = "belongs to another user"
    elif status.st_nlink != 1:
        problem = "has another name (a hard link)"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = "can be written by other users"
    if problem is None:
        return descriptor
    os.close(descriptor)
    raise Failed(f"{part} {problem}: delete it, and the download begins anew")


def _share(file: BinaryIO) -> None:
    """Give the finished file the mode that a new file has, where its file system has modes."""
    mask = os.umask(0o077)
    os.umask(mask)
    with suppress(OSError):
        os.fchmod(file.fileno(), 0o666 & ~mask)


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


def _name_part(path: Path, image_id: str) -> Path:
    """Return FILE.ID.part, or where that is too long for a name the beginning of FILE with a digest."""
    try:
        longest = os.pathconf(path.parent, "PC_NAME_MAX")
    except OSError:
        longest = NAME_MAX
    name = f"{path.name}.{quote(image_id, safe='')}.part"
    if len(os.fsencode(name)) > longest:
        suffix = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.part"
        stem = path.name
        while stem and len(os.fsencode(stem + suffix)) > longest:
            stem = stem[:-1]
        name = stem + suffix
    return path.with_name(name)


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
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
            count = file.write(view)
            if count is None:  # a non-blocking one that is full
                _wait_writable(file)
            else:
                view = view[count:]


def _wait_writable(file: BinaryIO) -> None:
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    poll.poll()


def _tell_unverified(session: Session, transfer: Download) -> None:
    if transfer.checksum is None:
        session.note("The image has no checksum: whether its bytes are right is not known")
