# SPDX-License-Identifier: Apache-2.0
"""Progress bars, on standard error, for whoever looks at a terminal."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast


@contextmanager
def watched(file: BinaryIO, name: str, size: int | None) -> Iterator[BinaryIO]:
    """The file, whose reading is shown; `size` in bytes, None: not known."""
    if not sys.stderr.isatty():
        yield file
        return
    from tqdm import tqdm  # takes a while to load, and is of no use to scripts

    with tqdm.wrapattr(file, "read", total=size or None, desc=_shown(name), file=sys.stderr) as shown:
        yield cast(BinaryIO, shown)


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
