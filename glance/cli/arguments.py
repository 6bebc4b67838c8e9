# SPDX-License-Identifier: Apache-2.0
"""Types of arguments that several command lines take."""

import argparse
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

from glance.core.paths import expand_path, make_absolute

_ENDPOINT = re.compile(
    r"(?:(https?)://)?(?:\[([^\[\]]+)\]|([^\s/:@?#\\\[\]]+))(?::([0-9]+))?/?", re.ASCII | re.IGNORECASE
)

MAX_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What --host names. `port` is None unless it was given; an IPv6 address has no brackets here."""

    scheme: str
    host: str
    port: int | None

    def choose_port(self, option: int | None, *, default: int) -> int:
        """Return the port of the server. Raises ValueError if the option --port names another one than --host."""
        if self.port is not None and option is not None and self.port != option:
            raise ValueError(f"--host names the port {self.port} and --port {option}: give one of them")
        return self.port or option or default


def endpoint(text: str) -> Endpoint:
    """Read the name or address of a host, maybe with a scheme and a port."""
    if _is_ipv6(text):
        return Endpoint("http", text, None)
    found = _ENDPOINT.fullmatch(text)
    if found is None or not (found[2] is None or _is_ipv6(found[2])) or not utf8(text).isprintable():
        raise argparse.ArgumentTypeError(
            f"expected a host such as glance.example.org, 192.0.2.7 or [2001:db8::7], which http:// or https:// may "
            f"precede and :PORT may follow, not {text!r}"
        )
    return Endpoint((found[1] or "http").lower(), found[2] or found[3], None if found[4] is None else port(found[4]))


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def is_number(text: str, *, least: int, most: int) -> bool:
    """Return True for ASCII digits within these bounds. int() would take very long for many of them."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and least <= int(text) <= most


def port(text: str) -> int:
    if not is_number(text, least=1, most=65_535):
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def count(text: str) -> int:
    if not is_number(text, least=1, most=2**31 - 1):
        raise argparse.ArgumentTypeError(f"a whole number from 1 is expected, not {text!r}")
    return int(text)


def seconds(text: str) -> int:
    if not is_number(text, least=0, most=2**31 - 1):
        raise argparse.ArgumentTypeError(f"a time is a whole number of seconds, not {text!r}")
    return int(text)


def days(text: str) -> int:
    if not is_number(text, least=0, most=99_999):
        raise argparse.ArgumentTypeError(f"an age is a whole number of days, not {text!r}")
    return int(text)


def path(text: str) -> str:
    """A path, with `~` and variables expanded."""
    try:
        return expand_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def absolute_path(text: str) -> str:
    try:
        return str(make_absolute(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def utf8(text: str) -> str:
    """Text that can be sent: Python takes other bytes of the command line for lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not in UTF-8") from None
    return text
