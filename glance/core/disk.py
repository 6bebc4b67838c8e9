# SPDX-License-Identifier: Apache-2.0
"""Read files without keeping other requests waiting for the disk."""

import os
from collections.abc import Callable


def read_at(descriptor: int, buffer: bytearray | memoryview, offset: int, blocking: Callable[..., int]) -> int:
    """Read from `offset` of a file into the buffer, and return the number of bytes; 0 at the end of the file.

    Data in the page cache is read at once. What needs the disk is read by `blocking(function, *arguments)`, which
    calls the function where it may wait; so is everything on file systems that do not tell the two apart.
    Raises OSError.
    """
    try:
        return os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError:  # it would wait, or RWF_NOWAIT is not supported here; a fault of the disk occurs again below
        return blocking(os.preadv, descriptor, [buffer], offset)
