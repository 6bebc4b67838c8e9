# SPDX-License-Identifier: Apache-2.0
"""Identified callers on real daemons, in each way that etc/examples shows: what is another's is not there."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation, answer_of
from tests.functional.test_trouble import wait_for
from tests.servers.keystone import Keystone

pytestmark = pytest.mark.functional

EXAMPLES = Path(__file__).parents[2] / "etc/examples"
KEY = "registry-key-mark-8c1d"
UNKNOWN = "71c675ab-d94f-49cd-a114-e12490b328d9"
IMAGE = {
    "x-image-meta-name": "image", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare",
    "Content-Type": "application/octet-stream",
}  # fmt: skip
CALLERS = {  # name → (tenant, roles)
    "alice": ("a", ("member",)), "bob": ("b", ("member",)), "carol": ("a", ("member", "placer")), "root": ("ops", ("admin",)),
}  # fmt: skip

Send = Callable[..., requests.Response]


def configure(installation: Installation, example: str, *changes: tuple[str, str]) -> None:
    """The example as it stands, but for what it tells to change, and for places and ports of the test."""
    text = (EXAMPLES / example).read_text("utf-8").replace("bind_host = 127.0.0.1\n", "")
    for old, new in (
        ("registry_key =\n", f"registry_key = {KEY}\npolicy_set_image_location = placer\n"),
        ("[app:api]\n", f"[app:api]\nbind_host = 127.0.0.1\nbind_port = {installation.api_port}\n"
            f"registry_port = {installation.registry_port}\nhttp_store_allowed_hosts = 127.0.0.1\n"),
        ("/var/lib/glance/images/", f"{installation.folder}/images"),
        ("[app:glance-registry]\n", f"[app:glance-registry]\nbind_port = {installation.registry_port}\n"),
        *changes,
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    installation.config.write_text(text)


def tokens(installation: Installation) -> dict[str, dict[str, str]]:
    """Headers by which callers are known, of users that glance-manage has made."""
    configure(installation, "tokens.conf")
    made = {}
    for name, (tenant, roles) in CALLERS.items():
        words = [word for role in roles for word in ("--role", role)]
        done = installation.run("glance-manage", "user", "add", name, "--tenant", tenant, *words, "--token")
        assert done.returncode == 0, done.stderr
        made[name] = {"X-Auth-Token": re.search(r"shown this once: (\S+)", done.stdout)[1]}
    return made


def proxy(installation: Installation) -> dict[str, dict[str, str]]:
    configure(installation, "proxy.conf")
    return {
        name: {
            "X-Identity-Status": "Confirmed",
            "X-User-Id": name,
            "X-Project-Id": tenant,
            "X-Roles": ",".join(roles),
        }
        for name, (tenant, roles) in CALLERS.items()
    }


@pytest.fixture(params=["tokens", "proxy", "keystone"])
def callers(request: pytest.FixtureRequest, installation: Installation) -> dict[str, dict[str, str]]:
    """Headers by which each caller is known; the daemons run."""
    if request.param == "keystone":
        made = keystone_callers(installation, request.getfixturevalue("keystone"))
    else:
        made = {"tokens": tokens, "proxy": proxy}[request.param](installation)
    installation.start()
    return made


def keystone_callers(installation: Installation, keystone: Keystone) -> dict[str, dict[str, str]]:
    projects = {tenant: keystone.add_project(f"{tenant}-{time.monotonic_ns()}") for tenant, _ in CALLERS.values()}
    made = {}
    for name, (tenant, roles) in CALLERS.items():
        user = keystone.add_user(f"{name}-{time.monotonic_ns()}")
        keystone.grant(user, projects[tenant], *(role for role in roles if role != "placer"))
        made[name] = {"X-Auth-Token": keystone.token(user, projects[tenant])}
    configure_keystone(installation, keystone)
    return made


def configure_keystone(installation: Installation, keystone: Keystone, *changes: tuple[str, str]) -> None:
    text = (EXAMPLES / "keystone.conf").read_text("utf-8")
    section = re.search(r"paste.filter_factory = keystonemiddleware.*?password =\n", text, re.DOTALL)[0]
    configure(installation, "keystone.conf", (section, keystone.authtoken), *changes)


@pytest.fixture
def send(installation: Installation) -> Send:
    def send(method: str, path: str, *headers: dict[str, str], data: bytes | None = None) -> requests.Response:
        merged = {name: value for given in headers for name, value in given.items()}
        url = f"http://127.0.0.1:{installation.api_port}{path}"
        return requests.request(method, url, headers=merged, data=data, timeout=20)

    return send


def test_what_is_anothers_is_not_there_and_stays(callers: dict[str, dict[str, str]], send: Send) -> None:
    made = send("POST", "/v1/images", callers["alice"], IMAGE, data=b"of alice")
    assert made.status_code == 201, made.text
    path = f"/v1/images/{made.json()['image']['id']}"
    for method in ("HEAD", "GET", "PUT", "DELETE"):
        assert send(method, path, callers["bob"]).status_code == 404
        assert send(method, f"/v1/images/{UNKNOWN}", callers["bob"]).status_code == 404
    assert send("PUT", f"{path}/members/bob", callers["bob"]).status_code == 404
    assert send("GET", "/images/1", callers["bob"]).status_code == 404  # the number is no way around
    assert send("DELETE", "/images/1", callers["bob"]).status_code == 404
    assert send("GET", "/v1/images?is_public=None", callers["bob"]).json() == {"images": []}
    assert send("GET", path, callers["alice"]).content == b"of alice"
    assert send("GET", path, callers["root"]).content == b"of alice"
    listed = send("GET", "/v1/images/detail", callers["alice"]).json()["images"]
    assert [image["name"] for image in listed] == ["image"]
    assert send("PUT", path, callers["alice"], {"x-image-meta-is_public": "True"}).status_code == 403
    assert send("PUT", path, callers["root"], {"x-image-meta-is_public": "True"}).status_code == 200
    assert send("GET", path, callers["bob"]).content == b"of alice"
    assert send("DELETE", path, callers["bob"]).status_code == 403
    assert send("DELETE", path, callers["alice"]).status_code == 200


def test_who_is_not_known_gets_nothing(
    callers: dict[str, dict[str, str]], send: Send, installation: Installation
) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/images"),
        ("GET", "/v1/images"),
        ("POST", "/v1/images"),
        ("DELETE", "/images/1"),
    ):
        answer = send(method, path)
        assert answer.status_code == 401
        assert answer.headers.get("X-Openstack-Request-Id", "req-").startswith("req-")  # authtoken gives none
        assert send(method, path, {"X-Auth-Token": "nonsense"}).status_code == 401
    assert send("GET", "/healthcheck").status_code == 200
    assert send("GET", "/versions").status_code == 200
    assert send("GET", "/", {"Accept": "application/json"}).status_code == 300


@pytest.mark.parametrize("lie", [
    {"X-Roles": "admin"}, {"X-Tenant-Id": "ops", "X-Project-Id": "ops", "X-Roles": "admin", "X-User-Id": "root", "X-Identity-Status": "Confirmed"},
    {"x_roles": "admin"}, {"X-Glance-Admin": "True", "X-Glance-Registry-Key": KEY}, {"X-ROLES": "admin", "x-identity-status": "Confirmed"},
], ids=str)  # fmt: skip
def test_lies_about_oneself_are_not_believed(installation: Installation, send: Send, lie: dict[str, str]) -> None:
    known = tokens(installation)
    installation.start()
    made = send("POST", "/v1/images", known["alice"], IMAGE, data=b"of alice").json()["image"]
    path = f"/v1/images/{made['id']}"
    assert send("GET", path, lie).status_code == 401
    assert send("GET", path, known["bob"], lie).status_code == 404


def send_lines(port: int, *lines: str) -> tuple[int, str]:
    """Send a GET of a list of images with these header lines; the status and the text of the answer."""
    head = "\r\n".join(("GET /v1/images?is_public=None HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(head.encode())
        answer = answer_of(sock).decode()
    return int(answer.split(" ")[1]), answer


IDENTITY = (
    "X-Identity-Status: Confirmed",
    "X-User-Id: alice",
    "X-Project-Id: a",
    "X-Tenant-Id: a",
    "X-Roles: member",
)


@pytest.mark.parametrize("added", [
    "X-Roles: admin", "X-Project-Id: ops", "X-Tenant-Id: ops", "X-User-Id: root", "X-Identity-Status: Confirmed", "x-roles: admin",
])  # fmt: skip
def test_a_header_that_a_client_adds_to_those_of_the_proxy_is_refused(
    running_proxy: Installation, added: str
) -> None:
    """A proxy that adds its headers instead of setting them passes on those of the client, before or after its own."""
    name = added.partition(":")[0].lower()
    for lines in ((*IDENTITY, added), (added, *IDENTITY)):
        status, answer = send_lines(running_proxy.api_port, *lines)
        assert (status, f"the header {name} is there twice" in answer) == (400, True)
    assert send_lines(running_proxy.api_port, *IDENTITY)[0] == 200


def test_several_roles_of_one_header_are_several(running_proxy: Installation) -> None:
    lines = [*IDENTITY[:-1], "X-Roles: member, admin"]
    assert send_lines(running_proxy.api_port, *lines)[0] == 200


@pytest.mark.parametrize("added", [
    "X-Glance-Registry-Key: wrong", f"X-Glance-Registry-Key: {KEY}", "X-Glance-Admin: True", "X-Tenant-Id: b", "X-User-Id: bob", "X-Roles: admin",
])  # fmt: skip
def test_the_registry_takes_each_header_once(running_proxy: Installation, added: str) -> None:
    lines = (
        f"X-Glance-Registry-Key: {KEY}",
        "X-Glance-Admin: False",
        "X-Tenant-Id: a",
        "X-User-Id: u",
        "X-Roles: member",
    )
    url = f"http://127.0.0.1:{running_proxy.registry_port}/records"
    assert requests.get(url, headers=dict(line.split(": ") for line in lines), timeout=10).status_code == 200
    for sent in ((*lines, added), (added, *lines)):
        assert send_lines(running_proxy.registry_port, *sent)[0] == 400


@pytest.mark.parametrize("line", ["X-Auth-Token: {token}", "Authorization: Basic eDp5"])
def test_credentials_are_sent_once(installation: Installation, line: str) -> None:
    token = tokens(installation)["alice"]["X-Auth-Token"]
    installation.start("api")
    line = line.format(token=token)
    status, answer = send_lines(installation.api_port, line, line)
    assert (status, "is there twice" in answer) == (400, True)


@pytest.mark.parametrize("tenant", ["prüf-Ärger", "漢字 🐧"])
def test_a_project_of_any_script(running_proxy: Installation, tenant: str) -> None:
    """Headers are UTF-8: an image belongs to the project that JSON and paths name with the same characters."""

    def headers(project: str) -> dict[str, str]:
        values = {"X-Identity-Status": "Confirmed", "X-User-Id": "ünï", "X-Project-Id": project, "X-Roles": "rôle"}
        return {name: value.encode() for name, value in values.items()}

    url = f"http://127.0.0.1:{running_proxy.api_port}/v1"
    made = requests.post(f"{url}/images", b"x", headers={**IMAGE, **headers(tenant)}, timeout=10)
    assert (made.status_code, made.json()["image"]["owner"]) == (201, tenant)
    path = f"{url}/images/{made.json()['image']['id']}"
    assert requests.put(f"{path}/members/{tenant}-2", headers=headers(tenant), timeout=10).status_code == 204
    assert requests.get(path, headers=headers(f"{tenant}-2"), timeout=10).content == b"x"
    assert requests.get(path, headers=headers("other"), timeout=10).status_code == 404
    assert requests.get(path, headers={**headers("a"), "X-Project-Id": b"\xff"}, timeout=10).status_code == 400


@pytest.fixture(scope="module")
def running_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Daemons that trust the loopback address to identify callers."""
    made = Installation(tmp_path_factory.mktemp("proxy"))
    try:
        proxy(made)
        made.start()
        yield made
    finally:
        made.end()


