# SPDX-License-Identifier: Apache-2.0
"""Fixtures with real servers, each started once for all tests of a run. A plugin: tests/conftest.py loads it.

When a test that uses one fails, the server's logs are part of the report.
"""

from collections.abc import Iterator

import pytest

from tests.servers.swift import Swift


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A running Swift, which also speaks S3; everything in it stays until the run ends."""
    made = Swift(tmp_path_factory.mktemp("swift"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    report = yield
    if report.failed:
        made = getattr(item, "funcargs", {}).get("swift")
        if made is not None:
            report.sections.append(("log of swift", made.logs()))
    return report
