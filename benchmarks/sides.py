# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared: Glance (this one), today's OpenStack Glance as the peer, and nginx."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.functional.debian import program
from tests.servers.environments import environment
from tests.servers.processes import free_port

PEER = "33.0.0"
START_TIMEOUT = 60  # seconds
BINARY = {"Content-Type": "application/octet-stream"}

GLANCE_CONF = """\
[DEFAULT]
hashing_algorithm = {hashing}
[app:glance-api]
paste.app_factory = glance.server:app_factory
filesystem_store_datadir = {here}/images
bind_host = 127.0.0.1
bind_port = {port}
registry_host = 127.0.0.1
registry_port = {registry}
[app:glance-registry]
paste.app_factory = glance.registry.server:app_factory
bind_host = 127.0.0.1
bind_port = {registry}
sql_connection = sqlite:///{here}/glance.sqlite
"""

# One store in a folder, SQLite, no authentication: what ours has by default. Without a flavor in [paste_deploy] its
# pipeline has neither a cache nor Keystone, so everybody is an administrator, but has no role: to make images public
# needs one otherwise.
PEER_CONF = """\
[DEFAULT]
enabled_backends = disk:file
log_file = {here}/peer.log
[glance_store]
default_backend = disk
[disk]
filesystem_store_datadir = {here}/images
[database]
connection = sqlite:///{here}/peer.sqlite?timeout=60
[paste_deploy]
config_file = {etc}/glance-api-paste.ini
[oslo_policy]
policy_file = {here}/policy.yaml
enforce_scope = false
enforce_new_defaults = false
"""

# As its documentation advises, and as fast as it goes: uWSGI itself speaks HTTP, without a proxy in front; two
# processes for the two of ours, each with four threads; keep-alive, no log of requests.
PEER_UWSGI = """\
[uwsgi]
http11-socket = 127.0.0.1:{port}
module = glance.wsgi.api:application
env = OS_GLANCE_CONFIG_DIR={here}
env = OS_GLANCE_CONFIG_FILES=glance-api.conf
master = true
processes = 2
threads = 4
enable-threads = true
lazy-apps = true
thunder-lock = true
buffer-size = 65535
die-on-term = true
worker-reload-mercy = 2
disable-logging = true
"""

NGINX_CONF = """\
{user} daemon off; pid {here}/nginx.pid; error_log {here}/nginx.log; worker_processes 2;
events {{ }}
http {{
  access_log off; sendfile on; client_max_body_size 0; client_body_temp_path {here}/tmp;
  server {{ listen 127.0.0.1:{port}; root {here}/files; dav_methods PUT DELETE; }}
}}
"""


@dataclass
class Side:
    """A server that runs. `pids` are all its processes."""

    name: str
    port: int
    pids: list[int] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def processor_time(self) -> float:
        """Seconds that all its processes have computed."""
        ticks = 0
        for pid in self.pids:
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        """Bytes in memory of all its processes."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids)
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        """Return the body of a response whose status is below 300; others raise RuntimeError."""
        return self.request(method, path, body, headers)[1]

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """Return headers and body, as ask() does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise RuntimeError(f"{self.name}: {method} {path}: {response.status} {content[:300]!r}")
        return response.headers, content


class Glance(Side):
    """One image service under test: how to reserve, upload, read and delete, each side in its own API."""

    def reserve(self, name: str) -> str:
        """Make a public image without data, and return its id. Without a filter, lists show public images alone."""
        headers = {
            "x-image-meta-name": name,
            "x-image-meta-disk-format": "raw",
            "x-image-meta-container-format": "bare",
            "x-image-meta-is-public": "true",
        }
        return str(json.loads(self.ask("POST", "/v1/images", headers=headers))["image"]["id"])

    def upload_command(self, image_id: str, file: Path) -> list[str]:
        return [*_PUT, "-T", str(file), self.url(f"/v1/images/{image_id}")]

    def data(self, image_id: str) -> str:
        return self.url(f"/v1/images/{image_id}")

    def metadata(self, image_id: str) -> tuple[str, str]:
        """Method and URL."""
        return "HEAD", self.url(f"/v1/images/{image_id}")

    def page(self, limit: int) -> tuple[str, str]:
        """Return method and URL of a list with this many images."""
        return "GET", self.url(f"/v1/images/detail?limit={limit}")

    def stored(self, image_id: str) -> tuple[str, int]:
        """Return the status of an image and its size in bytes."""
        headers, _ = self.request("HEAD", f"/v1/images/{image_id}")
        return headers["x-image-meta-status"], int(headers["x-image-meta-size"])

    def delete(self, image_id: str) -> None:
        self.ask("DELETE", f"/v1/images/{image_id}")


