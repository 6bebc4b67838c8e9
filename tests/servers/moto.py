# SPDX-License-Identifier: Apache-2.0
"""A server from the Python package index that speaks S3 and keeps everything in memory. It checks no signatures unless told to."""

import os
from pathlib import Path

from tests.servers.environments import environment
from tests.servers.processes import Processes, free_port

VERSION = "5.2.5"


class Moto:
    """A running server. Parts may be of any size, which keeps tests of multipart uploads small."""

    s3_access_key = "moto-access-key"
    s3_secret_key = "moto-secret-key"

    def __init__(self, folder: Path) -> None:
        """Install it. Skips the test where that cannot be done."""
        self._python = environment(f"moto-{VERSION}", f"moto[server]=={VERSION}") / "bin/python"
        self._processes = Processes(folder)
        self.port = free_port()
        self.s3_url = f"http://127.0.0.1:{self.port}"

    def start(self, **more: str) -> None:
        """`more` are settings of moto. INITIAL_NO_AUTH_ACTION_COUNT makes it check keys after so many requests."""
        settings = os.environ | {"S3_UPLOAD_PART_MIN_SIZE": "1", "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "16777216"} | more
        command = (self._python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))
        self._processes.start("moto", *command, environ=settings)
        self._processes.await_port(self.port)

    def stop(self) -> None:
        self._processes.stop()
