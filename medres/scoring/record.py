"""What a scored folder says of itself: `run.json` as a typed record, with one writer and one reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from medres.documents import Document, read_document, write_document
from medres.provenance import now
from medres.scoring.state import Summary, Word
from medres.tables import MARKER

UNFINISHED = "run.unfinished.json"
"""What a run is that goes on, or was ended, beside the tables of an earlier one: `run.json` is of these."""


class ForwardRecord(Document):
    """How the network was run: rows are a function of file, model and these."""

    batch: int  # images at a time
    threads: int
    device: str
    precision: str


class CountsRecord(Document):
    """How many rows of the tables say what."""

    statuses: Mapping[str, int] = {}
    reasons: Mapping[str, int] = {}  # by reason code


class ScoresRecord(Document):
    """A scoring run. What an earlier version did not write holds its default."""

    medres: str = ""
    created: str = ""
    kind: Literal["scores"] = "scores"
    input: str | None = None  # the folder that was scored, resolved
    model: str = ""
    model_id: str = ""
    labels: tuple[str, ...] = ()
    files: int = 0  # in the folder
    environment: Mapping[str, str] = {}
    git_commit: str | None = None
    pseudonym_key: str | None = None  # its fingerprint
    limits: Mapping[str, int | float] | None = None  # budgets for one file: see `config.Limits`
    limits_mixed: bool | None = None  # rows may be refused by other limits, until the run has finished
    holds: Mapping[str, str] = {}  # what each table holds, in words
    forward: ForwardRecord | None = None
    precision: str | None = None  # of the network's convolutions
    decode: str | None = None  # at which resolution files were decoded
    studies: str | None = None  # the rule by which `studies.csv` judges them
    state: Word | None = None
    ended: str = ""
    seconds: float | None = None  # of the last run
    rows_kept: int | None = None  # of unchanged files
    counts: CountsRecord | None = None

    def finished(self, summary: Summary, holds: Mapping[str, str]) -> ScoresRecord:
        """What it says when the tables are whole; `holds` says what those hold that are not in every folder."""
        counts = CountsRecord(statuses=dict(summary.statuses), reasons=dict(summary.reasons))
        return self.model_copy(
            update={
                "limits_mixed": False,
                "state": "finished",
                "ended": now(),
                "seconds": round(summary.seconds, 1),
                "rows_kept": summary.reused,
                "counts": counts,
                "holds": {**self.holds, **holds},
            }
        )


def read_scores_record(folder: Path, name: str = MARKER) -> ScoresRecord:
    """What a scored folder says of itself, or with UNFINISHED what a run that is not whole says.

    Raises:
        UsageError: the file is missing, damaged, of another kind, or written by a newer version.
    """
    return read_document(folder / name, ScoresRecord)


def write_scores_record(folder: Path, record: ScoresRecord, name: str = MARKER) -> None:
    """Write `run.json`, or UNFINISHED, atomically."""
    write_document(folder / name, record)
