"""Manifests: which radiographs, of which patients, with which labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medres.cohort.form import USED, finding_complaint, form_faults, some
from medres.cohort.tasks import LABEL_PREFIX, TARGETS, UNCERTAIN, Task, resolve
from medres.errors import ManifestError
from medres.records import ManifestRow
from medres.tables import named_path, read_csv, sha256_file

if TYPE_CHECKING:
    import pandas as pd

SUBGROUP_COLUMNS = ("PatientSex", "PatientAge", "ViewPosition", "Manufacturer", "InstitutionName", "Rows", "Columns")
"""Columns that a cross-validation carries into `oof.csv`, where the manifest or the headers have them."""


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
    faults = form_faults(table)
    found += [fault.said for fault in faults]
    if not any(fault.kind in {"column", "rows"} for fault in faults):
        found += filter(None, (finding_complaint(table, task.name) for task in tasks if task.kind == "binary"))
    if found:
        raise ManifestError(f"{path}: " + "; ".join(found))
    table, excluded = used_rows(table)
    if table.empty:
        raise ManifestError(f"{path}: {no_row_used(excluded)}")
    rows = manifest_rows(table, names, root=Path(root) if root is not None else path.parent)
    if complaint := none_exists(rows):
        raise ManifestError(f"{path}: {complaint}")
    return Manifest(path=path, sha256=sha256_file(path), tasks=tasks, rows=rows, table=table, excluded=excluded)


def used_rows(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """The rows that a column `status` leaves in, and the path and status of the others."""
    if "status" not in table:
        return table, ()
    used = table["status"].isin(USED)
    others = table[~used]
    excluded = tuple(zip(map(str, others["path"]), map(str, others["status"]), strict=True))
    return table[used].reset_index(drop=True), excluded


def no_row_used(excluded: Sequence[tuple[str, str]]) -> str:
    """The complaint of a manifest whose column `status` leaves no row."""
    return (
        f"its column status leaves no row: it holds {some(dict.fromkeys(status for _, status in excluded))}, and only "
        "rows with ok, review or blank are used; give the column another name if it does not say which files are usable"
    )


def none_exists(rows: Sequence[ManifestRow]) -> str:
    """The complaint of a manifest none of whose files exists; "" where one does."""
    if any(os.path.isfile(row.path) for row in rows):  # noqa: PTH113  (it never raises)
        return ""
    return f"none of its {len(rows)} files exists, for example {rows[0].path}; give --root"


def manifest_rows(table: pd.DataFrame, labels: Sequence[str], *, root: Path) -> tuple[ManifestRow, ...]:
    """The rows of a table as records, paths resolved. Who has no PatientID has an empty one."""
    records = [dict(zip(table.columns, map(str, row), strict=True)) for row in table.itertuples(index=False)]
    return tuple(_row(record, labels, root) for record in records)


def _row(record: Mapping[str, str], labels: Sequence[str], base: Path) -> ManifestRow:
    cells = {label: record[f"{LABEL_PREFIX}{label}"].strip() for label in labels}
    return ManifestRow(
        path=base / named_path(record["path"]),
        patient_id=record.get("PatientID", "").strip(),
        study_instance_uid=record.get("StudyInstanceUID", "").strip(),
        sop_instance_uid=record.get("SOPInstanceUID", "").strip(),
        targets={label: TARGETS[cell] for label, cell in cells.items()},
        uncertain=frozenset(label for label, cell in cells.items() if cell in UNCERTAIN),
    )
