# SPDX-License-Identifier: Apache-2.0
"""Progress bars, on standard error, for whoever looks at a terminal."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast


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


def _shown(name: str) -> str:
    return Path(name).name if name.isprintable() else "image"
