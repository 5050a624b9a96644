"""What CLAIM 2024 and TRIPOD+AI ask of a report, and where this one answers or does not: see `checklist.yaml`.

Sources: Tejani et al. 2024, Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update; Collins et
al. 2024, TRIPOD+AI statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import pandas as pd
import yaml

from medres.cohort.given_folds import GIVEN
from medres.evaluation.subgroups import DIVIDING_COLUMNS, UNKNOWN
from medres.formatting import recorded
from medres.runs.run_files import RunFiles

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
    members: int  # networks whose mean is judged
    folds: int  # of the table
    division: str  # how patients were divided, in the words of the split file; "" where it is not recorded
    kept_apart: bool | None  # what the check of that name found
    sites: Sequence[str]
    sites_apart: bool  # every institution was held out as a whole
    blank_columns: Sequence[str]  # of subgroups.DIVIDING_COLUMNS
    random_start: bool
    recorded: frozenset[str]  # parts of run.json that are there
    has_flow: bool
    has_curves: bool  # of learning
    has_pictures: bool  # of mistakes
    has_mistakes: bool
    has_shift: bool  # how an external cohort differs from the training cohort
    has_recalibration: bool
    uncertain_policy: str
    maps_measured: int = 0  # labels whose heatmaps were measured
    maps_failed: Sequence[str] = ()  # labels


_NOT_ALWAYS_THERE = ("recalibration", "shift")
"""Sections that a page has only where the item that they answer is met."""

Rule = Callable[[Facts], tuple[str, str]]
"""What a run did to the state of an item and its answer."""


def checklist(known: Facts) -> list[Item]:
    """Every item of both guidelines, in the order of a paper."""
    text = (resources.files("medres.report") / "checklist.yaml").read_text(encoding="utf-8")
    items = []
    for entry in yaml.safe_load(text):
        rule, part = entry.pop("rule", None), entry.pop("needs", None)
        said = {name: entry.pop(name) for name in ("state", "answer") if name in entry}
        state, answer = _RULES[rule](known) if rule else (said["state"], said["answer"])
        if part and part not in known.recorded:
            state, answer = NOT_MET, "Not recorded."
        if entry.get("anchor") in _NOT_ALWAYS_THERE and state != MET:
            del entry["anchor"]
        items.append(Item(**entry, state=state, answer=answer))
    return items


def facts(files: RunFiles, *, kept_apart: bool | None, curves: bool, pictures: bool, mistakes: bool) -> Facts:
    """Gather them from `run.json` and `oof.csv`.

    Args:
        files: of the run.
        kept_apart: what the check of that name found.
        curves: there are learning curves.
        pictures: there are pictures of mistakes.
        mistakes: some call is wrong.
    """
    run, table = files.run, files.table
    return Facts(
        external=run.external,
        members=run.members,
        folds=int(table["fold"].nunique()),
        division=run.splits.method if run.splits else "",
        kept_apart=kept_apart,
        sites=column_values(table, "InstitutionName"),
        sites_apart=_sites_apart(table),
        blank_columns=[name for name in DIVIDING_COLUMNS if not column_values(table, name)],
        random_start=bool(run.network and run.network.random_start),
        recorded=frozenset(name for name in type(run).model_fields if getattr(run, name)),
        has_flow=run.flow is not None,
        has_curves=curves,
        has_pictures=pictures,
        has_mistakes=mistakes,
        has_shift=run.shift is not None,
        has_recalibration=bool(run.recalibration),
        maps_measured=len(files.heatmaps.labels) if files.heatmaps else 0,
        maps_failed=[name for name, one in files.heatmaps.labels.items() if one.state == "failed"]
        if files.heatmaps
        else (),
        uncertain_policy=recorded((run.config.get("training") or {}).get("uncertain")),
    )


def _sites_apart(table: pd.DataFrame) -> bool:
    """Whether every image's institution is known, and each was held out as a whole, in folds that are several."""
    if "InstitutionName" not in table.columns or table["fold"].nunique() < 2:
        return False
    names = table["InstitutionName"].fillna("").astype(str).str.strip()
    return not names.isin(["", UNKNOWN]).any() and bool((table["fold"].groupby(names).nunique() == 1).all())


def column_values(table: pd.DataFrame, column: str) -> list[str]:
    """The distinct recorded values of a text column; none where it is absent."""
    if column not in table.columns:
        return []
    return sorted({text for cell in table[column].fillna("") if (text := str(cell).strip()) and text != UNKNOWN})


def _kind(known: Facts) -> tuple[str, str]:
    kind = "a cross-validation" if known.folds > 1 else "a test on held-out patients"
    said = f"The head of this page names {'an external validation' if known.external else kind} and what is predicted"
    return NOT_MET, f"{said}; of whom, the patients whom a model is meant for, is not recorded."


def _sites(known: Facts) -> tuple[str, str]:
    if len(known.sites) > 1:
        return MET, f"{len(known.sites)} institutions, shown as subgroups."
    place = f"one institution ({known.sites[0]})" if known.sites else "institutions that are not recorded"
    return NOT_MET, f"All images of the figures come from {place}."


def _missing_data(known: Facts) -> tuple[str, str]:
    return NOT_MET, (
        "Unknown and uncertain labels were counted, and left out of every figure; uncertain ones in training: "
        f"{known.uncertain_policy}. Why they are missing, and whether that has to do with the finding, is not recorded."
    )


