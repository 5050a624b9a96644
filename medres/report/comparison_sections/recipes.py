"""What was compared: each recipe, where its networks started, and the settings that are not the same in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.comparison_results import ComparedRecipe
from medres.report.comparison_context import ComparisonContext
from medres.report.page import Content


@dataclass(frozen=True, slots=True)
class RecipesSection(Content):
    """The recipes, the reference first."""

    recipes: Sequence[ComparedRecipe]


def recipes_section(context: ComparisonContext) -> RecipesSection:
    """The recipes of a comparison."""
    return RecipesSection(context.comparison.candidates)
