# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack Keystone on the loopback address, with its version 3, an SQLite database and Fernet tokens.

It begins with what `keystone-manage bootstrap` makes: the domain Default, the user and the project admin, the roles
admin, manager, member and reader. Tests add what they need, under names of their own, because all share it:

    project = keystone.add_project("build")
    user = keystone.add_user("alice")
    keystone.grant(user, project, "member")
    headers = {"X-Auth-Token": keystone.token(user, project)}

A service that judges tokens with keystonemiddleware's filter gets `keystone.authtoken` into the filter's section.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.servers.environments import environment
from tests.servers.processes import Processes, free_port

VERSION = "30.0.0"
WAITRESS = "3.0.2"
TIMEOUT = 60  # seconds
DEFAULT = "default"  # the id of the domain that is called Default

# All that would lie in /etc/keystone lies in the folder. Few rounds of hashing make a login cheap, and a
# cache makes it cheap to judge a token; one that copies, as Keystone changes what it gets from it.
CONFIGURATION = """\
[cache]
enabled = true
backend = dogpile.cache.memory_pickle

[database]
connection = sqlite:///{folder}/keystone.sqlite

[identity]
password_hash_rounds = 4
max_password_length = 72

[fernet_tokens]
key_repository = {folder}/keys

[fernet_receipts]
key_repository = {folder}/keys

[credential]
key_repository = {folder}/keys
"""

# What keystone-manage makes of an empty folder.
STEPS = (
    ("db_sync",),
    ("fernet_setup", "--keystone-user", str(os.geteuid()), "--keystone-group", str(os.getegid())),
    ("bootstrap",),
)

# As who has the role admin, the filter may ask for anybody's token.
AUTHTOKEN = """\
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {url}
auth_url = {url}
auth_type = password
username = admin
password = {password}
user_domain_id = default
project_name = admin
project_domain_id = default
service_token_roles_required = true
"""

# Keystone reads the command line, too, and takes no word that it does not know.
SERVER = """\
import sys
port = sys.argv.pop()
from keystone.wsgi.api import application
from waitress import serve
serve(application, listen=f"127.0.0.1:{port}", threads=8)
"""


@dataclass(frozen=True)
class Project:
    id: str
    name: str


@dataclass(frozen=True)
class User:
    id: str
    name: str
    password: str = field(repr=False)  # a mark: nothing that glance says may hold it