def test_the_proxy_is_believed_at_its_address_alone(installation: Installation, send: Send) -> None:
    known = proxy(installation)
    text = installation.config.read_text().replace("addresses = 127.0.0.1", "addresses = 10.0.0.1, 192.168.0.0/16")
    installation.config.write_text(text)
    installation.start()
    assert send("GET", "/v1/images", known["root"]).status_code == 401


def test_the_registry_answers_who_has_its_key(callers: dict[str, dict[str, str]], installation: Installation) -> None:
    url = f"http://127.0.0.1:{installation.registry_port}"
    lies = {"X-Glance-Admin": "True", "X-Roles": "admin", "X-Tenant-Id": "ops"}
    for path in ("/records", "/images", "/images/detail", "/", f"/records/{UNKNOWN}"):
        for headers in ({}, lies, {**lies, "X-Glance-Registry-Key": "wrong"}, {**lies, **callers["root"]}):
            assert requests.get(url + path, headers=headers, timeout=10).status_code == 401
    assert requests.get(f"{url}/records", headers={"X-Glance-Registry-Key": KEY}, timeout=10).status_code == 200


def test_without_the_key_identity_does_not_start(installation: Installation) -> None:
    (installation.folder / "users.json").write_text('{"version": 1, "users": []}')
    configure(installation, "tokens.conf", (f"registry_key = {KEY}\n", "registry_key =\n"))
    started = installation.control("api", "start")
    assert started.returncode == 1
    assert re.search(r"set registry_key in \[DEFAULT\], for example to \S{32}", started.stdout + started.stderr)


