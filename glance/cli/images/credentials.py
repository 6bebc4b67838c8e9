# SPDX-License-Identifier: Apache-2.0
"""Where the server is and who we are: from options, then from the variables OS_*, of 2011 and of later years."""

import logging
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass

from glance.cli.arguments import Endpoint
from glance.cli.images.errors import Failed
from glance.core.errors import NotAuthenticated

HOST, PORT = "127.0.0.1", 9292
STRATEGIES = ("noauth", "basic", "keystone")
TIMEOUT = 60  # seconds that Keystone may take

# Option → the variables that stand for it when it is not given.
VARIABLES = {
    "url": ("OS_IMAGE_URL",),
    "os_auth_strategy": ("OS_AUTH_STRATEGY",),
    "auth_token": ("OS_AUTH_TOKEN", "OS_TOKEN"),
    "os_username": ("OS_USERNAME", "OS_AUTH_USER"),
    "os_password": ("OS_PASSWORD", "OS_AUTH_KEY"),
    "os_tenant_name": ("OS_PROJECT_NAME", "OS_TENANT_NAME", "OS_AUTH_TENANT"),
    "os_tenant_id": ("OS_PROJECT_ID", "OS_TENANT_ID"),
    "os_user_domain_name": ("OS_USER_DOMAIN_NAME",),
    "os_user_domain_id": ("OS_USER_DOMAIN_ID",),
    "os_project_domain_name": ("OS_PROJECT_DOMAIN_NAME",),
    "os_project_domain_id": ("OS_PROJECT_DOMAIN_ID",),
    "os_auth_url": ("OS_AUTH_URL",),
    "os_region_name": ("OS_REGION_NAME",),
    "os_interface": ("OS_INTERFACE", "OS_ENDPOINT_TYPE"),
    "os_cacert": ("OS_CACERT",),
    "os_cert": ("OS_CERT",),
    "os_key": ("OS_KEY",),
}
DOMAIN = "default"  # the id of Keystone's domain for whoever names none
INTERFACE = "public"


@dataclass(frozen=True, slots=True)
class Access:
    """What a client is made of."""

    url: str
    token: str | None
    user: tuple[str, str] | None
    verify: bool | str
    cert: str | tuple[str, str] | None


def access_of(options: Namespace, environ: Mapping[str, str]) -> Access:
    """Asks Keystone where that is the strategy. Raises Failed."""
    found = _Settings(options, environ)
    url = options.url or _address(options) or found["url"]
    verify = False if options.insecure else found["os_cacert"] or True
    cert = (found["os_cert"], found["os_key"]) if found["os_cert"] and found["os_key"] else found["os_cert"]
    token = user = None
    strategy = found["os_auth_strategy"] or _guess(found)
    if found["auth_token"]:
        token = found["auth_token"]
    elif strategy == "basic":
        user = (found.need("os_username"), found.need("os_password"))
    elif strategy == "keystone":
        token, endpoint = _keystone(found, verify, cert, catalogue=url is None)
        url = url or endpoint
    elif strategy != "noauth":
        raise Failed(f"The authentication strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}")
    return Access(url or f"http://{HOST}:{PORT}", token, user, verify, cert)


class _Settings:
    """What options say, or else the environment; an empty variable says nothing."""

    def __init__(self, options: Namespace, environ: Mapping[str, str]) -> None:
        self._options = options
        self._environ = environ

    def __getitem__(self, name: str) -> str | None:
        given: str | None = getattr(self._options, name, None)
        if given is not None:
            return given
        return next((self._environ[key] for key in VARIABLES[name] if self._environ.get(key)), None)

    def need(self, name: str) -> str:
        value = self[name]
        if value is None:
            option = "--" + name.replace("_", "-")
            raise Failed(
                f"This way to authenticate needs {' or '.join(VARIABLES[name])} in the environment, or {option}"
            )
        return value


def _guess(found: _Settings) -> str:
    """Without a strategy: a user with Keystone's address goes there, one without is told to Glance itself."""
    if found["os_username"] is None or found["os_password"] is None:
        return "noauth"
    return "basic" if found["os_auth_url"] is None else "keystone"


def _address(options: Namespace) -> str | None:
    """Return the server's URL by --host and --port, or None if neither is given. Raises Failed if they disagree."""
    if options.host is None and options.port is None:
        return None
    server: Endpoint = options.host or Endpoint("http", HOST, None)
    try:
        port = server.choose_port(options.port, default=PORT)
    except ValueError as error:
        raise Failed(str(error)) from None
    return f"{server.scheme}://{f'[{server.host}]' if ':' in server.host else server.host}:{port}"


def _keystone(
    found: _Settings, verify: bool | str, cert: str | tuple[str, str] | None, *, catalogue: bool
) -> tuple[str | None, str | None]:
    """A token, and the address of Glance if it is to be looked up."""
    from keystoneauth1 import exceptions, session  # takes a while to load, and most do without
    from keystoneauth1.identity import generic

    logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)  # what it warns of, it also raises
    auth = generic.Password(
        auth_url=found.need("os_auth_url"),
        username=found.need("os_username"),
        password=found.need("os_password"),
        project_name=found["os_tenant_name"],
        project_id=found["os_tenant_id"],
        user_domain_name=found["os_user_domain_name"],
        user_domain_id=found["os_user_domain_id"],
        project_domain_name=found["os_project_domain_name"],
        project_domain_id=found["os_project_domain_id"],
        default_domain_id=DOMAIN,
    )
    keystone = session.Session(auth, verify=verify, cert=cert, timeout=TIMEOUT, redirect=False)
    try:
        token = auth.get_token(keystone)
        if not catalogue:
            return token, None
        endpoint = auth.get_endpoint(
            keystone,
            service_type="image",
            interface=found["os_interface"] or INTERFACE,
            region_name=found["os_region_name"],
        )
    except exceptions.Unauthorized:
        raise NotAuthenticated("Keystone does not know these credentials") from None
    except exceptions.CatalogException as error:
        raise Failed(f"Keystone does not know where Glance is ({error}): say it with --url") from None
    except (exceptions.ClientException, OSError) as error:  # an OSError is a file of certificates
        raise Failed(f"Failed to get a token from {found['os_auth_url']}: {' '.join(str(error).split())}") from None
    if endpoint is None:
        raise Failed("Keystone does not know where Glance is: say it with --url")
    return token, endpoint
