# SPDX-License-Identifier: Apache-2.0
"""Fixtures with real servers, each started once for all tests of a run. A plugin: tests/conftest.py loads it.

When a test that uses one fails, the server's logs are part of the report.
"""

from collections.abc import Iterator

import pytest

from tests.servers.keystone import Keystone
from tests.servers.mariadb import Mariadb
from tests.servers.postgresql import Postgresql
from tests.servers.swift import KeystoneSwift, Swift

SERVERS = ("swift", "keystone", "postgresql", "mariadb")


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A running Swift, which also speaks S3; everything in it stays until the run ends."""
    made = Swift(tmp_path_factory.mktemp("swift"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """A running Keystone; everything in it stays until the run ends."""
    made = Keystone(tmp_path_factory.mktemp("keystone"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def keystone_swift(swift: Swift, keystone: Keystone) -> KeystoneSwift:
    """The running Swift, by way of a proxy whose users are Keystone's."""
    return KeystoneSwift.start(swift, keystone)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    made = Postgresql()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    made = Mariadb()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    report = yield
    if report.failed:
        for name in SERVERS:
            made = getattr(item, "funcargs", {}).get(name)
            if made is not None:
                report.sections.append((f"log of {name}", made.logs()))
    return report
