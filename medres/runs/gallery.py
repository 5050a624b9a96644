"""The gallery of a run as it lies on disk: which pictures it kept of its mistakes, and why it kept none of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medres.tables import read_csv

GALLERY = "gallery"
"""The folder of a run that holds the pictures; `gallery.csv` beside it says what they are."""

COLUMNS = ("label", "line", "kind", "PatientKey", "fold", "probability", "picture", "heatmap", "withheld")
"""Of `gallery.csv`. `line`: of `oof.csv`, whose line 1 holds the names of its columns. `withheld`: why there is no
picture. A picture's name is that of a file in `gallery/`."""


@dataclass(frozen=True, slots=True)
class KeptMistake:
    """A mistake of which the run kept pictures, or says why it kept none: a row of `gallery.csv`."""

    label: str
    line: int  # of oof.csv
    patient_key: str  # pseudonym
    picture: str  # name of a file in gallery/; "" where there is none
    heatmap: str
    withheld: str  # why there is no picture; "" where there is one


Gallery = Mapping[tuple[str, int], KeptMistake]
"""The rows of `gallery.csv`, by label and line."""


def read_gallery(run: Path) -> Gallery:
    """What a run kept of its mistakes; nothing where it kept none.

    Raises:
        ManifestError: `gallery.csv` is not a table.
    """
    path = run / f"{GALLERY}.csv"
    if not path.is_file():
        return {}
    table = read_csv(path)
    if any(name not in table.columns for name in COLUMNS):
        return {}
    names = ("label", "line", "PatientKey", "picture", "heatmap", "withheld")
    found: dict[tuple[str, int], KeptMistake] = {}
    for label, line, key, picture, heatmap, withheld in zip(*(table[name].astype(str) for name in names), strict=True):
        if line.isdecimal():
            found[label, int(line)] = KeptMistake(label, int(line), key, picture, heatmap, withheld)
    return found
