# SPDX-License-Identifier: Apache-2.0
"""Some rounds of tests/functional/crash_run.py."""

import pytest

from tests.functional.crash_run import CrashRun
from tests.functional.daemons import Installation

pytestmark = [pytest.mark.functional, pytest.mark.slow]

ROUNDS = 20


def test_daemons_that_are_killed_at_random_lose_nothing_and_leave_nothing(installation: Installation) -> None:
    findings = CrashRun(installation, seed=2011).run(ROUNDS)
    assert findings.flaws == [], findings.report()
    assert sum(findings.answers.values()) == ROUNDS
    assert sum(findings.kills.values()) >= 4
