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
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one target, in this process
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all, if none is named")
    options = parser.parse_args()
    if options.here:
        search(options.targets[0], options.seconds)
    command = [sys.executable, "-m", "tests.fuzz.run", "--here", "--seconds", str(options.seconds)]
    broken = [name for name in options.targets or TARGETS if subprocess.run([*command, name], check=False).returncode]
    print(f"broken: {', '.join(broken)}" if broken else "nothing was broken")
    return bool(broken)


def search(name: str, seconds: int) -> None:
    """Does not return: libFuzzer ends the process."""

    def target(data: bytes) -> None:
        try:
            TARGETS[name](data)
        except BaseException:
            print(f"{name} is broken by {data!r}", file=sys.stderr, flush=True)
            raise

    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(CORPUS[name]):
        (folder / str(number)).write_bytes(seed)
    atheris.Setup(
        [name, f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={folder}/", str(folder)], target
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
