# SPDX-License-Identifier: Apache-2.0
"""Sets of IP addresses, as options name them."""

import ipaddress


class Networks:
    """Addresses and networks, separated by commas. `"10.0.5.7" in Networks("10.0.5.0/24, ::1")` is True.

    Raises ValueError for an entry that is neither.
    """

    def __init__(self, text: str = "") -> None:
        self._networks = [ipaddress.ip_network(entry) for entry in map(str.strip, text.split(",")) if entry]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        """Return False also for a text that is not an address, such as the name of a Unix socket."""
        normalized = normalize_address(address) if self._networks else None
        if normalized is None:
            return False
        parsed = ipaddress.ip_address(normalized)
        return any(parsed in network for network in self._networks)


def normalize_address(text: str) -> str | None:
    """Return the shortest spelling of an address, or None if it is not one. An IPv4 address mapped into IPv6 becomes
    IPv4; the zone of a link-local address is dropped."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
