"""A folder of DICOM files becomes a manifest: every file ends as one row, or as one refusal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medres.cohort.duplicates import Repeats
from medres.cohort.listing import list_files, list_named
from medres.config import Gate, Limits, load_gate
from medres.errors import REASONS, ManifestError
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Inspected, inspect
from medres.records import Refusal
from medres.tables import inert_path, named_path, read_csv, refuse_existing, refuse_inside, write_csv

if TYPE_CHECKING:
    import pandas as pd

MANIFEST_COLUMNS = (
    "path", "sha256", "status", "warnings", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
    "Modality", "BodyPartExamined", "ViewPosition", "ImageLaterality", "PatientSex", "PatientAge", "Manufacturer",
    "ManufacturerModelName", "InstitutionName", "PhotometricInterpretation", "Rows", "Columns",
)  # fmt: skip
REFUSED = "refused.csv"
REFUSED_COLUMNS = ("path", "status", "reason", "detail")
JOIN_COLUMNS = ("SOPInstanceUID", "path", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")
"""Columns by which a table of labels may be joined, most specific first."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def index_folder(
    folder: Path,
    *,
    gate: Gate,
    limits: Limits,
    workers: int | None = None,
    progress: Progress | None = None,
    names: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every file below a folder, or those of a list, far enough to know that it is a usable radiograph.

    Returns:
        The manifest (MANIFEST_COLUMNS; `status` ok or review, `warnings` codes joined by spaces) and the table of
        the other files (REFUSED_COLUMNS; `status` refused or duplicate). Together they hold every file once.

    Raises:
        UsageError: the folder is missing or holds no file.
    """
    import pandas as pd

    listing = list_files(folder) if names is None else list_named(folder, names)
    usable: list[dict[str, str]] = []
    other = [_refused(refusal) for refusal in listing.refused]
    found: list[tuple[str, dict[str, str], str]] = []  # path, row, hash of the pixels: as they are done
    for relative, result in _inspected(folder, listing.files, gate, limits, workers):
        if isinstance(result, Refusal):
            other.append(_refused(Refusal(relative, result.code, result.detail)))
        else:
            found.append((relative, _row(relative, result), result.pixels_sha256))
        if progress:
            progress(len(found) + len(other) - len(listing.refused), len(listing.files))
    repeats = Repeats()
    for relative, row, pixels_sha256 in sorted(found, key=lambda item: item[0]):
        repeat = repeats.compare(
            row["path"], sop_instance_uid=row["SOPInstanceUID"], sha256=row["sha256"], pixels_sha256=pixels_sha256
        )
        if repeat.identical_to is not None:
            other.append(_duplicate(relative, repeat.identical_to))
        else:
            if repeat.conflict:
                row["status"] = "review"
                row["warnings"] = f"DUPLICATE_CONFLICT {row['warnings']}".strip()
            usable.append(row)
    manifest = pd.DataFrame(usable, columns=list(MANIFEST_COLUMNS), dtype=str)
    refused = pd.DataFrame(other, columns=list(REFUSED_COLUMNS), dtype=str).sort_values("path", ignore_index=True)
    return manifest, refused


def _inspected(
    folder: Path, files: tuple[str, ...], gate: Gate, limits: Limits, workers: int | None
) -> Iterator[tuple[str, Inspected | Refusal]]:
    job = partial(inspect, gate=gate, limits=limits)
    with Workers(workers, limits=limits) as pool:
        paths = {os.fspath(folder / relative): relative for relative in files}
        for path, result in pool.map(job, paths):
            yield paths[path], result


def _row(relative: str, item: Inspected) -> dict[str, str]:
    identified = {
        "path": inert_path(relative),
        "sha256": item.sha256,
        "status": "review" if item.review else "ok",
        "warnings": " ".join((*item.review, *item.warnings)),
        "PatientID": item.patient_id,
        "StudyInstanceUID": item.study_instance_uid,
        "SOPInstanceUID": item.sop_instance_uid,
        "ViewPosition": item.view_position,
        "ImageLaterality": item.laterality,
    }
    return {name: identified.get(name, item.attributes.get(name, "")) for name in MANIFEST_COLUMNS}


def _refused(refusal: Refusal) -> dict[str, str]:
    return {
        "path": inert_path(refusal.path),
        "status": "refused",
        "reason": refusal.code,
        "detail": refusal.detail,
    }


def _duplicate(relative: str, first: str) -> dict[str, str]:
    detail = f"the same image as {first}"
    return {
        "path": inert_path(relative),
        "status": "duplicate",
        "reason": "DUPLICATE_IDENTICAL",
        "detail": detail,
    }


def join_labels(manifest: pd.DataFrame, table: pd.DataFrame, *, name: str) -> tuple[pd.DataFrame, int]:
    """Add the `label_` columns of a table to a manifest.

    The table is joined by the first of JOIN_COLUMNS that it has: `SOPInstanceUID` names an image, `StudyInstanceUID` or
    `PatientID` all images of a study or a patient.

    Returns:
        The manifest with the columns, and how many of its rows found no line (their labels stay blank: unknown).

    Raises:
        ManifestError: no column to join by, no `label_` column, a key that occurs twice, or no key that fits.
    """
    key = next((column for column in JOIN_COLUMNS if column in table), None)
    columns = [column for column in table.columns if column.startswith("label_")]
    if key is None or not columns:
        raise ManifestError(
            f"{name} needs one of the columns {', '.join(JOIN_COLUMNS)}, and at least one label_<finding>"
        )
    table = table[[key, *columns]]
    if key == "path":
        table = table.assign(path=table["path"].map(inert_path))
    twice = table[key][table[key].duplicated()]
    if len(twice):
        raise ManifestError(f"{name}: {key} {twice.iloc[0]!r} occurs twice")
    unmatched = int((~manifest[key].isin(table[key])).sum())
    if len(manifest) and unmatched == len(manifest):
        raise ManifestError(f"{name}: no {key} of it is in the folder")
    return manifest.merge(table, on=key, how="left").fillna(""), unmatched


@dataclass(frozen=True, slots=True)
class Indexed:
    """What `write_index` did."""

    manifest: Path
    usable: int
    review: int
    doubts: dict[str, int]  # why a human must look: how many radiographs have each code
    refused: int
    reasons: dict[str, int]
    patients: int
    modalities: dict[str, int]  # usable radiographs by Modality, "" where it is absent; the most frequent first
    unlabelled: int | None  # rows without a line in the table of labels; None where none was given

    def lines(self) -> list[str]:
        """A short account, one line each."""
        found = [
            f"{self.manifest}: {self.usable} radiographs of {self.patients} patients, {self.review} of them for review"
            + (f" ({_told(self.doubts)})" if self.doubts else "")
        ]
        if self.modalities:
            counts = ", ".join(f"{count} {name or 'absent'}" for name, count in self.modalities.items())
            found.append(f"by Modality: {counts}")
        if self.unlabelled:
            found.append(f"{self.unlabelled} of them have no line in the table of labels (blank: unknown)")
        if self.refused:
            found.append(f"{self.manifest.with_name(REFUSED)}: {self.refused} other files ({_told(self.reasons)})")
        return found


def write_index(
    folder: Path,
    out: Path,
    *,
    gate: str = "any",
    labels: Path | None = None,
    source: str | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    names: Sequence[str] | None = None,
) -> Indexed:
    """Index a folder, join labels, and write the manifest with `refused.csv` beside it.

    Args:
        folder: what to index; never written to.
        out: the manifest to write; its `path` column is relative to the folder it lies in.
        gate: the name of a gate or a YAML file.
        labels: a CSV of labels, see `join_labels`.
        source: a public dataset's description, see `medres.cohort.sources`.
        limits: budgets for one file; the defaults of `config.Limits` without.
        workers: decoding processes.
        force: replace outputs.
        progress: told (done, total).
        names: the files to look at, as `medres.cohort.listing.read_names` gives them; every file without.

    Raises:
        UsageError: the folder is missing or empty, none of the list is in it, or `out` lies in it.
        ManifestError: the labels do not fit.
        OutputExists: an output is already there.
    """
    from medres.cohort.sources import read_source, source_labels

    refuse_inside(out, [folder])
    for path in (out, out.with_name(REFUSED)):
        refuse_existing(path, force=force)
    table = read_csv(labels) if labels else source_labels(read_source(source), folder) if source else None
    manifest, refused = index_folder(
        folder, gate=load_gate(gate), limits=limits or Limits(), workers=workers, progress=progress, names=names
    )
    unlabelled = None
    if table is not None:
        manifest, unlabelled = join_labels(manifest, table, name=str(labels or source))
    out.parent.mkdir(parents=True, exist_ok=True)
    base = path_between(out.parent, folder)
    for frame in (manifest, refused):
        frame["path"] = [inert_path((base / named_path(path)).as_posix()) for path in frame["path"]]
    write_csv(out, manifest)
    write_csv(out.with_name(REFUSED), refused)
    codes = manifest["warnings"].str.split().explode().dropna()
    return Indexed(
        manifest=out,
        usable=len(manifest),
        review=int((manifest["status"] == "review").sum()),
        doubts=_counted(codes[codes.isin(list(REASONS))]),
        refused=len(refused),
        reasons=_counted(refused["reason"]),
        patients=int(manifest["PatientID"].nunique()),
        modalities=_counted(manifest["Modality"]),
        unlabelled=unlabelled,
    )


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {code}" for code, count in sorted(counts.items()))


def _counted(values: pd.Series[str]) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().items()}


def path_between(start: Path, folder: Path) -> Path:
    """The path that leads from one folder to another.

    The names as given are used where they lead there. Past a link they may not: then those of the real folders are.
    The path is absolute where no relative one leads there (another drive).
    """
    for here, there in ((start, folder), (start.resolve(), folder.resolve())):
        with suppress(OSError, ValueError):
            shown = os.path.relpath(there, here)
            if (start / shown).samefile(folder):
                return Path(shown)
    return folder.resolve()