def _division(known: Facts) -> tuple[str, str]:
    if known.external:
        return NOT_APPLICABLE, "A saved model was judged; its own division stands in its card."
    if not known.division:
        return NOT_MET, "Not recorded."
    method = known.division[0].upper() + known.division[1:]
    if known.kept_apart:
        return MET, f"{method}; in a hashed file, verified below."
    said = "could not be verified" if known.kept_apart is None else "is contradicted by the files"
    return NOT_MET, f"{method}, as the split file says. That patients were kept apart {said}: see below."


def _start(known: Facts) -> tuple[str, str]:
    return MET, "Named: a random start." if known.random_start else "Named, with the hash of their file."


def _shift(known: Facts) -> tuple[str, str]:
    if known.external and known.has_shift:
        return MET, "Shown beside the figures."
    if known.external:
        return NOT_MET, "How this cohort differs from the training cohort is not shown here."
    return NOT_APPLICABLE, "Both are parts of one manifest."


def _internal(known: Facts) -> tuple[str, str]:
    if known.external:
        return NOT_APPLICABLE, "Judged on another cohort."
    if known.kept_apart is False:
        return NOT_MET, "Images were judged by a network that may have seen their patient: see the checks."
    if known.kept_apart is None:
        return NOT_MET, "That no network had seen the patients who judge it could not be verified: see the checks."
    return MET, "Every image of the figures was judged by a network that had not seen its patient."


def _external(known: Facts) -> tuple[str, str]:
    if known.external and known.kept_apart is False:
        return NOT_MET, "This cohort holds some of what the model was trained on: see the checks."
    if known.external:
        return (
            MET,
            "This page, if the cohort is another hospital's: where it comes from is for its authors to say.",
        )
    if known.sites_apart:
        return MET, (
            f"Each of {len(known.sites)} institutions was held out as a whole, and judged by a network that had "
            "learned from the others only. A model of all of them was not tested elsewhere."
        )
    if known.division.startswith(GIVEN):
        return NOT_MET, (
            f"The division is {known.division}. Whether that holds out another hospital's images is not recorded. "
            "Performance there can be far lower."
        )
    return NOT_MET, "The model was not tested on another hospital's images. Performance there can be far lower."


def _choice(known: Facts) -> tuple[str, str]:
    if known.kept_apart is False:
        return NOT_MET, "Patients who make the figures may have chosen epoch, temperature or threshold: see the checks."
    whose = "the model's own validation patients" if known.external else "inner validation patients"
    return MET, f"Epoch (unless the last is kept), temperature and threshold by {whose}, not by those of the figures."


def _ensembles(known: Facts) -> tuple[str, str]:
    if known.members == 1:
        return NOT_APPLICABLE, "Every image was scored by one network."
    return MET, (
        f"{known.members} networks, the folds of one cross-validation: the mean of their calibrated probabilities, "
        "called at the mean of their thresholds."
    )


def _training(known: Facts) -> tuple[str, str]:
    if known.external:
        return MET, "Recipe and seed are the model's; its learning curves stand in the report of its training, if any."
    return MET, "Recipe, seed and learning curves." if known.has_curves else "Recipe and seed; no learning curves."


def _updating(known: Facts) -> tuple[str, str]:
    if known.has_recalibration:
        return MET, "Every figure is of the frozen model; what recalibration here would give stands apart."
    return NOT_APPLICABLE, "Nothing was refitted or recalibrated on the patients who judge it."


def _selection(known: Facts) -> tuple[str, str]:
    if not known.has_flow:
        return NOT_MET, "What was left out is not recorded."
    more = "what the manifest excludes" if known.external else "patients whom no fold held out"
    return MET, f"None but refusals, unknown labels and {more}, all counted."


def _explanations(known: Facts) -> tuple[str, str]:
    if known.maps_failed:
        return NOT_MET, f"Class-activation maps were measured, and failed: {', '.join(known.maps_failed)}."
    if known.maps_measured:
        return MET, "Class-activation maps, with what was measured of them: deletion, randomisation, repeatability."
    if not known.has_pictures:
        return NOT_MET, "No class-activation map stands here."
    return MET, (
        "Class-activation maps beside the worst mistakes; not validated: no hit rate, randomisation or repeatability "
        "test stands here."
    )


def _fairness(known: Facts) -> tuple[str, str]:
    if len(known.blank_columns) < len(DIVIDING_COLUMNS):
        return NOT_MET, (
            "Figures of subgroups stand here, with their sizes; what was done for fairness in gathering, labelling and "
            "training, and why, is for the authors to say."
        )
    return NOT_MET, "The table has no column that divides the patients."


def _subgroups(known: Facts) -> tuple[str, str]:
    if not known.blank_columns:
        return MET, "Sex, age, view, manufacturer and institution."
    named = ", ".join(DIVIDING_COLUMNS[name].lower() for name in known.blank_columns)
    return NOT_MET, f"No figures by {named}: the table has no such column, or it is blank."


def _flow(known: Facts) -> tuple[str, str]:
    return (MET, "Counted, with reasons.") if known.has_flow else (NOT_MET, "Not recorded.")


def _clusters(known: Facts) -> tuple[str, str]:
    if known.folds > 1:
        return MET, "Fold by fold; institutions where the table names them."
    if len(known.sites) > 1:
        return MET, "Institutions, shown as subgroups."
    return NOT_APPLICABLE, "One cohort, judged once."


def _failures(known: Facts) -> tuple[str, str]:
    if not known.has_mistakes:
        return MET, "No call was wrong."
    if known.has_pictures:
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
    "choice": _choice,
    "ensembles": _ensembles,
    "training": _training,
    "updating": _updating,
    "selection": _selection,
    "explanations": _explanations,
}
