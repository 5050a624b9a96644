"""A run in words for people who do not read metrics: natural frequencies, caveats, and where it must not be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medres.evaluation.subgroups import SMALLEST, UNKNOWN, age_band
from medres.formatting import bounds, figure, percent
from medres.records import Interval
from medres.report.checklist import NOT_MET, Item, column_values
from medres.report.rules import Elsewhere

_LEAST_PATIENTS = 100  # of either class, to judge a prediction model (Vergouwe et al. 2005; Collins et al. 2016)
_BANDS = {band: None for years in range(0, 100, 10) if (band := age_band(str(years)))}
_PER = 1000


@dataclass(frozen=True, slots=True)
class Share:
    """So many of a hundred, with an interval."""

    value: float
    low: float | None
    high: float | None
    n: int  # images
    n_patients: int

    def __str__(self) -> str:
        """For example "93 (85 to 99)"."""
        if self.low is None or self.high is None:
            return percent(self.value)
        return f"{percent(self.value)} ({percent(self.low)} to {percent(self.high)})"

    @property
    def squares(self) -> int:
        """How many of a hundred squares are marked."""
        return round(100 * self.value)

    @property
    def rest(self) -> Share:
        """The others of the hundred."""
        low, high = (None if bound is None else 1 - bound for bound in (self.high, self.low))
        return Share(1 - self.value, low, high, self.n, self.n_patients)


@dataclass(frozen=True, slots=True)
class Whole:
    """So many of a thousand, with an interval."""

    value: int
    low: int | None
    high: int | None

    def __str__(self) -> str:
        """For example "93 (85 to 99)"."""
        return str(self.value) if self.low is None else f"{self.value} ({self.low} to {self.high})"


@dataclass(frozen=True, slots=True)
class Thousand:
    """A thousand radiographs as in the cohort, sorted by truth and call; whole numbers that add up."""

    found: Whole
    missed: Whole
    alarms: Whole
    cleared: Whole


@dataclass(frozen=True, slots=True)
class Calls:
    """What the calls at the frozen thresholds mean for people; parts are None where undefined."""

    found: Share | None  # of positives, called
    alarms: Share | None  # of negatives, called
    right: Share | None  # of calls, positive: at the cohort's prevalence
    thousand: Thousand | None
    elsewhere: Sequence[Elsewhere]  # at other prevalences, rarest first


def calls(
    sensitivity: Interval,
    specificity: Interval,
    ppv: Interval,
    prevalence: float | None,
    others: Sequence[Elsewhere] = (),
) -> Calls:
    """Sensitivity, specificity and PPV, at this prevalence and maybe at others, as natural frequencies."""
    found, cleared, right = (_share(one) for one in (sensitivity, specificity, ppv))
    thousand = None
    if found and cleared and prevalence is not None:
        positives = round(_PER * prevalence)
        thousand = Thousand(*_divided(positives, found), *reversed(_divided(_PER - positives, cleared)))
    return Calls(found, cleared.rest if cleared else None, right, thousand, others)


def _divided(total: int, share: Share) -> tuple[Whole, Whole]:
    """A share of so many radiographs, and the others."""
    bounds = [None if bound is None else round(total * bound) for bound in (share.low, share.high)]
    part = Whole(round(total * share.value), *bounds)
    low, high = (None if bound is None else total - bound for bound in reversed(bounds))
    return part, Whole(total - part.value, low, high)


def _share(interval: Interval) -> Share | None:
    if interval.value is None:
        return None
    return Share(interval.value, interval.low, interval.high, interval.n, interval.n_patients)


def caveats(
    items: Sequence[Item],
    pooled: Mapping[str, Mapping[str, Interval]],
    *,
    random_start: bool,
    folds_undefined: Mapping[str, tuple[int, int]],
) -> list[str]:
    """What weighs most against the figures, the gravest first.

    Args:
        items: the checklist.
        pooled: the pooled metrics of every label.
        random_start: the network started without pretraining.
        folds_undefined: of every label, the folds in which its AUROC could not be computed, and all of them.
    """
    unmet = [item for item in items if item.caveat and item.state == NOT_MET]
    found = [item.answer for item in sorted(unmet, key=lambda item: item.caveat)]
    for label, metrics in pooled.items():
        found += _few(label, metrics) + _uncalibrated(label, metrics)
    for label, (undefined, folds) in folds_undefined.items():
        if undefined:
            found.append(f"In {undefined} of {folds} folds a class of “{label}” is missing: no AUROC of it.")
    if random_start:
        found.append("The network started from random weights; pretrained ones usually do better on small cohorts.")
    return found


def _few(label: str, metrics: Mapping[str, Interval]) -> list[str]:
    positives, negatives = metrics["sensitivity"], metrics["specificity"]
    word, rarer = min((("positive", positives), ("negative", negatives)), key=lambda pair: pair[1].n_patients)
    if rarer.n_patients >= _LEAST_PATIENTS:
        return []
    return [
        f"Only {rarer.n_patients} patients have an image that is {word} for “{label}”; {_LEAST_PATIENTS} is the least "
        "usually asked for before such figures are trusted."
    ]


def _uncalibrated(label: str, metrics: Mapping[str, Interval]) -> list[str]:
    slope, intercept = metrics["calibration_slope"], metrics["calibration_intercept"]
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
    """Where a model of this run must not be used."""
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
