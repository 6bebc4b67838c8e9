# SPDX-License-Identifier: Apache-2.0
"""Run a command with standard streams that may be closed, full, or no longer read.

This module imports little, because descriptors 0 to 2 are reserved before anything else is loaded: in a process
that was started without them, the next file that is opened (a lock, a socket) would get such a number, and
would be lost as soon as a child process gets standard streams of its own.
"""

import errno
import importlib
import io
import os
import select
import signal
import sys
from typing import Any, TextIO

BROKEN_PIPE_STATUS = 141  # as shells show a process that SIGPIPE has ended
INTERRUPTED_STATUS = 130


class OutputError(ValueError):
    """Standard output cannot be written.

    A ValueError, as Python's own error for a closed stream is. It is not an OSError, because handlers for errors of
    files and sockets would take it for one of theirs.
    """

    def __init__(self, error: OSError) -> None:
        self.broken_pipe = error.errno == errno.EPIPE  # the reader has seen enough, as `head` does
        self.status = BROKEN_PIPE_STATUS if self.broken_pipe else 1  # the exit status of the program
        reason = "it is closed" if error.errno == errno.EBADF else str(error.strerror).lower()
        super().__init__(f"cannot write to standard output: {reason}")


def run(entry_point: str) -> int:
    """Import and call `module:function`, and return its exit status, or another one if its output was lost."""
    _reserve_descriptors()
    _reset_signals()
    sys.stdout = _open_stream(_Output(1, "wb", closefd=False), sys.stdout, "strict")
    sys.stderr = _open_stream(_Diagnostics(2, "wb", closefd=False), sys.stderr, "backslashreplace")
    module, _, function = entry_point.partition(":")
    try:
        try:
            status: int = getattr(importlib.import_module(module), function)()
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except OutputError as error:
        _discard_output()
        if not error.broken_pipe:
            print(f"ERROR: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_STATUS


def get_standard_input() -> TextIO:
    """Return standard input. Raises OSError if it is closed."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed", "standard input")
    return sys.stdin


def _reserve_descriptors() -> None:
    """Open each of the descriptors 0 to 2 that is closed, so that its use fails as it would without."""
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest number that is free, which is this one
            os.set_inheritable(opened, True)


def _reset_signals() -> None:
    """Undo what a parent process may have left: with SIGCHLD ignored the end of a child cannot be waited for, and a
    signal that is blocked does not arrive."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class _Output(io.FileIO):
    """Raises OutputError where a file raises OSError, and waits for a pipe in non-blocking mode."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            raise OutputError(error) from error
        return written


class _Diagnostics(_Output):
    """Drops what cannot be written: a lost message changes neither the work nor its exit status."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OutputError:
            return memoryview(data).nbytes


def _open_stream(raw: _Output, replaced: Any, errors: str) -> io.TextIOWrapper:
    """Return a text stream with the settings of the one that it replaces, which is None for a closed descriptor."""
    by_line = getattr(replaced, "line_buffering", True)
    unbuffered = getattr(replaced, "write_through", False)  # PYTHONUNBUFFERED: lines are soon enough
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(replaced, "encoding", None),
        errors=getattr(replaced, "errors", errors),
        line_buffering=by_line or unbuffered,
    )


def _discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not fail again when it ends."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.close(descriptor)
