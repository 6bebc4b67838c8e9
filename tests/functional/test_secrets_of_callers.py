# SPDX-License-Identifier: Apache-2.0
"""Passwords and tokens of callers, and those by which their tokens are checked, show nowhere, whoever is believed."""

import base64
import re
from collections.abc import Iterator

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_identity import EXAMPLES, IMAGE, KEY, configure, keystone_callers
from tests.functional.traces import MARK, hold, said_by_commands
from tests.servers.interceptor import Interceptor, intercepting
from tests.servers.keystone import Keystone
from tests.servers.processes import free_port
from tests.servers.swift import KeystoneSwift

pytestmark = [pytest.mark.functional, pytest.mark.slow]

PASSWORD = f"{MARK}-password-11d7"
WRONG = f"{MARK}-wrong-b62c"
TOKENS = ("X-Auth-Token", "X-Subject-Token", "X-Service-Token")
STORE = """\
swift_store_auth_address = {keystone}/v3
swift_store_auth_version = 3
swift_store_user = {project}:{user}
swift_store_key = {key}
swift_store_region = {region}
swift_store_container = secrets-of-callers
swift_store_create_container_on_put = True
default_store = swift
http_store_allowed_hosts"""


def ask(installation: Installation, told: list[str], method: str, path: str, **sent: object) -> requests.Response:
    """The answer, which is also kept in `told`."""
    answer = requests.request(method, f"http://127.0.0.1:{installation.api_port}{path}", timeout=60, **sent)
    told.append(f"{answer.status_code} {answer.headers} {answer.text}")
    return answer


def exchange(installation: Installation, told: list[str], headers: dict[str, str], status: int = 201) -> None:
    """An image comes and goes, in both dialects; with another status, nothing does."""
    made = ask(installation, told, "POST", "/v1/images", headers=IMAGE | headers, data=b"bytes")
    assert made.status_code == status, made.text
    if status == 201:
        path = f"/v1/images/{made.json()['image']['id']}"
        for method in ("HEAD", "GET", "DELETE"):
            assert ask(installation, told, method, path, headers=headers).status_code == 200
    for path in ("/images/detail", "/v1/images/detail"):
        asked = ask(installation, told, "GET", path, headers=headers)
        assert asked.status_code == (200 if status in (201, 503) else status)


def test_users_of_a_file(installation: Installation) -> None:
    configure(installation, "tokens.conf")
    told = []
    words = ("user", "add", "alice", "--tenant", "a", "--password-stdin")
    done = installation.run("glance-manage", "--debug", *words, stdin=PASSWORD.encode())
    short = installation.run("glance-manage", "--debug", *words[:2], "eve", *words[3:], stdin=MARK[:7].encode())
    assert (done.returncode, short.returncode) == (0, 1)
    listed = installation.run("glance-manage", "--debug", "user", "list")
    told += [run.stdout + run.stderr for run in (done, short, listed)]
    bob = installation.run("glance-manage", "user", "add", "bob", "--tenant", "a", "--token")
    token = re.search(r"shown this once: (\S+)", bob.stdout)[1]
    assert installation.control("--debug", "all", "start").returncode == 0
    basic = {name: base64.b64encode(f"alice:{name}".encode()).decode() for name in (PASSWORD, WRONG)}
    exchange(installation, told, {"Authorization": f"Basic {basic[PASSWORD]}"})
    exchange(installation, told, {"X-Auth-Token": token})
    for headers in (
        {"Authorization": f"Basic {basic[WRONG]}"},
        {"Authorization": f"Bearer {WRONG}"},
        {"Authorization": WRONG},
        {"X-Auth-Token": WRONG},
        {"X-Auth-Token": token[:-1] + "!"},
    ):
        exchange(installation, told, headers, 401)
    for password in (PASSWORD, WRONG):
        done = installation.glance("--debug", "-v", "index", OS_USERNAME="alice", OS_PASSWORD=password)
        assert done.returncode == (password == WRONG)
        told.append(done.stdout + done.stderr)
    done = installation.glance("--debug", "index", OS_TOKEN=token)
    told += [done.stdout + done.stderr, *said_by_commands(installation, "usage")]
    assert hold({MARK, PASSWORD, WRONG, KEY, token, *basic.values()}, told, installation) == []


@pytest.fixture
def between(keystone: Keystone) -> Iterator[Interceptor]:
    with intercepting(keystone.port) as server:
        yield server


def configure_keystone(installation: Installation, cloud: KeystoneSwift, port: int, password: str, key: str) -> None:
    """Keystone at that port, the password by which tokens are checked, and the key of the store, which is Swift."""
    text = (EXAMPLES / "keystone.conf").read_text("utf-8")
    section = re.search(r"paste.filter_factory = keystonemiddleware.*?password =\n", text, re.DOTALL)[0]
    keystone = f"http://127.0.0.1:{port}"
    checked = cloud.keystone.authtoken.replace(cloud.keystone.admin.password, password)
    store = STORE.format(
        keystone=keystone, project=cloud.project.name, user=cloud.user.name, key=key, region=cloud.region
    )
    configure(
        installation,
        "keystone.conf",
        (section, checked.replace(f"http://127.0.0.1:{cloud.keystone.port}", keystone)),
        ("http_store_allowed_hosts", store),
    )


def restart(installation: Installation) -> None:
    assert installation.control("--debug", "all", "restart").returncode == 0


def test_keystone(installation: Installation, keystone_swift: KeystoneSwift, between: Interceptor) -> None:
    keystone = keystone_swift.keystone
    callers = keystone_callers(installation, keystone)
    told: list[str] = []
    good = (keystone.admin.password, keystone_swift.user.password)
    configure_keystone(installation, keystone_swift, between.port, *good)
    restart(installation)
    for headers in callers.values():
        exchange(installation, told, headers)
    for headers in ({"X-Auth-Token": WRONG}, {"X-Auth-Token": WRONG, "X-Service-Token": WRONG}):
        exchange(installation, told, headers, 401)
    told += said_by_commands(installation, "store-check", "usage")
    configure_keystone(installation, keystone_swift, between.port, good[0], WRONG)  # the store is not let in
    restart(installation)
    exchange(installation, told, callers["alice"], 503)
    told += said_by_commands(installation, "store-check", "usage")
    for port, password in ((between.port, WRONG), (free_port(), good[0])):  # we are not let in, or nobody is there
        configure_keystone(installation, keystone_swift, port, password, good[1])
        restart(installation)
        refused = ask(installation, told, "GET", "/v1/images", headers=callers["bob"])
        assert refused.status_code == 503
        told += said_by_commands(installation, "store-check", "usage")

    secrets = {MARK, WRONG, KEY, *good, *(headers["X-Auth-Token"] for headers in callers.values())}
    sent = [headers for _, _, headers in between.seen] + between.answered
    secrets |= {text for headers in sent for name, text in headers.items() if name.title() in TOKENS}
    assert len(secrets) > 5 + len(callers)  # also tokens that the daemons were given
    assert hold(secrets, told, installation) == []
