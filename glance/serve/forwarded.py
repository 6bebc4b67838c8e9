# SPDX-License-Identifier: Apache-2.0
"""The address of a client whose request comes through proxies."""

import re

from glance.core.networks import Networks, normalize_address

# 192.0.2.1, 192.0.2.1:4711, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:4711
_ENTRY = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}|([0-9A-Fa-f:.]+)")


def find_client(peer: str, forwarded_for: str, trusted: Networks) -> str:
    """Return the address of the client that sent a request.

    `peer` is the address of the connection and `forwarded_for` the value of X-Forwarded-For, to which each proxy
    appends the address that it was connected from. So the list is read from its end, as long as the address before
    was a trusted proxy; what stands further left could be the client's invention. An entry that is not an address
    ends the search at the proxy that reported it.
    """
    client = peer
    for entry in reversed(forwarded_for.split(",")):
        if client not in trusted:
            break
        reported = _parse_entry(entry.strip())
        if reported is None:
            break
        client = reported
    return client


def _parse_entry(text: str) -> str | None:
    found = _ENTRY.fullmatch(text)
    return normalize_address(found[1] or found[2] or found[3]) if found else None
