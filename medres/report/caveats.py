"""What speaks against a run's figures, and where a model of it must not be used, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from medres.evaluation.results import LabelResults
from medres.evaluation.subgroups import SMALLEST, UNKNOWN, age_band
from medres.formatting import bounds, estimate, figure, sample
from medres.records import Interval
from medres.report.checklist import NOT_MET, Item, column_values
from medres.statistics.metric import METRICS
from medres.statistics.sample_size import WIDTHS

CHANCE = 0.5  # the AUROC of a coin
_MOST_OF_A_KIND = 3  # labels of which each has a line of its own
_LEAST_PATIENTS = 100  # of either class, to judge a prediction model (Vergouwe et al. 2005; Collins et al. 2016)
_BANDS = {band: None for years in range(0, 100, 10) if (band := age_band(str(years)))}


def caveats(
    items: Sequence[Item],
    labels: Mapping[str, LabelResults],
    *,
    random_start: bool,
    bounded: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """What weighs most against the figures, the gravest first.

    Args:
        items: the checklist.
        labels: the figures of every label.
        random_start: the network started without pretraining.
        bounded: by label, the folds whose temperature is an end of its search.
    """
    unmet = [item for item in items if item.caveat and item.state == NOT_MET]
    found = [item.answer for item in sorted(unmet, key=lambda item: item.caveat)]
    for label, results in labels.items():
        found += at_chance(label, results.pooled["auroc"])
    for label, folds in (bounded or {}).items():
        if folds:
            found.append(
                f"The temperature of “{label}” is an end of its search in {', '.join(folds)}: the probabilities "
                "there are not calibrated."
            )
    few = {label: said for label, results in labels.items() if (said := _few(label, results))}
    if len(few) > _MOST_OF_A_KIND:
        found.append(
            f"{len(few)} of {len(labels)} labels are judged on fewer patients than Riley et al. (2021) ask for; how "
            "many it would take stands with each."
        )
    else:
        found += [line for said in few.values() for line in said]
    for label, results in labels.items():
        found += _uncalibrated(label, results.pooled)
    for label, results in labels.items():
        if results.undefined_folds:
            found.append(
                f"In {results.undefined_folds} of {len(results.folds)} folds a class of “{label}” is missing: no "
                "AUROC of it."
            )
    if random_start:
        found.append("The network started from random weights; pretrained ones usually do better on small cohorts.")
    return found


def at_chance(label: str, auroc: Interval) -> list[str]:
    """That a label is not surely told better than a coin tells it, or that this cannot be said; [] where it is told."""
    if auroc.value is None or auroc.low is None:
        return [f"Whether “{label}” is told better than chance cannot be said: {auroc.method}."]
    if auroc.low > CHANCE:
        return []
    return [
        f"“{label}” is not surely told better than chance: its AUROC is {estimate(auroc)}, a coin's is {CHANCE:g}; "
        f"{sample(auroc)}."
    ]


def _few(label: str, results: LabelResults) -> list[str]:
    """That a figure is known less precisely than is asked for, and how many patients that would take."""
    pooled = results.pooled
    positives, negatives = pooled["sensitivity"], pooled["specificity"]
    word, rarer = min((("positive", positives), ("negative", negatives)), key=lambda pair: pair[1].n_patients)
    short = {name: count for name, count in results.needed.items() if count > results.n_patients}
    if results.needed and not short:
        return []
    if short:
        asked = ", ".join(f"{count:,} ({METRICS[name].title} ± {WIDTHS[name] / 2:g})" for name, count in short.items())
        return [
            f"“{label}” is judged on {results.n_patients:,} patients, {rarer.n_patients:,} of whom have an image that "
            f"is {word}. Riley et al. (2021) ask for {asked}; what was reached stands with the figures."
        ]
    if rarer.n_patients >= _LEAST_PATIENTS:  # a run of an earlier version
        return []
    return [
        f"Only {rarer.n_patients} patients have an image that is {word} for “{label}”; {_LEAST_PATIENTS} is the least "
        "usually asked for before such figures are trusted."
    ]


def _uncalibrated(label: str, pooled: Mapping[str, Interval]) -> list[str]:
    slope = pooled["calibration_slope"]
    intercept = pooled.get("calibration_in_the_large", pooled["calibration_intercept"])  # earlier versions lack it
    if _holds(slope, 1.0) and _holds(intercept, 0.0):
        return []
    verdict = "is no percentage here"
    if slope.low is None or intercept.low is None:
        verdict = "may be no percentage: whether it is one cannot be told here"
    lines = [
        f"{figure(one.value)} ({bounds(one) or one.method}; right is {right})"
        for one, right in ((slope, 1), (intercept, 0))
    ]
    return [f"A probability of “{label}” {verdict}: calibration slope {lines[0]}, intercept {lines[1]}, n = {slope.n}."]


def _holds(interval: Interval, value: float) -> bool:
    if interval.low is None or interval.high is None:
        return interval.value is None
    return interval.low <= value <= interval.high


def exclusions(table: pd.DataFrame) -> list[str]:
    """Where a model of the run whose `oof.csv` this is must not be used."""
    found = [
        "To diagnose, triage or treat a patient: this is research software, no medical device.",
        "In a hospital of which no images are among these, before it was tested there.",
    ]
    if not column_values(table, "PatientAge"):
        found.append("On children: the ages of these patients are not recorded.")
    else:
        patients = table.assign(band=[age_band(str(age)) for age in table["PatientAge"].fillna("")])
        counts = patients.groupby("band")["PatientID"].nunique()
        few = [f"{band} ({counts.get(band, 0)})" for band in _BANDS if counts.get(band, 0) < SMALLEST]
        if few:
            found.append(f"At ages of which fewer than {SMALLEST} patients were seen: {', '.join(few)}.")
    views = column_values(table, "ViewPosition")
    if views and UNKNOWN not in views:
        found.append(f"On other views than {', '.join(views[:6])}{' and others' if len(views) > 6 else ''}.")
    return found
