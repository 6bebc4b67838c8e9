# SPDX-License-Identifier: Apache-2.0
"""`tox -e fuzz -- --seconds 60`: search for bytes that one of the targets does not get along with, led by coverage.

Each target has so many seconds, in a process of its own. What is found is printed and left in a file.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20, help="for each target (20)")
    parser.add_argument("target", nargs="*", help="otherwise all")
    options = parser.parse_args()
    from tests.fuzz.targets import CORPUS, TARGETS

    failed = []
    for name in options.target or TARGETS:
        with tempfile.TemporaryDirectory(prefix="glance-fuzz-") as folder:
            for number, data in enumerate(CORPUS[name]):
                (Path(folder) / str(number)).write_bytes(data)
            limits = [f"-max_total_time={options.seconds}", "-max_len=2000", "-print_final_stats=1"]
            command = [
                sys.executable,
                "-m",
                "tests.fuzz.one",
                name,
                *limits,
                f"-artifact_prefix=fuzz-{name}-",
                folder,
            ]
            if subprocess.run(command, check=False).returncode != 0:
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "nothing was found")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
