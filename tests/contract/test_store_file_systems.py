# SPDX-License-Identifier: Apache-2.0
"""The file store on mounted file systems that lack abilities, as vfat, exFAT, CIFS and FUSE do: the promises of every store,
and what is an error all the same."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glance.core.errors import StoreDown
from glance.store import abilities
from glance.store.filesystem import FilesystemStore
from tests.contract.test_store import (  # noqa: F401 - the suite of all stores, run here with the fixtures below
    on_disk,
    put,
    read,
    test_a_check_leaves_nothing,
    test_a_reader_keeps_what_it_has_opened,
    test_a_source_that_raises_leaves_nothing_and_keeps_its_error,
    test_all_that_lies_there_is_told,
    test_any_number_of_bytes,
    test_deleting_what_is_gone_is_no_error,
    test_names_do_not_mix,
    test_nothing_is_overwritten,
    test_nothing_is_visible_before_the_end,
    test_of_two_puts_at_once_one_wins,
    test_parts,
    test_what_is_deleted_is_gone,
    test_what_is_put_is_read,
    test_whatever_ends_a_put_leaves_nothing,
)
from tests.servers.fuse import Fuse

# What each of them answers, as Linux, Samba and libfuse do.
LACKING = {
    "vfat": {"link": "EPERM"},
    "cifs": {"link": "EOPNOTSUPP", "fsyncdir": "EINVAL"},
    "fuse": {"link": "ENOSYS", "rename_noreplace": "EINVAL", "fsyncdir": "EOPNOTSUPP"},
}
NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=LACKING)
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("mnt")
    made = Fuse(folder, **LACKING[request.param])
    yield folder
    made.close()


@pytest.fixture
def datadir(mounted: Path) -> Path:
    return mounted / str(next(NUMBERS))


@pytest.fixture
def store(datadir: Path) -> FilesystemStore:
    return FilesystemStore(datadir)


@pytest.fixture
def held(datadir: Path) -> Callable[[], list[str]]:
    return lambda: on_disk(datadir)


def test_what_is_missing_is_told_and_nothing_is_left(store: FilesystemStore, datadir: Path, request):
    lacking = LACKING[request.node.callspec.params["mounted"]]
    store.prepare()
    told = " ".join(store.try_abilities())
    assert "O_TMPFILE" in told
    for operation, words in (
        ("link", "hard links"),
        ("rename_noreplace", "NOREPLACE"),
        ("fsyncdir", "power failure"),
    ):
        assert (words in told) == (operation in lacking)
    assert on_disk(datadir) == []


def test_a_file_system_with_all_abilities_has_nothing_to_tell(tmp_path):
    if not abilities.can_link_unnamed(tmp_path):
        pytest.skip(f"the file system of {tmp_path} has no O_TMPFILE")
    assert FilesystemStore(tmp_path).try_abilities() == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[Path]:
    made = Fuse(tmp_path / "failing", fsyncdir="EIO")
    yield tmp_path / "failing"
    made.close()


def test_a_disk_that_fails_is_not_taken_for_one_that_lacks_something(failing_disk):
    store = FilesystemStore(failing_disk / "images")
    with pytest.raises(StoreDown):
        put(store)
    assert on_disk(failing_disk / "images") == []
    with pytest.raises(StoreDown):
        store.try_abilities()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_directory_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch, number):
    true_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), (tmp_path / "images").stat()):
            raise OSError(number, os.strerror(number))
        true_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = FilesystemStore(tmp_path / "images")
    location = put(store)
    assert read(store, location)
    store.delete(location)
    assert "power failure" in " ".join(store.try_abilities())


def test_without_proc_files_have_names(tmp_path, monkeypatch):
    """A file without a name gets one by way of /proc/self/fd."""
    true_link = os.link

    def link(source, *names, **directories):
        if str(source).startswith("/proc/"):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        true_link(source, *names, **directories)

    monkeypatch.setattr(os, "link", link)
    store = FilesystemStore(tmp_path / "images")
    assert read(store, put(store))
    assert on_disk(tmp_path / "images") == ["1"]


def test_a_rename_that_fails_leaves_no_empty_file(tmp_path, monkeypatch):
    def refuse(number):
        def refusing(*_, **__):
            raise OSError(number, os.strerror(number))

        return refusing

    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(abilities, "_rename_exclusively", refuse(errno.EINVAL))
    monkeypatch.setattr(os, "rename", refuse(errno.EIO))
    with pytest.raises(StoreDown):
        put(FilesystemStore(tmp_path / "images"))
    assert on_disk(tmp_path / "images") == []
