# SPDX-License-Identifier: Apache-2.0
"""Programs of Debian's packages. Root on Debian gets what is missing installed; others see why a test is skipped."""

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

LOCK = Path("/run/lock/glance-tests-apt")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def program(name: str, package: str, *, needed: bool = False) -> str:
    """The path of a program, its package installed if need be. Skips the test where that cannot be done; where it
    is `needed`, and continuous integration counts on it, the test fails."""
    found = _find(name) or (_install(package) and _find(name))
    if not found:
        missing = f"{name} of Debian's package {package} is not installed, and cannot be installed here"
        if needed and os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def _find(name: str) -> str | None:
    # Debian keeps the programs of PostgreSQL's server out of the way of its clients.
    versions = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=":".join([PATH, *versions]))


@cache
def _install(package: str) -> bool:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    _no_cluster()
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with LOCK.open("w") as lock:  # apt-get gives up when another one is running
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            done = subprocess.run(["apt-get", "-q", *command], env=environ, capture_output=True, check=False)
    return done.returncode == 0


def _no_cluster() -> None:
    """Installing PostgreSQL would make a database and start it, unless it is told not to."""
    settings = Path("/etc/postgresql-common/createcluster.conf")
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text("create_main_cluster = false\n")
