# SPDX-License-Identifier: Apache-2.0
"""For servers that refuse to run as root: a user who owns nothing, and a folder that he owns."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

USER = "nobody"


def own_folder(name: str) -> Path:
    """An empty folder, to be removed by who asks for it. Not one of pytest's, which only their owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"glance-{name}-"))
    if os.geteuid() == 0:
        found = pwd.getpwnam(USER)
        os.chown(folder, found.pw_uid, found.pw_gid)
    return folder


def unprivileged() -> list[str]:
    """What stands before a command to run it as that user when we are root. It ends with us also then."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        return []
    group = pwd.getpwnam(USER).pw_gid
    return [setpriv, "--reuid", USER, "--regid", str(group), "--clear-groups", setpriv, "--pdeathsig", "KILL"]


def without_privileges() -> list[str]:
    """Return what to put before a command so that file modes bind it, also if we are root, and so that it runs as a user
    whom the system does not know."""
    return ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
