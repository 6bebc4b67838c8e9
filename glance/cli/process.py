# SPDX-License-Identifier: Apache-2.0
"""Knowing one's own processes: pid files, their locks, signals, and the word of a daemon that it is ready.

A pid file is open and locked (flock) in the daemon and its workers for as long as one of them lives. So a file
that can be locked is left over, whatever number stands in it, and nobody is signalled on its account; a file
that cannot be locked belongs to a living daemon.

Beside the pid file, in a file of the same name with the suffix `.command`, is the command line of the daemon: the
list of processes shows a title instead.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import select
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

WARNING_FIELD = "X_GLANCE_WARNING"  # of sd_notify messages; systemd ignores fields whose names start with X_
TICK = 0.05  # seconds between two looks at something that changes
SETTLE = 2.0  # seconds that a locked pid file may take to name its process: it is just being started
PROBE = 0.5  # seconds for which somebody else's look at a file may keep us from locking it
_CREDENTIALS = struct.Struct("3i")  # of the sender of a message: pid, uid, gid
_CONTENT = re.compile(rb"\s*(\d{1,10})?\s*")
_LONGEST = 32  # bytes of a pid file
_LONGEST_COMMAND = 256 * 1024  # bytes of the file beside it


class Refusal(Exception):
    """Why a daemon does not start, for the one who started it."""


class PidFileError(Exception):
    """A pid file that cannot be used; the text says which and why."""


class Running:
    """A daemon that lives, known by its locked pid file. To be closed."""

    def __init__(self, path: Path, descriptor: int, pid: int) -> None:
        self.path = path
        self.pid = pid
        self._descriptor = descriptor

    def signal(self, number: signal.Signals) -> None:
        """Raises PermissionError; no error when it has just ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it and its workers have ended within that time."""
        return wait_until(lambda: _lock(self.path, self._descriptor, fcntl.LOCK_SH), seconds)

    def forget(self) -> None:
        """Remove its pid file, if that is still the one at this path."""
        if _same(self.path, self._descriptor):
            _remove(self.path)

    def changed(self) -> int:
        """When its pid file was last written, in nanoseconds: a handover ends with that."""
        return os.fstat(self._descriptor).st_mtime_ns

    def command(self) -> list[str]:
        """Return the words of its command line, or an empty list if they are not known."""
        return _read_command(self.path, self._descriptor) or self._command_of_old()

    def record_command(self, words: Sequence[str]) -> None:
        """Write its command line beside its pid file. Raises OSError."""
        _write_command(self.path, self._descriptor, words)

    def _command_of_old(self) -> list[str]:
        """Return the command line of a daemon that an older version has started: it has no title yet."""
        try:
            words = [os.fsdecode(word) for word in Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")]
        except OSError:
            return []
        return words[:-1] if "-m" in words else []

    def directory(self) -> Path | None:
        """Its current directory; None where the system does not tell."""
        try:
            return Path(f"/proc/{self.pid}/cwd").readlink()
        except OSError:
            return None

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PidFile:
    """One path where a daemon's number may stand. Symbolic links and odd files are refused: PidFileError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self) -> Running | None:
        """The daemon that holds this file; None when there is no file, or one that is left over."""
        descriptor = self._open(os.O_RDONLY)
        if descriptor is None:
            return None
        try:
            pid = self._holder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if pid is None:
            os.close(descriptor)
            return None
        return Running(self.path, descriptor, pid)

    def remove_stale(self) -> bool:
        """Remove a file that no living daemon holds; whether there was one."""
        descriptor = self._open(os.O_RDWR)
        if descriptor is None:
            return False
        try:
            self._number(descriptor)  # refuses what is no pid file: a mistyped path must not cost a file
            if not wait_until(lambda: _lock(self.path, descriptor), PROBE) or not _same(self.path, descriptor):
                return False
            _remove(self.path)
            return True
        finally:
            os.close(descriptor)

    def claim(self) -> int:
        """Make the file, locked and empty; its descriptor is to be handed to the daemon, then closed."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o644)
        except FileExistsError:
            raise PidFileError(f"{self.path} has just been made by somebody else") from None
        except OSError as error:
            raise PidFileError(f"cannot make {self.path}: {plain(error)}") from error
        try:
            locked = wait_until(lambda: _lock(self.path, descriptor), PROBE)
        except PidFileError:
            self.abandon(descriptor)
            os.close(descriptor)
            raise
        if not locked or not _same(self.path, descriptor):
            os.close(descriptor)
            raise PidFileError(f"{self.path} has just been taken by somebody else")
        return descriptor

    def record_command(self, descriptor: int, words: Sequence[str]) -> None:
        """Write the command line of the daemon that will own the claimed file. Raises OSError."""
        _write_command(self.path, descriptor, words)

    def abandon(self, descriptor: int) -> None:
        """Remove what claim() and record_command() made, after a start that failed."""
        if _same(self.path, descriptor):
            _remove(self.path)

    def _holder(self, descriptor: int) -> int | None:
        """The number of the daemon that has the file locked; None when nobody has."""
        found: list[int] = []

        def settled() -> bool:
            if _lock(self.path, descriptor, fcntl.LOCK_SH):
                return True
            pid = self._number(descriptor)
            if pid and _holds(pid, descriptor) is not False:
                found.append(pid)
            return bool(found)

        if not wait_until(settled, SETTLE):
            raise PidFileError(f"{self.path} is locked, but not by the process that it names: leaving it alone")
        return found[0] if found else None

    def _open(self, flags: int) -> int | None:
        try:
            descriptor = os.open(self.path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else plain(error)
            raise PidFileError(f"cannot use the pid file {self.path}: {reason}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise PidFileError(f"cannot use the pid file {self.path}: it is not a regular file")
        return descriptor

    def _number(self, descriptor: int) -> int | None:
        match = _CONTENT.fullmatch(content := os.pread(descriptor, _LONGEST + 1, 0))
        if match is None or len(content) > _LONGEST:
            raise PidFileError(f"{self.path} is not a pid file: it holds something else than a number")
        return int(match[1]) if match[1] else None


def write_pid(descriptor: int, pid: int) -> None:
    """Write the number into a claimed file, in one piece, over a longer one that may stand there."""
    os.pwrite(descriptor, (b"%d" % pid).ljust(os.fstat(descriptor).st_size - 1) + b"\n", 0)


def _command_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.command")


def _write_command(path: Path, descriptor: int, words: Sequence[str]) -> None:
    """The inode of the pid file tells whose command line it is; a later daemon has another file."""
    made = _command_file(path).with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        made.write_text(json.dumps({"inode": os.fstat(descriptor).st_ino, "command": list(words)}) + "\n")
        made.replace(_command_file(path))
    except OSError:
        made.unlink(missing_ok=True)
        raise


def _read_command(path: Path, descriptor: int) -> list[str] | None:
    try:
        with os.fdopen(os.open(_command_file(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            found = json.loads(file.read(_LONGEST_COMMAND))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("inode") != os.fstat(descriptor).st_ino:
        return None
    words = found.get("command")
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _remove(path: Path) -> None:
    _command_file(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Look until something is true, or that many seconds are over; whether it came true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(TICK)
    return True


def open_log(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """Open a log file and return its descriptor; an opener for open(). Raises OSError, also for a symbolic link:
    a user who can write to the folder could have this process append to any file."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            text = "it is a symbolic link; name the file itself, or log to standard output"
            raise OSError(errno.ELOOP, text, str(path)) from None
        raise


