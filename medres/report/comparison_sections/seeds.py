"""What another seed changes: the AUROC of every run, and where the bar that a difference must exceed comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.comparison import PRIMARY
from medres.evaluation.comparison_results import ComparedRun
from medres.records import Interval
from medres.report.comparison_context import ComparisonContext
from medres.report.comparison_sentences import spread_sentence
from medres.report.page import Content


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One run with its AUROCs."""

    recipe: str  # with its number
    run: ComparedRun
    aurocs: Sequence[Interval]  # of every label


@dataclass(frozen=True, slots=True)
class RecipeRow:
    """What a recipe of several runs reaches of one label, by who is taken to be others."""

    recipe: str
    label: str
    runs: int
    judged: Interval  # if other patients judged these networks
    trained: Interval  # if other patients had trained them, too


@dataclass(frozen=True, slots=True)
class SeedsSection(Content):
    """Every run, and what their spread says."""

    labels: Sequence[str]
    spreads: Sequence[tuple[str, str]]  # label, and in one sentence where its bar comes from
    rows: Sequence[SeedRow]
    recipes: Sequence[RecipeRow]
    several_repeats: bool
    confidence: float


def seeds_section(context: ComparisonContext) -> SeedsSection:
    """The spread of a comparison's runs."""
    comparison = context.comparison
    rows = [
        SeedRow(
            f"{number}. {recipe.name}",
            run,
            [comparison.intervals[label][PRIMARY][recipe.name][place] for label in comparison.labels],
        )
        for number, recipe in enumerate(comparison.candidates, start=1)
        for place, run in enumerate(recipe.runs)
    ]
    over = "seeds and repeats" if context.several_repeats else "seeds"
    spreads = [(label, spread_sentence(comparison.seed_spread[label], over=over)) for label in comparison.labels]
    recipes = [
        RecipeRow(
            recipe.name,
            label,
            len(recipe.runs),
            comparison.means[label][PRIMARY][recipe.name],
            comparison.recipes[label][recipe.name],
        )
        for label in comparison.recipes
        for recipe in comparison.candidates
        if recipe.name in comparison.recipes[label]
    ]
    return SeedsSection(comparison.labels, spreads, rows, recipes, context.several_repeats, comparison.confidence)
