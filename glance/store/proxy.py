# SPDX-License-Identifier: Apache-2.0
"""HTTP proxies on the way to stores: those of the configuration, and those of the environment, which are not used."""

import os
import urllib.request
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of the configuration."""

    url: str = field(repr=False)  # with user and password
    host: str
    port: int
    address: str  # scheme, host and port, for messages
    credentials: str = field(default="", repr=False)  # user:password, decoded

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request to the proxy that are for the proxy itself."""
        if not self.credentials:
            return {}
        return {"Proxy-Authorization": f"Basic {b64encode(self.credentials.encode()).decode()}"}


def parse_proxy(text: str, *, schemes: Collection[str] = ("http",)) -> Proxy:
    """Parse a URL such as http://user:password@proxy.example.org:3128. Raises ValueError, without the password."""
    try:
        parts = urlsplit(text)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise ValueError("is no URL of a proxy, such as http://proxy.example.org:3128") from None
    if (
        parts.scheme not in schemes
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise ValueError(f"must be the {' or '.join(schemes)} URL of a proxy, such as http://proxy.example.org:3128")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    credentials = unquote(f"{parts.username}:{parts.password or ''}") if parts.username else ""
    url = f"{parts.scheme}://{parts.netloc}"
    return Proxy(url, parts.hostname, port, f"{parts.scheme}://{host}:{port}", credentials)


def find_environment_proxy(url: str) -> tuple[str, str] | None:
    """Return the environment variable that names a proxy for a URL, and its address without a password.

    boto3, requests and most other clients would use this proxy. Return None if there is none."""
    proxies = urllib.request.getproxies_environment()
    parts = urlsplit(url)
    for scheme in (parts.scheme, "all"):
        proxy = proxies.get(scheme)
        if proxy and not urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
            variable = next((name for name in names if os.environ.get(name)), names[0])
            return variable, _without_credentials(proxy)
    return None


def _without_credentials(proxy: str) -> str:
    scheme, separator, rest = proxy.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].rstrip('/')}"
