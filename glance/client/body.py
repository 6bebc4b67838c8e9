# SPDX-License-Identifier: Apache-2.0
"""Request bodies: a caller's data, read as it is sent, with its size where that is known."""

import errno
import io
import logging
import os
import select
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from glance.core import values
from glance.core.errors import BrokenUpload, Invalid

LOG = logging.getLogger("glance.client")

CHUNK = 65_536  # bytes of one chunk, in both directions

Data = bytes | bytearray | memoryview | str | BinaryIO | Iterable[bytes]


class SourceFailed(Exception):
    """Carries an error of the caller's data past requests, which would take many of them for the network's."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Body:
    """A body for requests: sent with a Content-Length if its size is known, otherwise in chunks.

    `size` is the number of bytes to send, from the current position of a file; by default everything, whose size is
    measured where that is possible. A file that grows meanwhile is reported as a warning of the logger
    `glance.client`. `started` is True as soon as the head of the request has been sent.

    Raises Invalid for a size or a text that cannot be sent, BrokenUpload for data known to be shorter than `size`,
    and OSError for a file that cannot be measured. Iterating raises SourceFailed.
    """

    def __init__(self, data: Data, size: int | None = None) -> None:
        self.started = False
        self._data = _encode(data) if isinstance(data, str) else data
        measured = measure(self._data)
        self._is_measured = size is None and measured is not None
        self.size = measured if size is None else values.whole_number("size", size)
        if self.size is not None and measured is not None and measured < self.size:
            raise BrokenUpload(f"the data has {measured} bytes, fewer than the announced {self.size}")

    def __len__(self) -> int:
        """Return 0 for an unknown size as well: requests sends a body of length 0 in chunks."""
        return self.size or 0

    def __bool__(self) -> bool:
        return True  # requests drops a body that is false, and the server would see a request without data

    def __iter__(self) -> Iterator[bytes]:
        self.started = True
        left = self.size
        while left != 0:
            try:
                chunk = self._read(CHUNK if left is None else min(CHUNK, left))
            except Exception as error:
                raise SourceFailed(error) from error
            if chunk is None:
                break
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:  # an empty chunk would end the body
                yield chunk
        if left:
            raise SourceFailed(self._describe_short_data(left))
        if self._is_measured and measure(self._data):
            LOG.warning("%s grew during the transfer: only its first %d bytes were sent", self._name(), self.size)

    def _read(self, size: int) -> bytes | None:
        """Return the next data, in files at most `size` bytes; None at the end."""
        if isinstance(self._data, bytes | bytearray | memoryview):
            self._data = iter((bytes(self._data),))
        if hasattr(self._data, "read"):
            return _read_file(cast(BinaryIO, self._data), size) or None
        if not isinstance(self._data, Iterator):
            self._data = iter(self._data)
        try:
            return _check_type(next(self._data))
        except StopIteration:
            return None

    def _describe_short_data(self, missing: int) -> BrokenUpload:
        what = f"{self._name()} shrank during the transfer: it" if self._is_measured else "the data"
        return BrokenUpload(f"{what} ended {missing} bytes before its size of {self.size}")

    def _name(self) -> str:
        name = getattr(self._data, "name", None)
        return values.line_of(name) if isinstance(name, str) else "the file"


def measure(data: Data) -> int | None:
    """Return how many bytes are left in data in memory, a file or a disk; None if that is not known.

    Only plain files are measured: an object such as a GzipFile has the descriptor of a file of another size. A file
    that claims to be empty may be one of /proc, which has data all the same. Raises OSError.
    """
    if isinstance(data, bytes | bytearray):
        return len(data)
    if isinstance(data, memoryview):
        return data.nbytes
    if type(data) is io.BytesIO:
        return max(data.getbuffer().nbytes - data.tell(), 0)
    if type(getattr(data, "raw", data)) is not io.FileIO:
        return None
    file = cast(BinaryIO, data)
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode):
        left = found.st_size - file.tell()
    elif stat.S_ISBLK(found.st_mode):
        start = file.tell()
        left = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    else:
        return None
    return left if left > 0 else None


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Invalid(f"the data is not valid Unicode: {values.shown(text)}") from None


def _read_file(file: BinaryIO, size: int) -> bytes:
    """Return up to `size` bytes, b"" at the end. A non-blocking file without data is waited for. Raises OSError."""
    while True:
        try:
            block = file.read(size)
        except BlockingIOError:
            block = None
        if block is not None:
            return _check_type(block)
        _wait_readable(file)


def _wait_readable(file: BinaryIO) -> None:
    try:
        descriptor = file.fileno()
    except (AttributeError, OSError):
        text = "the data source has nothing to read at the moment, and no file descriptor to wait on"
        raise BlockingIOError(errno.EAGAIN, text) from None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()


def _check_type(block: object) -> bytes:
    """Raises TypeError for anything but bytes; None in particular is no end of the data."""
    if isinstance(block, bytes):
        return block
    if isinstance(block, bytearray | memoryview):
        return bytes(block)
    hint = ": open the file in binary mode" if isinstance(block, str) else ""
    raise TypeError(f"image data must come as bytes, not {type(block).__name__}{hint}")
