# SPDX-License-Identifier: Apache-2.0
"""HTTP answers with more header lines than http.client reads: an image has one for each of its properties."""

from http.client import HTTPResponse
from typing import IO, Any

MAX_HEADERS = 1000  # header lines; http.client stops at 100

_JOINED = 10  # lines handed out at a time
_ENDS = (b"\r\n", b"\n", b"")


class LargeHeadResponse(HTTPResponse):
    """An answer that may have up to MAX_HEADERS header lines, as a connection's `response_class`.

    http.client counts what one readline() returns and joins all of it before it parses anything. So lines are handed
    to it several at a time, which leaves its limit, a constant of the whole process, as it is for everything else.
    """

    def begin(self, *arguments: Any, **options: Any) -> None:
        whole = self.fp
        self.fp = _JoinedLines(whole)  # type: ignore[assignment]
        try:
            super().begin(*arguments, **options)
        finally:
            if self.fp is not None:  # None: closed
                self.fp = whole


class _JoinedLines:
    """A file from which http.client reads the status line, several header lines at a time, and the empty line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._next: bytes | None = None  # a line that was read and did not fit
        self._in_headers = False

    def readline(self, limit: int) -> bytes:
        """Return lines of `limit` bytes at most; a single line of that length is too long, as for any file."""
        lines, self._next = self._file.readline(limit) if self._next is None else self._next, None
        if lines in _ENDS:
            self._in_headers = False
        elif not self._in_headers:
            self._in_headers = True
        else:
            for _ in range(1, _JOINED):
                self._next = self._file.readline(limit)
                if self._next in _ENDS or len(lines) + len(self._next) >= limit:
                    break
                lines, self._next = lines + self._next, None
        return lines

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
