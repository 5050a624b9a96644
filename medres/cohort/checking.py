"""Every problem of a manifest in one go: its form, its files, and patients or images under two names.

Every check runs that can, whatever the others find; one that could not is told as such: silence would read as "none".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medres.cohort.alignment import SIDE
from medres.cohort.cache import PixelCache, cached_pixels
from medres.cohort.form import USED, Fault, Question, form_faults, label_questions, without
from medres.cohort.indexing import Progress
from medres.cohort.leakage import KINDS, Leak, find_leaks
from medres.cohort.manifest import Manifest, manifest_rows, no_row_used, none_exists, used_rows
from medres.cohort.tasks import LABEL_PREFIX, resolve
from medres.config import Gate, Limits, Preprocessing
from medres.tables import inert_path, read_csv, sha256_file

if TYPE_CHECKING:
    import pandas as pd

FORM, LABELS, FILES = "form", "labels", "files"
_MEANING: Mapping[str, str] = {
    FORM: "columns, rows, repeated paths and SOPInstanceUIDs, blank PatientIDs",
    LABELS: "cells of the columns label_…",
    FILES: "every file can be used, and is the one that the manifest names",
}

_OF_IMAGES = frozenset(("same image", "same SOPInstanceUID"))  # leaks that tell of repeated rows, too


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a manifest, and what came of it."""

    name: str
    meaning: str  # what is looked for
    problems: int = 0
    notes: int = 0
    remark: str = ""  # what limits it: files that could not be compared, labels that too few patients have
    not_run: str = ""  # why it could not run; "" where it ran


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with a manifest, what is only worth knowing, and what could not be looked for."""

    problems: tuple[str, ...]  # one line each; leaks aside
    notes: tuple[str, ...]
    leaks: tuple[Leak, ...]
    checks: tuple[Check, ...]
    manifest: Manifest  # rows that are used; where it has no column path they are named by their lines
    questions: tuple[Question, ...] = ()  # of its label columns
    cache: PixelCache | None = None  # of its usable files; None: none could be looked at

    @property
    def not_run(self) -> tuple[Check, ...]:
        """The checks that could not run."""
        return tuple(check for check in self.checks if check.not_run)

    @property
    def compared_images(self) -> bool:
        """Whether near-duplicates were looked for."""
        return any(check.name == "near-duplicate" and not check.not_run for check in self.checks)

    def described(self, leak: Leak) -> str:
        """A leak as one line. It names PatientIDs where it is about them: the manifest's owner has to look them up."""
        if leak.kind != "similar PatientID":
            return f"{leak.kind}: {leak.detail}"
        patients = ", ".join(repr(self.manifest.rows[row].patient_id) for row in leak.rows)
        return f"{leak.kind}: {patients}: {leak.detail}"

    def lines(self) -> tuple[list[str], list[str]]:
        """Every problem, and every note, one line each."""
        found = [(leak.problem, self.described(leak)) for leak in self.leaks]
        problems = [*self.problems, *(line for problem, line in found if problem)]
        remarks = _by_reason({check.name: check.remark for check in self.checks})
        return problems, [*self.notes, *(line for problem, line in found if not problem), *remarks]

    def verdict(self) -> str:
        """How many problems there are, and how many checks could not look for any, in one sentence."""
        count, missed = len(self.lines()[0]), len(self.not_run)
        found = f"{count} problem{'s' * (count != 1)} found" if count else "no problems found"
        return found + (f", but {missed} check{'s' * (missed != 1)} did not run" if missed else "")

    def lines_not_run(self) -> list[str]:
        """Which checks did not run, one line for each reason."""
        return [f"not checked: {line}" for line in _by_reason({check.name: check.not_run for check in self.checks})]

    def joined(self, check: Check, problems: Sequence[str], notes: Sequence[str]) -> Checked:
        """This, and what a check elsewhere found."""
        counted = replace(check, problems=len(problems), notes=len(notes))
        return replace(
            self,
            problems=(*self.problems, *problems),
            notes=(*self.notes, *notes),
            checks=(*self.checks, counted),
        )

    def header_columns(self) -> tuple[str, ...]:
        """Names of the DICOM attributes that are known of the images."""
        images = self.cache.images if self.cache else ()
        return tuple(dict.fromkeys(name for image in images for name in image.attributes))

    def table(self) -> pd.DataFrame:
        """The usable rows of known patients, with columns from the headers where the manifest has none of that name.

        Instead of a grade or a class it has one label, which divides the rows most evenly.
        """
        import pandas as pd

        if self.cache is None or "PatientID" not in self.manifest.table:
            return pd.DataFrame()
        images = [image for image in self.cache.images if self.manifest.rows[image.row].patient_id]
        found = self.manifest.table.iloc[[image.row for image in images]].reset_index(drop=True)
        for question in self.questions:
            if question.task is not None and question.task.kind != "binary":
                found = _as_one_label(found, question)
        attributes = pd.DataFrame([image.attributes for image in images], dtype=str).fillna("")
        return found.join(attributes[[name for name in attributes if name not in found]])


