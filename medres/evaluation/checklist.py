"""What CLAIM 2024 and TRIPOD+AI ask of a report, and where this one answers or does not.

Topics are in our own words; the numbers are those of the guidelines. Sources: Tejani et al. 2024, Checklist for
Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update; Collins et al. 2024, TRIPOD+AI statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from medres.evaluation.subgroups import COLUMNS, UNKNOWN

State = Literal["met", "not met", "not applicable"]
MET: State = "met"
NOT_MET: State = "not met"
NOT_APPLICABLE: State = "not applicable"
CLAIM = tuple(str(number) for number in range(1, 45))
TRIPOD = tuple(
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c".split()
)


@dataclass(frozen=True, slots=True)
class Item:
    """One topic of the guidelines."""

    topic: str
    claim: str  # item numbers, separated by spaces
    tripod: str
    state: State
    answer: str  # where it is answered, or what is missing
    anchor: str = ""  # of the section that answers
    caveat: bool = False  # one of those that decide what the figures are worth


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run did and recorded, as far as the checklist asks."""

    external: bool
    sites: Sequence[str]
    blank_columns: Sequence[str]  # of subgroups.COLUMNS
    random_start: bool
    has_flow: bool
    has_gallery: bool
    has_commit: bool
    uncertain_policy: str
    ensemble: bool = False


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
        has_commit=bool(run.get("git_commit")),
        uncertain_policy=str(training.get("uncertain") or "not recorded"),
    )


def checklist(known: Facts) -> list[Item]:
    """Every item of both guidelines, in the order of a paper."""
    return [*_purpose(known), *_data(known), *_labels(), *_model(known), *_judgement(known), *_results(known), *_use()]


def column_values(table: pd.DataFrame, column: str) -> list[str]:
    """The distinct recorded values of a text column; none where it is absent."""
    if column not in table.columns:
        return []
    return sorted({text for cell in table[column].fillna("") if (text := str(cell).strip()) and text != UNKNOWN})


def _purpose(known: Facts) -> list[Item]:
    kind = "an external validation" if known.external else "a cross-validation"
    return [
        Item("Kind of study, in the title", "1 6", "1", MET, f"The head of this page: {kind} of a deep network."),
        Item("Summary", "2", "2", MET, "The first screen."),
        Item("Clinical background", "3", "3a 3c", NOT_MET, "Why the finding matters, what is done today, and who fares "
             "worse today, is for the authors to say."),
        Item("Intended use and users", "", "3b", MET, "Research and quality assurance; see who must not use it.", "scope"),
        Item("Aims and hypotheses", "4", "4", NOT_MET, "No hypothesis was recorded before the run."),
        Item("Prospective or retrospective", "5", "", NOT_MET, "Not recorded; a manifest of stored files is "
             "retrospective unless its authors say otherwise."),
        Item("Protocol and registration", "34 42", "18c 18d", NOT_MET, "None is recorded. Configuration and seed, below, "
             "are those of the run.", "configuration"),
        Item("Ethics approval", "", "17", NOT_MET, "Not recorded."),
        Item("Patients and public involved", "", "19", NOT_MET, "Not recorded."),
    ]  # fmt: skip


def _data(known: Facts) -> list[Item]:
    sites = known.sites
    several = Item("Several sites", "", "6a", MET, f"{len(sites)} institutions, shown as subgroups.") if len(sites) > 1 else Item(
        "Several sites", "", "6a", NOT_MET,
        "All images come from " + (f"one institution ({sites[0]})." if sites else "institutions that are not recorded."),
        caveat=True,
    )  # fmt: skip
    return [
        Item("Source of the data", "7", "5a", NOT_MET, "The manifest's name and hash are recorded; which hospital gathered "
             "it, how and why, is not.", "provenance"),
        Item("Dates", "", "5b", NOT_MET, "When the images were made is not recorded."),
        several,
        Item("Who was eligible", "8", "6b", NOT_MET, "The gate and the reasons of refusal are recorded; how the manifest's "
             "patients were chosen is not.", "flow"),
        Item("Treatment before the image", "", "6c", NOT_MET, "Not recorded."),
        Item("Preparation of the images", "9", "7", MET, "One hashed specification, in training, scoring and "
             "explanation alike.", "configuration"),
        Item("Selection of parts of the data", "10", "", MET, "None but refusals and unknown labels, both counted.", "flow"),
        Item("De-identification", "11", "", MET, "This page names no patient: gallery images carry keyed pseudonyms, and "
             "images whose pixels may hold a name are withheld. oof.csv holds PatientID."),
        Item("Missing data", "12", "11", MET, f"Unknown and uncertain labels were counted, and left out of every figure; "
             f"uncertain ones in training: {known.uncertain_policy}.", "flow"),
        Item("Acquisition of the images", "13", "9b", NOT_MET, "Exposure, detector and protocol are not in the run's "
             "tables."),
        Item("Inputs", "", "9a", MET, "The pixels of one radiograph and nothing else."),
        Item("Human judgement in the inputs", "", "9c", NOT_APPLICABLE, "No reader prepares the pixels."),
        Item("Sample size", "21", "10", NOT_MET, "It was not planned; the width of the intervals is what the cohort "
             "allows."),
    ]  # fmt: skip


def _labels() -> list[Item]:
    return [
        Item("Reference standard", "14 15", "8a", NOT_MET, "Labels were taken from the manifest as true. What they rest "
             "on, and why, is not recorded.", caveat=True),
        Item("Who labelled, and how", "16 17", "8b 8c", NOT_MET, "Who read the images, how well trained, and whether they "
             "knew other findings, is not recorded."),
        Item("Agreement of readers", "18", "", NOT_MET, "How often two readers agree is not recorded."),
    ]  # fmt: skip


