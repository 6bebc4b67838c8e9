# SPDX-License-Identifier: Apache-2.0
"""The units of etc/systemd, judged by systemd itself, and what in them a daemon has to live with."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from glance.cli import daemon, scrubber
from glance.cli.server import CLEAN_UP_SECONDS
from glance.config import ApiConfig
from tests.functional.daemons import PROGRAMS, Installation
from tests.functional.debian import program
from tests.functional.live import PATIENCE

pytestmark = pytest.mark.functional

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "etc/systemd").glob("*.service"))
EXPOSURE = 15  # of 100, as systemd counts what a service could do beyond its work
PARSERS = {
    "glance-api": daemon._parser("glance-api"),
    "glance-registry": daemon._parser("glance-registry"),
    "glance-scrubber": scrubber._parser(),
}
NO_EXEC_GAIN = (
    "import ctypes, os, sys; assert not ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def settings(unit: Path) -> list[tuple[str, str]]:
    """What stands in [Service]."""
    section = unit.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    return re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE)


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    """The units with programs that are there: systemd looks whether they are."""
    made = []
    for unit in UNITS:
        made.append(tmp_path / unit.name)
        made[-1].write_text(unit.read_text().replace("/opt/glance/bin", str(PROGRAMS)))
    return made


def test_there_is_one_for_each_daemon() -> None:
    assert [unit.stem for unit in UNITS] == sorted(PARSERS)


def test_systemd_understands_them(copies: list[Path]) -> None:
    analyze = program("systemd-analyze", "systemd", needed=True)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, copies)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "glance" in line]
    assert (done.returncode, ours) == (0, [])


def test_they_may_do_little(copies: list[Path]) -> None:
    analyze = program("systemd-analyze", "systemd", needed=True)
    for unit in copies:
        done = subprocess.run(
            [analyze, "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE}", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_daemon_knows_the_options_it_is_given(unit: Path) -> None:
    (command,) = [value for name, value in settings(unit) if name == "ExecStart"]
    path, *words = command.split()
    assert Path(path).name == unit.stem
    assert PARSERS[unit.stem].parse_args(words).config_file == "/etc/glance/glance.conf"


def test_all_live_in_the_same_sandbox() -> None:
    texts = {unit.read_text().partition("# Nothing but")[2].partition("[Install]")[0] for unit in UNITS}
    assert len(texts) == 1


def test_who_ends_gets_the_time_that_he_may_take() -> None:
    grace = ApiConfig().graceful_shutdown_timeout
    for unit in UNITS:
        assert int(dict(settings(unit))["TimeoutStopSec"]) > grace + CLEAN_UP_SECONDS


def test_they_are_installed() -> None:
    text = (ROOT / "setup.py").read_text()
    assert [unit.name for unit in UNITS if f'"etc/systemd/{unit.name}"' not in text] == []


def test_no_memory_becomes_executable(installation: Installation) -> None:
    """MemoryDenyWriteExecute, as the kernel itself has it (PR_SET_MDWE): from the start to a reload and an upload."""
    words = [sys.executable, "-c", NO_EXEC_GAIN]
    if subprocess.run([*words, shutil.which("true")], capture_output=True, check=False).returncode:
        pytest.skip("this kernel has no PR_SET_MDWE: it came with Linux 6.3")
    words += installation.command("glance-control", *installation.own_folders)
    for command in ("start", "reload"):
        done = subprocess.run(
            [*words, "all", command],
            cwd=installation.folder,
            env=installation.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    url = f"http://127.0.0.1:{installation.api_port}/images"
    headers = {"x-image-meta-type": "raw", "Content-Type": "application/octet-stream"}
    assert requests.post(url, data=b"x" * 3_000_000, headers=headers, timeout=PATIENCE).status_code == 200
    assert len(requests.get(f"{url}/1", timeout=PATIENCE).content) == 3_000_000
