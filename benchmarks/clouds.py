# SPDX-License-Identifier: Apache-2.0
"""Figures of the S3 and Swift stores: speed beside the libraries' own transfers, memory, and how long others wait.

    tox -e bench --notest && .tox/bench/bin/python -m benchmarks.clouds [speed] [memory] [large]

It installs and starts a real
Swift, which speaks S3, too, as the tests do (tests/servers); with --moto, S3 is moto's. Needs curl, and up to 16 GiB
below --directory, which are removed. Takes some minutes; name parts to run these only:

speed    up and down in turn, by curl through glance-api, which computes md5 and sha512, and by boto3 and swiftclient
         alone; up also by them while the same two digests are computed: with the servers on the same cores, nobody
         who computes them can be faster. Beside the seconds of the clock stand those of the CPU: of glance-api, of
         the client, and of the servers
memory   glance-api while eight images of unknown size go up at once, and what a light request beside them waits
large    5 GiB + 5 MiB of unknown size up, down and away, once in each store
"""

import argparse
import http.client
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cloud_servers import S3, Clouds, SwiftClient, curl, digest_of, with_digests
from benchmarks.measures import MIB, download, random_file, seconds

UPLOADS = 8  # at once
LARGE = 5 * 1024 * MIB + 5 * MIB  # S3 and Swift take no more than 5 GiB in one request
TICKS = os.sysconf("SC_CLK_TCK")


