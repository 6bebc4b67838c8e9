# SPDX-License-Identifier: Apache-2.0
"""The image data that a command sends: a file or standard input."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from glance.cli.progress import watched
from glance.cli.startup import get_standard_input
from glance.client import measure

STDIN = "-"


@contextmanager
def open_image_data(name: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input for "-", and show the progress of reading it. Raises OSError."""
    with _open(name) as file, watched(file, describe(name), measure(file)) as shown:
        yield shown


def describe(name: str) -> str:
    return "standard input" if name == STDIN else name


@contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    if name == STDIN:
        yield get_standard_input().buffer
    else:
        with Path(name).open("rb") as file:
            yield file
