# SPDX-License-Identifier: Apache-2.0
"""Processes that tests start: their logs, when they are ready, and their end."""

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PORTS = (10_000, 32_768)
START_TIMEOUT = 60  # seconds; most need two
STOP_TIMEOUT = 5
LOG_TAIL = 20_000  # characters of a log that are shown

_chance = random.SystemRandom()  # the others' seed is the same in all test processes


class Processes:
    """Processes of one server, with their logs in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path, environ: Mapping[str, str] = os.environ) -> None:
        """Start a process; what it prints goes to its log. It ends with us, even if we are killed."""
        setpriv = shutil.which("setpriv")
        bound = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*bound, *(str(word) for word in command)],
                cwd=self._folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def await_port(self, port: int) -> None:
        """Wait until somebody listens on the port of the loopback address."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            self.check()
            assert time.monotonic() < deadline, f"nobody listens on port {port}\n{self.logs()}"
            time.sleep(0.05)

    def check(self) -> None:
        """Fail with the logs if a process has ended."""
        for name, process in self._running.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}\n{self.logs()}"

    def stop(self, *names: str) -> None:
        """End the processes of these names, or all."""
        chosen = [self._running.pop(name) for name in names or tuple(self._running)]
        for process in chosen:
            process.terminate()
        for process in chosen:
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self) -> str:
        """The ends of all logs."""
        paths = sorted(self._folder.glob("*.log"))
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')[-LOG_TAIL:]}" for path in paths)


def free_port() -> int:
    """A port of the loopback address that nobody listens on, for now. Not one of those that the kernel gives to
    connections, else one of these might have it when a server that was stopped is to come back to it."""
    while True:
        port = _chance.randrange(*PORTS)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
