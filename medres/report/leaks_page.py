"""Leaks for a human to judge: a table, and a page with the images side by side."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd

from medres.cohort.checking import Check, Checked
from medres.cohort.leakage import KINDS, Leak
from medres.cohort.planted import FOUND_OF_PLANTED, PLANTED
from medres.config import Gate, Limits, Preprocessing
from medres.documents import Document, write_document
from medres.imaging.isolation import Workers
from medres.imaging.pictures import may_be_exported
from medres.imaging.preprocessing import prepare
from medres.records import Refusal
from medres.report.page import Content, render
from medres.tables import MARKER, inert_path, output_folder, write_csv, write_text

LEAK_COLUMNS = ("level", "kind", "path", "other_path", "correlation", "detail")
_SIDE = 320  # pixels of a picture
_MOST_PICTURES = 100  # leaks shown with pictures; the table has them all
_MOST_IMAGES = 4  # of one leak


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image of a leak as the page shows it."""

    path: str
    picture: str  # a data URI, or "" where it is withheld
    withheld: str  # why, or "" where it is shown, or no file was looked at


@dataclass(frozen=True, slots=True)
class ShownLeak:
    """A leak with its images."""

    leak: Leak
    images: Sequence[ShownImage]


@dataclass(frozen=True, slots=True)
class LeaksPage(Content):
    """All that the page shows."""

    manifest: str  # its name
    verdict: str  # one sentence
    checks: Sequence[Check]
    lines: Sequence[str]  # problems that are no leak
    notes: Sequence[str]  # what is only worth knowing, leaks aside
    leaks: Sequence[ShownLeak]  # the first of them
    total: int  # leaks that were found; not all of them may be shown
    planted: int  # copies of each kind in a trial of the search
    found_of_planted: Mapping[str, Mapping[str, int]]  # how many of them were found, by kind and cohort; {}: not looked

    @property
    def not_run(self) -> Sequence[Check]:
        """Checks that could not run."""
        return [check for check in self.checks if check.not_run]

    @property
    def leaks_not_run(self) -> Sequence[str]:
        """Kinds of leaks that were not looked for."""
        return [check.name for check in self.not_run if check.name in KINDS]


class CheckOutcome(Document):
    """What came of one check, in `run.json`."""

    name: str
    problems: int
    notes: int
    remark: str
    not_run: str  # why it could not run; "" where it ran


class CheckRecord(Document):
    """The content of `run.json` in the folder of a check: it marks the folder as one that medres wrote."""

    kind: Literal["check"]
    leaks: int
    checks: tuple[CheckOutcome, ...]


def write_leaks(
    out: Path,
    checked: Checked,
    *,
    gate: Gate,
    limits: Limits,
    allow_burned_in: bool,
    force: bool = False,
) -> None:
    """Write `leaks.csv` and `leaks.html` into a new folder: paths and pictures, no PatientID.

    Args:
        out: the folder.
        checked: what `check_manifest` found.
        gate: which radiographs are admitted.
        limits: budgets of one file.
        allow_burned_in: also show images whose pixels may hold a name.
        force: replace `out`.

    Raises:
        OutputExists: see `tables.refuse_existing`.
    """
    with output_folder(out, force=force) as folder:
        rows = [record for leak in checked.leaks for record in _records(checked, leak)]
        write_csv(folder / "leaks.csv", pd.DataFrame(rows, columns=list(LEAK_COLUMNS)))
        shown = checked.leaks[:_MOST_PICTURES]
        pictures = _pictures(checked, shown, gate, limits, allow_burned_in)
        content = LeaksPage(
            manifest=checked.manifest.path.name,
            verdict=checked.verdict(),
            checks=checked.checks,
            lines=checked.problems,
            notes=checked.notes,
            leaks=[ShownLeak(leak, [pictures[row] for row in leak.rows[:_MOST_IMAGES]]) for leak in shown],
            total=len(checked.leaks),
            planted=PLANTED,
            found_of_planted=FOUND_OF_PLANTED if checked.compared_images else {},
        )
        write_text(folder / "leaks.html", render("leaks.html", content) + "\n")
        write_document(folder / MARKER, _record(checked))


def _record(checked: Checked) -> CheckRecord:
    outcomes = (
        CheckOutcome(
            name=check.name, problems=check.problems, notes=check.notes, remark=check.remark, not_run=check.not_run
        )
        for check in checked.checks
    )
    return CheckRecord(kind="check", leaks=len(checked.leaks), checks=tuple(outcomes))


def _path(checked: Checked, row: int) -> str:
    return inert_path(str(checked.manifest.table["path"].iloc[row]))


def _records(checked: Checked, leak: Leak) -> list[tuple[str, str, str, str, str, str]]:
    """One record per pair of the first image with each other one."""
    level = "problem" if leak.problem else "information"
    correlation = "" if leak.correlation is None else f"{leak.correlation:.3f}"
    first, *others = (_path(checked, row) for row in leak.rows)
    return [(level, leak.kind, first, other, correlation, leak.detail) for other in others]


def _pictures(
    checked: Checked, leaks: Sequence[Leak], gate: Gate, limits: Limits, allow_burned_in: bool
) -> Mapping[int, ShownImage]:
    """What the page shows of each image, by its place in the manifest; only these images are decoded."""
    wanted = sorted({row for leak in leaks for row in leak.rows[:_MOST_IMAGES]})
    if checked.cache is None:
        return {row: ShownImage(_path(checked, row), "", "") for row in wanted}
    attributes = {image.row: image.attributes for image in checked.cache.images}
    refused = {row: f"{refusal.code}: {refusal.detail}" for row, refusal in checked.cache.refusals}
    open_to = {row for row in attributes if allow_burned_in or may_be_exported(attributes[row])}
    job = partial(prepare, spec=Preprocessing(size=_SIDE), gate=gate, limits=limits)
    found = {}
    with Workers(limits=limits) as pool:
        paths = {row: os.fspath(checked.manifest.rows[row].path) for row in wanted if row in open_to}
        decoded = dict(pool.map(job, paths.values()))
    for row in wanted:
        picture, withheld = "", ""
        if row in refused:
            withheld = refused[row]
        elif row not in open_to:
            said = attributes.get(row, {}).get("BurnedInAnnotation") or "absent"
            withheld = f"withheld: BurnedInAnnotation is {said}; --allow-burned-in shows it"
        elif isinstance(result := decoded[paths[row]], Refusal):
            withheld = f"{result.code}: {result.detail}"
        else:
            data = cv2.imencode(".png", (result.pixels >> 8).astype(np.uint8))[1]
            picture = "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
        found[row] = ShownImage(_path(checked, row), picture, withheld)
    return found
