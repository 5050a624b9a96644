"""What a scored folder says of its images, for whoever has no model at hand: files, patients' pseudonyms, calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medres.errors import UsageError
from medres.scoring.record import read_scores_record
from medres.tables import named_path, read_csv

_SCORED = ("ok", "review")


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """One image with a score."""

    path: str  # relative to the scored folder
    sha256: str
    patient_key: str  # pseudonym; "" where the file has no PatientID
    called: Mapping[str, Literal[0, 1]]  # by label: what the model says at its operating point
    probability: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored folder."""

    root: Path  # of the files
    model_id: str
    labels: tuple[str, ...]
    images: Mapping[str, ScoredImage]  # by the name that verdicts give them

    def calls(self) -> dict[tuple[str, str], int]:
        """What the model says of each label of each image, by (image, label)."""
        return {(name, label): image.called[label] for name, image in self.images.items() for label in self.labels}

    def patients(self) -> dict[str, str]:
        """The patient of each image; an image without one is a patient of its own."""
        return {name: image.patient_key or f"image {name}" for name, image in self.images.items()}


def read_scored(folder: Path) -> Scored:
    """Read the tables of a scored folder.

    Raises:
        UsageError: it is none, or lacks a column.
    """
    record = read_scores_record(folder)
    table = read_csv(folder / "predictions.csv")
    if record.input is None:
        raise UsageError(f"{folder / 'run.json'} does not name the folder that was scored")
    labels = tuple(name.removeprefix("positive_") for name in table.columns if name.startswith("positive_"))
    needed = ["path", "sha256", "status", "SOPInstanceUID", "PatientKey", *(f"prob_{label}" for label in labels)]
    if missing := [name for name in needed if name not in table.columns]:
        raise UsageError(f"{folder / 'predictions.csv'} lacks the columns {', '.join(missing)}")
    rows = [dict(zip(table.columns, map(str, row), strict=True)) for row in table.itertuples(index=False)]
    rows = [row for row in rows if row["status"] in _SCORED]
    holders = Counter(row["SOPInstanceUID"] for row in rows)
    try:
        images = {
            (row["SOPInstanceUID"] if holders[row["SOPInstanceUID"]] == 1 else row["sha256"]): _image(row, labels)
            for row in rows
        }
    except ValueError as error:
        raise UsageError(f"{folder / 'predictions.csv'} holds what is no probability: {error}") from None
    return Scored(Path(record.input), record.model_id, labels, images)


def _image(row: Mapping[str, str], labels: tuple[str, ...]) -> ScoredImage:
    return ScoredImage(
        path=named_path(row["path"]),
        sha256=row["sha256"],
        patient_key=row["PatientKey"],
        called={label: 1 if row[f"positive_{label}"] == "1" else 0 for label in labels},
        probability={label: float(row[f"prob_{label}"]) for label in labels},
    )
