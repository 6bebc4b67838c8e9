# SPDX-License-Identifier: Apache-2.0
"""Paths of options: what is expanded, and what is refused."""

import pwd

import pytest

from glance.core import paths
from glance.core.paths import escape_path, expand_path, find_home, make_absolute


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ferdy")
    monkeypatch.setenv("STATE", "/var/lib/state")
    monkeypatch.delenv("NOSUCH", raising=False)


@pytest.mark.parametrize(("text", "path"), [
    ("", ""), ("images", "images"), ("/srv/images", "/srv/images"), ("~", "/home/ferdy"), ("~/", "/home/ferdy/"), ("~/images", "/home/ferdy/images"),
    ("$HOME", "/home/ferdy"), ("${HOME}/images", "/home/ferdy/images"), ("$STATE/a/$HOME", "/var/lib/state/a//home/ferdy"), ("~root/x", f"{pwd.getpwnam('root').pw_dir}/x"),
    ("/a$$b", "/a$b"), ("/a$", "/a$"), ("/a/b~", "/a/b~"), ("/a/~b", "/a/~b"), ("a~/b", "a~/b"), ("/50%/$ 5", "/50%/$ 5"),
])  # fmt: skip
def test_expanded(text: str, path: str) -> None:
    assert expand_path(text) == path


@pytest.mark.parametrize(("text", "reason"), [
    ("$NOSUCH/x", "the variable NOSUCH is not set"), ("/x/${NOSUCH}", "the variable NOSUCH is not set"), ("~nosuchuser/x", "no home directory of a user nosuchuser"),
    ("/srv/~/x", "only at the beginning"), ("/srv/~", "only at the beginning"),
])  # fmt: skip
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        expand_path(text)


@pytest.mark.parametrize("home", ["", "relative", "~", None])
def test_a_home_that_is_no_absolute_path_is_looked_up(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(paths.os, "getuid", lambda: 0)
    assert find_home() == expand_path("~") == expand_path("$HOME") == pwd.getpwuid(0).pw_dir
    monkeypatch.setattr(paths.os, "getuid", lambda: 54321)
    assert find_home() is None
    for text in ("~/x", "$HOME/x"):
        with pytest.raises(ValueError, match="HOME"):
            expand_path(text)


def test_a_home_that_is_the_root_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert (expand_path("~"), expand_path("~/x")) == ("/", "/x")


@pytest.mark.parametrize("path", ["/a/$b/$$c", "/a b", "/a/${HOME}"])
def test_an_escaped_path_stays_as_it_is(path: str) -> None:
    assert expand_path(escape_path(path)) == path


def test_relative_paths(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    assert make_absolute("x/../y") == tmp_path / "gone/x/../y"
    (tmp_path / "gone").rmdir()
    with pytest.raises(ValueError, match="the current directory no longer exists"):
        make_absolute("x")
    assert str(make_absolute("~/x")) == "/home/ferdy/x"
