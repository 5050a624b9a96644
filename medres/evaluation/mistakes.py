"""What a model was most wrong about, and the pictures that a run keeps of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medres.evaluation.summary import Judged
from medres.tables import read_csv

MISSED, FALSE_ALARM = "missed", "false alarm"
GALLERY = "gallery"
"""The folder of a run that holds the pictures; `gallery.csv` beside it says what they are."""

COLUMNS = ("label", "line", "kind", "PatientKey", "fold", "probability", "picture", "heatmap", "withheld")
"""Of `gallery.csv`. `line`: of `oof.csv`, whose line 1 holds the names of its columns. `withheld`: why there is no
picture. A picture's name is that of a file in `gallery/`."""

_MOST_OF_A_KIND = 6
_MOST_PAIRS = 24  # of one kind, over all labels of a report
_LARGEST = 400_000  # bytes of one picture: a picture of 256 × 256 pixels has at most 200 kB
_NAME = re.compile(r"[a-z0-9-]+\.png")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image the model was most wrong about."""

    row: int  # of the table, from 0
    kind: str  # missed, or false alarm
    fold: int
    probability: float

    @property
    def line(self) -> int:
        """The line of `oof.csv` that it stands on."""
        return self.row + 2


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A mistake with its pictures, as `data:` addresses; or why there are none."""

    mistake: Mistake
    patient_key: str  # pseudonym; "" where the run kept no gallery
    picture: str
    heatmap: str
    withheld: str


def most_of_a_kind(labels: int) -> int:
    """How many misses, and how many false alarms, of one label are shown, so that a page stays of a bounded size.

    >>> most_of_a_kind(1), most_of_a_kind(14), most_of_a_kind(100)
    (6, 1, 1)
    """
    return min(_MOST_OF_A_KIND, max(1, _MOST_PAIRS // max(1, labels)))


def worst_mistakes(images: Judged, *, most: int) -> list[Mistake]:
    """The positives with the lowest and the negatives with the highest probability among the wrong calls.

    Args:
        images: of one label.
        most: of either kind.
    """
    wrong = images.positive != images.truth
    surprise = np.where(images.truth == 1, 1 - images.probabilities, images.probabilities)
    chosen: list[Mistake] = []
    for one, kind in ((1, MISSED), (0, FALSE_ALARM)):
        places = np.flatnonzero(wrong & (images.truth == one))
        chosen += [
            Mistake(int(images.rows[at]), kind, int(images.folds[at]), float(images.probabilities[at]))
            for at in places[np.argsort(-surprise[places], kind="stable")][:most]
        ]
    return chosen


Kept = Mapping[tuple[str, int], Mapping[str, str]]
"""The rows of `gallery.csv`, by label and line."""


def read_gallery(run: Path) -> Kept:
    """What a run kept of its mistakes; nothing where it kept none.

    Raises:
        ManifestError: `gallery.csv` is not a table.
    """
    path = run / f"{GALLERY}.csv"
    if not path.is_file():
        return {}
    table = read_csv(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        return {}
    rows: list[dict[str, str]] = [{str(name): str(cell) for name, cell in row.items()} for row in _records(table)]
    return {(row["label"], int(row["line"])): row for row in rows if row["line"].isdecimal()}


def exhibit(run: Path, label: str, mistake: Mistake, kept: Kept) -> Exhibit:
    """A mistake with what the run kept of it."""
    row = kept.get((label, mistake.line))
    if row is None:
        return Exhibit(mistake, "", "", "", "no picture was kept" if kept else "")
    pictures = [_embedded(run, row[name]) for name in ("picture", "heatmap")]
    withheld = row["withheld"] or ("" if all(pictures) else "the picture is not in the run's folder")
    picture, heatmap = ("", "") if withheld else pictures
    return Exhibit(mistake, row["PatientKey"], picture, heatmap, withheld)


def _embedded(run: Path, name: str) -> str:
    """A picture as a `data:` address; "" for anything that is not a small PNG file of the gallery."""
    path = run / GALLERY / name
    if not _NAME.fullmatch(name) or not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    data = path.read_bytes()
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if data.startswith(_PNG) else ""


def _records(table: pd.DataFrame) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
