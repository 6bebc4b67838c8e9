# SPDX-License-Identifier: Apache-2.0
"""The key of an installation without a configuration file."""

import os
from pathlib import Path

import pytest

from glance import config
from glance.config import ConfigError


def keys(folder: Path) -> set[str]:
    return {config.load(name, None, folder).settings.registry_key for name in ("glance-api", "glance-registry")}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_both_daemons_read_the_key_that_is_made_once(tmp_path: Path, umask: int) -> None:
    assert keys(tmp_path) == {""}
    before = os.umask(umask)
    try:
        config.make_registry_key(tmp_path)
    finally:
        os.umask(before)
    made = keys(tmp_path)
    assert [len(key) for key in made] == [43]
    assert (tmp_path / "registry_key").stat().st_mode & 0o777 == 0o600
    config.make_registry_key(tmp_path)
    assert keys(tmp_path) == made


def test_two_installations_have_two_keys(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        config.make_registry_key(tmp_path / name)
    assert keys(tmp_path / "a").isdisjoint(keys(tmp_path / "b"))


def test_an_installation_with_a_database_gets_no_key(tmp_path: Path) -> None:
    (tmp_path / "glance.sqlite").touch()
    config.make_registry_key(tmp_path)
    assert keys(tmp_path) == {""}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "registry_key").symlink_to(tmp_path / "elsewhere")
    config.make_registry_key(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(ConfigError, match="cannot read the registry_key"):
        keys(tmp_path)


@pytest.mark.parametrize(("text", "mode", "reason"), [
    (b"a-key", 0o644, "others may use it: chmod 600"), (b"a-key", 0o620, "others may use it: chmod 600"), (b" \n", 0o600, "is empty"), (b"\xff", 0o600, "cannot read"),
])  # fmt: skip
def test_a_key_that_cannot_be_used(tmp_path: Path, text: bytes, mode: int, reason: str) -> None:
    (tmp_path / "registry_key").write_bytes(text)
    (tmp_path / "registry_key").chmod(mode)
    with pytest.raises(ConfigError, match=reason):
        keys(tmp_path)


def test_a_configuration_file_has_its_own(tmp_path: Path) -> None:
    config.make_registry_key(tmp_path)
    path = tmp_path / "glance.conf"
    path.write_text("[app:glance-api]\npaste.app_factory = glance.server:app_factory\n")
    assert config.load("glance-api", path).settings.registry_key == ""
