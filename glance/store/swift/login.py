# SPDX-License-Identifier: Apache-2.0
"""How to get into a Swift: from a user and a key to the URL of the account and a token.

Version 1 asks Swift itself, with python-swiftclient; versions 2 and 3 ask Keystone, with keystoneauth, and find
Swift in the service catalogue that comes with the token.
"""

import logging
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from glance.core.errors import StoreDown
from glance.store import reach
from glance.store.proxy import Proxy
from glance.store.swift import faults

LOG = logging.getLogger(__name__)

CHATTY = ("swiftclient", "keystoneauth")  # log parts of tokens, and URLs, below WARNING
PATHS = {"2": "v2.0", "3": "v3"}  # of Keystone, by version


@dataclass(frozen=True, slots=True)
class Login:
    """`user` is 'tenant:user'. The region is for versions 2 and 3, domains are for version 3 only.

    The domain of the user, and that of the tenant, is told by id or by name; by neither: the one with the id
    default, which Keystone has from the start and calls Default."""

    address: str
    user: str
    key: str = field(repr=False)
    version: str = "1"
    region: str | None = None  # None: the first one in the catalogue
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    cacert: str | None = None
    insecure: bool = False  # takes any certificate
    timeout: float = 60  # seconds without an answer
    proxy: Proxy | None = None  # for Keystone and Swift; no other one is used

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot work."""
        if self.version not in ("1", *PATHS):
            raise ValueError("swift_store_auth_version must be 1, 2 or 3")
        if urlsplit(self.address).scheme not in ("http", "https"):
            raise ValueError("swift_store_auth_address must be an http:// or https:// URL")
        if not all(self.user.partition(":")):
            raise ValueError("swift_store_user must be written as tenant:user")
        for whose in ("user", "project"):
            given = self._domain(whose)
            if len(given) > 1:
                raise ValueError(f"swift_store_{' and swift_store_'.join(given)} are both set; one of them will do")
            if given and self.version != "3":
                raise ValueError(f"swift_store_{next(iter(given))} needs swift_store_auth_version = 3")

    def __call__(self) -> tuple[str, str]:
        """The URL of the account, and a token. Raises StoreDown, and what the libraries raise."""
        if self.version == "1":
            url, token = self._ask_swift()
        else:
            url, token = self._ask_keystone()
        if not url or not token:
            raise StoreDown(
                "the authentication of Swift gave no account", advice=f"{self.where} knows of no Swift for this user"
            )
        return str(url), str(token)

    @property
    def where(self) -> str:
        """The server, for an advice to the operator."""
        return f"{reach.address(self.address)} (swift_store_auth_address){reach.via(self.proxy)}"

    def connect(self, url: str, timeout: float | tuple[float, float]) -> Any:
        """Return a swiftclient HTTPConnection. It sends keys and tokens to the host of the URL only."""
        connection = client().HTTPConnection(
            url, cacert=self.cacert, insecure=self.insecure, timeout=timeout, default_user_agent="glance"
        )
        connection.requests_args["allow_redirects"] = False
        self._settle_proxies(connection.request_session)
        return connection

    def _settle_proxies(self, session: requests.Session) -> None:
        """Have the session use the proxy of the configuration, and nothing that the environment or ~/.netrc says."""
        session.trust_env = False
        session.proxies = dict.fromkeys(("http", "https"), self.proxy.url) if self.proxy else {}

    def _ask_swift(self) -> tuple[Any, Any]:
        """Return the URL of the account and a token, as version 1 has it."""
        connection = self.connect(self.address, self.timeout)
        headers = {"X-Auth-User": self.user, "X-Auth-Key": self.key}
        with (
            closing(connection),
            closing(connection.request("GET", urlsplit(self.address).path, "", headers)) as answer,
        ):
            found = answer.headers.get("x-storage-url")
            if not answer.ok or not found:
                raise client().ClientException("no account", http_status=answer.status_code)
            return found, answer.headers.get("x-storage-token") or answer.headers.get("x-auth-token")

    def _domain(self, whose: str) -> dict[str, str]:
        """What is told of the domain of the user or of the project."""
        names = (f"{whose}_domain_id", f"{whose}_domain_name")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def _ask_keystone(self) -> tuple[Any, Any]:
        from keystoneauth1.identity import V2Password, V3Password
        from keystoneauth1.session import Session

        quiet()
        tenant, _, user = self.user.partition(":")
        address, path = self.address.rstrip("/"), PATHS[self.version]
        known: dict[str, Any] = {
            "auth_url": address if address.endswith(f"/{path}") else f"{address}/{path}",
            "username": user,
            "password": self.key,
        }
        if self.version == "2":
            auth: Any = V2Password(tenant_name=tenant, **known)
        else:
            domains: dict[str, Any] = {}
            for whose in ("user", "project"):
                domains |= self._domain(whose) or {f"{whose}_domain_id": "default"}
            auth = V3Password(project_name=tenant, **domains, **known)
        verify = not self.insecure and (self.cacert or True)
        with requests.Session() as session:
            self._settle_proxies(session)
            access = auth.get_access(Session(session=session, verify=verify, timeout=self.timeout, redirect=False))
        return self._endpoint(access.service_catalog), access.auth_token

    def _endpoint(self, catalogue: Any) -> str:
        """The URL of Swift in the region that was chosen."""
        found = catalogue.get_endpoint_data_list(service_type="object-store", interface="public")
        regions = ", ".join(dict.fromkeys(str(endpoint.region_name) for endpoint in found))
        for endpoint in found:
            if self.region in (None, endpoint.region_name):
                if self.region is None and ", " in regions:
                    LOG.warning("swift store: the first of the regions %s: set swift_store_region", regions)
                return str(endpoint.url)
        raise faults.not_in_catalogue(self.where, self.region, regions)


def client() -> Any:
    """python-swiftclient; imported by those who use it only, and kept from telling secrets."""
    import swiftclient.client

    quiet()
    return swiftclient.client


def quiet() -> None:
    """Keep the libraries from telling secrets, also when somebody has set their loggers to DEBUG."""
    for name in CHATTY:
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
