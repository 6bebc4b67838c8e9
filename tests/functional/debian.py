# SPDX-License-Identifier: Apache-2.0
"""Programs of Debian's packages. Root on Debian gets what is missing installed; others see why a test is skipped."""

import os
import shutil
import subprocess
from functools import cache

import pytest

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def program(name: str, package: str) -> str:
    """The path of a program, its package installed if need be. Skips the test where that cannot be done."""
    found = shutil.which(name, path=PATH) or (_install(package) and shutil.which(name, path=PATH))
    if not found:
        pytest.skip(f"{name} of Debian's package {package} is not installed, and cannot be installed here")
    return found


@cache
def _install(package: str) -> bool:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = subprocess.run(["apt-get", "-q", *command], env=environ, capture_output=True, check=False)
    return done.returncode == 0