class Peer(Glance):
    """OpenStack Glance has only v2, and answers no HEAD."""

    def reserve(self, name: str) -> str:
        body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
        headers = {"Content-Type": "application/json"}
        return str(json.loads(self.ask("POST", "/v2/images", json.dumps(body).encode(), headers))["id"])

    def upload_command(self, image_id: str, file: Path) -> list[str]:
        return [*_PUT, "-T", str(file), self.url(f"/v2/images/{image_id}/file")]

    def data(self, image_id: str) -> str:
        return self.url(f"/v2/images/{image_id}/file")

    def metadata(self, image_id: str) -> tuple[str, str]:
        return "GET", self.url(f"/v2/images/{image_id}")

    def page(self, limit: int) -> tuple[str, str]:
        return "GET", self.url(f"/v2/images?limit={limit}")

    def stored(self, image_id: str) -> tuple[str, int]:
        image = json.loads(self.ask("GET", f"/v2/images/{image_id}"))
        return image["status"], image["size"]

    def delete(self, image_id: str) -> None:
        self.ask("DELETE", f"/v2/images/{image_id}")


# Without an Expect that the peer's server would let curl wait for.
_PUT = ["curl", "-sS", "--fail", "-X", "PUT", "-H", "Content-Type: application/octet-stream", "-H", "Expect:"]


@contextmanager
def glance(here: Path, hashing: str = "sha512") -> Iterator[Glance]:
    """Both daemons, as glance-control starts them."""
    here.mkdir()
    conf = here / "glance.conf"
    side = Glance("glance", free_port())
    conf.write_text(GLANCE_CONF.format(here=here, port=side.port, registry=free_port(), hashing=hashing))
    start_glance(here)
    try:
        side.pids = [int((here / f"glance-{name}.pid").read_text()) for name in ("api", "registry")]
        yield side
    finally:
        stop_glance(here)


def start_glance(here: Path) -> None:
    _control(here, "start")


def stop_glance(here: Path) -> None:
    _control(here, "stop")


def _control(here: Path, verb: str) -> None:
    program = Path(sys.executable).with_name("glance-control")
    command = [str(program), "--pid-dir", str(here), "--log-dir", str(here), "all", verb, str(here / "glance.conf")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def peer(here: Path) -> Iterator[Peer]:
    here.mkdir()
    programs = environment(f"openstack-glance-{PEER}", f"glance=={PEER}", "uwsgi==2.0.31")
    side = Peer("peer", free_port())
    (here / "glance-api.conf").write_text(PEER_CONF.format(here=here, etc=programs / "etc/glance"))
    (here / "policy.yaml").write_text('"publicize_image": ""\n')
    (here / "uwsgi.ini").write_text(PEER_UWSGI.format(here=here, port=side.port))
    path = {**os.environ, "PATH": f"{programs / 'bin'}:{os.environ['PATH']}"}
    with (here / "uwsgi.log").open("w") as log:
        subprocess.run(
            [programs / "bin/glance-manage", "--config-file", here / "glance-api.conf", "db_sync"],
            check=True, env=path, stdout=log, stderr=log,
        )  # fmt: skip
        command = [programs / "bin/uwsgi", "--ini", here / "uwsgi.ini", "-H", programs]
        # Not from our folder, where the package `glance` is another one.
        with _running(subprocess.Popen(command, cwd=here, env=path, stdout=log, stderr=log), side.port) as pid:
            _await(lambda: side.ask("GET", "/v2/images"))
            side.pids = [pid, *_children(pid)]
            yield side


@contextmanager
def nginx(here: Path) -> Iterator[Side]:
    (here / "files").mkdir(parents=True)
    side = Side("nginx", free_port())
    user = "user root;" if os.geteuid() == 0 else ""  # so that its workers may work wherever we may
    (here / "nginx.conf").write_text(NGINX_CONF.format(here=here, port=side.port, user=user))
    command = [program("nginx", "nginx-light"), "-c", here / "nginx.conf", "-e", here / "nginx.log"]
    with _running(subprocess.Popen(command), side.port) as pid:
        side.pids = [pid, *_children(pid)]
        yield side


@contextmanager
def _running(process: subprocess.Popen[bytes], port: int) -> Iterator[int]:
    try:
        _await(lambda: socket.create_connection(("127.0.0.1", port), 1).close())
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_TIMEOUT)


def _await(deed: object) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        with suppress(OSError, RuntimeError, http.client.HTTPException):
            deed()  # type: ignore[operator]
            return
        time.sleep(0.1)
    raise RuntimeError(f"no answer within {START_TIMEOUT} seconds")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
