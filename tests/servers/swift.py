# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack Swift on the loopback address: one device, one replica. Its proxy speaks S3, too.

A second proxy on the same rings, whose users are Keystone's, can be started beside it: see KeystoneSwift.
"""

import os
import pwd
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.debian import program
from tests.servers.environments import environment
from tests.servers.keystone import Keystone, Project, User
from tests.servers.processes import START_TIMEOUT, Processes, free_port

VERSION = "2.38.0"
KEYSTONEMIDDLEWARE = "13.0.1"
BACKENDS = ("account", "container", "object")

# What `swift-ring-builder NAME.builder create 4 1 0`, `add` and `rebalance` do, for three rings in one process.
RINGS = """\
import sys
from swift.common.ring import RingBuilder
for name, port in zip(("account", "container", "object"), sys.argv[1:], strict=True):
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1})
    builder.rebalance()
    builder.get_ring().save(f"{name}.ring.gz")
"""

HASHES = """\
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
"""

# A server that does not wait long enough for the container server leaves the entry of an object to a daemon that does
# not run here: on a busy machine, lists would stay wrong.
COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
conn_timeout = 30
node_timeout = 60
container_update_timeout = 60
user = {user}
swift_dir = {folder}
devices = {devices}
mount_check = false
fallocate_reserve = 0
log_address = {folder}/no-syslog
"""

BACKEND = """
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
recon_cache_path = {folder}
"""

# s3api stands before tempauth. The limit of one byte for parts keeps tests of multipart uploads small.
PROXY = """
[pipeline:main]
pipeline = catch_errors cache s3api tempauth slo dlo proxy-server

[filter:s3api]
use = egg:swift#s3api
location = us-east-1
min_segment_size = 1

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {key} .admin
user_test_secure = {key} .admin https://127.0.0.1:{tls_port}/v1/AUTH_test
"""

# Without a cache of tokens, a token that is revoked ends at once and not within five minutes. Without tries of its own,
# the filter says at once that Keystone is away.
KEYSTONE_PROXY = """
[pipeline:main]
pipeline = catch_errors cache authtoken keystoneauth slo dlo proxy-server

[filter:authtoken]
{authtoken}delay_auth_decision = true
token_cache_time = -1
http_request_max_retries = 0

[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = {operator}
"""

# Segments of less than 1 MiB would be read at one a second. What S3 deletes would lose its parts when an expirer runs,
# and none runs here. A Swift server that failed ten times would be left alone for a minute: with one device, tests of
# failures would end there.
INNER = """
[filter:catch_errors]
use = egg:swift#catch_errors

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached_port}

[filter:slo]
use = egg:swift#slo
rate_limit_under_size = 0
allow_async_delete = false

[filter:dlo]
use = egg:swift#dlo

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_limit = 1000000
"""


