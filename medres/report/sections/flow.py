"""Where patients and images went: from the manifest's rows to the patients that each fold held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medres.errors import REASONS
from medres.report.page import Content
from medres.report.run_context import RunContext
from medres.report.table_files import TableFile, table_file
from medres.runs.flow import NOT_JUDGED
from medres.runs.records import FoldRecord

_PARTS = ("training", "validation", "held_out")
_MOST_REFUSALS = 100  # shown in the page; all of them stand in refused.csv


@dataclass(frozen=True, slots=True)
class FoldFlow:
    """How one fold divides the patients; None where it is not recorded."""

    name: str
    patients: Mapping[str, int | None]  # by part
    images: Mapping[str, int | None]

    def share(self, part: str) -> float:
        """Of the fold's patients, per cent; 0 where a part is not recorded."""
        known = [count for count in self.patients.values() if count is not None]
        count = self.patients[part]
        return round(100 * count / sum(known), 2) if count and len(known) == len(_PARTS) else 0.0


@dataclass(frozen=True, slots=True)
class NotUsed:
    """Images that no figure rests on, for one reason."""

    code: str
    count: int
    became: str  # "not used", or what was done with them instead
    meaning: str  # of a refusal code; "" for anything else


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that was not used; "" where something is not recorded."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class FlowSection(Content):
    """The flow of images and patients; None where a number is not recorded."""

    n_rows: int | None  # of the manifest
    n_manifest_patients: int | None
    not_used: Sequence[NotUsed] | None
    n_used: int | None
    n_images: int  # scored
    n_patients: int
    folds: Sequence[FoldFlow]
    kept_apart: bool | None  # no patient has two roles in a fold; None: not verified
    chosen: str  # what validation patients chose besides temperature and thresholds
    refused: Sequence[RefusedFile]  # the first of them
    n_refused: int
    table: TableFile

    @property
    def files(self) -> list[TableFile]:
        """The same as a table."""
        return [self.table]


def flow_section(context: RunContext) -> FlowSection:
    """The flow of this run."""
    run = context.run
    folds = [fold_flow(fold, context.fold_name(fold.fold)) for fold in run.folds]
    refused = context.files.refused
    return FlowSection(
        n_rows=run.flow.rows if run.flow else None,
        n_manifest_patients=run.manifest.patients if run.manifest else None,
        not_used=None
        if run.flow is None
        else [
            NotUsed(code, count, NOT_JUDGED.get(code, "not used"), REASONS.get(code, ""))
            for code, count in run.flow.refused.items()
        ],
        n_used=run.flow.used if run.flow else None,
        n_images=context.n_images,
        n_patients=context.n_patients,
        folds=folds,
        kept_apart=context.kept_apart,
        chosen=context.chosen,
        refused=[] if refused is None else refused_files(refused.head(_MOST_REFUSALS)),
        n_refused=0 if refused is None else len(refused),
        table=table_file("flow", flow_table(context, folds)),
    )


def fold_flow(fold: FoldRecord, name: str) -> FoldFlow:
    """How one fold divides the patients."""
    return FoldFlow(
        name,
        {
            "training": fold.training_patients,
            "validation": fold.validation_patients,
            "held_out": fold.held_out_patients,
        },
        {"training": fold.training_images, "validation": fold.validation_images, "held_out": fold.held_out_images},
    )


def refused_files(table: pd.DataFrame) -> list[RefusedFile]:
    """The rows of `refused.csv`; it may lack columns."""
    columns = [table[name] if name in table.columns else [""] * len(table) for name in ("path", "reason", "detail")]
    return [RefusedFile(*map(str, row)) for row in zip(*columns, strict=True)]


def flow_table(context: RunContext, folds: Sequence[FoldFlow]) -> pd.DataFrame:
    """`stage, part, images, patients`: the same as a table; blank where it is not recorded."""
    flow, manifest = context.run.flow, context.run.manifest
    rows: list[tuple[str, str, int | None, int | None]] = [
        ("manifest", "", flow.rows if flow else None, manifest.patients if manifest else None)
    ]
    rows += [
        ("not judged" if code in NOT_JUDGED else "not used", code, count, None)
        for code, count in (flow.refused if flow else {}).items()
    ]
    rows.append(("used", "", flow.used if flow else None, None))
    rows.append(("scored", "", context.n_images, context.n_patients))
    rows += [(fold.name, part, fold.images[part], fold.patients[part]) for fold in folds for part in _PARTS]
    table = pd.DataFrame(rows, columns=["stage", "part", "images", "patients"])
    return table.astype({"images": "Int64", "patients": "Int64"})
