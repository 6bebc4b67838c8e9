# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack Keystone on the loopback address, with one user, and a Swift in one region of its catalogue."""

import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import requests

from tests.servers.environments import environment
from tests.servers.processes import Processes, free_port

VERSION = "30.0.0"
TIMEOUT = 60  # seconds

# All that would lie in /etc/keystone lies in the folder.
CONFIGURATION = """\
[database]
connection = sqlite:///{folder}/keystone.sqlite

[fernet_tokens]
key_repository = {folder}/keys

[fernet_receipts]
key_repository = {folder}/keys

[credential]
key_repository = {folder}/keys
"""

SERVER = """\
import sys
port = int(sys.argv.pop())  # Keystone reads the rest
from keystone.wsgi.api import application
from werkzeug.serving import run_simple
run_simple("127.0.0.1", port, application, threaded=True)
"""


class Keystone:
    """A running Keystone. Nobody is at the Swift that its catalogue names."""

    user = "admin:admin"
    region = "north"

    def __init__(self, folder: Path) -> None:
        """Install and configure, in an empty folder. Skips the test where that cannot be done."""
        self._programs = environment(f"keystone-{VERSION}", f"keystone=={VERSION}") / "bin"
        self._folder = folder
        self._processes = Processes(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v3"
        self.swift_url = f"http://127.0.0.1:{free_port()}/v1/AUTH_admin"
        self.key = f"key-{secrets.token_hex(16)}"
        (folder / "keys").mkdir(mode=0o700)
        (folder / "keystone.conf").write_text(CONFIGURATION.format(folder=folder))
        self._manage("db_sync")
        self._manage("fernet_setup", "--keystone-user", str(os.geteuid()), "--keystone-group", str(os.getegid()))
        names = ("--bootstrap-password", self.key, "--bootstrap-region-id", self.region)
        self._manage("bootstrap", *names, "--bootstrap-public-url", self.url)

    def start(self) -> None:
        settings = os.environ | {"OS_KEYSTONE_CONFIG_FILES": str(self._folder / "keystone.conf")}
        command = (self._programs / "python", "-c", SERVER, str(self.port))
        self._processes.start("keystone", *command, environ=settings)
        self._processes.await_port(self.port)
        self._name_swift()

    def stop(self) -> None:
        self._processes.stop()

    def _manage(self, *words: str) -> None:
        command = (self._programs / "keystone-manage", "--config-file", self._folder / "keystone.conf", *words)
        with (self._folder / "keystone-manage.log").open("ab") as log:
            subprocess.run(command, cwd=self._folder, stdout=log, stderr=log, timeout=TIMEOUT, check=True)

    def _name_swift(self) -> None:
        name, domain = "admin", {"name": "Default"}
        password = {"user": {"name": name, "domain": domain, "password": self.key}}
        scope = {"project": {"name": name, "domain": domain}}
        auth = {"identity": {"methods": ["password"], "password": password}, "scope": scope}
        token = self._post("auth/tokens", {}, auth=auth).headers["X-Subject-Token"]
        headers = {"X-Auth-Token": token}
        service = self._post("services", headers, service={"type": "object-store", "name": "swift"}).json()["service"]
        endpoint = {"interface": "public", "region_id": self.region, "url": self.swift_url}
        self._post("endpoints", headers, endpoint={**endpoint, "service_id": service["id"]})

    def _post(self, path: str, headers: dict[str, str], **body: Any) -> requests.Response:
        answer = requests.post(f"{self.url}/{path}", json=body, headers=headers, timeout=TIMEOUT)
        assert answer.status_code == 201, answer.text + self._processes.logs()
        return answer
