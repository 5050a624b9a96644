"""The files of a run, read once and by one reader, for everything that is made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from medres.documents import fault, read_document
from medres.errors import UsageError
from medres.evaluation.heatmaps.measures import MEASURES
from medres.evaluation.heatmaps.results import FILE, HeatmapResults
from medres.evaluation.results import Metrics
from medres.evaluation.shortcuts.results import Shortcuts
from medres.evaluation.table import read_table
from medres.runs.gallery import Gallery, read_gallery
from medres.runs.records import COMPARISON, DEPTH, RunRecord, read_run_record
from medres.tables import read_csv, read_json_lines

_COLUMNS = ("path", "PatientID", "fold")  # of oof.csv, beside those of its labels
_POOLED = ("auroc", "sensitivity", "specificity", "ppv", "npv", "calibration_slope", "calibration_intercept")
"""Metrics without which nothing can be said of a label."""


class EpochRecord(BaseModel):
    """One line of a fold's `history.jsonl`, as far as it is read again; what is None was not measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: int | None = None  # of a linear probe: the number of a regularisation, the strongest being 1
    loss: float | None = None  # of training
    validation_loss: float | None = None
    validation_auroc: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    strength: float | None = None  # inverse regularisation, of a linear probe


Histories = Mapping[int, tuple[EpochRecord, ...]]
"""What `history.jsonl` says, by fold."""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a run that a report is made of."""

    run: RunRecord
    metrics: Metrics
    table: pd.DataFrame  # oof.csv
    refused: pd.DataFrame | None
    histories: Histories
    gallery: Gallery
    shortcuts: Shortcuts | None  # shortcuts.json
    heatmaps: HeatmapResults | None = None  # heatmaps.json


def read_run(folder: Path) -> RunFiles:
    """Read a run's files.

    Raises:
        UsageError: one that is needed is missing; or one is damaged, of a newer version, or does not fit the others.
    """
    run = read_run_record(folder)
    if run.kind in (COMPARISON, DEPTH):
        raise UsageError(f"{folder} is not a run of `medres crossval` or `medres evaluate`")
    metrics = read_document(folder / "metrics.json", Metrics)
    shortcuts = folder / "shortcuts.json"
    probed = read_document(shortcuts, Shortcuts) if shortcuts.is_file() else None
    maps = read_document(folder / FILE, HeatmapResults) if (folder / FILE).is_file() else None
    for name, lack in (*_lacks(run, metrics), *_lacks_of_probes(probed), *_lacks_of_maps(maps)):
        raise UsageError(f"{folder / name}: {lack}; the file is damaged or incomplete")
    table = read_table(folder / "oof.csv")
    if missing := [name for name in _COLUMNS if name not in table.columns]:
        raise UsageError(f"{folder / 'oof.csv'} lacks the column {missing[0]}")
    refused = folder / "refused.csv"
    return RunFiles(
        run=run,
        metrics=metrics,
        table=table,
        refused=read_csv(refused) if refused.is_file() else None,
        histories=_read_histories(folder),
        gallery=read_gallery(folder),
        shortcuts=probed,
        heatmaps=maps,
    )


def _read_histories(folder: Path) -> Histories:
    found = {}
    for path in folder.glob("models/fold-*/history.jsonl"):
        number = path.parent.name.removeprefix("fold-")
        if number.isdecimal():
            try:
                found[int(number)] = tuple(EpochRecord.model_validate(line) for line in read_json_lines(path))
            except ValidationError as error:
                raise UsageError(f"{path}: {fault(error)}") from None
    return dict(sorted(found.items()))


def _lacks(run: RunRecord, metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Parts that other parts of the same files need, and that are not there: the file, and what it lacks."""
    for label, results in metrics.labels.items():
        for name in _POOLED:
            if name not in results.pooled:
                yield "metrics.json", f"labels.{label}.pooled has no {name}"
    for name, results_of_task in metrics.tasks.items():
        size = len(results_of_task.values)
        if [len(row) for row in results_of_task.confusion] != [size] * size:
            yield "metrics.json", f"tasks.{name}.confusion is not {size} × {size}"
        for label in results_of_task.task(name).labels:
            if label not in metrics.labels:
                yield "metrics.json", f"the label {label} of the task {name} is missing"
    for label, recalibrated in run.recalibration.items():
        for name in recalibrated.metrics or {}:
            if label not in metrics.labels or name not in metrics.labels[label].pooled:
                yield "metrics.json", f"labels.{label} has no {name}, of which run.json has the recalibrated value"


def _lacks_of_probes(probed: Shortcuts | None) -> Iterator[tuple[str, str]]:
    for label, results in (probed.labels if probed else {}).items():
        for name in results.alterations:
            if probed and name not in probed.alterations:
                yield "shortcuts.json", f"alterations.{name}, of which labels.{label} has figures, is not described"


def _lacks_of_maps(maps: HeatmapResults | None) -> Iterator[tuple[str, str]]:
    for measure in MEASURES if maps else ():
        if maps and measure.limit and measure.limit not in maps.limits:
            yield FILE, f"limits.{measure.limit} is missing"
        for label, results in maps.labels.items() if maps else ():
            found = results.measures.get(measure.name)
            if found and set(found.baselines) != set(found.gains):
                yield FILE, f"labels.{label}.measures.{measure.name}: baselines and gains are of different names"