def plain(error: OSError) -> str:
    """An operating system's error as it stands in the middle of a sentence."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def describe(error: OSError) -> str:
    """An operating system's error with the file that it is about, if that is known."""
    return f"{error.filename}: {plain(error)}" if error.filename else plain(error)


def _lock(path: Path, descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock. Looking takes a shared lock only, so that two who look do not take each other for a daemon.

    Raises PidFileError where files cannot be locked: without its lock, a pid file says nothing."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise PidFileError(
            f"cannot lock the pid file {path}: {plain(error)}; keep it on a file system with locks, such as that of "
            "/run: --pid-dir or --pid-file"
        ) from error
    return True


def _same(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to the file that is open."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holds(pid: int, descriptor: int) -> bool | None:
    """Whether that process has our file open; None where the system does not tell.

    The lock alone would not do: a daemon that was killed may leave workers that still hold it, while its number
    already belongs to another process; or the lock's holder lives in another container, where numbers differ.
    """
    ours = os.fstat(descriptor)
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):  # closed in the meantime
                    if os.path.samestat(entry.stat(), ours):
                        return True
    except PermissionError:
        return None
    except OSError:
        return False if Path("/proc/self/fd").is_dir() else None
    return False


class Readiness:
    """Where a child says that it is ready, or why it cannot be: systemd's sd_notify protocol."""

    def __init__(self) -> None:
        self.status: str | None = None  # the last words of the child
        self.warnings: list[str] = []
        self._folder: Path | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.address = self._bind()
        except OSError:
            self.close()
            raise

    def _bind(self) -> str:
        """Bind the socket in a private directory, or to an abstract name where that is not possible: the path of a
        socket has at most 107 bytes, and TMPDIR may be longer."""
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="glance-"))
            address = str(self._folder / "notify")
            self._socket.bind(address)
        except OSError:
            address = f"@glance-{secrets.token_hex(16)}"
            self._socket.bind("\0" + address[1:])
        return address

    def close(self) -> None:
        self._socket.close()
        if self._folder is not None:
            Path(self._folder, "notify").unlink(missing_ok=True)
            self._folder.rmdir()

    def wait(self, child: subprocess.Popen[bytes], deadline: float) -> str | None:
        """Wait for the child's word until a moment of time.monotonic(). None: it is ready; or what went wrong."""
        while True:
            ended = child.poll() is not None  # asked first: its last words may lie there after its death
            if self._ready():
                return None
            if ended:
                return self.status or _end_of(child.returncode)
            if time.monotonic() >= deadline:
                return "it did not get ready in time"
            select.select([self._socket], [], [], TICK)

    def _ready(self) -> bool:
        while True:
            try:
                data, ancillary, *_ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return False
            if not _is_from_own_user(ancillary):
                continue
            for line in data.decode("utf-8", "replace").splitlines():
                if line == "READY=1":
                    return True
                if line.startswith(f"{WARNING_FIELD}="):
                    self.warnings.append(line.removeprefix(f"{WARNING_FIELD}="))
                if line.startswith("STATUS="):
                    self.status = line.removeprefix("STATUS=")


def _is_from_own_user(ancillary: Iterable[tuple[int, int, bytes]]) -> bool:
    """Return True if a message was sent by a process of this user: anybody can send to an abstract name."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            _, user, _ = _CREDENTIALS.unpack(data)
            return bool(user == os.geteuid())
    return False


def _end_of(status: int) -> str:
    return f"it was killed by signal {-status}" if status < 0 else f"it ended with exit status {status}"


def notify(message: str) -> None:
    """Tell whoever started this process, glance-control or systemd, if he wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract names
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), address)