def _by_reason(reasons: Mapping[str, str]) -> list[str]:
    """One line for each reason, with the checks that it holds for.

    >>> _by_reason({"same image": "no file", "labels": "", "near-duplicate": "no file"})
    ['same image, near-duplicate: no file']
    """
    checks: dict[str, list[str]] = {}
    for check, reason in reasons.items():
        if reason:
            checks.setdefault(reason, []).append(check)
    return [f"{', '.join(names)}: {reason}" for reason, names in checks.items()]


def check_manifest(
    path: Path,
    *,
    root: Path | None = None,
    gate: Gate,
    limits: Limits,
    progress: Progress | None = None,
) -> Checked:
    """Look for every problem; no problem, and no check that did not run, means that the manifest can be trained on.

    Args:
        path: the manifest.
        root: what its paths are relative to; its own folder by default.
        gate: which radiographs are admitted.
        limits: budgets of one file.
        progress: told (done, total) while files are decoded, and again while images are compared.

    Raises:
        ManifestError: the file is not a table at all.
    """
    whole = read_csv(path)
    named = "path" in whole
    lines = [f"line {number}" for number in range(2, len(whole) + 2)]
    table, excluded = used_rows(whole if named else whole.assign(path=lines))
    rows = manifest_rows(table, (), root=root or path.parent)
    manifest = Manifest(path=path, sha256=sha256_file(path), tasks=(), rows=rows, table=table, excluded=excluded)
    questions = tuple(label_questions(whole))
    closed, complaint = _why_no_file(manifest, named=named)
    cache, wrong_files, other_uid = None, [complaint] if complaint else [], frozenset[int]()
    if not closed:
        cache = cached_pixels(rows, Preprocessing(size=SIDE), gate=gate, limits=limits, progress=progress)
        unusable = [f"{inert_path(refusal.path)}: {refusal.code}: {refusal.detail}" for _, refusal in cache.refusals]
        other_uid = frozenset(
            image.row for image in cache.images if rows[image.row].sop_instance_uid not in {"", image.sop_instance_uid}
        )
        strange = [
            f"{inert_path(str(rows[row].path))}: its SOPInstanceUID is not the one in the manifest"
            for row in sorted(other_uid)
        ]
        wrong_files = list(dict.fromkeys((*unusable, *strange)))
    leaks = find_leaks(
        rows,
        cache.images if cache else (),
        cache.pixels if cache and len(cache.images) > 1 else None,
        progress=progress,
    )
    faults = _not_told_yet(whole, leaks, other_uid)
    wrong_labels, notes = _of_labels(whole, questions)
    checks = (
        Check(FORM, _MEANING[FORM], problems=len(faults)),
        Check(LABELS, _MEANING[LABELS], len(wrong_labels), len(notes), not_run="" if len(whole) else "it has no rows"),
        Check(FILES, _MEANING[FILES], problems=len(wrong_files), not_run=closed),
        *_of_leaks(manifest, cache, leaks, closed),
    )
    if excluded and rows:
        notes.append(f"{len(excluded)} rows are left out, as their status says: they were not looked at")
    return Checked(
        problems=(*(fault.said for fault in faults), *wrong_labels, *wrong_files),
        notes=tuple(notes),
        leaks=leaks,
        checks=checks,
        manifest=manifest,
        questions=questions,
        cache=cache,
    )


