# SPDX-License-Identifier: Apache-2.0
"""A file system in memory whose optional abilities can be taken away: the kernel's side of it is real (FUSE).

It speaks the protocol of /dev/fuse itself, in a process of its own:

    python -m tests.servers.fuse MOUNTPOINT link=EPERM rename_noreplace=EINVAL fsyncdir=EINVAL flock=ENOLCK

Each word names an operation and the error that it is answered with.
"""

import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.processes import START_TIMEOUT

ROOT = 1
BLOCK = 4096
MAX_WRITE = 65_536
FLOCK_LOCKS = 1 << 10  # flag of INIT: flock() is asked of us
MS_NOSUID_NODEV = 6
DIRECTORY, MODE, SIZE = stat.S_IFDIR | 0o755, 1, 8

IN = struct.Struct("<IIQQIIIHH")
OUT = struct.Struct("<IiQ")
ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
ENTRY = struct.Struct("<QQQQII")
OPENED = struct.pack("<QII", 0, 0, 0)

# Of the kernel's operations, those that are known here; what is not is answered with ENOSYS.
OPERATIONS = {
    1: "lookup", 3: "getattr", 4: "setattr", 9: "mkdir", 10: "unlink", 11: "unlink", 12: "rename", 13: "link", 14: "opened",
    15: "read", 16: "write", 17: "statfs", 18: "done", 20: "done", 25: "done", 26: "init", 27: "opened", 28: "readdir",
    29: "done", 30: "fsyncdir", 32: "flock", 33: "flock", 35: "create", 45: "rename2",
}  # fmt: skip
UNANSWERED = (2, 36, 42)  # forget, interrupt, forget many


@dataclass
class Node:
    mode: int
    data: bytearray = field(default_factory=bytearray)
    children: dict[bytes, int] = field(default_factory=dict)
    changed: int = field(default_factory=time.time_ns)
    links: int = 1


