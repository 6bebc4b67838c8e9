# SPDX-License-Identifier: Apache-2.0
"""glance-manage store-check: can this server, as it is configured, keep images in its stores?

What a store promises is tried on the real thing, with the daemons' own drivers, one step and one line at a time.
Objects have names that no image has, and go again whatever happens.
"""

import argparse
import io
import logging
import os
import secrets
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

from glance import config
from glance.cli.startup import OutputError
from glance.config import ApiConfig, ConfigError
from glance.core.errors import BlobMissing, BrokenUpload, GlanceError, StoreDown
from glance.core.inline import INLINE
from glance.core.ports import Store, Threads
from glance.server import NEEDED, stores_of
from glance.store.proxy import find_environment_proxy, parse_proxy

LOG = logging.getLogger(__name__)

MIB = 1024 * 1024
SMALL = 64 * 1024  # bytes of the object that is written first
TIMEOUT = 10  # seconds: who sits before a terminal waits less long than a daemon
LAG = (0, 0.5, 1.5, 3)  # seconds before each look whether something is left: listings of clouds come late
READ_ONLY = "http"
FIRST_STEPS = {
    "file": ("who writes", "directory"),
    "s3": ("connect, keys", "bucket"),
    "swift": ("connect, log in", "container"),
}
CLIENTS = {"s3": "boto3", "swift": "swiftclient"}  # libraries that use proxies of the environment
WIDTH = 40  # columns of what a step does
LINE = 110

