# SPDX-License-Identifier: Apache-2.0
"""Glance beside today's OpenStack Glance and nginx, on this machine, in one run: `tox -e bench`.

    python -m benchmarks.run [--only data,requests,…] [--rounds 5] [--directory DIR]

The peer and its server come from PyPI into an environment of their own; nginx and wrk from Debian, installed if root.
All figures are medians of pairs that were taken in turn, and only the ratios say something about anything but this
machine. Writes benchmarks/results.md, the plots beside it, and adds the run to benchmarks/history.json. Takes about
ten minutes and 12 GiB of disk, which are given back.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import measures, report, sides
from benchmarks.cloud_servers import Clouds
from benchmarks.clouds import speed
from benchmarks.measures import GIB, MIB, in_turn, medians
from benchmarks.pages import page_costs
from tests.servers.postgresql import Postgresql

PARTS = ("start", "data", "parallel", "beside", "load", "requests", "pages", "clouds")
BESIDE = (32, 8)  # downloads and uploads
LOADS = (16, 250, 1000, 4000)  # connections at once
LISTED = 40  # images on each side when lists are asked for


class Run:
    """What is measured goes to `figures`, by name."""

    def __init__(self, here: Path, rounds: int, duration: int, counts: list[int]) -> None:
        self.figures: dict[str, float] = {}
        self._here = here
        self._rounds = rounds
        self._duration = duration
        self._counts = counts
        self._number = 0

    def start(self) -> None:
        """`glance-control all start` until both answer."""
        here = self._fresh()
        with sides.glance(here) as side:
            pass
        found = []
        for _ in range(self._rounds):
            found.append(measures.seconds(partial(sides.start_glance, here)))
            side.ask("GET", "/healthcheck/ready")
            sides.stop_glance(here)
        self._note("start", medians({"glance": found}))

    def data(self) -> None:
        """One image of 1 GiB up and down."""
        file = measures.random_file(self._here / "1GiB", GIB)
        with (
            sides.glance(self._fresh()) as ours,
            sides.glance(self._fresh(), "sha256") as ours_sha256,
            sides.peer(self._fresh()) as peer,
            sides.nginx(self._fresh()) as nginx,
        ):
            up = {
                "glance": partial(measures.upload, ours, file),
                "peer": partial(measures.upload, peer, file),
                "glance sha256": partial(measures.upload, ours_sha256, file),
                "nginx": partial(measures.upload_to_nginx, nginx, file),
                "md5 alone": partial(measures.hash_alone, "md5", file),
                "sha512 alone": partial(measures.hash_alone, "sha512", file),
                "sha256 alone": partial(measures.hash_alone, "sha256", file),
            }
            self._note("up", medians(in_turn(self._rounds, up)))
            urls = {}
            for side in (ours, peer):
                image = side.reserve("down")
                measures.run(side.upload_command(image, file))
                urls[side.name] = side.data(image)
            measures.run(["curl", "-sS", "--fail", "-T", str(file), nginx.url("/down")])
            urls["nginx"] = nginx.url("/down")
            down = {name: partial(measures.download, url, GIB) for name, url in urls.items()}
            self._note("down", medians(in_turn(self._rounds, down)))
            by_name: dict[str, sides.Side] = {"glance": ours, "peer": peer, "nginx": nginx}
            costs = {
                name: partial(measures.processor_time, by_name[name], partial(measures.download, url, GIB))
                for name, url in urls.items()
            }
            self._note("down processor", medians(in_turn(self._rounds, costs)))
        file.unlink()

    def parallel(self) -> None:
        """Four uploads at once, and the memory of up to eight."""
        file = measures.random_file(self._here / "512MiB", 512 * MIB)
        with sides.glance(self._fresh()) as ours, sides.peer(self._fresh()) as peer:
            works = {side.name: partial(measures.upload, side, file, 4) for side in (ours, peer)}
            idle = [(side, side.resident()) for side in (ours, peer)]
            for count in (1, 2, 4, 8):
                for side, before in idle:
                    peak = measures.peak_of(side, partial(measures.upload, side, file, count))
                    self._note("memory", {f"{side.name} {count}": (peak - before) / MIB})
            self._note("four up", medians(in_turn(max(3, self._rounds // 2), works)))
        file.unlink()

    def beside(self) -> None:
        """Metadata reads while images go up and down."""
        downloads, uploads = BESIDE
        file = measures.random_file(self._here / "256MiB", 256 * MIB)
        with sides.glance(self._fresh()) as side:
            image = side.reserve("down")
            measures.run(side.upload_command(image, file))
            found = [measures.latency_beside(side, image, file, downloads, uploads) for _ in range(self._rounds)]
        self._note("beside", medians({"median": [run.median for run in found], "p99": [run.p99 for run in found]}))
        self._note("beside", {"most": max(run.most for run in found)})
        file.unlink()

    def requests(self) -> None:
        """Metadata of one image, and a list of twenty."""
        here = self._fresh_made()
        with sides.glance(self._fresh()) as ours, sides.peer(self._fresh()) as peer:
            for what in ("metadata", "list"):
                works: dict[str, Callable[[], float]] = {}
                spent: dict[str, list[float]] = {}
                for side in (ours, peer):
                    images = [side.reserve(f"image {number}") for number in range(LISTED)]
                    asked = side.metadata(images[0]) if what == "metadata" else side.page(20)
                    size = _size_of_answer(side, asked, 20 if what == "list" else None)
                    works[side.name] = partial(self._rate, side, asked, size, here, spent.setdefault(side.name, []))
                self._note(what, medians(in_turn(self._rounds, works)))
                self._note(f"{what} processor", medians(spent))

    def load(self) -> None:
        """Ever more connections that download an image of 16 MiB again and again, and one process for them all."""
        file = measures.random_file(self._here / "16MiB", 16 * MIB)
        with sides.glance(self._fresh()) as side:
            image = side.reserve("down")
            measures.run(side.upload_command(image, file))
            for connections in LOADS:
                speed, errors, peak = measures.load(
                    side, side.data(image), 2 * self._duration, connections, file.stat().st_size
                )
                self._note(f"load {connections}", {"MiB/s": speed, "errors": errors, "memory": peak / MIB})
        file.unlink()

    def pages(self) -> None:
        """A page of twenty, against the number of images, in two databases."""
        server = Postgresql()
        server.start()
        try:
            for name, url_of in (
                ("sqlite", lambda count: f"sqlite:///{self._here}/pages{count}"),
                ("postgresql", lambda count: server.new_database()),
            ):
                costs = page_costs(url_of, self._counts)
                self._note(f"page {name}", {str(count): cost for count, cost in costs.mean.items()})
                self._note(f"worst page {name}", {str(count): cost for count, cost in costs.worst.items()})
        finally:
            server.remove()

    def clouds(self) -> None:
        """Parts of the speed that boto3's and swiftclient's own transfers have to the same servers."""
        clouds = Clouds(self._fresh_made(), moto=False)
        try:
            clouds.start()
            self._note("cloud", speed(clouds, max(3, self._rounds // 2), 512 * MIB))
        finally:
            clouds.stop()

    def _rate(self, side: sides.Side, asked: tuple[str, str], size: int, here: Path, spent: list[float]) -> float:
        found = measures.rate(side, *asked, here, self._duration, size=size)
        spent.append(found.processor_ms)
        return found.per_second

    def _note(self, name: str, found: dict[str, float]) -> None:
        for key, value in found.items():
            self.figures[f"{name} {key}"] = value
            print(f"  {name} {key}: {value:.4g}", flush=True)

    def _fresh(self) -> Path:
        self._number += 1
        return self._here / str(self._number)

    def _fresh_made(self) -> Path:
        made = self._fresh()
        made.mkdir()
        return made


def _size_of_answer(side: sides.Side, asked: tuple[str, str], items: int | None) -> int:
    """Bytes of the body, and of the metadata that HEAD has as headers. Raises RuntimeError if it is a list of another
    number of images."""
    method, url = asked
    headers, body = side.request(method, url.removeprefix(side.url("")))
    if items is not None and len(json.loads(body)["images"]) != items:
        raise RuntimeError(f"{side.name}: {url} lists {len(json.loads(body)['images'])} images, not {items}")
    return len(body) + sum(len(name) + len(value) for name, value in headers.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between; the others are not run")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of each kind (default 5)")
    parser.add_argument("--duration", type=int, default=5, help="seconds that requests are counted for (default 5)")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000], help="images in a table"
    )
    parser.add_argument("--directory", help="where to work; default: the system's temporary directory")
    given = parser.parse_args()
    parts = given.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(dir=given.directory, prefix="glance-bench-") as name:
        measures.room_for(Path(name), 12 * GIB)
        run = Run(Path(name), given.rounds, given.duration, given.counts)
        for part in parts:
            print(part, flush=True)
            getattr(run, part)()
    report.write(Path(__file__).parent, run.figures, datetime.now(UTC))


if __name__ == "__main__":
    main()
