# SPDX-License-Identifier: Apache-2.0
"""Log files: a symbolic link is not followed, at the start or later, and a line that is lost fails nothing."""

import logging

import pytest

from glance.cli import logs
from glance.cli.launch import Launch
from glance.cli.logs import _LogFile
from glance.cli.process import PidFile, open_log


def record(text):
    return logging.LogRecord("glance", logging.INFO, "", 0, text, (), None)


def test_a_link_is_not_opened(tmp_path):
    (tmp_path / "other").write_text("kept\n")
    (tmp_path / "glance.log").symlink_to(tmp_path / "other")
    for call in (
        lambda: _LogFile(tmp_path / "glance.log", encoding="utf-8"),
        lambda: open_log(tmp_path / "glance.log", 1),
        lambda: Launch(["true"], PidFile(tmp_path / "pid"), tmp_path / "glance.log"),
    ):
        with pytest.raises(Exception, match="it is a symbolic link; name the file itself") as caught:
            call()
        assert str(tmp_path / "glance.log") in str(caught.value)
    assert (tmp_path / "other").read_text() == "kept\n"
    assert not (tmp_path / "pid").exists()


def test_a_link_that_takes_the_place_of_the_log_loses_lines_and_fails_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logging.Handler, "handleError", logs._report_lost_lines)
    monkeypatch.setattr(logs, "_reported", False)
    file, other = tmp_path / "glance.log", tmp_path / "other"
    other.write_text("kept\n")
    handler = _LogFile(file, encoding="utf-8")
    handler.emit(record("one"))
    file.rename(tmp_path / "glance.log.1")
    file.symlink_to(other)
    handler.emit(record("two"))
    handler.emit(record("three"))
    assert capsys.readouterr().err == (
        "ERROR: lines of the log are lost: it is a symbolic link; name the file itself, or log to standard output\n"
    )
    file.unlink()
    handler.emit(record("four"))
    handler.close()
    assert (file.read_text(), other.read_text()) == ("four\n", "kept\n")
    assert (tmp_path / "glance.log.1").read_text() == "one\n"