class Keystone:
    """A running Keystone, and ways to change what it knows."""

    def __init__(self, folder: Path) -> None:
        """Install and configure, in an empty folder. Skips the test where that cannot be done."""
        installed = environment(
            f"keystone-{VERSION}-waitress-{WAITRESS}", f"keystone=={VERSION}", f"waitress=={WAITRESS}"
        )
        self._python = installed / "bin/python"
        self._folder = folder
        self._processes = Processes(folder)
        self._roles: dict[str, str] = {}  # name → id
        self._services: dict[str, str] = {}  # type → id
        self._regions: set[str] = set()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v3"
        shutil.copytree(_prepared(installed), folder, dirs_exist_ok=True)
        _configure(folder)

    def start(self) -> None:
        """Start it, and wait until it answers; after stop(), it still knows all that it knew."""
        environ = os.environ | {"OS_KEYSTONE_CONFIG_FILES": str(self._folder / "keystone.conf")}
        self._processes.start("keystone", self._python, "-W", "ignore", "-c", SERVER, str(self.port), environ=environ)
        self._processes.await_port(self.port)
        self._enter()
        # Asked by nobody else meanwhile: while it reads its policy for the first request, it refuses others.
        self._roles = {role["name"]: role["id"] for role in self._ask("GET", "roles")["roles"]}
        if "identity" not in self._services:
            for interface in ("public", "internal", "admin"):  # clients with a token look here for Keystone itself
                self.add_endpoint("identity", self.url, "RegionOne", interface)

    @property
    def authtoken(self) -> str:
        """The lines of a PasteDeploy section for keystonemiddleware's filter; more options may follow."""
        return AUTHTOKEN.format(url=self.url, password=self.admin.password)

    def stop(self) -> None:
        """End it."""
        self._processes.stop()

    def logs(self) -> str:
        """The end of its log."""
        return self._processes.logs()

    def add_domain(self, name: str) -> str:
        """A new domain; its id."""
        return str(self._ask("POST", "domains", domain={"name": name})["domain"]["id"])

    def add_project(self, name: str, *, domain: str = DEFAULT) -> Project:
        """A new project in the domain of that id. Names are unique in a domain."""
        made = self._ask("POST", "projects", project={"name": name, "domain_id": domain})["project"]
        return Project(made["id"], name)

    def add_user(self, name: str, *, domain: str = DEFAULT) -> User:
        """A new user in the domain of that id, without any role. Names are unique in a domain."""
        password = f"key-{secrets.token_hex(16)}"
        made = self._ask("POST", "users", user={"name": name, "domain_id": domain, "password": password})["user"]
        return User(made["id"], name, password)

    def grant(self, user: User, project: Project, *roles: str) -> None:
        """Give roles on a project; those that are not known yet are made."""
        for role in roles:
            if role not in self._roles:
                self._roles[role] = self._ask("POST", "roles", role={"name": role})["role"]["id"]
            self._ask("PUT", f"projects/{project.id}/users/{user.id}/roles/{self._roles[role]}")

    def add_endpoint(self, kind: str, url: str, region: str, interface: str = "public") -> None:
        """Put a service into the catalogue. `kind` is such as "image"; $(project_id)s in `url` is replaced."""
        if kind not in self._services:
            made = self._ask("POST", "services", service={"type": kind, "name": kind})["service"]
            self._services[kind] = made["id"]
        if region not in self._regions:
            self._ask("POST", "regions", region={"id": region})
            self._regions.add(region)
        endpoint = {"interface": interface, "region_id": region, "url": url, "service_id": self._services[kind]}
        self._ask("POST", "endpoints", endpoint=endpoint)

    def token(self, user: User, project: Project) -> str:
        """A token for a user on a project, good for an hour."""
        identity = {"methods": ["password"], "password": {"user": {"id": user.id, "password": user.password}}}
        return self._log_in(identity, {"id": project.id}).headers["X-Subject-Token"]

    def short_token(self, user: User, project: Project, seconds: float) -> str:
        """A token that expires so soon: that of an application credential, which Keystone lets end with it."""
        expires = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        made = self._ask(
            "POST",
            f"users/{user.id}/application_credentials",
            token=self.token(user, project),
            application_credential={"name": secrets.token_hex(8), "expires_at": expires},
        )["application_credential"]
        known = {"id": made["id"], "secret": made["secret"]}
        answer = self._log_in({"methods": ["application_credential"], "application_credential": known}, None)
        return answer.headers["X-Subject-Token"]

    def revoke(self, token: str) -> None:
        """End a token now."""
        self._send("DELETE", "auth/tokens", {"X-Auth-Token": self._admin_token, "X-Subject-Token": token})

    def accepts(self, token: str) -> bool:
        """Whether a token is good still."""
        headers = {"X-Auth-Token": self._admin_token, "X-Subject-Token": token}
        return requests.head(f"{self.url}/auth/tokens", headers=headers, timeout=TIMEOUT).ok

    def _enter(self) -> None:
        """Log in as the administrator."""
        password = (self._folder / "password").read_text()
        user = {"name": "admin", "domain": {"id": DEFAULT}, "password": password}
        project = {"name": "admin", "domain": {"id": DEFAULT}}
        answer = self._log_in({"methods": ["password"], "password": {"user": user}}, project)
        self._admin_token = answer.headers["X-Subject-Token"]
        token = answer.json()["token"]
        self.admin = User(token["user"]["id"], "admin", password)
        self.admin_project = Project(token["project"]["id"], "admin")

    def _log_in(self, identity: dict[str, Any], project: dict[str, Any] | None) -> requests.Response:
        scope = {} if project is None else {"scope": {"project": project}}
        return self._send("POST", "auth/tokens", {}, auth={"identity": identity} | scope)

    def _ask(self, method: str, path: str, *, token: str | None = None, **body: Any) -> Any:
        answer = self._send(method, path, {"X-Auth-Token": token or self._admin_token}, **body)
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, headers: dict[str, str], **body: Any) -> requests.Response:
        answer = requests.request(method, f"{self.url}/{path}", json=body or None, headers=headers, timeout=TIMEOUT)
        answer.raise_for_status()
        return answer


def _prepared(installed: Path) -> Path:
    """A folder with the database, the keys and the administrator's password of a new Keystone.

    Made once, as that takes long; of several test runs at once, the first to be done wins.
    """
    folder = installed / f"prepared-{hashlib.sha256(repr((CONFIGURATION, STEPS)).encode()).hexdigest()[:16]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=installed) as place:
            made = Path(place) / "made"
            made.mkdir()
            _prepare(installed / "bin/keystone-manage", made)
            with suppress(OSError):  # somebody else was faster
                made.rename(folder)
    return folder


def _prepare(program: Path, folder: Path) -> None:
    password = f"key-{secrets.token_hex(16)}"
    (folder / "password").write_text(password)
    (folder / "keys").mkdir(mode=0o700)
    _configure(folder)
    environ = os.environ | {"OS_BOOTSTRAP_PASSWORD": password}
    for words in STEPS:
        command = (program, "--config-file", folder / "keystone.conf", *words)
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == 0, done.stderr


def _configure(folder: Path) -> None:
    (folder / "keystone.conf").write_text(CONFIGURATION.format(folder=folder))
