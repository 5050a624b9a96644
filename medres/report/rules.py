"""What each frozen threshold reaches, and what a call would mean elsewhere, as `metrics.json` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medres.config import Evaluation
from medres.records import Interval
from medres.statistics.metric import METRICS, shown_in


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule that chose a threshold, with what its calls reached."""

    title: str
    decides: bool  # whether the model decides by it
    figures: Mapping[str, Interval]  # by metric: the shares of calls
    n_called: int
    thresholds: tuple[float, ...]  # of the folds; none where they are not recorded

    @property
    def titles(self) -> list[str]:
        """What the figures are called."""
        return [METRICS[name].title for name in self.figures]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What calls would mean where the finding is rarer or commoner."""

    prevalence: float
    ppv: Interval
    npv: Interval


def rule_rows(
    content: Mapping[str, Any], evaluation: Evaluation, thresholds: Mapping[str, Sequence[float]]
) -> list[RuleRow]:
    """Every rule of a label's part of `metrics.json`; none where it records none.

    Args:
        content: the label's part.
        evaluation: the rule that decides, and the target of the others.
        thresholds: what each rule chose, by fold.
    """
    words = {
        "youden": "best Youden index",
        "sensitivity": f"sensitivity ≥ {evaluation.operating_target:g}",
        "specificity": f"specificity ≥ {evaluation.operating_target:g}",
    }
    return [
        RuleRow(
            words.get(rule, rule),
            rule == evaluation.operating_point,
            {
                one.name: read_interval(point[one.name])
                for one in shown_in("rules")
                if one.share_of and one.name in point
            },
            point["n_called"],
            tuple(thresholds.get(rule, ())),
        )
        for rule, point in (content.get("operating_points") or {}).items()
    ]


def elsewhere(content: Mapping[str, Any], evaluation: Evaluation) -> Sequence[Elsewhere]:
    """PPV and NPV of the rule that decides at the prevalences that `metrics.json` states, rarest first."""
    point = (content.get("operating_points") or {}).get(evaluation.operating_point) or {}
    found = [
        Elsewhere(float(prevalence), read_interval(values["ppv"]), read_interval(values["npv"]))
        for prevalence, values in (point.get("at_prevalence") or {}).items()
    ]
    return sorted(found, key=lambda one: one.prevalence)


def read_interval(recorded: Mapping[str, Any]) -> Interval:
    """An interval as `summarise` wrote it."""
    keys = ("value", "low", "high", "method", "n", "n_patients")
    return Interval(*(recorded.get(key) for key in keys))  # type: ignore[arg-type]