def test_a_registry_that_was_started_with_another_key_is_told_in_the_log(
    installation: Installation, send: Send
) -> None:
    installation.start("registry")
    known = tokens(installation)
    installation.start("api")
    answer = send("GET", "/v1/images", known["alice"])
    assert (answer.status_code, "refuses this server, whose log says why" in answer.text) == (503, True)
    assert "the registry refuses our registry_key" in installation.logs()
    assert installation.control("all", "restart").returncode == 0
    assert send("GET", "/v1/images", known["alice"]).status_code == 200


@pytest.mark.parametrize(("change", "told"), [
    ("user_file = x", "did you mean users_file"), ("users_file = /nonsense", "/nonsense: No such file"), ("", "needs a users_file"),
])  # fmt: skip
def test_what_is_wrong_with_a_filter_is_told_at_start(installation: Installation, change: str, told: str) -> None:
    configure(installation, "tokens.conf", ("users_file = %(here)s/users.json", change))
    started = installation.control("api", "start")
    assert started.returncode == 1
    assert told in started.stdout + started.stderr


@pytest.mark.parametrize(("options", "warned"), [
    ("bind_host = 0.0.0.0", True), ("bind_host = 127.0.0.1", False), ("bind_host = ::1", False),
])  # fmt: skip
@pytest.mark.parametrize("server", ["api", "registry"])
def test_a_door_that_is_open_to_all_is_told_once(
    installation: Installation, server: str, options: str, warned: bool
) -> None:
    text = installation.config.read_text()
    installation.config.write_text(text.replace("bind_host = 127.0.0.1\n", f"{options}\n"))
    started = installation.control(server, "start")
    assert started.returncode == 0, started.stderr
    log = (installation.folder / "log" / f"glance-{server}.log").read_text()
    told = {"api": "no filter identifies callers", "registry": "there is no registry_key"}[server]
    assert [line.split()[2] for line in log.splitlines() if told in line] == ["WARNING"] * warned
    assert started.stderr.count(f"WARNING: glance-{server}: {told}") == warned


