# SPDX-License-Identifier: Apache-2.0
"""The one judge of URLs that users name and this server would fetch.

A URL of a user must not let him talk to what only the server can reach: its own ports, its network, a cloud's
metadata address (CVE-2017-7200, CVE-2026-34881, CVE-2026-71196 to -71198). So a name is resolved here, once; it
is refused if any of its addresses is not a public one; and the connection goes to the address that was judged.
The same judgement is made when a URL is registered, when it is fetched, and at every redirect.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from glance.core.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 4096  # characters
PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: holds an IPv4 address in its last 32 bits
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291: all that IANA gives out

_URL = re.compile(r"[!-~]+", re.ASCII)  # no spaces, no control characters, nothing that is not ASCII
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:[0-9]*)?", re.ASCII)  # urlsplit() reads http://a[::1]b/ as well
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*", re.ASCII)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)  # a last label that resolvers read as a number


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to, and what to ask there."""

    scheme: str
    host: str  # for the Host header and for TLS; lower case, without brackets
    port: int
    path: str  # with the query
    address: str  # of the connection


class Guard:
    """`allowed` opens what is closed by default: names of hosts, addresses, and networks such as 10.1.0.0/16."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """Raises ValueError for an entry that is none of these."""
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for entry in allowed:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                name = entry.lower()
                if not _NAME.fullmatch(name) or "/" in name or _NUMERIC.fullmatch(name.rpartition(".")[2]):
                    raise ValueError(f"{entry!r} is no host name, address or network") from None
                self._names.add(name)

    def judge(self, url: str) -> Target:
        """Take a URL apart, resolve its host, and say where to connect to. Raises Invalid."""
        scheme, host, port, path = _parsed(url)
        addresses = _resolved(host, port)
        if host not in self._names and not all(self._may_reach(address) for address in addresses):
            raise _refused()
        return Target(scheme, host, port, path, str(addresses[0]))

    def _may_reach(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        inner = _inner(address)
        if inner is not None:
            return self._may_reach(inner)
        if address.version == 6 and address not in GLOBAL_UNICAST:
            return False
        return address.is_global and not address.is_multicast and not address.is_reserved and not _is_ours(address)


def _parsed(url: str) -> tuple[str, str, int, str]:
    if len(url) > MAX_URL or not _URL.fullmatch(url) or "\\" in url:
        raise Invalid(f"a location must be a URL of at most {MAX_URL} ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid("a location must be a valid URL") from None
    if parts.scheme not in PORTS or not url.startswith(f"{parts.scheme}://") or not parts.hostname:
        raise Invalid("a location must be an http:// or https:// URL")
    if "@" in parts.netloc:
        raise Invalid("a location must not hold a user name or a password")
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise Invalid("a location must be a valid URL")
    if port == 0:
        raise Invalid("a location must not name port 0")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, _host(parts.hostname), port or PORTS[parts.scheme], path


def _host(host: str) -> str:
    """A host name, or an address in its one canonical form: others are ways around a judgement."""
    if ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise _refused() from None
        if "%" in host:  # a zone is of this machine
            raise _refused()
        return str(address)
    if not _NAME.fullmatch(host):
        raise _refused()
    return host


def _resolved(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _refused() from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise _refused()
    return addresses


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_ours(address: Address) -> bool:
    """Whether the address is one of this machine's: only those can be bound to."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


def _refused() -> Invalid:
    """One text for all reasons: it must not tell what is there."""
    return Invalid("this location cannot be used: its host is unknown, or not one that may be reached from here")
