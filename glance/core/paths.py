# SPDX-License-Identifier: Apache-2.0
"""Paths as users write them in options: a leading `~`, `$NAME` and `${NAME}` are expanded, or refused.

No path that comes from here has a directory that is called `~` or like a variable: such a directory is what is left
where something was meant to be expanded and was not.
"""

import os
import pwd
import re
from pathlib import Path

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)
_HOME = re.compile(r"~([^/]*)")


def expand_path(text: str) -> str:
    """Expand a leading `~` or `~user`, and variables of the environment; `$$` is a `$`.

    Raises ValueError if there is no such user, home directory or variable, or if `~` is elsewhere in the path.
    """
    path = _REFERENCE.sub(lambda found: "$" if found[1] else _get_variable(text, found[2] or found[3]), text)
    if (found := _HOME.match(path)) is not None:
        home = find_home(found[1])
        if home is None:
            whose = f"no home directory of a user {found[1]}" if found[1] else "no home directory (is HOME set?)"
            raise ValueError(f"cannot expand {text!r}: there is {whose}")
        path = home.rstrip("/") + path[found.end() :] or "/"
    if "~" in path.split("/"):
        raise ValueError(f"cannot expand {text!r}: ~ stands for the home directory only at the beginning of a path")
    return path


def escape_path(path: str) -> str:
    """Return the text that expand_path() makes this path of; the path does not begin with `~`."""
    return path.replace("$", "$$")


def make_absolute(text: str) -> Path:
    """Expand a path, and prefix the current directory to a relative one.

    Raises ValueError, also if the current directory no longer exists.
    """
    path = Path(expand_path(text))
    try:
        return path.absolute()
    except FileNotFoundError:
        raise ValueError(f"{text!r} is relative, and the current directory no longer exists") from None


def find_home(user: str = "") -> str | None:
    """Return the home directory of a user, by default of the current one, or None if there is none.

    A HOME that is no absolute path is ignored, as is one that is not set.
    """
    home = os.environ.get("HOME", "")
    if not user and home.startswith("/"):
        return home
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    except KeyError:
        return None
    return entry.pw_dir if entry.pw_dir.startswith("/") else None


def _get_variable(text: str, name: str) -> str:
    value = find_home() if name == "HOME" else os.environ.get(name)
    if not value:
        raise ValueError(f"cannot expand {text!r}: the variable {name} is not set; $$ is a $ in the path")
    return value
