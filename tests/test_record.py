"""What a scored folder says of itself is one record: what is damaged or newer is refused by name."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from medres.errors import UsageError
from medres.scoring.record import ForwardRecord, ScoresRecord, read_scores_record, write_scores_record
from medres.scoring.state import Summary

TODAY = {
    "medres": "0.8.0", "created": "2026-11-27T00:00:00+00:00", "kind": "scores", "input": "/a", "model": "/m",
    "model_id": "m", "labels": ["disc"], "files": 3, "environment": {"python": "3.11"}, "git_commit": None,
    "pseudonym_key": "k", "limits": {"pixels": 1, "seconds": 20.5}, "limits_mixed": False, "holds": {"a": "b"},
    "ended": "2026-11-27T01:00:00+00:00", "counts": {"statuses": {"ok": 3}, "reasons": {}},
}  # fmt: skip


def test_a_record_of_an_earlier_version_opens_and_goes_there_and_back(tmp_path: Path) -> None:
    for content in (TODAY, {name: TODAY[name] for name in ("medres", "created", "input", "model_id")}, {}):
        (tmp_path / "run.json").write_text(json.dumps(content))
        record = read_scores_record(tmp_path)
        write_scores_record(tmp_path, record)
        assert json.loads((tmp_path / "run.json").read_text()) == content


def test_a_run_that_ended_says_how(tmp_path: Path) -> None:
    running = ScoresRecord(
        model_id="m", state="running", limits_mixed=True,
        forward=ForwardRecord(batch=16, threads=2, device="cpu", precision="float32"),
    )  # fmt: skip
    summary = Summary(4, Counter(ok=3, refused=1), Counter(NOT_DICOM=1), reused=2, seconds=1.25)
    write_scores_record(tmp_path, running.finished(summary, {"evidence.parquet": "maps"}))
    found = json.loads((tmp_path / "run.json").read_text())
    assert (found["state"], found["limits_mixed"], found["rows_kept"]) == ("finished", False, 2)
    assert found["counts"] == {"statuses": {"ok": 3, "refused": 1}, "reasons": {"NOT_DICOM": 1}}
    assert found["forward"] == {"batch": 16, "threads": 2, "device": "cpu", "precision": "float32"}
    assert found["seconds"] == 1.2
    assert found["holds"] == {"evidence.parquet": "maps"}
    assert found["ended"] >= "2026"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"kind": "cross-validation"}, "kind"),
        ({"labels": "disc"}, "labels"),
        ({"backend": "tpu"}, "backend is not known .* newer version"),
        ({"forward": {"batch": 1}}, "forward.threads is missing"),
        ([], "the file"),
    ],
)
def test_what_is_no_such_record_is_refused_by_name(tmp_path: Path, content: object, said: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=said):
        read_scores_record(tmp_path)
