# SPDX-License-Identifier: Apache-2.0
"""Where `glance download` writes to: descriptors, pipes that are full, names of parts. The real thing is functional."""

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glance.cli.images import transfer
from glance.cli.images.transfer import _copy, _find_descriptor, _name_part

IMAGE_ID = "71c675ab-d94f-49cd-a114-e12490b328d9"


class Download:
    size = None
    position = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"a" * 200_000, b"b" * 10)


class CountingFile(io.FileIO):
    calls = 0

    def write(self, data) -> int | None:
        self.calls += 1
        return super().write(data)


def test_a_non_blocking_pipe_that_is_full_is_waited_for() -> None:
    """Asking it again and again would take a whole processor."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    found: list[bytes] = []

    def read() -> None:
        time.sleep(0.2)
        with os.fdopen(reader, "rb") as file:
            found.append(file.read())

    thread = threading.Thread(target=read)
    thread.start()
    with CountingFile(writer, "wb") as file:
        _copy(Download(), file, "x")
    thread.join(10)
    assert found == [b"".join(Download())]
    assert file.calls < 500


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/dev/stdout", 1), ("/dev/stderr", 2), ("/dev/fd/63", 63), ("/proc/self/fd/9", 9), ("/proc/{pid}/fd/9", 9),
        ("/dev/fd/../fd/3", 3), ("fd/3", None), ("3", None), ("/dev/null", None), ("/dev/fd", None), ("/dev/fd/x", None),
        ("/dev/fd/99999999999", None), ("/dev/fd/٣", None), ("", None), ("loop", None), ("link", 1),
    ],
)  # fmt: skip
def test_names_of_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: int | None
) -> None:
    name = name.replace("{pid}", str(os.getpid()))  # a name of a test is the same in every process
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("other")
    (tmp_path / "other").symlink_to("/dev/stdout")
    assert _find_descriptor(name) == expected


def test_the_name_of_a_part_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _name_part(tmp_path / "disk.img", IMAGE_ID).name == f"disk.img.{IMAGE_ID}.part"
    longest = [_name_part(tmp_path / name, IMAGE_ID).name for name in ("x" * 213, "x" * 214, "x" * 255, "ß" * 127)]
    assert longest[0] == f"{'x' * 213}.{IMAGE_ID}.part"
    assert [len(os.fsencode(name)) for name in longest] == [255, 252, 255, 254]
    assert len({*longest, _name_part(tmp_path / ("x" * 255), "other" * 60).name}) == 5
    monkeypatch.setattr(transfer.os, "pathconf", lambda path, name: 143)  # as eCryptfs has it
    assert len(_name_part(tmp_path / ("x" * 143), IMAGE_ID).name) == 143
