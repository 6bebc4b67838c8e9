# SPDX-License-Identifier: Apache-2.0
"""Delayed delete, and glance-scrubber, which ends it."""

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from glance.core.context import Context
from glance.core.image import Status
from glance.registry.client import HttpRegistry
from tests.functional.daemons import Installation
from tests.functional.test_trouble import OCTETS, stored, url, wait_for

pytestmark = pytest.mark.functional

CTX = Context(is_admin=True)
DELAYED = "delayed_delete = True\nscrub_time = {}\nwakeup_time = 1"


@pytest.fixture
def delayed(installation: Installation) -> Installation:
    """Both daemons, and an image."""
    installation.configure(api=DELAYED.format(0))
    installation.start()
    add(installation)
    return installation


@pytest.fixture
def registry(delayed: Installation) -> Iterator[HttpRegistry]:
    client = HttpRegistry("127.0.0.1", delayed.registry_port)
    yield client
    client.close()


def add(installation: Installation) -> None:
    assert requests.post(url(installation), b"bytes", headers=OCTETS, timeout=10).status_code == 200


def delete(installation: Installation, number: int = 1) -> None:
    assert requests.delete(url(installation, f"/{number}"), timeout=10).status_code == 200


def status(registry: HttpRegistry, number: int = 1) -> Status:
    return registry.get(CTX, str(number), deleted=True).status


def listed(installation: Installation, **parameters: str) -> list[dict[str, object]]:
    """What v1 lists in full."""
    address = f"http://127.0.0.1:{installation.api_port}/v1/images/detail"
    images: list[dict[str, object]] = requests.get(address, params=parameters, timeout=10).json()["images"]
    return images


def test_bytes_outlive_their_image_until_they_are_scrubbed(delayed, registry):
    delete(delayed)
    assert requests.get(url(delayed, "/1"), timeout=10).status_code == 404
    assert requests.get(url(delayed), timeout=10).json() == {"images": []}
    assert (status(registry), stored(delayed)) == (Status.PENDING_DELETE, {"1"})
    assert delayed.run("glance-manage", "fsck", "--older-than", "0", "--delete", "--repair").returncode == 0
    assert stored(delayed) == {"1"}
    usage = delayed.run("glance-manage", "usage").stdout
    assert usage.endswith("Not active: 1 pending_delete (5 bytes)\n")
    done = delayed.run("glance-scrubber", "-v")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 images are scrubbed, 0 could not be" in done.stdout
    assert (status(registry), stored(delayed)) == (Status.DELETED, set())


def test_an_admin_sees_what_is_pending_by_v1(delayed, registry):
    """Without a filter everybody is one."""
    image_id = registry.get(CTX, "1").id
    image = f"http://127.0.0.1:{delayed.api_port}/v1/images/{image_id}"
    assert requests.delete(image, timeout=10).status_code == 200
    told = requests.head(image, timeout=10).headers
    assert (told["X-Image-Meta-Status"], told["X-Image-Meta-Deleted"]) == ("pending_delete", "True")
    assert requests.get(image, timeout=10).status_code == 404
    refused = requests.delete(image, timeout=10)
    assert (refused.status_code, "deleted already" in refused.text) == (403, True)
    assert listed(delayed) == []
    pending = {"changes-since": "2011-01-01T00:00:00", "is_public": "None", "status": "pending_delete"}
    assert [row["id"] for row in listed(delayed, **pending)] == [image_id]
    assert delayed.run("glance-scrubber").returncode == 0
    assert requests.head(image, timeout=10).headers["X-Image-Meta-Status"] == "deleted"
    assert requests.delete(image, timeout=10).status_code == 404
    assert listed(delayed, **pending) == []


def test_not_before_their_time(delayed, registry):
    delayed.configure(api=DELAYED.format(3600))
    assert delayed.control("api", "restart").returncode == 0
    delete(delayed)
    assert delayed.run("glance-scrubber").returncode == 0
    assert (status(registry), stored(delayed)) == (Status.PENDING_DELETE, {"1"})


def test_what_cannot_be_removed_stays_pending(delayed, registry):
    delete(delayed)
    images = delayed.folder / "images"
    images.rename(delayed.folder / "elsewhere")  # as if it were not mounted
    assert delayed.run("glance-scrubber").returncode == 1
    assert status(registry) is Status.PENDING_DELETE
    assert (delayed.folder / "elsewhere" / "1").read_bytes() == b"bytes"


def test_without_the_registry_it_says_so(delayed):
    assert delayed.control("registry", "stop").returncode == 0
    done = delayed.run("glance-scrubber")
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")


def test_of_several_scrubbers_each_image_goes_to_one(delayed, registry):
    for _ in range(9):
        add(delayed)
    for number in range(1, 11):
        delete(delayed, number)
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: delayed.run("glance-scrubber", "-v"), range(3)))
    assert [done.returncode for done in runs] == [0, 0, 0]
    counts = [int(done.stdout.partition(" images are scrubbed")[0].split()[-1]) for done in runs]
    assert sum(counts) == 10
    assert {status(registry, number) for number in range(1, 11)} == {Status.DELETED}
    assert stored(delayed) == set()


def test_a_daemon_looks_again_and_ends_when_told(delayed, registry):
    command = delayed.command("glance-scrubber", "--daemon", "-v")
    process = subprocess.Popen(
        command, cwd=delayed.folder, env=delayed.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        time.sleep(1.5)  # it has looked, and found nothing
        delete(delayed)
        wait_for(lambda: status(registry) is Status.DELETED)
        assert stored(delayed) == set()
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.endswith("glance-scrubber has ended\n")
