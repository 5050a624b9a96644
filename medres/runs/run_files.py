"""The files of a run, read once and by one reader, for everything that is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medres.errors import UsageError
from medres.evaluation.table import read_table
from medres.runs.gallery import Kept, read_gallery
from medres.tables import read_csv, read_json, read_json_lines

Histories = Mapping[int, Sequence[Mapping[str, Any]]]
"""What `history.jsonl` says, by fold."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a run that a report is made of."""

    run: Mapping[str, Any]
    metrics: Mapping[str, Any]
    table: pd.DataFrame  # oof.csv
    refused: pd.DataFrame | None
    histories: Histories
    gallery: Kept
    shortcuts: Mapping[str, Any] | None  # shortcuts.json


def read_run(folder: Path) -> RunFiles:
    """Read a run's files.

    Raises:
        UsageError: one that is needed is missing or malformed.
    """
    run, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    if not isinstance(run, dict) or not isinstance(metrics, dict) or not isinstance(metrics.get("labels"), dict):
        raise UsageError(f"{folder} is not a run of `medres crossval` or `medres evaluate`")
    refused = folder / "refused.csv"
    histories = {}
    for path in folder.glob("models/fold-*/history.jsonl"):
        number = path.parent.name.removeprefix("fold-")
        if number.isdecimal():
            histories[int(number)] = read_json_lines(path)
    table = read_table(folder / "oof.csv")
    if "path" not in table.columns:
        raise UsageError(f"{folder / 'oof.csv'} lacks the column path")
    return RunFiles(
        run=run,
        metrics=metrics,
        table=table,
        refused=read_csv(refused) if refused.is_file() else None,
        histories=dict(sorted(histories.items())),
        gallery=read_gallery(folder),
        shortcuts=read_json(folder / "shortcuts.json") if (folder / "shortcuts.json").is_file() else None,
    )