def _model(known: Facts) -> list[Item]:
    divided = Item("Division of the data", "19 20", "12a", NOT_APPLICABLE, "A saved model was judged; its own division "
                   "stands in its card.") if known.external else Item(
        "Division of the data", "19 20", "12a", MET, "By patient, stratified, in a hashed file; verified below.", "checks")  # fmt: skip
    return [
        divided,
        Item("Treatment of inputs in the analysis", "", "12b", MET, "Pixels in [0, 1], as the configuration says.",
             "configuration"),
        Item("Description of the network", "22", "12c 22", MET, "Architecture, parameters and every setting; the saved model "
             "is a MONAI Bundle.", "provenance"),
        Item("Software and versions", "23", "", MET, "Packages and versions are listed.", "provenance"),
        Item("Starting weights", "24", "", MET, "Named" + (": a random start." if known.random_start else ", with the hash "
             "of their file."), "provenance"),
        Item("Training", "25", "", MET, "Recipe, seed and learning curves.", "configuration"),
        Item("Choice of the final model", "26", "", MET, "Epoch, temperature and threshold by inner validation patients, "
             "never by those the figures come from."),
        Item("Ensembles", "27", "", NOT_APPLICABLE, "Figures are those of single networks."),
        Item("Rare classes", "", "13", MET, "Sampler and class weights stand in the configuration; temperature scaling "
             "undoes their effect on probabilities.", "configuration"),
        Item("Output", "", "15", MET, "A calibrated probability, and a call at the frozen threshold."),
        Item("How predictions were computed", "", "12g", MET, "By the saved models, loaded again and verified."),
        Item("Updating of the model", "", "12f 24", NOT_APPLICABLE, "Nothing was refitted or recalibrated on the patients "
             "who judge it."),
        Item("Training against evaluation data", "", "16 20c", NOT_MET if known.external else NOT_APPLICABLE,
             "How this cohort differs from the training cohort is not shown here." if known.external else
             "Both are parts of one cohort."),
    ]  # fmt: skip


def _judgement(known: Facts) -> list[Item]:
    external = Item("Test on another hospital's images", "33", "", MET, "This page.") if known.external else Item(
        "Test on another hospital's images", "33", "", NOT_MET,
        "The model was not tested on another hospital's images. Performance there can be far lower.", caveat=True)  # fmt: skip
    return [
        Item("Measures of performance", "28", "12e", MET, "Discrimination, calibration, and decisions at frozen "
             "thresholds."),
        Item("Uncertainty", "29", "", MET, "Intervals by patient, each with its method. They do not show what "
             "training anew would change."),
        Item("Another seed", "30", "", NOT_MET, "One seed was trained. Another usually moves the AUROC by 0.004 to "
             "0.017."),
        Item("Explanations", "31", "", MET, "Class-activation maps beside the worst mistakes; not validated: no hit rate, "
             "randomisation or repeatability test stands here."),
        Item("Internal test", "32", "", NOT_APPLICABLE if known.external else MET, "Judged on another cohort." if
             known.external else "Every image was judged by a network that had not seen its patient."),
        external,
        Item("Fairness", "", "14", MET if len(known.blank_columns) < len(COLUMNS) else NOT_MET,
             "Subgroups, with what they cannot tell." if len(known.blank_columns) < len(COLUMNS) else
             "The table has no column that divides the patients."),
    ]  # fmt: skip


def _results(known: Facts) -> list[Item]:
    missing = known.blank_columns
    named = ", ".join(COLUMNS[name].lower() for name in missing)
    groups = Item("Subgroups", "", "23a", NOT_MET, f"No figures by {named}: the table has no such column, or it is blank.")
    return [
        Item("Flow of patients and images", "35", "20a", MET if known.has_flow else NOT_MET,
             "Counted, with reasons." if known.has_flow else "Not recorded.", "flow"),
        Item("Who the patients were", "36", "20b", NOT_MET, "Counts by subgroup only; no clinical characteristics, and not "
             "per part of the data."),
        Item("Events in each analysis", "", "21", MET, "Every figure stands with its images and patients; every fold and "
             "group with its positives."),
        Item("Performance with intervals", "37 38", "", MET, "The table of every label."),
        groups if missing else Item("Subgroups", "", "23a", MET, "Sex, age, view, manufacturer and institution."),
        Item("Variation over clusters", "", "12d 23b", NOT_APPLICABLE if known.external else MET, "One cohort, one model." if
             known.external else "Fold by fold; sites where the table names them."),
        Item("Analysis of failures", "39", "", MET if known.has_gallery else NOT_MET, "The worst mistakes, with pictures "
             "where they may be shown." if known.has_gallery else "The worst mistakes are listed, without pictures."),
        Item("A reader's performance", "", "", NOT_MET, "No radiologist, alone or with the model, read these images."),
        Item("A simpler method", "", "", NOT_MET, "No simpler method and no existing tool was run on the same images."),
    ]  # fmt: skip


def _use() -> list[Item]:
    return [
        Item("Interpretation", "", "25", NOT_MET, "What the figures mean beside earlier studies is for the authors to say."),
        Item("Limits of the study", "40", "26", MET, "How not to read the figures, on this page.", "limits"),
        Item("Meaning for practice", "41", "27c", NOT_MET, "No prospective use and no effect on patients was studied."),
        Item("Poor or foreign images", "", "27a", MET, "Refused with a reason, or marked for review by the outlier cut."),
        Item("What users must know", "", "27b", MET, "The first screen says who must not use it.", "scope"),
        Item("Software, model and data", "43", "18e 18f", NOT_MET, "The software is Apache-2.0. Where model and data can be "
             "had is not recorded."),
        Item("Funding and interests", "44", "18a 18b", NOT_MET, "Not recorded."),
    ]  # fmt: skip