PASSING_FILTER = """\
[filter:pass]
paste.filter_app_factory = paste.deploy.config:make_prefix_middleware
[pipeline:glance-{server}]
pipeline = pass app
"""


@pytest.mark.parametrize(("server", "key"), [("api", "registry_key = a-key-of-both"), ("registry", "")])
def test_a_filter_that_identifies_nobody_and_a_key_for_the_registry_close_nothing(
    installation: Installation, server: str, key: str
) -> None:
    text = installation.config.read_text().replace("bind_host = 127.0.0.1\n", "bind_host = 0.0.0.0\n")
    text = text.replace("[DEFAULT]\n", f"[DEFAULT]\n{key}\n").replace(f"[app:glance-{server}]", "[app:app]")
    installation.config.write_text(text + PASSING_FILTER.format(server=server))
    installation.config.chmod(0o600)
    started = installation.control(server, "start")
    assert re.fullmatch(rf"WARNING: glance-{server}: .+ is open to other hosts: .+\n", started.stderr)


# Users of a file


def test_passwords_are_taken_too(installation: Installation, send: Send) -> None:
    configure(installation, "tokens.conf")
    add = ("glance-manage", "user", "add", "dora", "--tenant", "d", "--password-stdin")
    assert installation.run(*add, stdin="geheim-ünï-漢\n".encode()).returncode == 0
    installation.start()
    url = f"http://127.0.0.1:{installation.api_port}/v1/images"
    right = "geheim-ünï-漢".encode()
    for _ in range(3):
        assert requests.get(url, auth=(b"dora", right), timeout=10).status_code == 200
    for auth in ((b"dora", b"wrong"), (b"nobody", right), (b"dora", b""), (b"", right)):
        answer = requests.get(url, auth=auth, timeout=10)
        assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    for header in ("Basic", "Basic ???", "Basic ZG9yYQ==", "Bearer x", "basic " + "A" * 5000):
        assert send("GET", "/v1/images", {"Authorization": header}).status_code == 401


