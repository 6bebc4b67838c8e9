# SPDX-License-Identifier: Apache-2.0
"""How the figures are taken. Each function returns numbers and prints nothing."""

import hashlib
import http.client
import re
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks import sides
from tests.functional.debian import program

MIB = 1024 * 1024
GIB = 1024 * MIB
UNITS = {"B": 1, "KB": 1024, "MB": MIB, "GB": GIB, "TB": 1024 * GIB}  # of wrk
ROUNDED = 0.99  # of the bytes that wrk counted, what it prints with two decimals is at least
# Seconds between the starts of uploads that go on at once, on both sides. The peer writes to its database when one
# begins, and two that do so at the same moment are an error 500 with SQLite.
BETWEEN = 0.3
UNDER_WAY = 0.5  # seconds after which the first programs have started


class Rate(NamedTuple):
    """Of requests."""

    per_second: float
    processor_ms: float  # of all processes of the server, for each


class Latency(NamedTuple):
    """Of single requests, in seconds."""

    median: float
    p99: float
    most: float


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(rounds: int, works: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """A B A B …: what slows the machine down for a while slows all of them down."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return found


def medians(found: Mapping[str, Iterable[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in found.items()}


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def upload(side: sides.Glance, file: Path, count: int = 1) -> float:
    """Seconds for so many uploads at once. What was uploaded is deleted afterwards. Raises RuntimeError unless all of
    it was stored."""
    images = [side.reserve(file.name) for _ in range(count)]
    started = time.perf_counter()
    curls = []
    for image in images:
        if curls:
            time.sleep(BETWEEN)
        curls.append(subprocess.Popen(side.upload_command(image, file), stdout=subprocess.DEVNULL))
    failed = sum(curl.wait() != 0 for curl in curls)  # all of them are waited for
    took = time.perf_counter() - started
    found = [side.stored(image) for image in images]
    for image in images:
        side.delete(image)
    if failed or found != [("active", file.stat().st_size)] * count:
        raise RuntimeError(f"an upload to {side.name} failed: {found}")
    return took


def upload_to_nginx(side: sides.Side, file: Path) -> float:
    took = seconds(lambda: run(["curl", "-sS", "--fail", "-H", "Expect:", "-T", str(file), side.url("/upload")]))
    headers, _ = side.request("HEAD", "/upload")
    side.ask("DELETE", "/upload")
    _check_size(side.name, int(headers["Content-Length"]), file.stat().st_size)
    return took


def download(url: str, size: int) -> float:
    """Seconds for a download by curl. Raises RuntimeError unless `size` bytes came."""
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{size_download}", url]
    started = time.perf_counter()
    came = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    took = time.perf_counter() - started
    _check_size(url, int(came), size)
    return took


def _check_size(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"{what}: {found} bytes, expected were {expected}")


def processor_time(side: sides.Side, work: Callable[[], float]) -> float:
    before = side.processor_time()
    work()
    return side.processor_time() - before


def hash_alone(algorithm: str, file: Path) -> float:
    def work() -> None:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with file.open("rb", buffering=0) as opened:
            while block := opened.read(MIB):
                digest.update(block)

    return seconds(work)


def peak_of(side: sides.Side, work: Callable[[], object]) -> int:
    """Bytes that the side's processes have in memory at most during the work. Raises what the work raises."""
    peak = side.resident()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        while not done.done():
            peak = max(peak, side.resident())
            time.sleep(0.02)
    done.result()
    return peak


class Wrk(NamedTuple):
    """What wrk reports."""

    requests: int
    per_second: float
    received: float  # bytes, with heads
    received_per_second: float
    errors: int  # of sockets, timeouts, and statuses from 300 on


def parse_wrk(text: str) -> Wrk:
    """Raises RuntimeError for anything but wrk's report."""
    counted = re.search(r"([0-9]+) requests in [0-9.]+m?s?, ([0-9.]+)([KMGT]?B) read", text)
    rates = re.search(r"Requests/sec:\s+([0-9.]+)\s+Transfer/sec:\s+([0-9.]+)([KMGT]?B)", text)
    if counted is None or rates is None:
        raise RuntimeError(f"not a report of wrk: {text}")
    errors = re.findall(r"(?:connect|read|write|timeout|responses:) ([0-9]+)", text)
    return Wrk(
        requests=int(counted[1]),
        per_second=float(rates[1]),
        received=float(counted[2]) * UNITS[counted[3]],
        received_per_second=float(rates[2]) * UNITS[rates[3]],
        errors=sum(map(int, errors)),
    )


def load(side: sides.Side, url: str, duration: int, connections: int, size: int) -> tuple[float, int, int]:
    """MiB per second of so many connections that download one file of `size` bytes again and again, how many of them
    failed in some way, and the most bytes in memory of the side's processes."""
    command = [program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{duration}s", "--timeout", "60s", url]
    texts: list[str] = []
    peak = peak_of(
        side, lambda: texts.append(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    )
    found = parse_wrk(texts[0])
    _check_received(side.name, url, found, size)
    return found.received_per_second / MIB, found.errors, peak


def rate(
    side: sides.Side, method: str, url: str, here: Path, duration: int, connections: int = 16, *, size: int
) -> Rate:
    """wrk, which takes little of the processor itself, with a single thread. Raises RuntimeError unless each request
    was answered with 2xx and at least `size` bytes."""
    script = here / "method.lua"
    script.write_text(f'wrk.method = "{method}"\n')
    wrk = program("wrk", "wrk")
    command = [wrk, "-t1", f"-c{connections}", f"-d{duration}s", "-s", str(script), url]
    before = side.processor_time()
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    spent = side.processor_time() - before
    found = parse_wrk(text)
    if found.errors:
        raise RuntimeError(f"{side.name}: {url}: {text}")
    _check_received(side.name, url, found, size)
    return Rate(found.per_second, spent * 1000 / found.requests)


def _check_received(name: str, url: str, found: Wrk, size: int) -> None:
    if not found.requests or found.received < found.requests * size * ROUNDED:
        raise RuntimeError(
            f"{name}: {url}: {found.requests} responses of {size} bytes are more than {found.received}"
        )


def latency_beside(side: sides.Glance, image: str, file: Path, downloads: int, uploads: int) -> Latency:
    """Of one request for the metadata of an image after the other, while so many connections download it without a
    pause, and uploads of a file run. Measured from when all of them are under way to the end of the uploads. Raises
    RuntimeError unless all of them went well, and there are enough requests to tell one in a hundred."""
    method, url = side.metadata(image)
    parts = urlsplit(url)
    wrk = [program("wrk", "wrk"), "-t1", f"-c{downloads}", "-d600s", "--timeout", "60s", side.data(image)]
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    found: list[float] = []
    with (
        subprocess.Popen(wrk, stdout=subprocess.PIPE, text=True) as downloading,
        ThreadPoolExecutor(1) as pool,
        closing(connection),
    ):
        try:
            uploading = pool.submit(upload, side, file, uploads)
            time.sleep(UNDER_WAY)
            while not uploading.done():
                found.append(seconds(lambda: _ask(connection, method, parts.path)))
                time.sleep(0.005)
        finally:
            downloading.send_signal(signal.SIGINT)  # it reports then
        uploading.result()
        downloaded = parse_wrk(downloading.communicate()[0])
    if downloaded.errors or not downloaded.requests or len(found) < 100:
        raise RuntimeError(f"{side.name}: {len(found)} requests beside {downloaded}")
    _check_received(side.name, url, downloaded, file.stat().st_size)
    found.sort()
    return Latency(statistics.median(found), found[int(len(found) * 0.99)], found[-1])


def _ask(connection: http.client.HTTPConnection, method: str, path: str) -> None:
    connection.request(method, path)
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        raise RuntimeError(f"{method} {path}: {response.status}")


def random_file(path: Path, size: int) -> Path:
    with path.open("wb") as opened, Path("/dev/urandom").open("rb") as source:
        left = size
        while left:
            left -= opened.write(source.read(min(left, MIB)))
    return path


def room_for(here: Path, size: int) -> None:
    free = shutil.disk_usage(here).free
    if free < size:
        raise RuntimeError(f"{here} has {free // MIB} MiB left, {size // MIB} MiB are needed: see --directory")
