"""The head of a comparison's page: who was compared on what, and one sentence per verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.comparison_results import ADDED_VARIANCES, Comparison
from medres.report.comparison_context import ComparisonContext
from medres.report.comparison_sentences import advice, sentences
from medres.report.page import Content


@dataclass(frozen=True, slots=True)
class SaidVerdict:
    """A verdict in words."""

    verdict: str  # better, worse, tie or undefined
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdicts(Content):
    """All that a comparison's page says before its sections."""

    comparison: Comparison
    verdicts: Sequence[SaidVerdict]
    several_repeats: bool
    advice: str  # how the spread of seeds would be measured; "" where it is

    @property
    def earlier_rule(self) -> bool:
        """Whether the verdicts are those of an earlier version's rule."""
        return self.comparison.rule != ADDED_VARIANCES


def verdicts(context: ComparisonContext) -> Verdicts:
    """The verdicts of a comparison."""
    said, deciding = sentences(context.comparison), context.comparison.deciding()
    kinds = [item.verdict or "tie" for item in deciding] if deciding else ["tie"] * len(said)
    found = [SaidVerdict(kind, sentence) for kind, sentence in zip(kinds, said, strict=True)]
    return Verdicts(context.comparison, found, context.several_repeats, advice(context.comparison))
