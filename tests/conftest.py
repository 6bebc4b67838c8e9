# SPDX-License-Identifier: Apache-2.0
"""Loads the fixtures that several folders of tests share, and counts what was skipped where nothing may be."""

import os
import signal

import pytest

pytest_plugins = ["tests.servers.fixtures"]

skipped: list[str] = []


def pytest_configure() -> None:
    """Reset the signals that are ignored in the background of a shell (SIGINT) or under `nohup` (SIGHUP): what a test
    starts would inherit that, and keep ignoring them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where CI is set in the environment, everything can be installed: a test that is skipped is a failure."""
    if os.environ.get("CI") and skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
