# SPDX-License-Identifier: Apache-2.0
"""The file of users between glance-manage and running daemons: changes at the same time, owners, and failed logins."""

import http.client
import json
import os
import pty
import pwd
import re
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from glance.identity.logins import BURST
from tests.functional.daemons import Installation
from tests.functional.test_identity import configure
from tests.functional.test_trouble import wait_for
from tests.servers.unprivileged import USER, own_folder

pytestmark = pytest.mark.functional

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")


@pytest.fixture
def users(installation: Installation) -> Path:
    """The path of the file of users, in which dora has a password."""
    configure(installation, "tokens.conf")
    manage(installation, "add", "dora", "--tenant", "d", "--password-stdin", "--token", stdin=b"right password\n")
    return installation.folder / "users.json"


def manage(installation: Installation, *words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[str]":
    done = installation.run("glance-manage", "user", *words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done


def names(path: Path) -> set[str]:
    return {user["name"] for user in json.loads(path.read_text())["users"]}


def ask(port: int, path: str = "/v1/images", *, source: str = "127.0.0.1", **headers: str) -> tuple[int, str, str]:
    """Send a GET from an address of the loopback network: status, Retry-After and text of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After", ""), answer.read().decode()
    finally:
        connection.close()


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def test_a_user_who_is_removed_meanwhile_does_not_return(installation: Installation, users: Path) -> None:
    """`user add` waits for a password; what others change until it comes is kept."""
    ours, theirs = pty.openpty()
    command = installation.command("glance-manage", "user", "add", "erik", "--tenant", "e")
    adding = subprocess.Popen(
        ["setsid", "--ctty", *command], cwd=installation.folder, env=installation.environ, stdin=theirs, stdout=theirs, stderr=theirs
    )  # fmt: skip
    os.close(theirs)
    try:
        seen = b""
        while b"Password" not in seen:
            seen += os.read(ours, 1000)
        manage(installation, "remove", "dora")
        manage(installation, "add", "fred", "--tenant", "f", "--token")
        for _ in range(2):
            os.write(ours, b"a long password\n")
            time.sleep(0.3)
        assert adding.wait(20) == 0
    finally:
        adding.kill()
        os.close(ours)
    assert names(users) == {"erik", "fred"}


def test_commands_at_the_same_time_lose_nothing(installation: Installation, users: Path) -> None:
    added = [
        subprocess.Popen(
            installation.command("glance-manage", "user", "add", f"user-{number}", "--tenant", "t", "--token"),
            cwd=installation.folder, env=installation.environ, stdout=subprocess.DEVNULL,
        )
        for number in range(6)
    ]  # fmt: skip
    assert [process.wait(60) for process in added] == [0] * 6
    assert names(users) == {"dora", *(f"user-{number}" for number in range(6))}
    assert [path.name for path in users.parent.glob(".users*")] == []


def test_a_link_stays_a_link(installation: Installation, users: Path) -> None:
    real = users.rename(users.with_name("real.json"))
    users.symlink_to(real)
    manage(installation, "remove", "dora")
    assert (users.is_symlink(), names(real)) == (True, set())


def test_removing_from_a_file_that_is_missing_makes_none(installation: Installation, users: Path) -> None:
    users.unlink()
    done = installation.run("glance-manage", "user", "remove", "dora")
    assert (done.returncode, "No such file" in done.stderr, users.exists()) == (1, True, False)


# Owners


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory of an ordinary user."""
    made = own_folder("users")
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def owner_and_mode(path: Path) -> tuple[str, int]:
    return path.owner(), path.stat().st_mode & 0o777


@NEEDS_ROOT
def test_a_new_file_belongs_to_the_owner_of_its_directory(installation: Installation, folder: Path) -> None:
    path = folder / "users.json"
    manage(installation, "--users-file", str(path), "add", "erik", "--tenant", "e", "--token")
    assert owner_and_mode(path) == (USER, 0o600)
    assert path.stat().st_gid == folder.stat().st_gid


@NEEDS_ROOT
def test_a_replaced_file_keeps_owner_group_and_mode(installation: Installation, users: Path) -> None:
    found = pwd.getpwnam(USER)
    os.chown(users, found.pw_uid, found.pw_gid)
    users.chmod(0o400)
    manage(installation, "add", "erik", "--tenant", "e", "--token")
    manage(installation, "remove", "dora")
    assert (owner_and_mode(users), users.stat().st_gid) == ((USER, 0o400), found.pw_gid)
    assert names(users) == {"erik"}


@NEEDS_ROOT
def test_an_owner_may_be_named(installation: Installation) -> None:
    configure(installation, "tokens.conf")
    words = ("add", "erik", "--tenant", "e", "--token", "--owner")
    done = installation.run("glance-manage", "user", *words, "no-such-user")
    assert (done.returncode, "--owner must be a user of this machine, not 'no-such-user'" in done.stderr) == (1, True)
    assert not (installation.folder / "users.json").exists()
    manage(installation, *words, USER)
    assert owner_and_mode(installation.folder / "users.json") == (USER, 0o600)


@NEEDS_ROOT
def test_a_file_that_the_daemon_cannot_read_is_warned_about(
    installation: Installation, users: Path, folder: Path
) -> None:
    """The daemon's user is the owner of the images."""
    text = installation.config.read_text()
    installation.config.write_text(text.replace(f"{installation.folder}/images", str(folder)))
    warned = manage(installation, "add", "erik", "--tenant", "e", "--token").stderr
    assert re.match(
        rf"WARNING: glance-api, which seems to run as {USER}, cannot read \S+/users.json, owned by root: chown {USER} ",
        warned,
    )
    path = folder / "users.json"
    words = ("--users-file", str(path), "add", "erik", "--tenant", "e", "--token")
    assert manage(installation, *words).stderr == ""


# A running daemon


def test_failed_logins_are_limited_and_lock_nobody_else_out(installation: Installation, users: Path) -> None:
    token = re.search(r"once: (\S+)", manage(installation, "add", "erik", "--tenant", "e", "--token").stdout)[1]
    installation.start()
    port, wrong, right = installation.api_port, basic("dora", "wrong again"), basic("dora", "right password")
    for number in range(BURST):
        assert ask(port, Authorization=basic("dora", f"wrong {number}"))[0] == 401
    for authorization in (wrong, right, basic("unknown", "x")):
        status, retry_after, text = ask(port, Authorization=authorization)
        assert (status, 0 < int(retry_after) <= 10, "too many failed logins" in text) == (429, True, True)
    assert ask(port, X_Auth_Token=token)[0] == 200
    assert ask(port, Authorization=right, source="127.0.0.2")[0] == 200
    assert "too many failed logins from 127.0.0.1" in installation.logs()


def test_failed_logins_count_for_the_client_behind_a_trusted_proxy(installation: Installation, users: Path) -> None:
    text = installation.config.read_text()
    assert text.count("[DEFAULT]\n") == 1
    installation.config.write_text(text.replace("[DEFAULT]\n", "[DEFAULT]\ntrusted_proxies = 127.0.0.1\n"))
    installation.start()
    port, attacker, user = installation.api_port, "198.51.100.7", "198.51.100.8"
    for number in range(BURST):
        client = f"203.0.113.{number}, {attacker}"
        assert ask(port, Authorization=basic("dora", f"wrong {number}"), X_Forwarded_For=client)[0] == 401
    right = basic("dora", "right password")
    assert ask(port, Authorization=right, X_Forwarded_For=attacker)[0] == 429
    assert ask(port, Authorization=right, X_Forwarded_For=user)[0] == 200
    assert f"too many failed logins from {attacker}" in installation.logs()


def test_a_file_that_cannot_be_read_shows_and_is_tried_again(installation: Installation, users: Path) -> None:
    installation.start()
    port, ready = installation.api_port, "/healthcheck/ready"
    assert ask(port, ready)[0] == 200
    users.chmod(0o644)
    wait_for(lambda: ask(port, ready)[0] == 503)
    assert ask(port, ready)[2] == "not working: users: the server cannot read its users; its log says why\n"
    assert ask(port, Authorization=basic("dora", "right password"))[0] == 200
    assert "others may read it" in installation.logs()
    users.chmod(0o600)  # changes neither its content nor its time
    wait_for(lambda: ask(port, ready)[0] == 200)


@pytest.mark.parametrize(("option", "told"), [
    ("failed_logins_burst = 0", "failed_logins_burst must be a whole number from 1"),
    ("failed_logins_per_minute = x", "failed_logins_per_minute must be a whole number from 0"),
])  # fmt: skip
def test_a_limit_that_is_none_is_refused_at_start(
    installation: Installation, users: Path, option: str, told: str
) -> None:
    installation.config.write_text(
        installation.config.read_text().replace(f"#{option.split(' = ')[0]} =", f"{option}\n#")
    )
    started = installation.control("api", "start")
    assert (started.returncode, told in started.stdout + started.stderr) == (1, True)
