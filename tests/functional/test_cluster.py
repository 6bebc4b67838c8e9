# SPDX-License-Identifier: Apache-2.0
"""Two of each daemon behind HAProxy, on one PostgreSQL and one Swift, and one of each is killed in the middle."""

import hashlib
import http.client
import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import requests

from glance.core.context import Context
from glance.core.image import Status
from glance.core.query import Query
from glance.registry.client import HttpRegistry
from tests.functional.clouds import CLOUDS
from tests.functional.daemons import Installation
from tests.functional.test_trouble import wait_for
from tests.servers.haproxy import Haproxy
from tests.servers.postgresql import Postgresql
from tests.servers.swift import Swift

pytestmark = [pytest.mark.functional, pytest.mark.slow]

MIB = 1024 * 1024
BODY = os.urandom(6 * MIB)  # in parts and segments
STORES = ("s3", "swift")
TRANSFERS = 20  # up, and as many down
SECONDS = 3.0  # that one takes
LEASE = 4  # seconds
KEY = "of all four"
FIELDS = {"disk_format": "raw", "container_format": "bare", "is_public": "True"}
HEADERS = {"Content-Type": "application/octet-stream"} | {f"x-image-meta-{name}": it for name, it in FIELDS.items()}


class Cluster:
    """Two machines, which are folders here, and what is in front of them."""

    def __init__(self, folder: Path, database: str, swift: Swift) -> None:
        self.machines = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            self.machines.append(Installation(folder / name))
        one, two = self.machines
        self.haproxy = Haproxy(
            folder,
            {
                "api1": one.api_port, "api2": two.api_port, "registry1": one.registry_port, "registry2": two.registry_port,
            },
        )  # fmt: skip
        options = (
            CLOUDS.format(swift=swift, name=f"cluster-{secrets.token_hex(4)}")
            + f"transfer_lease = {LEASE}\nworkers = 0"
        )
        for machine in self.machines:
            machine.configure(common=f"registry_key = {KEY}", api=options)
            text = machine.config.read_text()
            text = text.replace(
                f"registry_port = {machine.registry_port}", f"registry_port = {self.haproxy.registry_port}"
            )
            machine.config.write_text(text.replace("sqlite:///glance.sqlite", database))
        for machine in self.machines:
            machine.start("registry")
        for machine in self.machines:
            machine.start("api")
        self.url = f"http://127.0.0.1:{self.haproxy.api_port}/v1/images"
        wait_for(self._both_serve, 20)

    def _both_serve(self) -> bool:
        """Whether HAProxy, which gives requests to both in turn, has found out that both are there."""
        status = requests.get(self.url, timeout=10).status_code
        return status == 200 and all('"GET /v1/images"' in machine.logs() for machine in self.machines)

    def upload(self, store: str, seconds: float = 0.0, body: bytes = BODY) -> requests.Response:
        headers = HEADERS | {"x-image-meta-store": store}
        return requests.post(self.url, data=_slowly(body, seconds), headers=headers, timeout=60)

    def end(self) -> None:
        self.haproxy.stop()
        for machine in self.machines:
            machine.end()


