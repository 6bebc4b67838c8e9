# SPDX-License-Identifier: Apache-2.0
"""Judge the URLs that users name and this server would fetch.

A URL of a user must not reach what only this server can reach: its own ports, its network, a cloud's metadata
address (CVE-2017-7200, CVE-2026-34881, CVE-2026-71196 to -71198). So a name is resolved here, once. It is refused if
any of its addresses is not a public one, and the connection goes to the addresses that were judged. The same
judgement is made when a URL is registered, when it is fetched, and at every redirect.

Closed networks are listed here: the lists in Python's ipaddress differ between its versions.
"""

import ipaddress
import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from glance.core.errors import Invalid, StoreDown
from glance.store.local_address import is_local

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 4096  # characters, percent-encoded
LOOKUPS = 8  # names of users that are resolved at a time: slow ones must not hold up those of the configuration
LOOKUP_PATIENCE = 10.0  # seconds that a name may wait for its turn
PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: holds an IPv4 address in its last 32 bits
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291: all that IANA gives out
CLOSED = tuple(
    map(
        ipaddress.ip_network,
        (  # IANA's special-purpose registries, and what clouds have made of public addresses
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers; metadata of Alibaba Cloud
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # platform services of Azure
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; metadata of Oracle Cloud
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112, which any network may run
            "192.52.193.0/24",  # multicast tunnels: the nearest relay
            "192.88.99.0/24",  # 6to4: the nearest relay
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "2001::/23",  # protocol assignments, but for Teredo
            "2001:db8::/32",  # documentation
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_CONTROL = re.compile(rb"[\0-\x1f\x7f]")
_ENTRY = re.compile(r"(?:\[([^\[\]]*)\]|([^:]*))(?::([0-9]{1,5}))?", re.ASCII)  # of `allowed`, with a port or without
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:[0-9]*)?", re.ASCII)  # urlsplit() reads http://a[::1]b/ as well
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*", re.ASCII)
_INSIDE = re.compile(  # names that mean something else on another network: RFC 6761, RFC 6762, RFC 8375 and usage
    r"[^.]+|.*\.(localhost|localdomain|local|internal|intranet|private|corp|home|lan|home\.arpa|test|invalid|onion)"
)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)  # a last label that resolvers read as a number


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to, and what to ask for there."""

    scheme: str
    host: str  # for the Host header and for TLS; lower case, without brackets
    port: int
    path: str  # with the query, percent-encoded
    addresses: tuple[str, ...]  # to try in this order; none where a proxy resolves the name


class Guard:
    """Judges URLs.

    `allowed` opens what is closed by default: host names, addresses, and networks such as 10.1.0.0/16. Host names
    are compared without regard to letter case and a trailing dot. An entry with a port, such as mirror.example:8080
    or [fd00::/8]:8080, opens that port only.

    With `resolve` False names are judged and not resolved, because a proxy does that: names of one label and those
    of domains that are not public are closed.
    """

    def __init__(self, allowed: Iterable[str] = (), *, resolve: bool = True) -> None:
        """Raise ValueError for an entry that is neither a name nor an address nor a network."""
        self._names: set[tuple[str, int | None]] = set()
        self._networks: list[tuple[Network, int | None]] = []
        self._resolves = resolve
        self._lookups = threading.BoundedSemaphore(LOOKUPS)
        for entry in allowed:
            host, port = _parse_entry(entry)
            if isinstance(host, str):
                self._names.add((host, port))
            else:
                self._networks.append((host, port))

    def judge(self, url: str) -> Target:
        """Take a URL apart, resolve its host, and return where to connect to.

        Raises Invalid, and StoreDown if the name cannot be resolved now."""
        scheme, host, port, path = _parse(url)
        if not self._resolves and not _is_address(host):
            if not self._is_named(host, port) and _INSIDE.fullmatch(host):
                raise _refused()
            return Target(scheme, host, port, path, ())
        addresses = self._resolve(host, port)
        if not self._is_named(host, port) and not all(self._may_reach(address, port) for address in addresses):
            raise _refused()
        return Target(scheme, host, port, path, tuple(map(str, addresses)))

    def _resolve(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host in the resolver's order, each once."""
        if not self._lookups.acquire(timeout=LOOKUP_PATIENCE):
            raise StoreDown("too many host names are being resolved")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                raise StoreDown("the name of the image's server cannot be resolved now") from None
            raise _refused() from None
        finally:
            self._lookups.release()
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses:
            raise _refused()
        return list(dict.fromkeys(addresses))

    def _is_named(self, host: str, port: int) -> bool:
        return (host, None) in self._names or (host, port) in self._names

    def _may_reach(self, address: Address, port: int) -> bool:
        if any(address in network and only in (None, port) for network, only in self._networks):
            return True
        inner = _inner(address)
        if inner is not None:
            return self._may_reach(inner, port)
        return _is_public(address) and not is_local(address)


def _parse_entry(entry: str) -> tuple[str | Network, int | None]:
    """Return the host name or network of an entry of `allowed`, and its port or None. Raises ValueError."""
    with suppress(ValueError):
        return ipaddress.ip_network(entry), None  # an IPv6 address needs brackets only before a port
    found = _ENTRY.fullmatch(entry)
    bracketed, host, port = found.groups() if found else (None, entry, None)
    number = None if port is None else int(port)
    if number is not None and not 0 < number < 65536:
        raise ValueError(f"{entry!r} must name a port from 1 to 65535")
    if bracketed is not None:
        with suppress(ValueError):
            return ipaddress.IPv6Network(bracketed), number
    else:
        with suppress(ValueError):
            return ipaddress.IPv4Network(host), number
        name = host.lower().removesuffix(".")
        if _NAME.fullmatch(name) and not _NUMERIC.fullmatch(name.rpartition(".")[2]):
            return name, number
    raise ValueError(f"{entry!r} is not a host name, address or network, with a port or without")


def resolve_redirect(url: str, location: bytes) -> str:
    """Return the URL that a Location header leads to, percent-encoded. Raises Invalid."""
    if _CONTROL.search(location):  # urljoin() would drop some of them
        raise Invalid("a redirect must not contain control characters")
    try:
        return urljoin(_encode(url), _encode(location))
    except ValueError:
        raise Invalid("a redirect must lead to a valid URL") from None


def _encode(url: str | bytes) -> str:
    """Percent-encode spaces and what is not ASCII; text as UTF-8. What is encoded already stays as it is."""
    return quote(url, safe=_PRINTABLE)


def _parse(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and path of a URL. Raises Invalid."""
    try:
        encoded = _encode(url)
    except UnicodeEncodeError:
        raise Invalid("a location must be valid Unicode") from None
    if len(encoded) > MAX_URL:
        raise Invalid(f"a location must be a URL of at most {MAX_URL} characters, counted percent-encoded")
    if not encoded or _CONTROL.search(url.encode()) or "\\" in url:
        raise Invalid("a location must be a URL without control characters and backslashes")
    try:
        parts = urlsplit(encoded)
        port = parts.port
    except ValueError:
        raise Invalid("a location must be a valid URL") from None
    if parts.scheme not in PORTS or not encoded.lower().startswith(f"{parts.scheme}://") or not parts.hostname:
        raise Invalid("a location must be an http:// or https:// URL")
    if "@" in parts.netloc:
        raise Invalid("a location must not hold a user name or a password")
    if not _AUTHORITY.fullmatch(parts.netloc):
        raise Invalid("a location must be a valid URL")
    if port == 0:
        raise Invalid("a location must not name port 0")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, _canonical_host(parts.hostname), port or PORTS[parts.scheme], path


def _canonical_host(host: str) -> str:
    """Return a host name without its trailing dot, or an address in its one canonical form.

    Other forms of addresses are ways around a judgement: they are refused unresolved."""
    name = host.removesuffix(".")
    if ":" in host or _NUMERIC.fullmatch(name.rpartition(".")[2]):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise _refused() from None
        if "%" in host:  # a zone is of this machine
            raise _refused()
        return str(address)
    if not _NAME.fullmatch(name):
        raise _refused()
    return name


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _inner(address: Address) -> Address | None:
    """Return the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _is_public(address: Address) -> bool:
    if any(address in network for network in CLOSED):
        return False
    return address.version == 4 or address in GLOBAL_UNICAST


def _refused() -> Invalid:
    """Return one text for all reasons: it must not tell what is there."""
    return Invalid("this location cannot be used: its host is unknown, or not one that may be reached from here")
