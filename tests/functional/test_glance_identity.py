# SPDX-License-Identifier: Apache-2.0
"""`glance` and who calls: users of a file, a real Keystone by v3 and v2.0, certificates; and who is not believed."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.functional.test_identity import configure, configure_keystone
from tests.servers.keystone import Keystone, Project, User
from tests.servers.keystone_v2 import keystone_v2
from tests.servers.scripted import Reply, scripted
from tests.servers.tls import Authority, tls_before

pytestmark = pytest.mark.functional

NOT_AUTHORIZED = r"Not authorized to list images \(.+\)\. Check your credentials: OS_AUTH_USER, OS_AUTH_KEY, or OS_USERNAME, OS_PASSWORD, or OS_AUTH_TOKEN\n"


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    """Daemons with a user alice of the tenant a, whose password is "pass: wörd", and her token."""
    made = Installation(tmp_path_factory.mktemp("users"))
    try:
        configure(made, "tokens.conf")
        words = ("user", "add", "alice", "--tenant", "a", "--token", "--password-stdin")
        done = made.run("glance-manage", *words, stdin="pass: wörd\n".encode())
        assert done.returncode == 0, done.stderr
        made.start()
        yield made, re.search(r"shown this once: (\S+)", done.stdout)[1]
    finally:
        made.end()


@pytest.mark.parametrize("names", [("OS_AUTH_USER", "OS_AUTH_KEY"), ("OS_USERNAME", "OS_PASSWORD")])
def test_a_user_with_a_password(users: tuple[Installation, str], names: tuple[str, str]) -> None:
    installation, _ = users
    done = installation.glance(
        "add", "name=mine", "--json", stdin=b"abc", **dict(zip(names, ("alice", "pass: wörd"), strict=True))
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["owner"] == "a"


def test_a_token(users: tuple[Installation, str]) -> None:
    installation, token = users
    for done in (installation.glance("index", "--auth_token", token), installation.glance("index", OS_TOKEN=token)):
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("environ", [
    {}, {"OS_AUTH_USER": "alice", "OS_AUTH_KEY": "wrong"}, {"OS_AUTH_TOKEN": "wrong"},
    {"OS_AUTH_STRATEGY": "noauth", "OS_AUTH_USER": "alice", "OS_AUTH_KEY": "pass: wörd"},
])  # fmt: skip
def test_who_is_not_believed(users: tuple[Installation, str], environ: dict[str, str]) -> None:
    installation, _ = users
    done = installation.glance("index", **environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(NOT_AUTHORIZED, done.stderr)
    assert (
        json.loads(installation.glance("index", "--json", **environ).stderr)["error"]["reason"] == "not-authenticated"
    )


def test_a_password_is_not_shown(users: tuple[Installation, str]) -> None:
    installation, _ = users
    done = installation.glance("-d", "-v", "index", OS_USERNAME="alice", OS_PASSWORD="mark-5d1e")
    assert done.returncode == 1
    assert "mark-5d1e" not in done.stdout + done.stderr


# Keystone


@dataclass(frozen=True)
class Cloud:
    installation: Installation
    keystone: Keystone
    user: User
    project: Project

    def environ(self, **changes: str) -> dict[str, str]:
        return {
            "OS_AUTH_URL": self.keystone.url, "OS_USERNAME": self.user.name, "OS_PASSWORD": self.user.password,
            "OS_PROJECT_NAME": self.project.name, **changes,
        }  # fmt: skip


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, keystone: Keystone) -> Iterator[Cloud]:
    """Daemons whose users are Keystone's, which knows where they are, in two regions."""
    made = Installation(tmp_path_factory.mktemp("cloud"))
    try:
        mark = time.monotonic_ns()
        project, user = keystone.add_project(f"project-{mark}"), keystone.add_user(f"user-{mark}")
        keystone.grant(user, project, "member")
        keystone.add_endpoint("image", f"http://127.0.0.1:{made.api_port}", f"here-{mark}")
        keystone.add_endpoint("image", "http://127.0.0.1:1", f"there-{mark}")
        configure_keystone(made, keystone)
        made.start()
        yield Cloud(made, keystone, user, project)
    finally:
        made.end()


