# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided search for bytes that break a target: tox -e fuzz -- --seconds 20 [target ...]

What is found is printed, and told by the exit status. Then it goes into the corpus of targets.py, and what it broke is
mended.
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

warnings.filterwarnings("ignore", message=r"(?s).*Eventlet is deprecated")
with atheris.instrument_imports(include=["glance"]):
    from tests.fuzz.targets import CORPUS, TARGETS


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of one target, searched in this process
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all, if none is named")
    options = parser.parse_args()
    if options.folder:
        search(options.targets[0], options.seconds, options.folder)
    broken = [name for name in options.targets or TARGETS if not holds(name, options.seconds)]
    print(f"broken: {', '.join(broken)}" if broken else "nothing was broken")
    return bool(broken)


def holds(name: str, seconds: int) -> bool:
    """Whether nothing was found in that time. A process for each target: libFuzzer ends its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz.run", "--seconds", str(seconds), "--folder", folder, name]
        return subprocess.run(command, check=False).returncode == 0


def search(name: str, seconds: int, folder: Path) -> None:
    """Does not return."""

    def target(data: bytes) -> None:
        try:
            TARGETS[name](data)
        except BaseException:
            print(f"{name} is broken by {data!r}", file=sys.stderr, flush=True)
            raise

    for number, seed in enumerate(CORPUS[name]):
        (folder / str(number)).write_bytes(seed)
    atheris.Setup(
        [name, f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={folder}/", str(folder)], target
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
