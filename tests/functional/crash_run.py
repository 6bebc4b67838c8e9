# SPDX-License-Identifier: Apache-2.0
"""Both daemons are killed again and again (SIGKILL), at random moments of uploads and deletes; then all is looked at.

`python -m tests.functional.crash_run --rounds 300` does it for three hundred uploads and deletes, tells what it
found, and ends with status 1 if anything was lost or left behind. tests/functional/test_crash_run.py does it for
some. A round is one upload or delete; a few of them run at once, and one of the daemons, or both, die while they do.
"""

import argparse
import hashlib
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.functional.daemons import Installation

AT_ONCE = 5  # uploads and deletes
LEASE = 3  # seconds
SETTLED = 30  # seconds, after which nothing may be in limbo any more
LIFE = 0.4  # seconds, at most, that a daemon lives beside a few uploads and deletes
MIB = 1024 * 1024
VICTIMS = (("glance-api",), ("glance-registry",), ("glance-api", "glance-registry"))
EVERYTHING = "is_public=none&changes-since=2011-03-04&limit=1000"


def data_of(number: int) -> bytes:
    """What is uploaded in a round: nothing, a little, or some blocks of the file store."""
    chance = random.Random(number)
    return chance.randbytes(chance.choice((0, chance.randrange(1, 100_000), chance.randrange(2 * MIB))))


@dataclass
class Findings:
    """`answers` are counted by what was asked and the status; 0: the daemon died first. `flaws` are what must not be."""

    kills: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    flaws: list[str] = field(default_factory=list)

    def report(self) -> str:
        told = ", ".join(f"{what} {status or 'no answer'}: {n}" for (what, status), n in sorted(self.answers.items()))
        lines = (
            f"killed:   {', '.join(f'{name} {n}' for name, n in sorted(self.kills.items()))}",
            f"answers:  {told}",
            f"images:   {', '.join(f'{status} {n}' for status, n in sorted(self.statuses.items()))}",
            f"lost, left behind, or in limbo: {len(self.flaws)}",
        )
        return "\n".join((*lines, *self.flaws))