class FileSystem:
    def __init__(self, refused: dict[str, int]) -> None:
        self._refused = refused
        self._nodes = {ROOT: Node(DIRECTORY)}

    def answer(self, operation: str, number: int, body: bytes) -> bytes:
        """Do what the kernel asks. Raises OSError."""
        if operation in self._refused:
            self._fail(self._refused[operation])
        work: Callable[[int, bytes], bytes] = getattr(self, f"_{operation}")
        return work(number, body)

    def _init(self, number: int, body: bytes) -> bytes:
        major, _, readahead = struct.unpack_from("<III", body)
        flags = FLOCK_LOCKS if "flock" in self._refused else 0
        return struct.pack("<IIIIHHIIHHI28x", major, 31, readahead, flags, 16, 12, MAX_WRITE, 1, 0, 0, 0)

    def _lookup(self, number: int, body: bytes) -> bytes:
        return self._entry(self._child(number, body.rstrip(b"\0")))

    def _getattr(self, number: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self._attributes(number)

    def _setattr(self, number: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        node = self._nodes[number]
        if valid & SIZE:
            node.data = node.data[:size].ljust(size, b"\0")
        if valid & MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(struct.unpack_from("<I", body, 68)[0])
        return self._getattr(number, body)

    def _mkdir(self, number: int, body: bytes) -> bytes:
        mode, _ = struct.unpack_from("<II", body)
        return self._entry(self._add(number, body[8:].rstrip(b"\0"), stat.S_IFDIR | mode))

    def _create(self, number: int, body: bytes) -> bytes:
        _, mode = struct.unpack_from("<II", body)
        return self._entry(self._add(number, body[16:].rstrip(b"\0"), mode)) + OPENED

    def _unlink(self, number: int, body: bytes) -> bytes:
        child = self._child(number, body.rstrip(b"\0"))
        if self._nodes[child].children:
            self._fail(errno.ENOTEMPTY)
        del self._nodes[number].children[body.rstrip(b"\0")]
        self._nodes[child].links -= 1
        return b""

    def _link(self, number: int, body: bytes) -> bytes:
        (old,), name = struct.unpack_from("<Q", body), body[8:].rstrip(b"\0")
        if name in self._nodes[number].children:
            self._fail(errno.EEXIST)
        self._nodes[number].children[name] = old
        self._nodes[old].links += 1
        return self._entry(old)

    def _rename(self, number: int, body: bytes) -> bytes:
        return self._move(number, struct.unpack_from("<Q", body)[0], body[8:], 0)

    def _rename2(self, number: int, body: bytes) -> bytes:
        to, flags, _ = struct.unpack_from("<QII", body)
        if flags and "rename_noreplace" in self._refused:
            self._fail(self._refused["rename_noreplace"])
        return self._move(number, to, body[16:], flags)

    def _move(self, number: int, to: int, names: bytes, flags: int) -> bytes:
        old, new = names.rstrip(b"\0").split(b"\0")
        child = self._child(number, old)
        if flags and new in self._nodes[to].children:
            self._fail(errno.EEXIST)
        del self._nodes[number].children[old]
        self._nodes[to].children[new] = child
        return b""

    def _opened(self, number: int, body: bytes) -> bytes:
        return OPENED

    def _read(self, number: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        return bytes(self._nodes[number].data[offset : offset + size])

    def _write(self, number: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        node, block = self._nodes[number], body[40 : 40 + size]
        node.data.extend(bytes(max(offset - len(node.data), 0)))
        node.data[offset : offset + size] = block
        node.changed = time.time_ns()
        return struct.pack("<II", size, 0)

    def _readdir(self, number: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for at, (name, child) in enumerate(list(self._nodes[number].children.items())[offset:], offset + 1):
            kind = self._nodes[child].mode >> 12
            entry = struct.pack("<QQII", child, at, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    def _statfs(self, number: int, body: bytes) -> bytes:
        return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, BLOCK, 255, BLOCK, 0)

    def _done(self, number: int, body: bytes) -> bytes:
        return b""

    _fsyncdir = _flock = _done

    def _fail(self, number: int) -> None:
        raise OSError(number, os.strerror(number))

    def _child(self, number: int, name: bytes) -> int:
        if name not in self._nodes[number].children:
            self._fail(errno.ENOENT)
        return self._nodes[number].children[name]

    def _add(self, number: int, name: bytes, mode: int) -> int:
        if name in self._nodes[number].children:
            self._fail(errno.EEXIST)
        made = max(self._nodes) + 1
        self._nodes[made] = Node(mode)
        self._nodes[number].children[name] = made
        return made

    def _entry(self, number: int) -> bytes:
        return ENTRY.pack(number, 0, 0, 0, 0, 0) + self._attributes(number)

    def _attributes(self, number: int) -> bytes:
        node, size = self._nodes[number], len(self._nodes[number].data)
        seconds, rest = divmod(node.changed, 10**9)
        times = (seconds, seconds, seconds, rest, rest, rest)
        return ATTR.pack(number, size, -(-size // 512), *times, node.mode, node.links, 0, 0, 0, BLOCK, 0)


def serve(mountpoint: str, refused: dict[str, int]) -> None:
    """Mount, and answer the kernel until it is unmounted. Raises OSError."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"glance-tests", mountpoint.encode(), b"fuse", MS_NOSUID_NODEV, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), mountpoint)
    mounted = FileSystem(refused)
    while True:
        try:
            request = os.read(device, MAX_WRITE + BLOCK)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                continue
            raise
        _, code, unique, number, *_ = IN.unpack_from(request)
        if code in UNANSWERED:
            continue
        failure, answer = 0, b""
        try:
            if code not in OPERATIONS:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            answer = mounted.answer(OPERATIONS[code], number, request[IN.size :])
        except OSError as error:
            failure = -(error.errno or errno.EIO)
        os.write(device, OUT.pack(OUT.size + len(answer), failure, unique) + answer)


class Fuse:
    """The file system, mounted on a directory. `refused`: operation → name of the error."""

    def __init__(self, mountpoint: Path, **refused: str) -> None:
        """Skips the test where this machine cannot mount it."""
        if os.geteuid() != 0 or not Path("/dev/fuse").exists():
            pytest.skip("only root may mount a FUSE file system, and /dev/fuse is needed")
        mountpoint.mkdir(parents=True, exist_ok=True)
        self._mountpoint = mountpoint
        words = [f"{operation}={name}" for operation, name in refused.items()]
        command = [sys.executable, "-m", "tests.servers.fuse", str(mountpoint), *words]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
        deadline = time.monotonic() + START_TIMEOUT
        while not mountpoint.is_mount():
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                lines = self._process.stderr.read().decode().splitlines()
                pytest.skip(f"a FUSE file system cannot be mounted here: {lines[-1]}")
            assert time.monotonic() < deadline, "the FUSE file system is not mounted"
            time.sleep(0.02)

    def close(self) -> None:
        subprocess.run(["umount", "-l", self._mountpoint], check=True)
        self._process.wait(10)
        assert self._process.stderr is not None
        self._process.stderr.close()


if __name__ == "__main__":
    pairs = (word.split("=") for word in sys.argv[2:])
    serve(sys.argv[1], {operation: getattr(errno, name) for operation, name in pairs})