def test_users_come_and_go_while_the_daemon_runs(installation: Installation, send: Send) -> None:
    known = tokens(installation)
    installation.start()
    assert send("GET", "/v1/images", known["bob"]).status_code == 200
    assert installation.run("glance-manage", "user", "remove", "bob").returncode == 0
    wait_for(lambda: send("GET", "/v1/images", known["bob"]).status_code == 401)
    assert send("GET", "/v1/images", known["alice"]).status_code == 200
    (installation.folder / "users.json").chmod(0o644)
    (installation.folder / "users.json").touch()
    time.sleep(1.5)
    assert send("GET", "/v1/images", known["alice"]).status_code == 200
    assert "others may read it" in installation.logs()


def test_a_command_that_knows_no_users_says_so(installation: Installation) -> None:
    tokens(installation)
    installation.start()
    done = installation.upload("-", "image", stdin=b"bytes")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("This program knows no users: take `glance add`\n")


def test_the_command_for_users(installation: Installation) -> None:
    known = tokens(installation)
    listed = installation.run("glance-manage", "user", "list")
    assert listed.stdout.splitlines()[0].split() == ["NAME", "TENANT", "ROLES", "CREDENTIALS"]
    assert ["carol", "a", "member,placer", "token"] in [line.split() for line in listed.stdout.splitlines()]
    kept = (installation.folder / "users.json").read_text()
    for headers in known.values():
        assert re.fullmatch("[0-9a-f]{64}", headers["X-Auth-Token"])  # never to be taken for an option
        assert headers["X-Auth-Token"] not in kept + listed.stdout
    assert (installation.folder / "users.json").stat().st_mode & 0o777 == 0o600
    for arguments, told in (
        (("add", "bob", "--tenant", "b", "--token"), "there is a user 'bob' already"), (("remove", "nobody"), "no user 'nobody'"),
        (("add", "a:b", "--tenant", "b", "--token"), "colon"), (("add", "x", "--tenant", "", "--token"), "1 to 255"),
        (("add", "x", "--tenant", "t", "--password-stdin"), "at least 8"),
    ):  # fmt: skip
        done = installation.run("glance-manage", "user", *arguments, stdin=b"short\n")
        assert (done.returncode, told in done.stderr) == (1, True), done.stderr


