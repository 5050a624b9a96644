"""What people see while medres works, and a log file that is private, moved away at any time, and never ends a run."""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import stat
import sys
from pathlib import Path

import pytest

from medres import terminal
from medres.errors import OutputExists, UsageError
from medres.terminal import LogFile, note, progress_bar
from tests.conftest import Medres

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR) .+")


def said(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def event(text: str) -> logging.LogRecord:
    return logging.LogRecord("medres.test", logging.WARNING, __file__, 1, text, None, None)


def test_a_run_tells_its_file_how_it_began_what_it_refused_and_how_it_ended(
    format3_model: Path, small_cohort: Path, tmp_path: Path, medres: Medres
) -> None:
    folder, file = tmp_path / "in", tmp_path / "medres.log"
    folder.mkdir()
    (folder / "broken.dcm").write_bytes(b"no DICOM")
    asked = ("score", format3_model, folder, "--out", tmp_path / "out")
    assert medres("--log-file", file, *asked).returncode == 3
    assert medres("--log-file", file, *asked).returncode == 2
    lines = said(file)
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    text = "\n".join(lines)
    for part in ("score begins", "broken.dcm is refused: NOT_DICOM", "1 files, one row each", "exit code 3"):
        assert part in text
    assert "ERROR" in lines[-2]
    assert "already holds results" in lines[-2]
    assert lines[-1].endswith("ended with exit code 2")
    done = medres("--log-file", tmp_path / "json.log", "--log-format", "json", *asked, "--resume")
    assert done.returncode == 3
    events = [json.loads(line) for line in said(tmp_path / "json.log")]
    assert {frozenset(one) for one in events} == {frozenset({"time", "level", "logger", "message"})}


def test_a_log_file_that_cannot_be_written_is_named_before_anything_is_done(
    format3_model: Path, tmp_path: Path, medres: Medres
) -> None:
    done = medres("--log-file", tmp_path / "no" / "medres.log", "inspect", format3_model)
    assert done.returncode == 2
    assert str(tmp_path / "no" / "medres.log") in done.stderr
    with pytest.raises(OutputExists, match="not a file"):
        LogFile(tmp_path, "begins")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_a_log_file_is_private_and_no_link_is_followed(tmp_path: Path) -> None:
    LogFile(tmp_path / "a.log", "begins").close()
    assert stat.S_IMODE((tmp_path / "a.log").stat().st_mode) == 0o600
    (tmp_path / "link.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExists, match="is a link"):
        LogFile(tmp_path / "link.log", "begins")
    assert not (tmp_path / "elsewhere").exists()


def test_lines_are_appended_and_go_to_a_new_file_once_the_old_one_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "medres.log"
    path.write_text("what was there\n")
    log = LogFile(path, "begins")
    log.emit(event("one"))
    path.rename(tmp_path / "medres.log.1")
    log.emit(event("two"))
    path.rename(tmp_path / "medres.log.2")
    path.write_text("made by logrotate\n")
    log.emit(event("three"))
    log.close()
    endings = {name: [line[-5:] for line in said(tmp_path / name)] for name in ("medres.log.1", "medres.log.2")}
    assert endings == {"medres.log.1": ["there", "egins", "G one"], "medres.log.2": ["G two"]}
    assert said(path)[0] == "made by logrotate"
    assert said(path)[1].endswith("WARNING three")


def test_one_event_is_one_line_whatever_it_says(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", "begins")
    log.emit(event("a\n2026-01-01T00:00:00Z ERROR forged \x1b[31m \udce9"))
    log.close()
    lines = said(tmp_path / "a.log")
    assert len(lines) == 2
    assert "\x1b" not in lines[1]


class Disk:
    """A file on a disk that is full now and then."""

    def __init__(self, room: list[int]) -> None:
        self.room, self.content = room, b""

    def write(self, line: bytes) -> int:
        size = self.room.pop(0)
        if size < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.content += line[:size]
        return min(size, len(line))

    def close(self) -> None:
        """As a file."""


def test_a_full_disk_is_named_at_the_start_and_loses_lines_later_but_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = Disk([-1])
    monkeypatch.setattr(terminal, "open_to_append", lambda _: disk)
    monkeypatch.setattr(LogFile, "_follow", lambda _: None)
    with pytest.raises(UsageError, match=r"a\.log cannot be written: No space left"):
        LogFile(tmp_path / "a.log", "begins")
    disk.room = [99, -1, -1, 5, 99]
    log = LogFile(tmp_path / "a.log", "begins")
    for text in ("lost", "lost", "cut", "whole"):
        log.emit(event(text))
    lines = disk.content.decode().splitlines()
    assert lines[-1].endswith("WARNING whole")
    assert len(lines) == 3  # the first, what had room of the third, and the last
    assert capsys.readouterr().err.count("lines are lost") == 1


def test_what_is_noted_stands_in_the_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, root = LogFile(tmp_path / "a.log", "begins"), logging.getLogger()
    root.addHandler(log)
    try:
        note(logging.ERROR, "said elsewhere")
    finally:
        root.removeHandler(log)
        log.close()
    assert said(tmp_path / "a.log")[-1].endswith("ERROR said elsewhere")
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_what_is_done_the_rate_and_what_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("scoring") as progress:
        progress(900, 1000)  # kept from the night before
        for done in range(901, 951):
            progress(done, 1000, 3)
    said = stream.getvalue()
    assert "950/1000" in said
    assert "3 refused" in said
    assert "/s" in said


def test_elsewhere_a_line_says_it_now_and_then_and_what_was_kept_counts_for_no_rate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, "medres")
    with progress_bar("scoring") as progress:
        for step in range(41):
            clock[0] = step / 2
            progress(900 + step, 1000, step // 10)
    assert [record.getMessage() for record in caplog.records] == [
        "scoring: 920 of 1000 (2.0/s, 2 refused)",
        "scoring: 940 of 1000 (2.0/s, 4 refused)",
    ]
