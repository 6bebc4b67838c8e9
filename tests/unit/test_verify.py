# SPDX-License-Identifier: Apache-2.0
"""What verify reads, how fast, and what it makes of it."""

import hashlib
from dataclasses import replace

import pytest

from glance.core import verify
from glance.core.context import Context
from glance.core.errors import BlobMissing, NotActive, NotFound, StoreDown
from glance.core.findings import Unchecked
from glance.core.image import Image, Status
from glance.core.verify import Chosen, Pace, Sample, Verification
from glance.store import StoreSet
from tests.fakes.registry import MemoryRegistry
from tests.fakes.store import MemoryBlob, MemoryStore

CTX = Context(is_admin=True)
DATA = bytes(range(256)) * 4


class Setup:
    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        self.store = MemoryStore()
        self.read = 0
        self.verification = Verification(self.registry, StoreSet("memory", {"memory": self.store}), watch=self._count)

    def _count(self, count: int) -> None:
        self.read += count

    def add(self, data: bytes = DATA, **fields: object) -> Image:
        given = {"size": len(data), "status": Status.ACTIVE, "checksum": hashlib.md5(data).hexdigest()}
        image = self.registry.add(CTX, Image(**given | fields))
        self.store.objects[str(image.number)] = data
        self.registry.images[image.number] = replace(image, locations=(f"memory://{image.number}",))
        return self.registry.images[image.number]


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_good_images(setup):
    setup.add()
    setup.add(b"")
    setup.add(checksum=None, os_hash_algo="sha512", os_hash_value=hashlib.sha512(DATA).hexdigest())
    chosen = setup.verification.choose()
    assert [image.size for image in chosen] == [len(DATA), 0, len(DATA)]
    assert [setup.verification.verify(image.number) for image in chosen] == [None, None, None]
    assert setup.read == 2 * len(DATA)
    assert all(blob.closed == 1 for blob in setup.store.opened)


def test_a_byte_that_changed(setup):
    image = setup.add()
    setup.store.objects["1"] = b"x" + DATA[1:]
    found = setup.verification.verify(1)
    assert (found.image, found.missing) == (image, False)
    assert f"recorded is {image.checksum}" in found.problem


def test_either_digest_finds_it(setup):
    setup.add(os_hash_algo="sha512", os_hash_value="0" * 128)
    assert "sha512 is" in setup.verification.verify(1).problem


def test_bytes_that_are_missing_or_too_few(setup):
    setup.add()
    setup.store.objects["1"] = DATA[:-1]
    assert setup.verification.verify(1).problem == "it has 1023 bytes, recorded are 1024"
    assert setup.read == 0
    del setup.store.objects["1"]
    assert setup.verification.verify(1).problem == "no such bytes"


def test_a_store_that_breaks_off_says_nothing_of_the_image(setup):
    setup.add()

    def broken(method: str) -> None:
        raise StoreDown("the store broke off")

    setup.store.before = broken
    assert isinstance(setup.verification.verify(1), Unchecked)


def test_a_store_that_breaks_off_because_a_part_is_missing(setup):
    setup.add()
    whole = setup.store.open

    def opened(location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        if start:
            raise BlobMissing("a segment is missing")
        blob = whole(location)
        blob._data = Breaking(blob._data)
        return blob

    class Breaking(bytes):
        def __getitem__(self, part: slice) -> bytes:
            if part.start:
                raise StoreDown("the store broke off")
            return super().__getitem__(part)

    setup.store.open = opened
    assert setup.verification.verify(1).problem == "a segment is missing, from byte 1000 on"


def test_what_cannot_be_compared_is_counted(setup):
    setup.add(checksum=None)
    setup.add(checksum=None, os_hash_algo="shake_128", os_hash_value="00")
    setup.add(checksum=None, os_hash_algo="of tomorrow", os_hash_value="00")
    setup.registry.add(CTX, Image(status=Status.ACTIVE, locations=("http://x/y",), checksum="0" * 32))
    setup.registry.add(CTX, Image())
    assert setup.verification.choose() == []
    assert (setup.verification.unhashed, setup.verification.elsewhere) == (3, 1)


def test_an_image_that_goes_or_changes_while_it_is_read_is_not_broken(setup):
    image = setup.add()
    setup.store.objects["1"] = b"changed"

    def go(method: str) -> None:
        setup.registry.remove(CTX, image.id)

    setup.store.before = go
    assert setup.verification.verify(1) is None
    assert setup.verification.verify(1) is None  # it is not there any more
    assert setup.verification.verify(17) is None


def test_named_images(setup):
    first, second = setup.add(), setup.add()
    assert [image.number for image in setup.verification.choose([second.id, "1"])] == [2, 1]
    with pytest.raises(NotFound):
        setup.verification.choose(["17"])
    queued = setup.registry.add(CTX, Image())
    with pytest.raises(NotActive, match="queued"):
        setup.verification.choose([queued.id])
    assert isinstance(first, Image)


@pytest.mark.parametrize(("sample", "count"), [
    (Sample(1), 1), (Sample(10), 10), (Sample(99), 30), (Sample(100, percent=True), 30), (Sample(5, percent=True), 2), (Sample(0.1, percent=True), 1),
])  # fmt: skip
def test_samples(sample, count):
    images = [Chosen(number, 1) for number in range(30)]
    chosen = sample.of(images)
    assert len(set(chosen)) == count
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(images)
    assert sample.of([]) == []


def test_samples_differ():
    images = [Chosen(number, 1) for number in range(1000)]
    assert Sample(500).of(images) != Sample(500).of(images)


def test_the_pace(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            assert seconds >= 0
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(verify, "time", clock)
    pace = Pace(1000)
    for _ in range(10):
        pace(500)
    assert clock.now == pytest.approx(105)
    clock.now += 60  # a store that was slow is not made up for
    pace(500)
    assert clock.now == pytest.approx(165.5)
