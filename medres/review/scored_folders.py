"""Which folders of scores one list is made of: of one model, scored alike, each with a name to tell it by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from medres.errors import UsageError
from medres.records import Decoding, Precision
from medres.review.scoring_model import ScoringModel
from medres.scoring.record import ScoresRecord, read_scores_record
from medres.scoring.rows import read_rows

_NEEDED_COLUMNS = (
    "path",
    "sha256",
    "status",
    "reason",
    "SOPInstanceUID",
    "PatientKey",
    "ViewPosition",
    "model_id",
    "warnings",
)


@dataclass(frozen=True, slots=True)
class ScoredFolder:
    """One output folder of `medres score`."""

    scores: Path
    root: Path  # of the files that were scored
    name: str  # the last part of its path, and more of it where another one's is the same


Rows = Sequence[Mapping[str, str]]
"""The rows of a `predictions.csv`, every cell as text."""


def read_folders(scores: Sequence[Path], model: ScoringModel) -> tuple[tuple[ScoredFolder, Rows], ...]:
    """Read folders of scores that go into one list, in the order in which they are given.

    Raises:
        UsageError: one is named twice, is missing something, was scored by another model or otherwise than the first
            one, or holds other pseudonyms.
    """
    names = folder_names(scores)
    records = [read_scores_record(folder) for folder in scores]
    found = [_read(*one, model) for one in zip(scores, records, names, strict=True)]
    precisions = [how_scored(folder)[0] for folder in scores]
    keys = [record.pseudonym_key for record in records]
    for folder, precision, key in zip(scores, precisions, keys, strict=True):
        if precision != precisions[0]:
            raise UsageError(
                f"{folder} was scored in {precision}, and {scores[0]} in {precisions[0]}: open it on its own"
            )
        if key != keys[0]:
            raise UsageError(
                f"{folder} and {scores[0]} hold pseudonyms of different keys, by which no patient is the same in both: "
                "open it on its own, or score it again with the same key"
            )
    return tuple(found)


def folder_names(scores: Sequence[Path]) -> tuple[str, ...]:
    """What each folder is called: as few parts of its path, from the end, as tell all of them apart.

    >>> folder_names([Path("/a/monday"), Path("/a/tuesday")]), folder_names([Path("/a/x/scored"), Path("/b/x/scored")])
    (('monday', 'tuesday'), ('a/x/scored', 'b/x/scored'))

    Raises:
        UsageError: one is named twice.
    """
    paths = [folder.resolve() for folder in scores]
    if len(set(paths)) < len(paths):
        twice = next(folder for place, folder in enumerate(scores) if paths[place] in paths[:place])
        raise UsageError(f"{twice} is named twice")
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = tuple("/".join(path.parts[-parts:]) for path in paths)
        if len(set(names)) == len(names):
            return names
    return tuple(map(str, paths))


def how_scored(scores: Path) -> tuple[Precision, Decoding | None]:
    """In which precision a folder was scored, and how its files were decoded.

    Folders of earlier versions say neither: float32, and as the model was trained.
    """
    record = read_scores_record(scores)
    precision = record.forward.precision if record.forward else "float32"
    if precision not in get_args(Precision) or record.decode not in {*get_args(Decoding), None}:
        raise UsageError(f"{scores} was scored in a way that this version does not know: {precision}, {record.decode}")
    return cast("Precision", precision), cast("Decoding | None", record.decode)


def needed_columns(labels: Sequence[str]) -> list[str]:
    """The columns of `predictions.csv` that a worklist needs."""
    return [*_NEEDED_COLUMNS, *(f"{part}_{label}" for label in labels for part in ("prob", "positive"))]


def _read(scores: Path, record: ScoresRecord, name: str, model: ScoringModel) -> tuple[ScoredFolder, Rows]:
    if record.input is None:
        raise UsageError(f"{scores / 'run.json'} does not name the folder that was scored")
    rows = read_rows(scores / "predictions.csv")
    columns: Collection[str] = rows[0].keys() if rows else needed_columns(model.labels)
    missing = [column for column in needed_columns(model.labels) if column not in columns]
    if record.model_id != model.model_id:
        raise UsageError(
            f"{scores} was scored by model {record.model_id}, and this is {model.model_id}; "
            "give the model that scored it"
        )
    if (record.decode or model.preprocessing.decode) != model.decode:
        raise UsageError(f"{scores} was scored decoding {record.decode}, and this model decodes {model.decode}")
    if missing:
        raise UsageError(f"{scores / 'predictions.csv'} lacks the columns {', '.join(missing)}")
    others = {row["model_id"] for row in rows} - {"", model.model_id}
    if others:
        raise UsageError(
            f"{scores / 'predictions.csv'} holds rows of model {', '.join(sorted(others))}, and run.json names "
            f"{model.model_id}: a run was ended while it wrote them; score the folder again with --resume"
        )
    return ScoredFolder(scores, Path(record.input), name), rows
