# SPDX-License-Identifier: Apache-2.0
"""glance-manage: its command line; and store-check finds out every store that does not keep its promises."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from glance.cli import manage, storecheck
from glance.core.errors import BrokenUpload, GlanceError, StoreDown, StoreFull
from glance.core.ports import Source
from tests.fakes.store import MemoryBlob, MemoryStore

PART = 100_000
STEPS = [
    "connect", "prepare", "optional abilities", "write 64 KiB", "read it", "read a part of it", "write 195 KiB in parts, read them",
    "an upload that breaks off is not kept", "delete", "what is deleted is gone", "nothing is left behind",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storecheck, "LAG", (0, 0))


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[bool, dict[str, str]]]:
    """Whether a store passes, and what each step says."""

    def check(store: MemoryStore, part: int = PART) -> tuple[bool, dict[str, str]]:
        good = storecheck._check(store, "connect", "prepare", part)
        said: dict[str, str] = {}
        step = ""
        for line in capsys.readouterr().out.splitlines():
            if line.startswith("   "):
                said[step] += " " + line.strip()
            else:
                step, _, outcome = line.strip().partition(" .")
                said[step] = outcome.lstrip(". ")
        return good, said

    return check


def test_a_good_store(check):
    store = MemoryStore()
    good, said = check(store)
    assert good
    assert list(said) == STEPS
    assert said["connect"] == "ok: this process"
    assert all(outcome.startswith("ok") for outcome in said.values())
    assert store.objects == {}
    assert all(blob.closed == 1 for blob in store.opened)


def test_a_store_that_knows_no_parts(check):
    good, said = check(MemoryStore(), 0)
    assert good
    assert list(said) == [step for step in STEPS if "in parts" not in step]


class Lying(MemoryStore):
    """Opens what it has, with some of the bytes changed by `lie`."""

    lie: Callable[[bytes], bytes] = staticmethod(lambda data: data)

    def open(self, location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        blob = super().open(location, start=start, length=length)
        return MemoryBlob(type(self).lie(b"".join(blob)), blob.total)


class Changing(Lying):
    lie = staticmethod(lambda data: bytes([data[0] ^ 1]) + data[1:])


class Shortening(Lying):
    lie = staticmethod(lambda data: data[:-1])


class WithoutRange(MemoryStore):
    def open(self, location: str, *, start: int = 0, length: int | None = None) -> MemoryBlob:
        return super().open(location)


class Keeping(MemoryStore):
    """Takes what breaks off for whole, and passes the error on."""

    def put(self, name: str, source: Source, *, size: int | None) -> str:
        data = b""
        try:
            while block := source.read(1000):
                data += block
        finally:
            self.objects[name] = data
        return f"memory://{name}"


class Swallowing(Keeping):
    def put(self, name: str, source: Source, *, size: int | None) -> str:
        try:
            return super().put(name, source, size=size)
        except BrokenUpload:
            return f"memory://{name}"


class Undying(MemoryStore):
    def delete(self, location: str, **_: object) -> None:
        pass


class Littering(MemoryStore):
    """Leaves a part of what breaks off, where only traces() shows it."""

    def traces(self, name: str) -> list[str]:
        return [f"a part of {name}"] if "broken" in name else super().traces(name)


class Forgetting(MemoryStore):
    def put(self, name: str, source: Source, *, size: int | None) -> str:
        location = super().put(name, source, size=size)
        if len(self.objects[name]) > 64 * 1024:
            del self.objects[name]
        return location


@pytest.mark.parametrize(("kind", "failing"), [
    (Changing, {"read it", "read a part of it", "write 195 KiB in parts, read them"}),
    (Shortening, {"read it", "read a part of it", "write 195 KiB in parts, read them"}),
    (WithoutRange, {"read a part of it"}),
    (Keeping, {"an upload that breaks off is not kept"}),
    (Swallowing, {"an upload that breaks off is not kept"}),
    (Undying, {"what is deleted is gone", "nothing is left behind"}),
    (Littering, {"an upload that breaks off is not kept", "nothing is left behind"}),
    (Forgetting, {"write 195 KiB in parts, read them"}),
])  # fmt: skip
def test_stores_that_break_a_promise(check, kind, failing):
    store = kind()
    good, said = check(store)
    assert not good
    assert {step for step, outcome in said.items() if outcome.startswith("FAILED: ")} == failing
    assert list(said) == STEPS
    assert store.objects == {} or kind is Undying


@pytest.mark.parametrize(
    "error", [StoreDown("it is down", advice="lift it up"), StoreFull("no room"), ValueError("x")], ids=repr
)
@pytest.mark.parametrize("method", ["connect", "prepare", "put", "open", "delete", "traces"])
def test_whatever_fails_is_told_and_nothing_is_left(check, method, error):
    store = MemoryStore()
    left = 1 if method in ("put", "open", "delete", "traces") else 10**6

    def fail(called: str) -> None:
        nonlocal left
        if called == method and left:
            left -= 1
            raise error

    store.before = fail
    good, said = check(store)
    assert not good
    failed = [outcome for outcome in said.values() if outcome.startswith("FAILED: ")]
    if isinstance(error, GlanceError):
        assert failed[0] == f"FAILED: {error} {error.advice}".rstrip()
    else:
        assert "fault of Glance itself, ValueError" in failed[0]
    assert store.objects == {}
    if method in ("connect", "prepare", "put"):  # nothing can be tried then
        assert list(said)[: STEPS.index("write 64 KiB") + 1] == list(said)[:4]
        assert "read it" not in said


@pytest.mark.parametrize("when", ["put", "open", "delete"])
def test_ctrl_c_leaves_nothing(when, capsys):
    store = MemoryStore()
    times: Iterator[None] = iter([None])

    def interrupt(called: str) -> None:
        if called == when and next(times, True) is None:
            raise KeyboardInterrupt

    store.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        storecheck._check(store, "connect", "prepare", PART)
    assert store.objects == {}
    assert "interrupted" in capsys.readouterr().out


def test_listings_may_come_late(check, monkeypatch):
    monkeypatch.setattr(storecheck, "LAG", (0, 0, 0))

    class Late(MemoryStore):
        asked = 0

        def traces(self, name: str) -> list[str]:
            self.asked += 1
            return [] if self.asked % 3 == 0 else [f"the bytes {name}"]

    good, _ = check(Late())
    assert good


# The command line


@pytest.mark.parametrize("words", [
    [], ["nonsense"], ["store-check", "ftp"], ["store-check", "s3", "swift"], ["store-check", "--timeout", "0"], ["store-check", "--timeout", "1.5"],
    ["store-check", "--timeout", "3601"], ["--nonsense", "store-check"],
], ids=str)  # fmt: skip
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        manage._parse(words)
    assert caught.value.code == 2
    assert "usage: glance-manage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--config-file", "x", "-d", "store-check"], ["store-check", "--config-file", "x", "--debug"]], ids=str
)
def test_common_options_stand_anywhere(words):
    options = manage._parse(words)
    assert (options.config_file, options.debug, options.store, options.timeout) == ("x", True, None, 10)
    assert options.command.name == "store-check"


def test_without_options():
    options = manage._parse(["store-check", "swift", "--timeout", "3600"])
    assert (options.config_file, options.debug, options.store, options.timeout) == (None, False, "swift", 3600)


def test_it_is_an_ordinary_process():
    """The drivers run without eventlet here, and nothing of it is loaded by the way."""
    code = "import sys; import glance.cli.manage; print({'eventlet', 'greenlet', 'glance.serve.green'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
