# SPDX-License-Identifier: Apache-2.0
"""/healthcheck/ready where a database or a store can be read and not written to, or is full: it tries, and says why; and
what it writes for that."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_operation import get
from tests.functional.test_trouble import OCTETS, url, wait_for
from tests.servers.moto import Moto
from tests.servers.proxy import Answer, Proxy

pytestmark = pytest.mark.functional

SIZE = 2**20  # bytes
READY = (200, "OK\n")
READ_ONLY = "the database can only be read"
NO_ROOM = "the database has no room left"

Disk = Callable[[str], Path]


@pytest.fixture
def disk(installation: Installation) -> Iterator[Disk]:
    """Makes a folder of the installation a disk of 1 MiB."""
    mounted = []

    def mount(name: str) -> Path:
        folder = installation.folder / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("only root may mount a small disk")
        mounted.append(folder)
        return folder

    yield mount
    installation.end()
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that leaves no room for anything else."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096) == 4096:
            pass
    return path


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def use(installation: Installation, sql_connection: str) -> None:
    text = installation.config.read_text()
    assert "sqlite:///glance.sqlite" in text
    installation.config.write_text(text.replace("sqlite:///glance.sqlite", sql_connection))


def ready(port: int) -> tuple[int, str]:
    answer = get(port, "/healthcheck/ready")
    return answer.status_code, answer.text


def not_ready(installation: Installation, reason: str) -> None:
    """Both daemons say so, and to every request that would change something; what is there can be read."""
    assert ready(installation.registry_port) == (503, f"not working: database: {reason}\n")
    assert ready(installation.api_port) == (503, f"not working: registry: {reason}\n")
    refused = requests.post(url(installation), b"bytes", headers=OCTETS, timeout=30)
    assert (refused.status_code, reason in refused.text) == (503, True)
    for port in (installation.api_port, installation.registry_port):
        assert get(port, "/healthcheck").status_code == 200
    assert get(installation.api_port, "/images").status_code == 200


def test_a_database_that_can_only_be_read(installation: Installation) -> None:
    installation.start()
    assert (ready(installation.api_port), ready(installation.registry_port)) == (READY, READY)
    assert installation.control("all", "stop").returncode == 0
    use(installation, "sqlite:///file:glance.sqlite?mode=ro&uri=true")
    installation.start()
    not_ready(installation, READ_ONLY)


def test_a_database_without_room(installation: Installation, disk: Disk) -> None:
    folder = disk("db")
    use(installation, "sqlite:///db/glance.sqlite")
    installation.start()
    filler = fill(folder)
    # Until its log is as large as it was once, SQLite needs no room; large records see to that.
    large = {**OCTETS, "x-image-meta-property-large": "x" * 10_000}
    answers = (requests.post(url(installation), headers=large, timeout=30).status_code for _ in range(200))
    assert 503 in answers
    wait_for(lambda: ready(installation.registry_port) != READY)
    not_ready(installation, NO_ROOM)
    filler.unlink()
    wait_for(lambda: ready(installation.registry_port) == READY)
    wait_for(lambda: ready(installation.api_port) == READY, 20)


def test_a_store_without_room(installation: Installation, disk: Disk) -> None:
    filler = fill(disk("images"))
    installation.start()
    assert ready(installation.api_port) == (503, "not working: store: the store has no room for these bytes\n")
    assert ready(installation.registry_port) == READY
    filler.unlink()
    wait_for(lambda: ready(installation.api_port) == READY)


def test_a_store_that_can_only_be_read(installation: Installation, disk: Disk) -> None:
    folder = disk("images")
    remount(folder, "ro")
    installation.start()
    reason = "not working: store: the file store could not write: Read-only file system\n"
    assert ready(installation.api_port) == (503, reason)
    assert str(folder) in installation.logs()  # the operator is told where
    remount(folder, "rw")
    wait_for(lambda: ready(installation.api_port) == READY)
    assert list(folder.iterdir()) == []


def test_all_that_does_not_work_is_told(installation: Installation) -> None:
    (installation.folder / "images").write_text("a file where the folder should be")
    installation.start("api")
    status, text = ready(installation.api_port)
    assert (status, [line.split(": ")[1] for line in text.splitlines()]) == (503, ["registry", "store"])


# Objects that the check writes, or does not


S3 = """\
s3_store_host = {url}
s3_store_access_key = {moto.s3_access_key}
s3_store_secret_key = {moto.s3_secret_key}
s3_store_bucket = images
s3_store_create_bucket_on_put = True
s3_store_bucket_url_format = path
workers = 2
"""


@pytest.fixture
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    made = Moto(tmp_path_factory.mktemp("moto"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def use_s3(installation: Installation, moto: Moto, proxy: Proxy, writes: bool) -> None:
    installation.configure(api=S3.format(url=proxy.url, moto=moto) + f"health_check_writes = {writes}")
    text = installation.config.read_text()
    installation.config.write_text(text.replace("default_store = file", "default_store = s3"))
    installation.environ["XDG_RUNTIME_DIR"] = str(installation.folder)


@pytest.mark.parametrize("writes", [False, True])
def test_objects_are_written_if_wanted_and_once_in_a_minute(
    installation: Installation, moto: Moto, writes: bool
) -> None:
    proxy = Proxy("127.0.0.1", moto.port)
    use_s3(installation, moto, proxy, writes)
    try:
        for start in ("start", "restart"):  # other processes, and the same minute
            assert installation.control("all", start).returncode == 0
            # A look holds for 5 seconds in each process, and two answer: some requests come to both.
            for _ in range(20):
                assert ready(installation.api_port) == READY
        written = {request.target for request in proxy.requests if request.method == "PUT"} - {"/images"}
        assert len(written) == int(writes)  # one object, and a second time after the bucket was made
        assert proxy.count("GET", "health-check") >= 2
        if not writes:
            assert {request.method for request in proxy.requests} == {"GET"}
    finally:
        installation.end()
        proxy.close()


def test_a_store_that_takes_nothing_is_noticed_by_writing(installation: Installation, moto: Moto) -> None:
    proxy = Proxy("127.0.0.1", moto.port)
    proxy.rule = lambda request: (
        Answer(507, b"<Error><Code>QuotaExceeded</Code></Error>") if request.method == "PUT" else None
    )
    use_s3(installation, moto, proxy, True)
    try:
        installation.start()
        reason = "not working: writing to the store: the store has no room for these bytes\n"
        for _ in range(20):
            assert ready(installation.api_port) == (503, reason)
        assert len({request.target for request in proxy.requests if request.method == "PUT"}) <= 2  # bucket, object
    finally:
        installation.end()
        proxy.close()