# Keystone


def test_tokens_of_keystone_end(installation: Installation, keystone: Keystone, send: Send) -> None:
    """Both are used before they end, so that the filter has them in its cache."""
    project, user = keystone.add_project("ending"), keystone.add_user("ending")
    keystone.grant(user, project, "member")
    configure_keystone(installation, keystone, ("token_cache_time = 10\n", "token_cache_time = 2\n"))
    installation.start()
    short = {"X-Auth-Token": keystone.short_token(user, project, 6)}
    revoked = {"X-Auth-Token": keystone.token(user, project)}
    assert send("GET", "/v1/images", revoked).status_code == 200
    assert send("GET", "/v1/images", short).status_code == 200
    keystone.revoke(revoked["X-Auth-Token"])
    wait_for(lambda: send("GET", "/v1/images", revoked).status_code == 401, 10)
    wait_for(lambda: send("GET", "/v1/images", short).status_code == 401, 20)


def test_the_documentation_says_for_how_long_a_revoked_token_works() -> None:
    (seconds,) = re.findall(
        r"^token_cache_time = (\d+)$", (EXAMPLES / "keystone.conf").read_text("utf-8"), re.MULTILINE
    )
    assert int(seconds) <= 30
    page = (EXAMPLES.parents[1] / "docs/identity.md").read_text("utf-8")
    assert f"for up to `token_cache_time` seconds more**, {seconds} in the example" in page


def test_a_keystone_that_is_away_is_told_in_time(installation: Installation, keystone: Keystone, send: Send) -> None:
    gone = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:1", keystone.authtoken)
    configure_keystone(installation, keystone)
    installation.config.write_text(installation.config.read_text().replace(keystone.authtoken, gone))
    installation.start()
    assert send("GET", "/v1/images", {"X-Auth-Token": "x" * 200}).status_code == 503
    assert send("GET", "/healthcheck").status_code == 200


def test_the_filter_alone_believes_nobody(installation: Installation, keystone: Keystone, send: Send) -> None:
    configure_keystone(installation, keystone)
    text = installation.config.read_text().replace("pipeline = authtoken keystone api", "pipeline = keystone api")
    installation.config.write_text(text)
    installation.start()
    headers = {"X-Identity-Status": "Confirmed", "X-Project-Id": "a", "X-Roles": "admin", "keystone.token_auth": "x"}
    assert send("GET", "/v1/images", headers).status_code == 401


# Secrets


def test_no_secret_is_in_a_log(callers: dict[str, dict[str, str]], installation: Installation, send: Send) -> None:
    assert installation.control("--debug", "all", "restart").returncode == 0
    for headers in callers.values():
        send("GET", "/v1/images", headers)
        send("POST", "/v1/images", headers, IMAGE, data=b"x")
    logs = installation.logs()
    assert KEY not in logs
    for headers in callers.values():
        if "X-Auth-Token" in headers:
            assert headers["X-Auth-Token"] not in logs


@pytest.fixture
def installation(installation: Installation) -> Iterator[Installation]:
    installation.environ["PYTHONWARNINGS"] = "ignore"
    yield installation
