# SPDX-License-Identifier: Apache-2.0
"""Tell whether an address belongs to this machine."""

import errno
import ipaddress
import os
import socket
import struct

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# rtnetlink(7): a request for the route to one address, and the types of route in the answer
NETLINK_ROUTE = 0
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
NLM_F_REQUEST = 1
NLMSG_ERROR = 2
RTA_DST = 1
RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST = 2, 3, 4
NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES})
ANSWER_SECONDS = 1.0  # the kernel answers at once; a sandbox that emulates it may not

_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, bits of the destination, …; the type is the eighth field
_ATTRIBUTE = struct.Struct("=HH")  # length, type


def is_local(address: Address) -> bool:
    """Return True if packets to the address are delivered to this machine.

    The kernel's routing table is asked. Where that is impossible (another system, or a sandbox without netlink
    sockets), an address counts as local if a socket can be bound to it. That is True for every address if
    `net.ipv4.ip_nonlocal_bind` is set, so the answer errs on the side of caution.
    """
    try:
        return _get_route_type(address) in (RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST)
    except (OSError, AttributeError):
        return _can_bind(address)


def _get_route_type(address: Address) -> int | None:
    """Return the type of the route to an address, or None if there is no route.

    Raises OSError where the kernel cannot be asked, AttributeError on systems without netlink."""
    family = _get_family(address)
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), RTA_DST) + address.packed
    body = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute
    header = _MESSAGE.pack(_MESSAGE.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as sock:
        sock.settimeout(ANSWER_SECONDS)
        sock.sendto(header + body, (0, 0))
        answer = sock.recv(65536)
    _, kind, _, _, _ = _MESSAGE.unpack_from(answer)
    if kind == NLMSG_ERROR:
        (negative,) = struct.unpack_from("=i", answer, _MESSAGE.size)
        if -negative in NO_ROUTE:
            return None
        raise OSError(-negative, os.strerror(-negative))
    if kind != RTM_NEWROUTE:
        raise OSError(f"unexpected netlink message {kind}")
    route_type: int = _ROUTE.unpack_from(answer, _MESSAGE.size)[7]
    return route_type


def _can_bind(address: Address) -> bool:
    with socket.socket(_get_family(address), socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


def _get_family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
