# SPDX-License-Identifier: Apache-2.0
"""The memory of the daemons while they answer lists."""

import uuid
from datetime import datetime
from pathlib import Path

import pytest
import requests

from glance.core.image import Image, Status, Visibility
from glance.registry.db.engine import connect
from glance.registry.db.migrate import prepare
from tests.contract.conftest import load_rows
from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional

SERVERS = ("glance-api", "glance-registry")
IMAGES = 50
LONG = "🐧" * 65_000  # a value of four bytes per character in memory, and of twelve in JSON that is ASCII
MOST = 32  # MiB


@pytest.fixture(scope="module")
def full(running: Installation) -> Installation:
    """An installation whose images have the longest properties."""
    engine = connect(f"sqlite:///{running.folder}/glance.sqlite")
    prepare(engine)
    moment = datetime(2026, 11, 23)
    for number in range(1, IMAGES + 1):
        image = Image(
            id=str(uuid.uuid4()),
            number=number,
            status=Status.ACTIVE,
            visibility=Visibility.PUBLIC,
            disk_format="raw",
            created_at=moment,
            updated_at=moment,
            properties={"a": LONG, "b": LONG},
        )
        load_rows(engine, [image])
    engine.dispose()
    return running


@pytest.mark.parametrize(
    "path", ["/v1/images/detail?limit=1000", "/images/detail", "/v1/images?limit=1000", "/images"]
)
def test_long_lists_take_little_memory(full: Installation, path: str) -> None:
    url = f"http://127.0.0.1:{full.api_port}"
    requests.get(f"{url}/v1/images/detail?limit=1", timeout=60).raise_for_status()  # loads what is used
    before = {server: read_memory(full.pid(server), "VmRSS") for server in SERVERS}
    for server in SERVERS:
        Path(f"/proc/{full.pid(server)}/clear_refs").write_text("5")  # begin to measure the peak anew
    answer = requests.get(f"{url}{path}", timeout=60)
    assert len(answer.json()["images"]) == IMAGES
    growth = {server: read_memory(full.pid(server), "VmHWM") - before[server] for server in SERVERS}
    assert max(growth.values()) <= MOST, growth


def read_memory(pid: int, key: str) -> float:
    """Return a figure of /proc/<pid>/status in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))