def by_catalogue(cloud: Cloud, *words: str, **environ: str) -> tuple[int, str, str]:
    """Without a port, so that Keystone is asked where Glance is."""
    installation = cloud.installation
    before = installation.command
    try:
        installation.command = lambda program, _, __, *others: before(program, *others)
        done = installation.glance(*words, **environ)
    finally:
        installation.command = before
    return done.returncode, done.stdout, done.stderr


def test_keystone_tells_who_we_are_and_where_glance_is(cloud: Cloud) -> None:
    mark = cloud.project.name.partition("-")[2]
    environ = cloud.environ(OS_REGION_NAME=f"here-{mark}")
    status, output, error = by_catalogue(cloud, "add", "name=mine", "--queued", "--json", **environ)
    assert (status, error.startswith("It is queued")) == (0, True), error
    assert json.loads(output)["owner"] == cloud.project.id
    status, _, error = by_catalogue(cloud, "-R", f"there-{mark}", "index", **environ)
    assert status == 1
    assert error.startswith("Failed to connect to the Glance API server 127.0.0.1:1. ")
    status, _, error = by_catalogue(cloud, "index", **(environ | {"OS_REGION_NAME": "nowhere"}))
    assert status == 1
    assert re.fullmatch(r"Keystone does not know where Glance is \(.*nowhere.*\): say it with --url\n", error)


def test_the_words_of_2011_and_domains(cloud: Cloud) -> None:
    old = {
        "OS_AUTH_STRATEGY": "keystone", "OS_AUTH_USER": cloud.user.name, "OS_AUTH_KEY": cloud.user.password,
        "OS_AUTH_TENANT": cloud.project.name, "OS_AUTH_URL": cloud.keystone.url.removesuffix("/v3"),
    }  # fmt: skip
    done = cloud.installation.glance("index", **old)
    assert (done.returncode, done.stderr) == (0, "")
    with keystone_v2(cloud.keystone.url) as url:
        done = cloud.installation.glance("index", **(old | {"OS_AUTH_URL": url}))
    assert (done.returncode, done.stderr) == (0, "")
    domain = {"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_ID": "default"}
    done = cloud.installation.glance("index", **cloud.environ(**domain))
    assert (done.returncode, done.stderr) == (0, "")


def test_whom_keystone_does_not_know(cloud: Cloud) -> None:
    done = cloud.installation.glance("index", **cloud.environ(OS_PASSWORD="wrong-mark-77"))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(NOT_AUTHORIZED, done.stderr)
    done = cloud.installation.glance("index", OS_AUTH_TOKEN="gAAAAA-wrong")
    assert re.fullmatch(NOT_AUTHORIZED, done.stderr)


def test_a_keystone_that_is_none(cloud: Cloud) -> None:
    with scripted() as other:
        other.answer = lambda asked: Reply(500, b"no")
        done = cloud.installation.glance("index", **cloud.environ(OS_AUTH_URL=f"{other.url}/v3"))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Failed to get a token from http://127\.0\.0\.1:\d+/v3: .*\n", done.stderr)


# Certificates


def test_https(running: Installation, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with tls_before(running.api_port, authority.context()) as port:
        where = f"127.0.0.1:{port}"
        done = running.glance("-U", f"https://{where}", "index")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(f"Is glance-api running? (no trustworthy TLS server at {where})\n")
        for words, environ in (
            (["--os-cacert", str(authority.file)], {}),
            (["-k"], {}),
            ([], {"OS_CACERT": str(authority.file)}),
        ):
            done = running.glance("-U", f"https://{where}", *words, "index", **environ)
            assert (done.returncode, done.stderr) == (0, "")
        done = running.glance("-U", f"https://{where}", "--os-cacert", "nowhere.pem", "index")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"[^\n]*nowhere\.pem[^\n]*\n", done.stderr)