def used(processes: list[int]) -> float:
    """CPU seconds of processes."""
    stats = (Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes)
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def resident(process: int) -> int:
    """Bytes in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def used_here() -> float:
    """CPU seconds of this process and of its children that have ended, the curls."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def servers() -> list[int]:
    """Our children that have not ended."""
    return [int(number) for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


class Comparison:
    """Figures of glance and of others that do the same, in rounds."""

    def __init__(self, name: str, api: int) -> None:
        self._name = name
        self._api = api
        self._figures: dict[str, list[tuple[float, ...]]] = {}

    def measure(self, who: str, work: Callable[[], object]) -> None:
        before = (used([self._api]), used_here(), used(servers()))
        took = seconds(work)
        after = (used([self._api]), used_here(), used(servers()))
        figures = (took, *(late - early for early, late in zip(before, after, strict=True)))
        self._figures.setdefault(who, []).append(figures)

    def part(self, who: str) -> float:
        """How much of another's speed glance has; the median of the rounds."""
        pairs = zip(self._figures[who], self._figures["glance"], strict=True)
        return statistics.median(run[0] / our[0] for run, our in pairs)

    def show(self, size: int) -> None:
        print(f"{self._name}, {size // MIB} MiB")
        for who, runs in self._figures.items():
            took, api, own, others = (statistics.median(column) for column in zip(*runs, strict=True))
            least, most = min(run[0] for run in runs), max(run[0] for run in runs)
            beside = "" if who == "glance" else f"; glance has {self.part(who):.2f} of this speed"
            print(
                f"  {who:27} {took:5.2f} s ({least:.2f}–{most:.2f}), {size / MIB / took:3.0f} MiB/s; CPU: glance-api "
                f"{api:.2f} s, client {own:.2f} s, servers {others:.2f} s{beside}"
            )


def speed(clouds: Clouds, rounds: int, size: int) -> dict[str, float]:
    """Parts of the libraries' speed that glance has, by what was done."""
    found: dict[str, float] = {}
    file = random_file(clouds.folder / "image", size)
    for store, cloud in (("s3", clouds.s3), ("swift", clouds.swift)):
        up, segments, down = (
            Comparison(f"{cloud.title} {name}", clouds.api) for name in ("up", "up, size unknown", "down")
        )
        for _ in range(rounds):
            one_round(clouds, store, cloud, file, (up, segments, down))
        for comparison in (up, segments, down):
            comparison.show(size)
        for name, comparison, library in (("up", up, cloud.library), ("up unknown", segments, cloud.segmented)):
            found[f"{store} {name}"] = comparison.part(library)
            found[f"{store} {name} digests"] = comparison.part(f"{library} and digests")
        found[f"{store} down"] = down.part(cloud.library)
    file.unlink()
    return found


def one_round(
    clouds: Clouds, store: str, cloud: S3 | SwiftClient, file: Path, comparisons: tuple[Comparison, ...]
) -> None:
    up, segments, down = comparisons
    urls: list[str] = []
    up.measure("glance", lambda: urls.append(clouds.upload(store, file)))
    up.measure(f"{cloud.library} and digests", partial(with_digests, cloud.up, file))
    up.measure(cloud.library, partial(cloud.up, file))
    down.measure("glance", lambda: download(urls[0], file.stat().st_size))
    down.measure(cloud.library, cloud.down)
    cloud.clean()
    segments.measure("glance", lambda: urls.append(clouds.upload(store, file, chunked=True)))
    segments.measure(f"{cloud.segmented} and digests", partial(with_digests, cloud.segments_up, file))
    segments.measure(cloud.segmented, partial(cloud.segments_up, file))
    cloud.clean()
    for url in urls:
        clouds.remove(url)


def memory(clouds: Clouds, size: int) -> None:
    file = random_file(clouds.folder / "image", size)
    idle = waits_beside(clouds, lambda: time.sleep(3))[0]
    print(f"GET / beside nothing: {shown(idle)}")
    for stores in (("s3",), ("swift",), ("s3", "swift")):
        clouds.restart()
        before = resident(clouds.api)
        uploads = [partial(clouds.upload, stores[at % len(stores)], file, chunked=True) for at in range(UPLOADS)]
        urls: list[str] = []
        took = time.perf_counter()
        works = [lambda upload=upload, urls=urls: urls.append(upload()) for upload in uploads]
        waits, peak = waits_beside(clouds, *works)
        took = time.perf_counter() - took
        for url in urls:
            clouds.remove(url)
        assert len(urls) == UPLOADS
        print(
            f"{UPLOADS} uploads of {size // MIB} MiB, size unknown, to {' and '.join(stores)} at once: {took:.1f} s; "
            f"glance-api {before / MIB:.0f} MiB before, {peak / MIB:.0f} at most, {(peak - before) / MIB:+.0f}; "
            f"GET / meanwhile: {shown(waits)}"
        )
    file.unlink()


def waits_beside(clouds: Clouds, *works: Callable[[], object]) -> tuple[list[float], int]:
    """Sorted seconds that light requests take while the works are done, and the most memory meanwhile."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    waits: list[float] = []
    peak = 0
    connection = http.client.HTTPConnection("127.0.0.1", clouds.api_port)
    while any(thread.is_alive() for thread in threads):
        began = time.perf_counter()
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        waits.append(time.perf_counter() - began)
        peak = max(peak, resident(clouds.api))
        time.sleep(0.005)
    connection.close()
    return sorted(waits), peak


def shown(waits: list[float]) -> str:
    middle, late, most = (wait * 1000 for wait in (waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1]))
    return f"p50 {middle:.0f} ms, p99 {late:.0f} ms, at most {most:.0f} ms ({len(waits)} requests)"


def large(clouds: Clouds) -> None:
    file = clouds.folder / "large"
    with file.open("wb") as opened:
        opened.truncate(LARGE)
        for at in (0, LARGE // 2, LARGE - MIB):
            opened.seek(at)
            opened.write(os.urandom(MIB))
    sent, fetched = digest_of(file, "sha256"), clouds.folder / "fetched"
    for store in ("s3", "swift"):
        urls: list[str] = []
        before = clouds.held()
        up = seconds(lambda: urls.append(clouds.upload(store, file, chunked=True)))  # noqa: B023 - called at once
        held = clouds.held()
        down = seconds(lambda: curl("-o", str(fetched), urls[0]))  # noqa: B023
        same = digest_of(fetched, "sha256") == sent
        fetched.unlink()
        clouds.remove(urls[0])
        after = clouds.held()
        print(
            f"{LARGE} bytes, size unknown, to {store}: up {up:.0f} s, down {down:.0f} s, "
            f"SHA-256 {'equal' if same else 'DIFFERS'}; held {held}, deleted {after}"
        )
        assert same
        assert after == before
    file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="speed, memory or large; default: speed and memory")
    parser.add_argument("--directory", help="where to work; default: the system's temporary directory")
    parser.add_argument("--rounds", type=int, default=3, help="transfers of each kind (default 3)")
    parser.add_argument("--mib", type=int, default=512, help="MiB of an image (default 512)")
    parser.add_argument("--moto", action="store_true", help="S3 of moto in place of Swift's")
    arguments = parser.parse_args()
    parts = arguments.parts or ["speed", "memory"]
    if unknown := set(parts) - {"speed", "memory", "large"}:
        parser.error(f"no such part: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="glance-bench-") as name:
        clouds = Clouds(Path(name), moto=arguments.moto)
        try:
            clouds.start()
            if "speed" in parts:
                speed(clouds, arguments.rounds, arguments.mib * MIB)
            if "memory" in parts:
                memory(clouds, arguments.mib * MIB)
            if "large" in parts:
                large(clouds)
        finally:
            clouds.stop()


if __name__ == "__main__":
    main()