def _why_no_file(manifest: Manifest, *, named: bool) -> tuple[str, str]:
    """Why no file can be looked at, "" where some can; and the problem, where no other check tells it."""
    if manifest.table.empty:
        return ("its column status leaves no row", no_row_used(manifest.excluded)) if manifest.excluded else (
            "it has no rows", "",
        )  # fmt: skip
    if not named:
        return "it has no column path", ""
    complaint = none_exists(manifest.rows)
    return ("none of its files exists", complaint) if complaint else ("", "")


def _of_labels(table: pd.DataFrame, questions: Sequence[Question]) -> tuple[list[str], list[str]]:
    """Problems and notes of the label columns."""
    if table.empty:
        return [], []
    if not questions:
        return ["no label_ column: nothing to learn (but a grade or a class may have a column of its own name)"], []
    told = [(question.task is None, str(question)) for question in questions]
    return [line for problem, line in told if problem], [line for problem, line in told if line and not problem]


def _not_told_yet(table: pd.DataFrame, leaks: Sequence[Leak], other_uid: frozenset[int]) -> list[Fault]:
    """The faults of the form without repeats that a leak shows, or of which a file has another SOPInstanceUID."""
    used = [row for row, said in enumerate(table["status"]) if said in USED] if "status" in table else range(len(table))
    shown = {used[row] for leak in leaks if leak.problem and leak.kind in _OF_IMAGES for row in leak.rows}
    other = {used[row] for row in other_uid}

    def told(fault: Fault, rows: tuple[int, ...]) -> bool:
        return shown.issuperset(rows) or (fault.kind == "SOPInstanceUID" and not other.isdisjoint(rows))

    left = (without(fault, partial(told, fault)) for fault in form_faults(table))
    return [fault for fault in left if fault]


def _of_leaks(manifest: Manifest, cache: PixelCache | None, leaks: Sequence[Leak], closed: str) -> list[Check]:
    """What came of each kind of leak."""
    usable, count = len(cache.images) if cache else 0, len(manifest.rows)
    no_image = closed or ("" if usable else "none of its files could be used")
    if not count:
        nobody = closed
    elif "PatientID" not in manifest.table:
        nobody = "it has no column PatientID"
    else:
        nobody = "" if any(row.patient_id for row in manifest.rows) else "no row has a PatientID"
    found = []
    for kind, meaning in KINDS.items():
        not_run = nobody if kind == "similar PatientID" else no_image
        same = [leak.problem for leak in leaks if leak.kind == kind]
        partly = usable < count and kind != "similar PatientID" and not not_run
        found.append(
            Check(
                kind,
                meaning,
                problems=sum(same),
                notes=len(same) - sum(same),
                remark=f"{usable} of {count} rows were compared; the others have no usable file" if partly else "",
                not_run=not_run,
            )
        )
    return found


def _as_one_label(table: pd.DataFrame, question: Question) -> pd.DataFrame:
    """The table with that label of a grade or class which divides its rows most evenly, instead of its column."""
    assert question.task is not None
    kept = table.drop(columns=question.column)
    shown = table.drop(columns=question.task.name, errors="ignore")
    task, complaints = resolve(question.task, shown)
    if complaints or not len(shown):
        return kept
    labels = [f"{LABEL_PREFIX}{label}" for label in task.labels]
    even = min(labels, key=lambda label: abs((shown[label] == "1").sum() - (shown[label] == "0").sum()))
    return kept.assign(**{even: shown[even]})
