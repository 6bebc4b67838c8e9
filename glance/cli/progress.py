# SPDX-License-Identifier: Apache-2.0
"""Progress bars, on standard error, for whoever looks at a terminal."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast


@contextmanager
def watched(file: BinaryIO, name: str, size: int | None) -> Iterator[BinaryIO]:
    """Return the file, with a bar that shows how much of it was read; `size` in bytes, None if not known."""
    if not sys.stderr.isatty():
        yield file
        return
    from tqdm import tqdm  # takes a while to load, and is of no use to scripts

    with tqdm(total=size, desc=_shown(name), unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr) as bar:
        yield cast(BinaryIO, _WatchedFile(file, bar))


class _WatchedFile:
    """A file that advances a bar. tqdm has such a thing, which does not take the None of a non-blocking read()."""

    def __init__(self, file: BinaryIO, bar: Any) -> None:
        self._file = file
        self._bar = bar

    def read(self, size: int = -1) -> bytes | None:
        block: bytes | None = self._file.read(size)
        self._bar.update(len(block or b""))
        return block

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def counted(pieces: Iterable[bytes], name: str, size: int | None, start: int) -> Iterator[bytes]:
    """The pieces, whose coming is shown; `start` bytes of `size` are there already."""
    if not sys.stderr.isatty():
        yield from pieces
        return
    from tqdm import tqdm

    with tqdm(
        total=size, initial=start, desc=_shown(name), unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr
    ) as bar:
        for piece in pieces:
            yield piece
            bar.update(len(piece))


class Total:
    """A bar over all that a command does, and its lines of output between."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar  # None: nobody looks

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def print(self, text: str) -> None:
        """On standard output."""
        if self._bar is not None:
            self._bar.clear()
        print(text, flush=True)
        if self._bar is not None:
            self._bar.refresh()


@contextmanager
def total(size: int) -> Iterator[Total]:
    """`size`: all bytes there will be."""
    if not sys.stderr.isatty():
        yield Total(None)
        return
    from tqdm import tqdm

    with tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr) as bar:
        yield Total(bar)


def _shown(name: str) -> str:
    return Path(name).name if name.isprintable() else "image"
