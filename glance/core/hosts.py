# SPDX-License-Identifier: Apache-2.0
"""Host names under which a service may be reached."""

import functools
import ipaddress
import re
import socket
from collections.abc import Callable

_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)


@functools.cache  # the resolver may take long
def find_own_names() -> frozenset[str]:
    """Return the names of this machine: of the kernel, of multicast DNS, and of the resolver."""
    name = _normalize(socket.gethostname())
    short = name.partition(".")[0]
    return frozenset({name, short, f"{short}.local", _normalize(socket.getfqdn())})


class AllowedHosts:
    """`localhost`, all addresses, the names of this machine, and those in `text`, separated by commas.

    `*.example.org` stands for all names that end in .example.org, and `*` for all names. Raises ValueError for an
    entry that is not a host name.
    """

    def __init__(self, text: str = "", *, find_own_names: Callable[[], frozenset[str]] = find_own_names) -> None:
        self._names = {_normalize(entry) for entry in map(str.strip, text.split(",")) if entry}
        self._find_own_names = find_own_names
        for name in self._names - {"*"}:
            if not _PATTERN.fullmatch(name) and not _is_address(name):
                raise ValueError(f"{name!r} is not a host name, which has no scheme and no port")

    def __contains__(self, host: str) -> bool:
        """`host` may have a port."""
        name = _normalize(_remove_port(host))
        return (
            name == "localhost"
            or name.endswith(".localhost")
            or _is_address(name)
            or not self._names.isdisjoint({"*", name})
            or any(name.endswith(known[1:]) for known in self._names if known.startswith("*."))
            or name in self._find_own_names()
        )


def _remove_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (":" not in name or name.endswith("]")) else host


def _normalize(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True
