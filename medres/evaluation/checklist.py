"""What CLAIM 2024 and TRIPOD+AI ask of a report, and where this one answers or does not: see `checklist.yaml`.

Sources: Tejani et al. 2024, Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update; Collins et
al. 2024, TRIPOD+AI statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pandas as pd
import yaml

from medres.evaluation.subgroups import COLUMNS, UNKNOWN

MET, NOT_MET, NOT_APPLICABLE = "met", "not met", "not applicable"


@dataclass(frozen=True, slots=True)
class Item:
    """One topic of the guidelines."""

    topic: str
    state: str  # met, not met, not applicable
    answer: str  # where it is answered, or what is missing
    claim: str = ""  # item numbers, separated by spaces
    tripod: str = ""
    anchor: str = ""  # of the section that answers
    caveat: int = 0  # its place on the first screen where it is not met; 0: none


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run did and recorded, as far as the checklist asks."""

    external: bool
    sites: Sequence[str]
    blank_columns: Sequence[str]  # of subgroups.COLUMNS
    random_start: bool
    has_flow: bool
    has_gallery: bool
    has_shift: bool  # how an external cohort differs from the training cohort
    uncertain_policy: str


Rule = Callable[[Facts], tuple[str, str]]
"""What a run did to the state of an item and its answer."""


def checklist(known: Facts) -> list[Item]:
    """Every item of both guidelines, in the order of a paper."""
    text = (resources.files("medres.evaluation") / "checklist.yaml").read_text(encoding="utf-8")
    items = []
    for entry in yaml.safe_load(text):
        rule = entry.pop("rule", None)
        state, answer = _RULES[rule](known) if rule else (entry.pop("state"), entry.pop("answer"))
        items.append(Item(**entry, state=state, answer=answer))
    return items


def facts(run: Mapping[str, Any], table: pd.DataFrame, *, random_start: bool, gallery: bool) -> Facts:
    """Gather them from `run.json` and `oof.csv`."""
    flow = run.get("flow") or {}
    training = (run.get("config") or {}).get("training") or {}
    return Facts(
        external=run.get("kind") == "external validation",
        sites=column_values(table, "InstitutionName"),
        blank_columns=[name for name in COLUMNS if not column_values(table, name)],
        random_start=random_start,
        has_flow="rows" in flow and "used" in flow,
        has_gallery=gallery,
        has_shift=bool(run.get("shift")),
        uncertain_policy=str(training.get("uncertain") or "not recorded"),
    )


def column_values(table: pd.DataFrame, column: str) -> list[str]:
    """The distinct recorded values of a text column; none where it is absent."""
    if column not in table.columns:
        return []
    return sorted({text for cell in table[column].fillna("") if (text := str(cell).strip()) and text != UNKNOWN})


def _kind(known: Facts) -> tuple[str, str]:
    kind = "an external validation" if known.external else "a cross-validation"
    return MET, f"The head of this page: {kind} of a deep network."


def _sites(known: Facts) -> tuple[str, str]:
    if len(known.sites) > 1:
        return MET, f"{len(known.sites)} institutions, shown as subgroups."
    place = f"one institution ({known.sites[0]})" if known.sites else "institutions that are not recorded"
    return NOT_MET, f"All images come from {place}."


def _missing_data(known: Facts) -> tuple[str, str]:
    return MET, (
        "Unknown and uncertain labels were counted, and left out of every figure; uncertain ones in training: "
        f"{known.uncertain_policy}."
    )


def _division(known: Facts) -> tuple[str, str]:
    if known.external:
        return NOT_APPLICABLE, "A saved model was judged; its own division stands in its card."
    return MET, "By patient, stratified, in a hashed file; verified below."


def _start(known: Facts) -> tuple[str, str]:
    return MET, "Named: a random start." if known.random_start else "Named, with the hash of their file."


def _shift(known: Facts) -> tuple[str, str]:
    if known.external and known.has_shift:
        return MET, "Shown beside the figures."
    if known.external:
        return NOT_MET, "How this cohort differs from the training cohort is not shown here."
    return NOT_APPLICABLE, "Both are parts of one cohort."


def _internal(known: Facts) -> tuple[str, str]:
    if known.external:
        return NOT_APPLICABLE, "Judged on another cohort."
    return MET, "Every image was judged by a network that had not seen its patient."


def _external(known: Facts) -> tuple[str, str]:
    if known.external:
        return MET, "This page."
    return NOT_MET, "The model was not tested on another hospital's images. Performance there can be far lower."


def _fairness(known: Facts) -> tuple[str, str]:
    if len(known.blank_columns) < len(COLUMNS):
        return MET, "Figures of subgroups, with their sizes."
    return NOT_MET, "The table has no column that divides the patients."


def _subgroups(known: Facts) -> tuple[str, str]:
    if not known.blank_columns:
        return MET, "Sex, age, view, manufacturer and institution."
    named = ", ".join(COLUMNS[name].lower() for name in known.blank_columns)
    return NOT_MET, f"No figures by {named}: the table has no such column, or it is blank."


def _flow(known: Facts) -> tuple[str, str]:
    return (MET, "Counted, with reasons.") if known.has_flow else (NOT_MET, "Not recorded.")


def _clusters(known: Facts) -> tuple[str, str]:
    if known.external:
        return NOT_APPLICABLE, "One cohort, one model."
    return MET, "Fold by fold; sites where the table names them."


def _failures(known: Facts) -> tuple[str, str]:
    if known.has_gallery:
        return MET, "The worst mistakes, with pictures where they may be shown."
    return NOT_MET, "The worst mistakes are listed, without pictures."


_RULES: Mapping[str, Rule] = {
    "kind": _kind,
    "sites": _sites,
    "missing_data": _missing_data,
    "division": _division,
    "start": _start,
    "shift": _shift,
    "internal": _internal,
    "external": _external,
    "fairness": _fairness,
    "subgroups": _subgroups,
    "flow": _flow,
    "clusters": _clusters,
    "failures": _failures,
}