def _slowly(body: bytes, seconds: float) -> Iterator[bytes]:
    for at in range(0, len(body), MIB // 4):
        time.sleep(seconds / 24)
        yield body[at : at + MIB // 4]


@pytest.fixture
def cluster(tmp_path: Path, postgresql: Postgresql, swift: Swift) -> Iterator[Cluster]:
    made = Cluster(tmp_path, postgresql.new_database(), swift)
    yield made
    made.end()


class Reader(threading.Thread):
    """Asks for one image's metadata all the time, as a client does that tries a broken connection once more."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__()
        self.answers: Counter[int] = Counter()  # by status; 0: none at all
        self.done = threading.Event()
        self._port, self._path = cluster.haproxy.api_port, f"/v1/images/{name}"

    def run(self) -> None:
        while not self.done.wait(0.02):
            self.answers[self._ask() or self._ask()] += 1

    def _ask(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("HEAD", self._path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def upload(cluster: Cluster, number: int) -> str:
    """The id of the image, or why there is none: the connection broke, or HAProxy says that its server did."""
    try:
        answer = cluster.upload(STORES[number % 2], SECONDS)
    except requests.ConnectionError:
        return "broken"
    if answer.status_code == 502:
        return "broken"
    assert answer.status_code == 201, answer.text
    return answer.json()["image"]["id"]


def download(cluster: Cluster, name: str) -> bool:
    """Whether it came whole; what came must be right."""
    received = hashlib.sha256()
    try:
        with requests.get(f"{cluster.url}/{name}", stream=True, timeout=60) as answer:
            if answer.status_code == 502:
                return False
            assert answer.status_code == 200, answer.text
            for block in answer.iter_content(MIB // 4):
                received.update(block)
                time.sleep(SECONDS / 24)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return False
    assert received.digest() == hashlib.sha256(BODY).digest()
    return True


def test_one_of_each_is_killed_amid_forty_transfers_and_nothing_is_lost(cluster: Cluster) -> None:
    there = [cluster.upload(store).json()["image"]["id"] for store in STORES]
    reader = Reader(cluster, there[0])
    reader.start()
    with ThreadPoolExecutor(2 * TRANSFERS) as pool:
        uploads = [pool.submit(upload, cluster, number) for number in range(TRANSFERS)]
        downloads = [pool.submit(download, cluster, there[number % 2]) for number in range(TRANSFERS)]
        time.sleep(SECONDS / 2)
        os.kill(cluster.machines[0].pid("glance-api"), signal.SIGKILL)
        time.sleep(SECONDS / 3)
        os.kill(cluster.machines[0].pid("glance-registry"), signal.SIGKILL)
        names = [future.result() for future in uploads]
        whole = [future.result() for future in downloads]
    reader.done.set()
    reader.join()

    # Whoever was served by the other machine has noticed nothing.
    stored = [name for name in names if name != "broken"]
    assert len(stored) > 0
    assert sum(whole) > 0
    assert set(reader.answers) == {200}, reader.answers
    print(f"of {TRANSFERS}: {len(stored)} up, {sum(whole)} down; read {reader.answers[200]} times")

    # All that was promised is there, and nothing else is.
    registry = HttpRegistry("127.0.0.1", cluster.machines[1].registry_port, key=KEY)

    def statuses() -> Counter[Status]:
        found = registry.find(Context(is_admin=True), Query(everyone=True, deleted=True)).images
        return Counter(image.status for image in found)

    wait_for(lambda: not {Status.QUEUED, Status.SAVING} & statuses().keys(), 4 * LEASE)
    assert statuses() == {Status.ACTIVE: len(there) + len(stored), Status.KILLED: TRANSFERS - len(stored)}
    registry.close()
    for name in (*there, *stored):
        answer = requests.get(f"{cluster.url}/{name}", timeout=60)
        assert (answer.status_code, answer.content == BODY) == (200, True)
    wait_for(lambda: _left(cluster) == 0, 4 * LEASE)

    # And the machine comes back.
    cluster.machines[0].start()
    assert cluster.upload("s3").status_code == 201


def _left(cluster: Cluster) -> int:
    """Objects, parts and segments that belong to no image."""
    done = cluster.machines[1].run("glance-manage", "fsck", "s3", "swift", "--older-than", "0")
    assert "Images without all of their bytes: 0\n" in done.stdout, done.stdout + done.stderr
    return int(done.stdout.partition("Objects without an image: ")[2].split(",")[0].split("\n")[0])


def _is_saving(url: str) -> bool:
    return requests.head(url, timeout=30).headers["x-image-meta-status"] == "saving"


def test_two_servers_and_one_image(cluster: Cluster) -> None:
    """Of two that upload into the same image one wins; who deletes it while its bytes come leaves nothing."""
    urls = [f"http://127.0.0.1:{machine.api_port}/v1/images" for machine in cluster.machines]
    fields = {name: value for name, value in HEADERS.items() if name != "Content-Type"}
    for number in range(8):
        name = requests.post(urls[0], headers=fields, timeout=30).json()["image"]["id"]
        bodies = [bytes([n]) * (2 * MIB) for n in (number, number + 100)]

        def put(url: str, body: bytes, name: str = name) -> int:
            headers = {"Content-Type": "application/octet-stream", "x-image-meta-store": STORES[len(url) % 2]}
            return requests.put(f"{url}/{name}", data=body, headers=headers, timeout=60).status_code

        with ThreadPoolExecutor(2) as pool:
            statuses = list(pool.map(put, urls, bodies))
        assert sorted(statuses) == [200, 409]
        content = requests.get(f"{urls[number % 2]}/{name}", timeout=60).content
        assert content == bodies[statuses.index(200)]

        name = requests.post(urls[0], headers=fields, timeout=30).json()["image"]["id"]
        with ThreadPoolExecutor(1) as pool:
            going = pool.submit(
                requests.put,
                f"{urls[0]}/{name}",
                data=_slowly(BODY, 1.0),
                headers={"Content-Type": "application/octet-stream", "x-image-meta-store": STORES[number % 2]},
                timeout=60,
            )
            wait_for(partial(_is_saving, f"{urls[1]}/{name}"))
            assert requests.delete(f"{urls[1]}/{name}", timeout=30).status_code == 200
            assert going.result().status_code == 412
    wait_for(lambda: _left(cluster) == 0, 4 * LEASE)
