# SPDX-License-Identifier: Apache-2.0
"""Where the data of an image comes from: a file, standard input, or not from here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from glance.cli.image_data import STDIN, describe, open_image_data
from glance.cli.images.errors import Failed
from glance.cli.process import plain


@contextmanager
def open_source(name: str | None, *, queued: bool = False, elsewhere: bool = False) -> Iterator[BinaryIO | None]:
    """Open the file of that name, or without a name standard input unless that is a terminal; None for no data.

    With `queued`, or if the data is `elsewhere`, standard input is left alone: in scripts it is often a pipe that is
    meant for another program, or one that never ends. Raises Failed for a file together with either, and for a file
    that cannot be read, at any time."""
    if name is not None and elsewhere:
        raise Failed("--file and location= or copy_from= exclude each other: the data comes from one place")
    if name is not None and queued:
        raise Failed("--queued and --file exclude each other: a queued image has no data yet")
    if name is None and (queued or elsewhere or sys.stdin is None or sys.stdin.isatty()):
        yield None
        return
    name = STDIN if name is None else name
    try:
        with open_image_data(name) as file:
            yield file
    except OSError as error:
        raise Failed(f"cannot read {describe(name)}: {plain(error)}") from error
