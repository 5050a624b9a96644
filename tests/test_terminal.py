"""Progress says how fast, how long yet, and how many were refused: on a terminal as a bar, elsewhere now and then."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from medres import terminal
from medres.terminal import progress_bar


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
