"""Verdicts as tables that other programs read, and as a manifest that a training takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medres import __version__
from medres.documents import write_document
from medres.errors import StoreError, UsageError
from medres.files import new_folder
from medres.provenance import now
from medres.review.store import ReviewStore
from medres.review.verdicts import audit, database
from medres.review.verdicts.agreement import Agreement, agreement, latest
from medres.review.verdicts.record import Verdict, answer, marks_text
from medres.review.verdicts.retraining import label_table, write_manifest
from medres.review.verdicts.salvage import salvage
from medres.review.verdicts.scored import Scored
from medres.review.verdicts.verification import EXPORT, Kept
from medres.tables import refuse_existing, refuse_inside, sha256_file, write_csv

if TYPE_CHECKING:
    import pandas as pd

_VERDICTS, _AGREEMENT = "verdicts.csv", "agreement.csv"
_SHOWN = (
    "created_at", "reviewer", "label", "verdict", "revision", "confidence", "grade", "corrected_label", "heatmap",
    "heatmap_shown", "seconds_in_view", "called", "probability", "skip_reason", "comment",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported: the verdicts, and the scored folder that they are about, where there is one."""

    verdicts: tuple[Verdict, ...]
    head: audit.Head
    scored: Scored | None = None
    lost: int = 0  # verdicts of a damaged store that could not be read
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    verdicts: int
    agreement: Agreement
    labelled: int = 0  # rows of the manifest
    left_out: int = 0  # images with a verdict, and no row of the manifest


def read_source(url: str, scored: Scored | None, out: Path) -> Source:
    """What a store holds, of the model that scored where a scored folder is given; of a damaged one what can be read.

    That it is exported, and where to, is noted in its audit trail.

    Raises:
        UsageError: there is no store.
        StoreError: it cannot be opened, for another reason than damage; or nothing can be read.
    """
    path = database.need_store(url)
    try:
        with ReviewStore.open(url) as store:
            store.note("export", "", {"to": str(out.resolve())})
            return Source(_of_model(store.everything(), scored), store.head(), scored)
    except StoreError as error:
        if error.code != database.DAMAGED or path is None:
            raise
    found = salvage(path)
    return Source(_of_model(found.verdicts, scored), audit.Head(), scored, lost=found.lost, whole=False)


def _of_model(verdicts: Sequence[Verdict], scored: Scored | None) -> tuple[Verdict, ...]:
    return tuple(one for one in verdicts if scored is None or one.model_id == scored.model_id)


def export(source: Source, out: Path, *, labels_by: str = "") -> Exported:
    """Write `verdicts.csv`, `agreement.csv`, `verdicts.json`, and a manifest where it is asked for.

    Args:
        source: what there is.
        out: the new folder.
        labels_by: whose word the manifest's labels are: `majority`, or a reader's name; "": no manifest is written.

    Raises:
        OutputExists: `out` is there.
        UsageError: a manifest is asked for without a scored folder, or of a reader without a verdict.
    """
    refuse_existing(out)
    scored = source.scored
    if scored is not None:
        refuse_inside(out, [scored.root])
    labels: pd.DataFrame | None = None
    if labels_by:
        if scored is None:
            raise UsageError("a manifest names files: give the scored folder as --scores")
        labels = label_table(source.verdicts, scored, labels_by)
    calls, patients = (scored.calls(), scored.patients()) if scored else ({}, {})
    found = agreement(source.verdicts, calls, patients) if _one_model(source.verdicts) else Agreement((), ())
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = new_folder(out.parent, f".{out.name[:50]}.")
    try:
        write_csv(folder / _VERDICTS, verdict_table(source.verdicts, scored))
        write_csv(folder / _AGREEMENT, agreement_table(found))
        labelled, left_out = (0, 0) if labels is None or scored is None else write_manifest(folder, out, labels, scored)
        _write_record(folder, source, labels_by)
        folder.rename(out)
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        raise
    return Exported(out, len(source.verdicts), found, labelled, left_out)


def _one_model(verdicts: Sequence[Verdict]) -> bool:
    return len({one.model_id for one in verdicts}) <= 1


def _write_record(folder: Path, source: Source, labels_by: str) -> None:
    record = Kept(
        medres=__version__,
        created=now(),
        verdicts=len(source.verdicts),
        readers=tuple(sorted({one.reviewer for one in source.verdicts})),
        models=tuple(sorted({one.model_id for one in source.verdicts})),
        audit_lines=source.head.number,
        audit_head=source.head.hash,
        whole=source.whole,
        labels_by=labels_by,
        files={path.name: sha256_file(path) for path in sorted(folder.iterdir())},
    )
    write_document(folder / EXPORT, record)


def verdict_table(verdicts: Sequence[Verdict], scored: Scored | None) -> pd.DataFrame:
    """One row for each verdict that was ever saved, oldest first."""
    import pandas as pd

    standing = set(map(id, latest(verdicts)))
    rows = []
    for verdict in verdicts:
        image = scored.images.get(verdict.sop_instance_uid) if scored else None
        called = image.called.get(verdict.label) if image else None
        rows.append(
            {
                "image": verdict.sop_instance_uid,
                "PatientKey": image.patient_key if image else "",
                "model_id": verdict.model_id,
                **{name: _cell(getattr(verdict, name)) for name in _SHOWN},
                "answer": _cell(answer(verdict, called)),
                "latest": "1" if id(verdict) in standing else "0",
                "marks": marks_text(verdict.marks) if verdict.marks else "",
            }
        )
    columns = ("image", "PatientKey", "model_id", *_SHOWN, "answer", "latest", "marks")
    return pd.DataFrame(rows, columns=list(columns), dtype=str)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def agreement_table(found: Agreement) -> pd.DataFrame:
    """One row for each pair and label."""
    import pandas as pd

    rows = [
        {
            "label": pair.label,
            "first": pair.first,
            "second": pair.second,
            "images": pair.images,
            "patients": pair.kappa.n_patients,
            "both_absent": pair.table[0][0],
            "only_second_present": pair.table[0][1],
            "only_first_present": pair.table[1][0],
            "both_present": pair.table[1][1],
            "kappa": pair.kappa.value,
            "low": pair.kappa.low,
            "high": pair.kappa.high,
            "method": pair.kappa.method,
        }
        for pair in found.pairs
    ]
    columns = ("label", "first", "second", "images", "patients", "both_absent", "only_second_present",
               "only_first_present", "both_present", "kappa", "low", "high", "method")  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns))
