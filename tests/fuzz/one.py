# SPDX-License-Identifier: Apache-2.0
"""One target under atheris; what follows its name are options of libFuzzer."""

import sys

import atheris

with atheris.instrument_imports(include=["glance"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