class CrashRun:
    def __init__(self, installation: Installation, *, seed: int) -> None:
        self.findings = Findings()
        self._installation = installation
        self._random = random.Random(seed)
        self._stored: dict[int, str] = {}  # number of the round → id, of what is promised to be there
        self._deleted: set[str] = set()  # ids, of what is promised to be gone
        installation.configure(api=f"transfer_lease = {LEASE}")
        installation.start()

    def run(self, rounds: int) -> Findings:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for first in range(0, rounds, AT_ONCE):
                deeds = [self._plan(number) for number in range(first, min(first + AT_ONCE, rounds))]
                running = [pool.submit(deed, *arguments) for deed, *arguments in deeds]
                time.sleep(self._random.uniform(0, LIFE))
                self._kill(self._random.choice(VICTIMS))
                for one in running:
                    one.result()
        self._await_rest()
        self._judge()
        return self.findings

    def _plan(self, number: int):
        if self._stored and self._random.random() < 0.3:
            return self._delete, self._stored.pop(self._random.choice(list(self._stored)))
        return self._upload, number, self._random.uniform(0, LIFE)

    def _upload(self, number: int, seconds: float) -> None:
        data = data_of(number)
        headers = {"Content-Type": "application/octet-stream", "x-image-meta-name": str(number)}
        formats = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}
        response = self._ask("POST", "", headers=headers | formats, data=_slowly(data, seconds))
        if response is not None and response.status_code == 201:
            self._stored[number] = response.json()["image"]["id"]

    def _delete(self, name: str) -> None:
        response = self._ask("DELETE", f"/{name}")
        if response is not None and response.status_code == 200:
            self._deleted.add(name)

    def _ask(self, method: str, path: str, **arguments: object) -> requests.Response | None:
        """None when the daemon dies first."""
        url = f"http://127.0.0.1:{self._installation.api_port}/v1/images{path}"
        try:
            response = requests.request(method, url, timeout=60, **arguments)
        except requests.RequestException:
            response = None
        self.findings.answers[method, response.status_code if response is not None else 0] += 1
        return response

    def _kill(self, victims: tuple[str, ...]) -> None:
        for name in victims:
            os.kill(self._installation.pid(name), signal.SIGKILL)
            self.findings.kills[name] += 1
        for name in victims:
            self._installation.start(name.removeprefix("glance-"))

    # What is there in the end

    def _await_rest(self) -> None:
        deadline = time.monotonic() + SETTLED
        while (limbo := self._limbo()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.findings.flaws += limbo

    def _limbo(self) -> list[str]:
        """The records that say that somebody is still to do something."""
        statement = (
            "SELECT number, status FROM images WHERE status IN ('queued', 'saving') OR lease_until IS NOT NULL"
        )
        with closing(sqlite3.connect(self._installation.folder / "glance.sqlite", timeout=10)) as database:
            return [f"image {number} is {status}, in limbo" for number, status in database.execute(statement)]

    def _judge(self) -> None:
        base = f"http://127.0.0.1:{self._installation.api_port}/v1/images"
        images = requests.get(f"{base}/detail?{EVERYTHING}", timeout=60).json()["images"]
        active = set()
        for image in images:
            self.findings.statuses[image["status"]] += 1
            if image["status"] == "active":
                active.add(image["id"])
            if image["status"] in ("active", "killed"):
                self._judge_answer(image, requests.get(f"{base}/{image['id']}", timeout=60))
        flaws = self.findings.flaws
        flaws += [
            f"upload {number} was answered 201 and is lost"
            for number, name in self._stored.items()
            if name not in active
        ]
        flaws += [f"image {name} is there after its delete was answered 200" for name in self._deleted & active]
        folder = self._installation.folder / "images"
        files = {path.name for path in folder.rglob("*") if not path.is_dir()}
        needed = self._files_of_active()
        flaws += [f"left: {name}" for name in sorted(files - needed)]
        flaws += [f"lost: {name}" for name in sorted(needed - files)]
        open_files = [path for path in _open_files(self._installation.processes()) if path.startswith(str(folder))]
        flaws += [f"held open: {path}" for path in open_files]

    def _judge_answer(self, image: dict[str, object], response: requests.Response) -> None:
        wanted = hashlib.md5(data_of(int(str(image["name"])))).hexdigest()
        if image["status"] == "killed":
            if "killed, it has no bytes: " not in response.text:
                self.findings.flaws.append(f"killed without a reason: {response.text!r}")
        elif response.status_code != 200 or hashlib.md5(response.content).hexdigest() != wanted:
            self.findings.flaws.append(f"active and not what was uploaded: {image}")

    def _files_of_active(self) -> set[str]:
        statement = "SELECT url FROM image_locations JOIN images ON number = image WHERE images.status = 'active'"
        with closing(sqlite3.connect(self._installation.folder / "glance.sqlite", timeout=10)) as database:
            return {Path(url).name for (url,) in database.execute(statement)}


def _slowly(data: bytes, seconds: float) -> Iterator[bytes]:
    """The data in some pieces, over so many seconds; without a length that would tell a cut."""
    size = max(1, len(data) // 8)
    for at in range(0, len(data), size):
        time.sleep(seconds / 8)
        yield data[at : at + size]


def _open_files(processes: list[int]) -> list[str]:
    return [
        str(link.readlink())
        for number in processes
        for link in Path(f"/proc/{number}/fd").iterdir()
        if link.is_symlink()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="uploads and deletes (300)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of what is random but for time")
    options = parser.parse_args()
    print(f"{options.rounds} rounds, --seed {options.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="glance-crashes-") as folder:
        installation = Installation(Path(folder))
        try:
            findings = CrashRun(installation, seed=options.seed).run(options.rounds)
        finally:
            installation.end()
    print(findings.report())
    print(f"seconds:  {time.monotonic() - begun:.0f}")
    return 1 if findings.flaws else 0


if __name__ == "__main__":
    raise SystemExit(main())
