"""The gallery of a run as it lies on disk: which pictures it kept of its mistakes, and why it kept none of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from medres.tables import read_csv

GALLERY = "gallery"
"""The folder of a run that holds the pictures; `gallery.csv` beside it says what they are."""

COLUMNS = ("label", "line", "kind", "PatientKey", "fold", "probability", "picture", "heatmap", "withheld")
"""Of `gallery.csv`. `line`: of `oof.csv`, whose line 1 holds the names of its columns. `withheld`: why there is no
picture. A picture's name is that of a file in `gallery/`."""

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


def _records(table: pd.DataFrame) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
