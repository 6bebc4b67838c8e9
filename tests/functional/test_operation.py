# SPDX-License-Identifier: Apache-2.0
"""What watches the daemons: health, figures, logs for programs."""

import json
import os
import re
import signal
import time

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.functional.daemons import Installation
from tests.functional.test_trouble import wait_for
from tests.servers.processes import free_port

pytestmark = pytest.mark.functional

IMAGE = {"x-image-meta-name": "x", "x-image-meta-type": "raw", "Content-Type": "application/octet-stream"}


def get(port: int, path: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{port}{path}", timeout=10)


def figures(port: int) -> dict[tuple[str, ...], float]:
    """Name and labels' values of each figure, in the order of the labels' names → its value."""
    families = text_string_to_metric_families(get(port, "/metrics").text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()) if not value.isdigit() or len(value) == 3)): sample.value
        for family in families
        for sample in family.samples
    }  # fmt: skip


# Health


def test_whoever_works_is_healthy(running: Installation):
    for port in (running.api_port, running.registry_port):
        for path in ("/healthcheck", "/healthcheck/ready"):
            answer = get(port, path)
            assert (answer.status_code, answer.text) == (200, "OK\n")
            assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
    assert not [name for name in (running.folder / "images").rglob("*") if name.is_file()]


def test_without_its_registry_it_lives_and_is_not_ready(installation: Installation):
    installation.start("api")
    assert get(installation.api_port, "/healthcheck").status_code == 200
    answer = get(installation.api_port, "/healthcheck/ready")
    assert (answer.status_code, answer.text) == (503, "not working: registry: the registry does not answer\n")
    installation.start("registry")
    wait_for(lambda: get(installation.api_port, "/healthcheck/ready").status_code == 200)


def test_a_store_that_is_none_is_not_ready(installation: Installation):
    (installation.folder / "images").write_text("a file where the folder should be")
    installation.start()
    answer = get(installation.api_port, "/healthcheck/ready")
    reason = "not working: store: the file store could not write: Not a directory\n"
    assert (answer.status_code, answer.text) == (503, reason)


def test_a_database_that_is_none_is_not_ready(installation: Installation):
    installation.start("registry")
    (installation.folder / "glance.sqlite").write_bytes(b"this is no database" * 1000)
    (installation.folder / "glance.sqlite-wal").unlink(missing_ok=True)
    answer = get(installation.registry_port, "/healthcheck/ready")
    reason = "not working: database: the database does not answer\n"
    assert (answer.status_code, answer.text) == (503, reason)


def test_many_who_ask_cost_one_look(installation: Installation):
    installation.start()
    looked = set()
    for _ in range(20):
        assert get(installation.api_port, "/healthcheck/ready").status_code == 200
        looked.add((installation.folder / "images").stat().st_mtime_ns)  # changes when the store is tried
    log = (installation.folder / "log" / "glance-registry.log").read_text()
    assert (log.count("/healthcheck/ready"), len(looked)) == (1, 1)


# Figures


@pytest.mark.parametrize("workers", [0, 2])
def test_figures_of_all_workers(installation: Installation, workers: int):
    port = free_port()
    installation.configure(api=f"workers = {workers}\nmetrics_port = {port}")
    installation.start()
    images = f"http://127.0.0.1:{installation.api_port}/images"
    for _ in range(10):  # each on a connection of its own, so of any worker
        requests.post(images, data=b"x" * 1000, headers=IMAGE, timeout=10).raise_for_status()
        assert requests.get(f"{images}/1", timeout=10).content == b"x" * 1000
    requests.get(f"{images}/99", timeout=10)
    wait_for(lambda: figures(port).get(("glance_request_seconds_count", "images", "GET")) == 11)  # once they are sent
    seen = figures(port)
    assert seen["glance_requests_total", "images", "POST", "200"] == 10
    assert seen["glance_requests_total", "images", "GET", "404"] == 1
    assert seen["glance_request_seconds_count", "images", "GET"] == 11
    assert seen["glance_received_bytes_total",] == 10_000
    assert seen["glance_sent_bytes_total",] > 10_000
    if workers:
        os.kill(
            next(pid for pid in installation.processes() if pid != installation.pid("glance-api")), signal.SIGKILL
        )
        time.sleep(0.1)
        wait_for(lambda: figures(port)["glance_requests_total", "images", "POST", "200"] == 10)
    assert installation.control("all", "stop").returncode == 0


def test_what_clients_invent_makes_no_new_figures(installation: Installation):
    port = free_port()
    installation.configure(api=f"metrics_port = {port}")
    installation.start()
    for number in range(30):
        requests.request(f"VERB{number}", f"http://127.0.0.1:{installation.api_port}/path{number}", timeout=10)
    names = [key for key in figures(port) if key[0] == "glance_requests_total"]
    assert len(names) == 1


def test_a_metrics_port_that_is_taken_is_told_at_start(installation: Installation):
    installation.configure(api=f"metrics_port = {installation.api_port}")
    started = installation.control("api", "start")
    assert started.returncode == 1
    assert "metrics" in started.stdout + started.stderr


# Logs


def test_a_log_for_programs_is_one_object_a_line(installation: Installation):
    installation.configure(common="log_format = json")
    installation.start()
    get(installation.api_port, "/images/%22%0a")
    log = installation.folder / "log" / "glance-api.log"
    wait_for(lambda: "glance.access" in log.read_text())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {frozenset(line) for line in lines} == {frozenset({"time", "level", "logger", "message", "process"})}
    (access,) = [line for line in lines if line["logger"] == "glance.access"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", access["time"])
    assert "404" in access["message"]
