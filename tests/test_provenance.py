"""Where a result comes from is noted where it can be found, and never ends a run."""

from __future__ import annotations

import subprocess

import pytest

from medres import provenance


def test_a_git_that_does_not_answer_costs_the_commit_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert provenance.git_commit() is None
