# SPDX-License-Identifier: Apache-2.0
"""How the figures are taken. Each function returns numbers and prints nothing."""

import hashlib
import http.client
import re
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks import sides
from tests.functional.debian import program

MIB = 1024 * 1024
GIB = 1024 * MIB
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
    """Seconds for so many uploads at once. What was uploaded is deleted afterwards."""
    images = [side.reserve(file.name) for _ in range(count)]
    started = time.perf_counter()
    curls = []
    for image in images:
        if curls:
            time.sleep(BETWEEN)
        curls.append(subprocess.Popen(side.upload_command(image, file), stdout=subprocess.DEVNULL))
    failed = sum(curl.wait() != 0 for curl in curls)  # all of them are waited for
    took = time.perf_counter() - started
    for image in images:
        side.delete(image)
    if failed:
        raise RuntimeError(f"an upload to {side.name} failed")
    return took


def upload_to_nginx(side: sides.Side, file: Path) -> float:
    took = seconds(lambda: run(["curl", "-sS", "--fail", "-H", "Expect:", "-T", str(file), side.url("/upload")]))
    side.ask("DELETE", "/upload")
    return took


def download(url: str) -> float:
    return seconds(lambda: run(["curl", "-sS", "--fail", "-o", "/dev/null", url]))


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
    """Bytes that the side's processes have in memory at most during the work."""
    peak = side.resident()
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        peak = max(peak, side.resident())
        time.sleep(0.02)
    thread.join()
    return peak


def load(side: sides.Side, url: str, duration: int, connections: int) -> tuple[float, int, int]:
    """MiB per second of so many connections that download one file again and again, how many of them failed in some
    way, and the most bytes in memory of the side's processes."""
    command = [program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{duration}s", "--timeout", "60s", url]
    texts: list[str] = []
    peak = peak_of(
        side, lambda: texts.append(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    )
    (text,) = texts
    amount, unit = re.search(r"Transfer/sec:\s+([0-9.]+)([KMG])B", text).groups()  # type: ignore[union-attr]
    errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout|responses:) ([0-9]+)", text))
    return float(amount) * {"K": 1 / 1024, "M": 1, "G": 1024}[unit], errors, peak


def rate(side: sides.Side, method: str, url: str, here: Path, duration: int, connections: int = 16) -> Rate:
    """wrk, which takes little of the processor itself, with a single thread."""
    script = here / "method.lua"
    script.write_text(f'wrk.method = "{method}"\n')
    wrk = program("wrk", "wrk")
    command = [wrk, "-t1", f"-c{connections}", f"-d{duration}s", "-s", str(script), url]
    before = side.processor_time()
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    spent = side.processor_time() - before
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{side.name}: {url}: {text}")
    per_second = float(re.search(r"Requests/sec:\s+([0-9.]+)", text)[1])  # type: ignore[index]
    count = int(re.search(r"([0-9]+) requests in", text)[1])  # type: ignore[index]
    return Rate(per_second, spent * 1000 / count)


def latency_beside(side: sides.Glance, image: str, file: Path, downloads: int, uploads: int) -> Latency:
    """Of one request for the metadata of an image after the other, while so many connections download it without a
    pause, and uploads of a file run. Measured from when all of them are under way to the end of the uploads."""
    method, url = side.metadata(image)
    parts = urlsplit(url)
    wrk = [program("wrk", "wrk"), "-t1", f"-c{downloads}", "-d600s", "--timeout", "60s", side.data(image)]
    uploading = threading.Thread(target=upload, args=(side, file, uploads))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    found: list[float] = []
    with subprocess.Popen(wrk, stdout=subprocess.DEVNULL) as downloading:
        uploading.start()
        time.sleep(UNDER_WAY)
        while uploading.is_alive():
            found.append(seconds(lambda: _ask(connection, method, parts.path)))
            time.sleep(0.005)
        downloading.kill()
    connection.close()
    found.sort()
    return Latency(statistics.median(found), found[int(len(found) * 0.99)], found[-1])


def _ask(connection: http.client.HTTPConnection, method: str, path: str) -> None:
    connection.request(method, path)
    connection.getresponse().read()


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
