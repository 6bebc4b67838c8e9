# SPDX-License-Identifier: Apache-2.0
"""glance-manage usage with a real registry: what is counted, and how it is printed."""

import json
import uuid

import pytest

from glance.core.context import Context
from glance.core.image import Image, Status, Visibility
from glance.registry.client import HttpRegistry
from glance.registry.db.engine import connect
from glance.registry.db.models import now
from tests.contract.conftest import load_rows
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional

CTX = Context(is_admin=True)
IMAGES = [
    ("build", 10, "file:///images/1", Visibility.PRIVATE),
    ("build", 2**40, "file:///images/2", Visibility.PUBLIC),
    ("build", 5, "HTTPS://example.org/x", Visibility.SHARED),
    ("ops", 7, "s3://bucket/4", Visibility.COMMUNITY),
    (None, 0, "file:///images/5", Visibility.PUBLIC),
]


@pytest.fixture
def filled(installation: Installation) -> Installation:
    installation.start("registry")
    registry = HttpRegistry("127.0.0.1", installation.registry_port)
    for owner, size, location, visibility in IMAGES:
        image = Image(owner=owner, size=size, locations=(location,), visibility=visibility, status=Status.ACTIVE)
        registry.add(CTX, image)
    registry.add(CTX, Image(owner="build", size=3))
    registry.remove(CTX, registry.add(CTX, Image(owner="build", size=4, status=Status.ACTIVE)).id)
    kept = Image(owner="build", size=6, locations=("file:///images/8",), status=Status.ACTIVE)
    registry.remove(CTX, registry.add(CTX, kept).id, delay=3600)
    registry.close()
    return installation


def test_json(filled):
    done = filled.run("glance-manage", "usage", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert [tuple(row.values()) for row in told["usage"]] == [
        ("build", "file", 2, 2**40 + 10), ("build", "http", 1, 5), ("ops", "s3", 1, 7), (None, "file", 1, 0),
    ]  # fmt: skip
    assert told["tenants"][0] == {"tenant": "build", "images": 3, "bytes": 2**40 + 15}
    assert told["stores"][0] == {"store": "file", "images": 3, "bytes": 2**40 + 10}
    assert told["total"] == {"images": 5, "bytes": 2**40 + 22}
    assert told["not_active"] == {
        "queued": {"images": 1, "bytes": 3},
        "pending_delete": {"images": 1, "bytes": 6},
    }


def test_table(filled):
    lines = filled.run("glance-manage", "usage").stdout.splitlines()
    assert lines[0].split() == ["TENANT", "STORE", "IMAGES", "BYTES", "SIZE"]
    assert [line.split()[:4] for line in lines[1:-1]] == [
        ["build", "file", "2", str(2**40 + 10)], ["build", "http", "1", "5"], ["ops", "s3", "1", "7"], ["-", "file", "1", "0"],
        ["build", "*", "3", str(2**40 + 15)], ["ops", "*", "1", "7"], ["-", "*", "1", "0"],
        ["*", "file", "3", str(2**40 + 10)], ["*", "http", "1", "5"], ["*", "s3", "1", "7"], ["*", "*", "5", str(2**40 + 22)],
    ]  # fmt: skip
    assert lines[1].endswith(" 1.0 TiB")
    assert lines[2].endswith(" 5 bytes")
    assert lines[-1] == "Not active: 1 queued (3 bytes), 1 pending_delete (6 bytes)"


def test_more_than_a_page(installation):
    installation.start("registry")
    engine = connect(f"sqlite:///{installation.folder}/glance.sqlite")
    images = (
        Image(number=n, id=str(uuid.uuid4()), size=1, status=Status.ACTIVE, created_at=now()) for n in range(1, 1002)
    )
    load_rows(engine, list(images))
    engine.dispose()
    total = json.loads(installation.run("glance-manage", "usage", "--json").stdout)["total"]
    assert total == {"images": 1001, "bytes": 1001}
