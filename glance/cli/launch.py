# SPDX-License-Identifier: Apache-2.0
"""Bringing a daemon up in the background, until it answers or has said why it does not."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from glance.cli.process import PidFile, Readiness, describe, open_log, write_pid

START_SECONDS = 15.0  # that a daemon may take until it answers
KILL_SECONDS = 2.0  # that one which failed to has between SIGTERM and SIGKILL
PID_DESCRIPTOR = "GLANCE_PID_DESCRIPTOR"  # tells a daemon which of its descriptors is the pid file
LAST_LINES = 4096  # bytes of the log in which the reason of a sudden end is looked for


class LaunchError(Exception):
    """A daemon cannot be started; the text says why."""


class Launch:
    """A daemon that has been started and does not answer yet. To be ended by wait() or discard(), once.

    It holds its pid file locked for life, and writes what it prints to the end of the log. `folder` is where it
    runs, and where a relative SQLite file lies; None: the current directory.
    """

    def __init__(self, command: Sequence[str], pid_file: PidFile, log: Path, folder: Path | None = None) -> None:
        """Raises LaunchError, PidFileError, and leaves nothing then."""
        self.log = log
        self.warnings: list[str] = []  # of a daemon that answers
        self._pid_file = pid_file
        self._folder = folder
        self._claim = pid_file.claim()
        try:
            pid_file.record_command(self._claim, command)
            self._readiness = Readiness()
            try:
                self._child = self._spawn(command)
            except BaseException:
                self._readiness.close()
                raise
        except BaseException as error:
            self._release(keep=False)
            if isinstance(error, OSError):
                raise LaunchError(describe(error)) from error
            raise
        self._deadline = time.monotonic() + START_SECONDS
        write_pid(self._claim, self._child.pid)

    def wait(self) -> str | None:
        """Wait until it answers. Otherwise, end it and return why it does not."""
        problem = self._readiness.wait(self._child, self._deadline)
        if problem is not None:
            sudden = self._child.returncode is not None and self._readiness.status is None
            self.discard()
            return (sudden and self._last_line()) or problem
        self.warnings = self._readiness.warnings
        self._readiness.close()
        self._release(keep=True)
        self._child.returncode = 0  # it runs on without us: Popen need not warn that nobody waits for it
        return None

    def discard(self) -> None:
        """End it, and remove its pid file."""
        self._readiness.close()
        self._child.terminate()
        try:
            self._child.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._release(keep=False)

    def _spawn(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        descriptor = open_log(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            self._log_start = os.fstat(descriptor).st_size
            return subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                preexec_fn=_reset_signals,
                pass_fds=(self._claim,),
                env=os.environ | {"NOTIFY_SOCKET": self._readiness.address, PID_DESCRIPTOR: str(self._claim)},
            )
        finally:
            os.close(descriptor)

    def _release(self, *, keep: bool) -> None:
        if not keep:
            self._pid_file.abandon(self._claim)
        os.close(self._claim)

    def _last_line(self) -> str:
        """The last line that it wrote: after a traceback, what went wrong."""
        with suppress(OSError), self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - LAST_LINES))
            lines = log.read().decode("utf-8", "replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def _reset_signals() -> None:
    """Let SIGHUP shut the daemon down even if glance-control itself ignores it, as under `nohup`."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