# What it does, and the action. The first line of what that returns is printed beside the step, others below it.
Step = tuple[str, Callable[[], str | None]]


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "store",
        nargs="?",
        choices=(*FIRST_STEPS, READ_ONLY),
        metavar="STORE",
        help=f"{', '.join(FIRST_STEPS)} or {READ_ONLY}; without one, all that can be written to are tried",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="time without an answer after which S3 or Swift counts as down (default: %(default)s); most requests "
        "are tried four times",
    )
    parser.epilog = (
        "Some megabytes are written, read and deleted again. A directory, bucket or container that is missing is "
        "made if the first upload would make it, and stays. Run this as the user that glance-api runs as, or it is "
        "the rights of another one that are tried."
    )


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises ConfigError."""
    settings = config.load("glance-api", options.path, options.data).settings
    assert isinstance(settings, ApiConfig)
    tried = _sooner_in_parts(settings, options.timeout)
    stores = stores_of(tried)
    _say(f"Configuration: {options.path or f'built-in defaults, everything below {options.data}'}")
    if options.store == READ_ONLY:
        _show_read_only(settings)
        return 0
    if options.store not in (None, *stores.names):
        raise ConfigError(f"there is no store {options.store} here: it needs {NEEDED[options.store]}")
    good: dict[str, bool] = {}
    for name in [options.store] if options.store else stores.names:
        _say(f"\n{name}{' (default_store)' if name == settings.default_store else ''}")
        if name in CLIENTS:
            _report_proxy(
                settings.store_http_proxy, "store_http_proxy", getattr(settings, NEEDED[name]), CLIENTS[name]
            )
        part = MIB * getattr(tried, f"{name}_store_large_object_chunk_size", 0)
        good[name] = _check(stores.named(name), *FIRST_STEPS[name], part)
    _say()
    for outcome, words in ((True, "Works"), (False, "Does not work")):
        if names := [name for name in good if good[name] is outcome]:
            _say(f"{words}: {', '.join(names)}")
    return 0 if all(good.values()) else 1


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 0 < int(text) <= 3600):
        raise argparse.ArgumentTypeError(f"a time is a number of seconds from 1 to 3600, not {text!r}")
    return int(text)


def _sooner_in_parts(settings: ApiConfig, timeout: int) -> ApiConfig:
    """The settings with the least limits that large objects can have, so that some MiB are many parts already."""
    least = {item.name: item.metadata["least"] for item in fields(settings) if "_large_object_" in item.name}
    return replace(settings, **least, s3_store_timeout=timeout, swift_store_timeout=timeout)


def _show_read_only(settings: ApiConfig) -> None:
    more = settings.http_store_allowed_hosts.strip()
    _say(f"\n{READ_ONLY}\n  is read only: images of third parties stay where they are, and nothing is written there")
    _say("  open:   public addresses of the Internet" + (f", and beside them {more}" if more else ""))
    _say("  closed: loopback, private and other inside addresses" + (", but for these" if more else ""))
    _say("  option: http_store_allowed_hosts")
    _report_proxy(settings.http_store_proxy, "http_store_proxy", "https://images.example.org", "other clients")


def _report_proxy(configured: str, option: str, url: str, clients: str) -> None:
    """Print the proxy of the configuration, or that of the environment, which `clients` would use and Glance does
    not."""
    if configured:
        _print_note(f"proxy: {parse_proxy(configured, schemes=('http', 'https')).address} ({option})")
    elif found := find_environment_proxy(url if "://" in url else f"https://{url}"):
        variable, address = found
        _print_note(
            f"proxy: none. {variable} in the environment names {address}, which {clients} would use, and Glance does "
            f"not: if it is needed, set {option} = {address}"
        )


def _print_note(text: str) -> None:
    for line in textwrap.wrap(text, LINE, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False):
        _say(line)


def _check(store: Store, connect: str, prepare: str, part: int) -> bool:
    """Whether all of a store works. `part` is the number of bytes of its smallest part; 0: it knows no parts."""
    trial = _Trial(store)
    first: list[Step] = [
        (connect, store.connect),
        (prepare, store.prepare),
        ("optional abilities", trial.try_abilities),
        (f"write {_shown(SMALL)}", trial.write),
    ]
    try:
        good = all(_passes(step) for step in first)  # without these, nothing more can be tried
        for step in trial.steps(part) if good else ():
            good = _passes(step) and good
    finally:
        try:
            clean = not trial.names or _passes(("nothing is left behind", trial.clean))
        except OutputError:  # the reader has left, and the trial's objects must not stay
            trial.clean()
            raise
    return good and clean


def _passes(step: Step) -> bool:
    """Do it, and print what became of it."""
    words, deed = step
    _say(f"  {words} {'.' * (WIDTH - len(words))} ", end="")
    try:
        said = deed()
    except GlanceError as error:
        _say(f"FAILED: {error}")
        _print_advice(error.advice)
    except Exception as error:
        _say(f"FAILED: a fault of Glance itself, {type(error).__name__}")
        LOG.exception("a fault of Glance itself")
        _print_advice("--debug shows where")
    except KeyboardInterrupt:
        _say("interrupted")
        raise
    else:
        first, *rest = (said or "").split("\n")
        _say(f"ok: {first}" if first else "ok")
        for line in rest:
            _print_advice(line)
        return True
    return False


def _print_advice(text: str) -> None:
    indent = " " * 6
    for line in textwrap.wrap(
        text, LINE, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ):
        _say(line)


def _say(text: str = "", *, end: str = "\n") -> None:
    """Print at once; where nobody can read it, to nowhere: what has been begun must be put away all the same."""
    try:
        print(text, end=end, flush=True)
    except OSError:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _shown(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // 1024} KiB"


class _Bytes:
    """A Source of these bytes; `breaks` makes it fail where its end would be."""

    threads: Threads = INLINE
    sender = ""

    def __init__(self, data: bytes, *, breaks: bool = False) -> None:
        self._stream = io.BytesIO(data)
        self._breaks = breaks

    def read(self, size: int, /) -> bytes:
        block = self._stream.read(size)
        if not block and self._breaks:
            raise BrokenUpload("this upload breaks off, as it was meant to")
        return block


class _Trial:
    """What is put into a store on trial. A step that does not get what the store promises raises GlanceError."""

    def __init__(self, store: Store) -> None:
        self.names: list[str] = []  # of all that was begun
        self._store = store
        self._mark = secrets.token_hex(8)
        self._kept: dict[str, bytes] = {}  # location → bytes
        self._folder = ""  # what a location begins with

    def steps(self, part: int) -> Iterator[Step]:
        """What is tried when write() has worked, each for itself."""
        (small,) = self._kept
        yield "read it", lambda: self._read(small)
        yield "read a part of it", lambda: self._read(small, SMALL // 4, SMALL // 2)
        if part:
            yield f"write {_shown(2 * part)} in parts, read them", lambda: self._read(self._put("parts", 2 * part))
        yield "an upload that breaks off is not kept", lambda: self._break_off(part + SMALL)
        yield "delete", self._delete
        yield "what is deleted is gone", self._find_none

    def try_abilities(self) -> str | None:
        found = self._store.try_abilities()
        return "\n".join(["it works, with these consequences", *found]) if found else None

    def write(self) -> None:
        self._folder = self._put("small", SMALL).rpartition("/")[0]

    def clean(self) -> None:
        """Delete what is left, whatever came before."""
        for name in self.names if self._folder else ():
            with suppress(GlanceError):  # what matters is whether something remains
                self._store.delete(f"{self._folder}/{name}")
        self._expect_no_traces()

    def _put(self, kind: str, size: int) -> str:
        data = os.urandom(size)
        location = self._store.put(self._named(kind), _Bytes(data), size=size)
        self._kept[location] = data
        return location

    def _named(self, kind: str) -> str:
        self.names.append(f"store-check-{kind}-{self._mark}")
        return self.names[-1]

    def _read(self, location: str, start: int = 0, length: int | None = None) -> None:
        expected = self._kept[location]
        blob = self._store.open(location, start=start, length=length)
        try:
            data = b"".join(blob)
        finally:
            blob.close()
        if data != expected[start : None if length is None else start + length]:
            raise StoreDown(
                f"{len(data)} bytes came back, and they are not those that were written",
                advice="something on the way, or the store, changes bytes: is a cache or another proxy between?",
            )

    def _break_off(self, size: int) -> None:
        name = self._named("broken")
        try:
            self._store.put(name, _Bytes(os.urandom(size), breaks=True), size=2 * size)
        except BrokenUpload:
            self._expect_missing(f"{self._folder}/{name}")
            self._expect_no_traces(name)
            return
        raise StoreDown("an upload that broke off was taken for a whole one")

    def _delete(self) -> None:
        for location in self._kept:
            self._store.delete(location)

    def _find_none(self) -> None:
        for location in self._kept:
            self._expect_missing(location)

    def _expect_missing(self, location: str) -> None:
        try:
            self._store.open(location).close()
        except BlobMissing:
            return
        raise StoreDown(f"it can still be read: {location}")

    def _expect_no_traces(self, *names: str) -> None:
        found = [trace for name in names or self.names for trace in self._traces(name)]
        if found:
            raise StoreDown(
                f"left behind: {', '.join(found)}", advice="the right to delete may be missing: remove it by hand"
            )

    def _traces(self, name: str) -> list[str]:
        """What is left of it, when listings have had their time."""
        found: list[str] = []
        for pause in LAG:
            time.sleep(pause)
            if not (found := self._store.traces(name)):
                break
        return found