class Swift:
    """A running Swift, and what its clients need to know."""

    user = "test:tester"  # account "test"; also the S3 access key
    tls_user = "test:secure"  # the same account, reached by https at `tls_port`, where a test puts what ends TLS
    host = "127.0.0.1"
    region = "us-east-1"  # of S3

    def __init__(self, folder: Path) -> None:
        """Install and configure, in an empty folder. Skips the test where that cannot be done."""
        self._memcached = program("memcached", "memcached")
        self._programs = (
            environment(
                f"swift-{VERSION}-keystonemiddleware-{KEYSTONEMIDDLEWARE}",
                f"swift=={VERSION}",
                f"keystonemiddleware=={KEYSTONEMIDDLEWARE}",
            )
            / "bin"
        )
        _need_attributes(folder)
        self._folder = folder
        self._ports = {name: free_port() for name in (*BACKENDS, "proxy", "memcached")}
        self._processes = Processes(folder)
        self.key = f"key-{secrets.token_hex(16)}"  # a mark: nothing that glance says may hold it
        self.port = self._ports["proxy"]
        self.tls_port = free_port()
        self.auth_url = f"http://{self.host}:{self.port}/auth/v1.0"
        self.s3_url = f"http://{self.host}:{self.port}"
        self.s3_access_key = self.user
        self.s3_secret_key = self.key
        self._configure()

    def start(self) -> None:
        """Start all servers, and wait until they answer."""
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        port = str(self._ports["memcached"])
        self._processes.start("memcached", self._memcached, "-l", self.host, "-p", port, "-U", "0", *user)
        for name in (*BACKENDS, "proxy"):
            self.start_one(name)
        for port_number in self._ports.values():
            self._processes.await_port(port_number)
        self._await_answer()

    def start_one(self, name: str) -> None:
        """Start the account, container, object or proxy server; wait with await_one."""
        command = self._programs / f"swift-{name.removeprefix('keystone-')}-server"
        self._processes.start(name, self._programs / "python", command, f"{name}.conf", "--verbose")

    def await_one(self, name: str) -> None:
        """Wait until that server listens."""
        self._processes.await_port(self._ports[name])

    def start_keystone_proxy(self, keystone: Keystone, operator: str) -> int:
        """Start another proxy, where who has the role `operator` on a project of Keystone may do everything in its
        account; the port of it."""
        name = "keystone-proxy"
        self._ports[name] = free_port()
        self._write(name, KEYSTONE_PROXY + INNER, authtoken=keystone.authtoken, operator=operator)
        self.start_one(name)
        self.await_one(name)
        return self._ports[name]

    def stop(self, *names: str) -> None:
        """End the servers of these names, or all."""
        self._processes.stop(*names)

    def logs(self) -> str:
        """The ends of the logs of all servers."""
        return self._processes.logs()

    def _configure(self) -> None:
        (self._folder / "devices/d1").mkdir(parents=True)
        (self._folder / "swift.conf").write_text(HASHES)
        ports = [str(self._ports[name]) for name in BACKENDS]
        subprocess.run([self._programs / "python", "-W", "ignore", "-c", RINGS, *ports], cwd=self._folder, check=True)
        for name in BACKENDS:
            self._write(name, BACKEND)
        self._write("proxy", PROXY + INNER, key=self.key, tls_port=self.tls_port)

    def _write(self, name: str, text: str, **more: object) -> None:
        """The configuration of a server."""
        filled = (COMMON + text).format(
            name=name,
            port=self._ports[name],
            folder=self._folder,
            devices=self._folder / "devices",
            user=pwd.getpwuid(os.geteuid()).pw_name,
            memcached_port=self._ports["memcached"],
            **more,
        )
        (self._folder / f"{name}.conf").write_text(filled)

    def _await_answer(self) -> None:
        """Until an account is made and listed: that takes the proxy, memcached and the account server."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                request = urllib.request.Request(
                    self.auth_url, headers={"X-Auth-User": self.user, "X-Auth-Key": self.key}
                )
                with urllib.request.urlopen(request, timeout=10) as answer:
                    url, token = answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]
                with urllib.request.urlopen(urllib.request.Request(url, headers={"X-Auth-Token": token}), timeout=10):
                    return
            except OSError as error:
                self._processes.check()
                assert time.monotonic() < deadline, f"Swift does not answer: {error}\n{self.logs()}"
            time.sleep(0.1)


@dataclass(frozen=True)
class KeystoneSwift:
    """A Swift whose users are Keystone's, and one of them, who may do everything in the account of a project.

    The catalogue names it in the region `region`; in `closed_region`, it names a port where nobody listens.
    """

    swift: Swift
    keystone: Keystone
    port: int
    closed_port: int
    project: Project
    user: User

    operator = "swiftoperator"
    region = "north"
    closed_region = "south"

    @property
    def url(self) -> str:
        """The account of the project."""
        return f"http://127.0.0.1:{self.port}/v1/AUTH_{self.project.id}"

    @classmethod
    def start(cls, swift: Swift, keystone: Keystone) -> "KeystoneSwift":
        """Start the proxy, and make it known to Keystone. Both must run; the proxy ends with that Swift."""
        port, closed = swift.start_keystone_proxy(keystone, cls.operator), free_port()
        for region, where in ((cls.closed_region, closed), (cls.region, port)):
            keystone.add_endpoint("object-store", f"http://127.0.0.1:{where}/v1/AUTH_$(project_id)s", region)
        project, user = keystone.add_project("service"), keystone.add_user("glance")
        keystone.grant(user, project, cls.operator)
        return cls(swift, keystone, port, closed, project, user)


def _need_attributes(folder: Path) -> None:
    """Swift keeps what it knows about an object in extended attributes of its file."""
    try:
        os.setxattr(folder, "user.swift", b"")
        os.removexattr(folder, "user.swift")
    except OSError as error:
        pytest.skip(f"the file system of {folder} keeps no extended attributes, which Swift needs: {error}")
