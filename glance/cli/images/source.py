# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of an image come from: a file, standard input, or not from here."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from glance.cli.images.errors import Failed
from glance.cli.process import plain
from glance.cli.progress import watched
from glance.cli.startup import get_standard_input


@dataclass(frozen=True, slots=True)
class Source:
    """`file` None: there are no bytes; `size` None: how many is not known."""

    file: BinaryIO | None = None
    size: int | None = None


@contextmanager
def source_of(name: str | None, *, queued: bool = False, elsewhere: bool = False) -> Iterator[Source]:
    """The file of that name; without a name standard input, unless that is a terminal.

    `elsewhere`: the image has its bytes from somewhere else. Raises Failed for that and bytes together, and for a
    file that cannot be read, at any time."""
    if name is None and (queued or sys.stdin is None or sys.stdin.isatty()):
        yield Source()
    elif elsewhere:
        if name is not None or _may_bring_bytes(sys.stdin.fileno()):
            raise Failed("Either bytes (--file, standard input) or location= or copy_from=, please, not both")
        yield Source()
    elif queued:
        raise Failed("Either --queued or --file, please, not both")
    else:
        shown = "standard input" if name in (None, "-") else str(name)
        try:
            with _opened(name) as file, watched(file, shown, size := _size(file)) as source:
                yield Source(source, size)
        except OSError as error:
            raise Failed(f"cannot read {shown}: {plain(error)}") from error


@contextmanager
def _opened(name: str | None) -> Iterator[BinaryIO]:
    if name is None or name == "-":
        yield get_standard_input().buffer
    else:
        with Path(name).open("rb") as file:
            yield file


def _size(file: BinaryIO) -> int | None:
    """The bytes that are left of a file or a disk; None for a pipe, and for what says that it is empty, as the
    files of /proc do."""
    mode = os.fstat(file.fileno()).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        return None
    start = file.tell()
    size = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    return size if size > 0 else None


def _may_bring_bytes(descriptor: int) -> bool:
    """Whether it is a pipe or the like, or a file; but not /dev/null."""
    return not stat.S_ISCHR(os.fstat(descriptor).st_mode)
