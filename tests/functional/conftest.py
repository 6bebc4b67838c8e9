# SPDX-License-Identifier: Apache-2.0
"""Fixtures with real daemons. When a test fails, their logs are part of the report. Whatever is tested, these may not hold
a secret of the configuration; with GLANCE_DEBUG=1 all daemons log at DEBUG."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.daemons import Installation
from tests.functional.traces import logged

LOGS = pytest.StashKey[list[Installation]]()


@pytest.fixture
def installation(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """A folder with a configuration, nothing started; what the test starts is ended after it."""
    made = Installation(tmp_path)
    request.node.stash.setdefault(LOGS, []).append(made)
    yield made
    made.end()
    assert logged(made) == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both daemons, started once for all tests of a module."""
    made = Installation(tmp_path_factory.mktemp("glance"))
    request.node.stash.setdefault(LOGS, []).append(made)
    try:
        made.start()
        yield made
    finally:
        made.end()
    assert logged(made) == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    report = yield
    if report.failed:
        for node in item.listchain():
            for made in node.stash.get(LOGS, []):
                report.sections.append(("log of the daemons", made.logs()))
    return report
