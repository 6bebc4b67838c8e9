# SPDX-License-Identifier: Apache-2.0
"""Real daemons in a folder of their own, on free ports of the loopback address."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import glance
from glance.client import Client
from tests.servers.processes import free_port

CODE = Path(glance.__file__).parents[1]
PROGRAMS = Path(__file__).parents[2] / "bin"

DEBUG = bool(os.environ.get("GLANCE_DEBUG"))

# The file of March 2011, with the words in braces filled in.
CONFIG = """\
[DEFAULT]
verbose = True
debug = {debug}
{common}
[app:glance-api]
paste.app_factory = glance.server:app_factory
filesystem_store_datadir={folder}/images/
default_store = file
bind_host = 127.0.0.1
bind_port = {api_port}
registry_host = 0.0.0.0
registry_port = {registry_port}
{api}
[app:glance-registry]
paste.app_factory = glance.registry.server:app_factory
bind_host = 127.0.0.1
bind_port = {registry_port}
sql_connection = sqlite:///glance.sqlite
sql_idle_timeout = 3600
{registry}
"""


class Installation:
    """A folder with a glance.conf, and the commands run in it.

    `common`, `api` and `registry` are further lines for the sections of the configuration.
    """

    def __init__(self, folder: Path, *, common: str = "", api: str = "", registry: str = "") -> None:
        self.folder = folder.resolve()
        self.api_port = free_port()
        self.registry_port = free_port()
        self.config = self.folder / "glance.conf"
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NOTIFY_", "OS_"))
        }
        self.environ |= {"HOME": str(self.folder), "PYTHONPATH": str(CODE)}
        self.own_folders = ["--pid-dir", str(self.folder / "run"), "--log-dir", str(self.folder / "log")]
        self._extra = {"common": common, "api": api, "registry": registry}
        self.configure()

    def configure(self, **extra: str) -> None:
        """Write the configuration anew, with other further lines."""
        self._extra |= extra
        self.config.write_text(
            CONFIG.format(
                debug=DEBUG,
                folder=self.folder,
                api_port=self.api_port,
                registry_port=self.registry_port,
                **self._extra,
            )
        )

    def command(self, program: str, *arguments: str) -> list[str]:
        return [sys.executable, str(PROGRAMS / program), *arguments]

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[str]":
        """Run one of our programs in the folder until it ends."""
        done = subprocess.run(
            self.command(program, *arguments),
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            timeout=300,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def control(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("glance-control", *self.own_folders, *arguments)

    def start(self, server: str = "all") -> None:
        """Start, or fail with what glance-control says."""
        done = self.control(server, "start")
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()

    def upload(self, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[str]":
        return self.run("glance-upload", "--port", str(self.api_port), *arguments, stdin=stdin)

    def glance(
        self, *arguments: str, stdin: bytes | BinaryIO | None = None, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run glance in the folder; its standard input is a pipe with bytes, a file, or /dev/null."""
        done = subprocess.run(
            self.command("glance", "--port", str(self.api_port), *arguments),
            cwd=self.folder,
            env=self.environ | environ,
            **({"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin or subprocess.DEVNULL}),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def client(self) -> Client:
        """To be closed."""
        return Client("127.0.0.1", self.api_port)

    def port_of(self, server: str) -> int:
        return self.api_port if server == "glance-api" else self.registry_port

    def pid_file(self, server: str) -> Path:
        return self.folder / "run" / f"{server}.pid"

    def pid(self, server: str) -> int:
        return int(self.pid_file(server).read_text())

    def logs(self) -> str:
        return "".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("log/*.log")))

    def end(self) -> None:
        """End what still runs, at once. All that ever ran here, and nothing else, has our folder as its own."""
        deadline = time.monotonic() + 10
        while numbers := self.processes():
            assert time.monotonic() < deadline, f"{numbers} do not end"
            for number in numbers:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """The numbers of the processes that run in our folder."""
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):  # ended, or another user's
                if link.readlink() == self.folder:
                    found.append(int(link.parent.name))
        return found


@contextmanager
def slow_upload(installation: Installation, size: int = 1000) -> Iterator[socket.socket]:
    """A connection on which half of an image has been sent, and the server is waiting for the rest."""
    with socket.create_connection(("127.0.0.1", installation.api_port), timeout=30) as sock:
        sock.sendall(
            b"POST /images HTTP/1.1\r\nHost: localhost\r\nx-image-meta-name: slow\r\nx-image-meta-type: raw\r\n"
            b"x-image-meta-is_public: True\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
            % size
        )
        sock.sendall(b"x" * (size // 2))
        time.sleep(0.5)  # until the request has reached its handler
        yield sock


def answer_of(sock: socket.socket) -> bytes:
    """What is read until the other side closes."""
    answer = b""
    while part := sock.recv(65_536):
        answer += part
    return answer
