"""Calls in natural frequencies, for people who do not read metrics: so many of a hundred, so many of a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.config import Evaluation
from medres.evaluation.results import LabelResults
from medres.formatting import percent, percent_bounds
from medres.records import Interval

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
        bounds = percent_bounds(self)
        return f"{percent(self.value)} ({bounds})" if bounds else percent(self.value)

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
class AtPrevalence:
    """What calls would mean where the finding is rarer or commoner."""

    prevalence: float
    ppv: Interval
    npv: Interval


@dataclass(frozen=True, slots=True)
class Calls:
    """What the calls at the frozen thresholds mean for people; parts are None where undefined."""

    found: Share | None  # of positives, called
    alarms: Share | None  # of negatives, called
    right: Share | None  # of calls, positive: at the cohort's prevalence
    thousand: Thousand | None
    elsewhere: Sequence[AtPrevalence]  # at other prevalences, rarest first


def calls_of(results: LabelResults, evaluation: Evaluation) -> Calls:
    """What the calls of one label mean, by the rule that decides."""
    sensitivity, specificity, ppv = (results.pooled[name] for name in ("sensitivity", "specificity", "ppv"))
    return calls(sensitivity, specificity, ppv, results.prevalence, _at_prevalences(results, evaluation))


def calls(
    sensitivity: Interval,
    specificity: Interval,
    ppv: Interval,
    prevalence: float | None,
    others: Sequence[AtPrevalence] = (),
) -> Calls:
    """Sensitivity, specificity and PPV, at this prevalence and maybe at others, as natural frequencies."""
    found, cleared, right = (_share(one) for one in (sensitivity, specificity, ppv))
    thousand = None
    if found and cleared and prevalence is not None:
        positives = round(_PER * prevalence)
        thousand = Thousand(*_divided(positives, found), *reversed(_divided(_PER - positives, cleared)))
    return Calls(found, cleared.rest if cleared else None, right, thousand, others)


def _at_prevalences(results: LabelResults, evaluation: Evaluation) -> list[AtPrevalence]:
    """PPV and NPV of the rule that decides at the prevalences that `metrics.json` states, rarest first."""
    point = results.operating_points.get(evaluation.operating_point)
    found = point.at_prevalence if point else {}
    stated = [AtPrevalence(float(prevalence), values.ppv, values.npv) for prevalence, values in found.items()]
    return sorted(stated, key=lambda one: one.prevalence)


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
