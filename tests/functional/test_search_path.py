# SPDX-License-Identifier: Apache-2.0
"""The configuration is searched in directories that may be closed to the user, or missing."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.servers.unprivileged import without_privileges

pytestmark = pytest.mark.functional


@pytest.fixture(scope="module", autouse=True)
def _needs_user_namespaces() -> None:
    if subprocess.run([*without_privileges(), "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")


@pytest.fixture
def closed(installation: Installation) -> Iterator[Path]:
    """A directory that may not be entered; its parent is the folder of the installation."""
    folder = installation.folder / "closed"
    folder.mkdir(mode=0o755)
    (folder / "glance.conf").write_text("nonsense")
    yield folder
    folder.chmod(0o755)


def run(installation: Installation, line: str, **environ: str | None) -> "subprocess.CompletedProcess[str]":
    """Run a line of shell as an unknown user without privileges; a variable that is None is not set."""
    variables = {name: value for name, value in (installation.environ | environ).items() if value is not None}
    return subprocess.run(
        [*without_privileges(), "sh", "-c", line], cwd=installation.folder, env=variables, capture_output=True, text=True, timeout=60
    )  # fmt: skip


def commands(installation: Installation) -> list[tuple[int, str, str]]:
    """Every command that looks for the configuration: its exit status, its words, and what it says."""
    programs = {
        (3, "glance-control", "--pid-dir", "/nosuch", "all", "status"): "glance-api is not running",
        (1, "glance-api",): "glance-api finds no glance.conf",
        (1, "glance-registry",): "glance-registry finds no glance.conf",
        (1, "glance-scrubber",): "the registry",
        (1, "glance-manage", "usage"): "the registry",
        (1, "glance", "--port", "1", "index"): "Failed to connect",
        (1, "glance-upload", "--port", "1", "/etc/hostname", "name"): "is Glance running?",
    }  # fmt: skip
    return [
        (int(words[0]), shlex.join(installation.command(*map(str, words[1:]))), said)
        for words, said in programs.items()
    ]


@pytest.mark.parametrize("prepare", [
    "chmod 0 closed; export HOME=$PWD/closed",
    "chmod 0 closed; mkdir home; ln -s ../closed home/.glance; export HOME=$PWD/home; cd home",
    "cd closed; chmod 0 .; export HOME=/nosuch",
    "mkdir gone; cd gone; rmdir ../gone; export HOME=/nosuch",
], ids=["home", "a directory in it", "the current directory", "a current directory that is gone"])  # fmt: skip
def test_directories_that_cannot_be_entered_are_skipped(
    installation: Installation, closed: Path, prepare: str
) -> None:
    installation.config.unlink()
    for status, words, said in commands(installation):
        closed.chmod(0o755)
        shutil.rmtree(installation.folder / "home", ignore_errors=True)
        done = run(installation, f"{prepare}; exec {words}")
        assert said in done.stdout + done.stderr, words
        assert done.returncode == status, done.stderr
        assert done.stderr.count("\n") <= 1, done.stderr


@pytest.mark.parametrize("home", [None, "", "odd"])
def test_no_home_directory_is_needed_where_every_path_is_given(installation: Installation, home: str | None) -> None:
    folders = shlex.join(installation.own_folders)
    control = shlex.join(installation.command("glance-control"))
    lines = [
        f"{control} {folders} registry {words}"
        for words in ("start ./glance.conf", "status", "reload", "restart", "stop")
    ]
    done = run(installation, " && ".join(lines), HOME=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (installation.folder / "odd").exists()


@pytest.mark.parametrize("home", [None, "", "odd"])
def test_a_missing_home_directory_is_one_line(installation: Installation, home: str | None) -> None:
    installation.config.unlink()
    for words in (
        installation.command("glance-control", "all", "status"),
        installation.command("glance-manage", "usage"),
        installation.command("glance-scrubber"),
    ):
        done = run(installation, shlex.join(words), HOME=home)
        assert done.returncode == 1
        assert done.stderr.removeprefix("ERROR: ") == (
            "this user has no home directory: set HOME or XDG_DATA_HOME, or name every path\n"
        )
