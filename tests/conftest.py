# SPDX-License-Identifier: Apache-2.0
"""Loads the fixtures that several folders of tests share, and counts what was skipped where nothing may be."""

import os
import signal

import pytest

pytest_plugins = ["tests.servers.fixtures"]

skipped: list[str] = []


def pytest_configure() -> None:
    """A shell gives commands in its background an ignored SIGINT, and what they start inherits it: programs that a
    test interrupts would not notice."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where CI is set in the environment, everything can be installed: a test that is skipped is a failure."""
    if os.environ.get("CI") and skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
