# SPDX-License-Identifier: Apache-2.0
"""What a user of March 2011 did, and what he saw."""

import ast
import json
import re
import shutil
import subprocess

import pytest

from tests.functional.daemons import Installation

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the walkthrough is made with curl"),
]

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"
FIELDS = [
    "created_at", "deleted", "deleted_at", "id", "is_public", "location", "name", "properties", "size", "status",
    "type", "updated_at",
]  # fmt: skip
SIZE = 187_634_470
IMAGE = "maverick-server-uec-amd64.tar.gz"


def curl(*arguments: str) -> str:
    done = subprocess.run(["curl", "--silent", *arguments], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def test_the_walkthrough(installation: Installation) -> None:
    folder = installation.folder
    url = f"http://localhost:{installation.api_port}"
    with (folder / IMAGE).open("wb") as image:
        image.truncate(SIZE)

    done = installation.control("all", "start")
    assert (
        done.stdout
        == f"Starting glance-api with {folder}/glance.conf\nStarting glance-registry with {folder}/glance.conf\n"
    )
    assert (folder / "glance.sqlite").is_file()

    assert curl(url) == '{"images": []}'

    done = installation.upload("--type", "raw", IMAGE, "Ubuntu Maverick 10.10")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Stored image. Got identifier: {'created_at': '")
    record = ast.literal_eval(done.stdout.partition(": ")[2])
    assert list(record) == FIELDS
    assert re.fullmatch(TIME, record.pop("created_at"))
    assert record == {
        "deleted": False,
        "deleted_at": None,
        "id": 1,
        "is_public": True,
        "location": f"file://{folder}/images/1",
        "name": "Ubuntu Maverick 10.10",
        "properties": {},
        "size": SIZE,
        "status": "active",
        "type": "raw",
        "updated_at": None,
    }

    brief = {"type": "raw", "id": 1, "name": "Ubuntu Maverick 10.10", "size": SIZE}
    assert json.loads(curl(url)) == {"images": [brief]}

    (detailed,) = json.loads(curl(f"{url}/images/detail"))["images"]
    assert sorted(detailed) == FIELDS
    assert re.fullmatch(TIME, detailed["updated_at"])

    head, *lines = curl("-I", f"{url}/images/1").rstrip().splitlines()
    assert head == "HTTP/1.1 200 OK"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers.pop("Content-Length") == "0"
    shown = {name.removeprefix("X-Image-Meta-"): text for name, text in headers.items() if name.startswith("X-Image")}
    assert re.fullmatch(TIME, shown.pop("Created_at"))
    assert re.fullmatch(TIME, shown.pop("Updated_at"))
    assert shown == {
        "Type": "raw",
        "Id": "1",
        "Deleted": "False",
        "Location": f"file://{folder}/images/1",
        "Properties": "{}",
        "Deleted_at": "None",
        "Size": str(SIZE),
        "Status": "active",
        "Is_public": "True",
        "Name": "Ubuntu Maverick 10.10",
    }

    pids = [installation.pid(name) for name in ("glance-api", "glance-registry")]
    done = installation.control("all", "stop")
    assert done.stdout == (
        f"Stopping glance-api  pid: {pids[0]}  signal: 15\nStopping glance-registry  pid: {pids[1]}  signal: 15\n"
    )
