"""Manifests: which radiographs, of which patients, with which labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medres.cohort.tasks import LABEL_PREFIX, UNCERTAIN, Task, resolve
from medres.errors import ManifestError
from medres.records import ManifestRow, TargetValue
from medres.tables import named_path, read_csv, sha256_file

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("path", "PatientID")
SUBGROUP_COLUMNS = ("PatientSex", "PatientAge", "ViewPosition", "Manufacturer", "InstitutionName", "Rows", "Columns")
"""Columns that a cross-validation carries into `oof.csv`, where the manifest or the headers have them."""

_TARGETS: dict[str, TargetValue] = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "": None, **dict.fromkeys(UNCERTAIN)}
_USED = ("", "ok", "review")  # of a column `status`, as `index` and `score` write it
_MOST_SHOWN = 5  # rows named in one complaint


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest: one row per radiograph, paths resolved, identifiers as text."""

    path: Path
    sha256: str
    tasks: tuple[Task, ...]
    rows: tuple[ManifestRow, ...]
    table: pd.DataFrame  # all columns as text, same order as `rows`
    excluded: tuple[tuple[str, str], ...] = ()  # path and status of rows whose status leaves them out

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all tasks, in the network's order."""
        return tuple(label for task in self.tasks for label in task.labels)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len({row.patient_id for row in self.rows})


def read_manifest(path: str | Path, labels: Sequence[str | Task] = (), *, root: str | Path | None = None) -> Manifest:
    """Read a manifest and check everything that can be checked without opening an image.

    ::

        manifest = read_manifest("manifest.csv", ["osteoarthritis"])
        manifest.patients, len(manifest.rows)

    Args:
        path: a CSV with columns `path` (relative to the manifest, or to `root`) and `PatientID`, and
            `label_<finding>` for each label: 1 present, 0 absent, −1 uncertain, blank unknown.
        labels: what is asked: the name of a finding (`ap` means column `label_ap`), or a Task; a grade or a class has a
            column of its own name.
        root: the folder that `path` is relative to; the manifest's own by default.

    Raises:
        ManifestError: lists all problems at once.
    """
    path = Path(path)
    table = read_csv(path)
    asked = [Task(item.removeprefix(LABEL_PREFIX)) if isinstance(item, str) else item for item in labels]
    resolved = [resolve(task, table) for task in dict.fromkeys(asked)]
    tasks = tuple(task for task, _ in resolved)
    names = [label for task in tasks for label in task.labels]
    found = [problem for _, problems in resolved for problem in problems]
    found += [f"label {name!r} is asked for twice" for name, count in Counter(names).items() if count > 1]
    found += _problems(table, [task.name for task in tasks if task.kind == "binary"])
    if found:
        raise ManifestError(f"{path}: " + "; ".join(found))
    excluded: tuple[tuple[str, str], ...] = ()
    if "status" in table:
        said = table["status"]
        left_out = table[~said.isin(_USED)]
        excluded = tuple(zip(map(str, left_out["path"]), map(str, left_out["status"]), strict=True))
        table = table[said.isin(_USED)].reset_index(drop=True)
        if table.empty:
            raise ManifestError(
                f"{path}: its column status leaves no row: it holds {_some(said.unique())}, and only rows with ok, "
                "review or blank are used; give the column another name if it does not say which files are usable"
            )
    base = Path(root) if root is not None else path.parent
    rows = tuple(_row(record, names, base) for record in _records(table))
    missing = [str(row.path) for row in rows if not os.path.isfile(row.path)]  # noqa: PTH113  (it never raises)
    if len(missing) == len(rows):
        raise ManifestError(f"{path}: none of its {len(rows)} files exists, for example {missing[0]}; give --root")
    return Manifest(path=path, sha256=sha256_file(path), tasks=tasks, rows=rows, table=table, excluded=excluded)


def _problems(table: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    absent = [name for name in REQUIRED if name not in table]
    if absent:
        return [f"no column {' or '.join(absent)} (it has {', '.join(table.columns[:8])})"]
    if table.empty:
        return ["it has no rows"]
    found = []
    repeated = table["path"][table["path"].duplicated()].unique()
    if len(repeated):
        found.append(f"{len(repeated)} paths occur twice: {_some(repeated)}")
    if "SOPInstanceUID" in table:
        uids = table["SOPInstanceUID"][table["SOPInstanceUID"] != ""]
        twice = uids[uids.duplicated()].unique()
        if len(twice):
            found.append(f"{len(twice)} SOPInstanceUIDs occur twice: {_some(twice)}")
    nobody = table["path"][table["PatientID"].str.strip() == ""]
    if len(nobody):
        found.append(f"{len(nobody)} rows have no PatientID, so patients cannot be kept apart: {_some(nobody)}")
    for label in labels:
        found += _label_problems(table, label)
    return found


def _label_problems(table: pd.DataFrame, label: str) -> list[str]:
    column = f"{LABEL_PREFIX}{label}"
    if column not in table:
        known = [name.removeprefix(LABEL_PREFIX) for name in table.columns if name.startswith(LABEL_PREFIX)]
        return [f"no label {label!r} (no column {column}); it has {', '.join(known) or 'no label_ columns at all'}"]
    values = Counter(table[column].str.strip())
    strange = [value for value in values if value not in _TARGETS]
    if strange:
        return [f"{column} holds {_some(strange)}; allowed are 1, 0, -1 (uncertain) and blank (unknown)"]
    present, absent = values["1"] + values["1.0"], values["0"] + values["0.0"]
    if not present or not absent:
        return [f"{column} has {present} positive and {absent} negative rows; both classes are needed"]
    return []


def _records(table: pd.DataFrame) -> list[dict[str, str]]:
    return [dict(zip(table.columns, map(str, row), strict=True)) for row in table.itertuples(index=False)]


def _some(values: Iterable[object]) -> str:
    found = [repr(str(value)) for value in values]
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return ", ".join(found[:_MOST_SHOWN]) + more


def _row(record: dict[str, str], labels: Sequence[str], base: Path) -> ManifestRow:
    cells = {label: record[f"{LABEL_PREFIX}{label}"].strip() for label in labels}
    return ManifestRow(
        path=base / named_path(record["path"]),
        patient_id=record["PatientID"].strip(),
        study_instance_uid=record.get("StudyInstanceUID", "").strip(),
        sop_instance_uid=record.get("SOPInstanceUID", "").strip(),
        targets={label: _TARGETS[cell] for label, cell in cells.items()},
        uncertain=frozenset(label for label, cell in cells.items() if cell in UNCERTAIN),
    )
