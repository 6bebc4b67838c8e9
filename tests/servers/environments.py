# SPDX-License-Identifier: Apache-2.0
"""Servers from the Python package index, each in an environment of its own, away from what glance uses.

They are kept between runs in $XDG_CACHE_HOME/glance-tests, or ~/.cache/glance-tests.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

INSTALL_TIMEOUT = 300  # seconds
DONE = "complete"  # the file that says that everything is installed


@cache
def environment(name: str, *requirements: str) -> Path:
    """The folder of a virtual environment in which the requirements are installed.

    Of several test runs at once, one installs and the others wait. Skips the test where it cannot be done.
    """
    try:
        return _environment(name, requirements)
    except subprocess.CalledProcessError as error:
        lines = error.output.decode(errors="replace").strip().splitlines() or [str(error)]
        pytest.skip(f"{name} cannot be installed here: {lines[-1]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{name} cannot be installed here: {error}")


def _environment(name: str, requirements: tuple[str, ...]) -> Path:
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache_home / "glance-tests" / f"{name}-python{platform.python_version()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The kernel gives the lock back whatever happens to us, and then DONE is missing. A folder that is renamed
    # when complete would be simpler, but the paths in a virtual environment's programs are absolute.
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(folder / "bin/python"), "-m", "pip", "install", "-q", "--no-input", *requirements)
            (folder / DONE).touch()
    return folder


def _run(*command: str) -> None:
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=INSTALL_TIMEOUT,
        check=True,
    )
