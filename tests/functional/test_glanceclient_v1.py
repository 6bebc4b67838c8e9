# SPDX-License-Identifier: Apache-2.0
"""python-glanceclient's v1 client, the real one, against real daemons."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.functional.test_trouble import stored
from tests.servers.environments import environment
from tests.servers.web import DATA, web_server

pytestmark = pytest.mark.functional

VERSION = "4.13.0"
PROGRAM = Path(__file__).parent / "glanceclient_v1.py"
STEPS = 32


def test_its_whole_surface(installation: Installation, tmp_path: Path) -> None:
    python = environment(f"glanceclient-{VERSION}", f"python-glanceclient=={VERSION}") / "bin/python"
    image = tmp_path / "image"
    image.write_bytes(os.urandom(700_000))
    installation.configure(api="http_store_allowed_hosts = 127.0.0.1")
    installation.start()
    with web_server() as web:
        done = subprocess.run(
            [
                python, "-W", "ignore", PROGRAM, f"http://127.0.0.1:{installation.api_port}", web.url("whole"),
                hashlib.md5(DATA, usedforsecurity=False).hexdigest(), image,
            ],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == STEPS
    assert stored(installation) == set()
