"""The calls of one label: counts at the frozen thresholds, what they would mean elsewhere, what each rule reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.config import Evaluation
from medres.evaluation.results import LabelResults
from medres.records import Interval
from medres.report.metric_rows import Confusion
from medres.report.natural_frequencies import Calls
from medres.report.page import Content
from medres.report.run_context import RunContext
from medres.statistics.metric import shown_in

_SHARES = [metric for metric in shown_in("rules") if metric.share_of]
"""What is shown of a rule: the shares of its calls."""


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule that chose a threshold, with what its calls reached."""

    title: str
    decides: bool  # whether the model decides by it
    figures: Sequence[Interval]  # of _SHARES
    n_called: int
    thresholds: Sequence[float]  # of the folds; none where they are not recorded


@dataclass(frozen=True, slots=True)
class FrozenLabel:
    """What an external validation took over from the model, of one label."""

    rule: str  # that chose the threshold
    temperatures: Sequence[float]  # of each network


@dataclass(frozen=True, slots=True)
class Decisions(Content):
    """The part of a label's results that is about calls."""

    name: str
    n: int  # images
    n_patients: int
    confusion: Confusion
    calls: Calls
    rules: Sequence[RuleRow]
    thresholds: Sequence[float]  # of the folds; of a saved model one
    frozen: FrozenLabel | None  # of an external validation
    members: int  # networks of a saved model
    external: bool
    level_words: str

    @property
    def rule_titles(self) -> list[str]:
        """What the figures of a rule are called."""
        return [metric.title for metric in _SHARES]


def decisions(context: RunContext, label: str, confusion: Confusion) -> Decisions:
    """The calls of one label."""
    results, run = context.labels[label], context.run
    return Decisions(
        name=label,
        n=results.n,
        n_patients=results.n_patients,
        confusion=confusion,
        calls=context.calls[label],
        rules=_rules(context, label, results),
        thresholds=run.thresholds(label),
        frozen=_frozen(context, label),
        members=run.members,
        external=run.external,
        level_words=context.level_words,
    )


def _rules(context: RunContext, label: str, results: LabelResults) -> list[RuleRow]:
    """Every rule of a label, none where `metrics.json` records none."""
    words, thresholds = _rule_words(context.evaluation), context.run.thresholds_by_rule(label)
    return [
        RuleRow(
            words.get(rule, rule),
            rule == context.evaluation.operating_point,
            [point.figures[metric.name] for metric in _SHARES],
            point.n_called,
            thresholds.get(rule, ()),
        )
        for rule, point in results.operating_points.items()
    ]


def _rule_words(evaluation: Evaluation) -> dict[str, str]:
    return {
        "youden": "best Youden index",
        "sensitivity": f"sensitivity ≥ {evaluation.operating_target:g}",
        "specificity": f"specificity ≥ {evaluation.operating_target:g}",
    }


def _frozen(context: RunContext, label: str) -> FrozenLabel | None:
    recorded = context.run.frozen
    if recorded is None or not context.run.thresholds(label):
        return None
    rule = recorded.rules.get(label) or "by a rule that is not recorded"
    return FrozenLabel(rule, [one[label] for one in recorded.temperatures if label in one])
