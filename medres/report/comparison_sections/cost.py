"""What each recipe costs, and what the cost buys: AUROC gained against time or arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from medres.evaluation.comparison_results import ComparedRecipe
from medres.formatting import network_name
from medres.report.comparison_context import ComparisonContext
from medres.report.page import Content
from medres.report.plots import PAPER_PALETTE, Palette
from medres.report.svg import PAGE_PALETTE, drawing

COSTS = "costs.csv"  # written by runs.compare
"""The table beside the page that its pictures of gain and cost were drawn from."""


@dataclass(frozen=True, slots=True)
class GainPoint:
    """A candidate in the picture of gain and cost."""

    name: str  # our own words: a network's name, or its number in the table
    cost: float  # as a multiple of the reference's
    gain: float  # AUROC minus the reference's
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class GainPicture:
    """The gain of one label against cost."""

    label: str
    svg: Markup
    unit: str  # of the cost


@dataclass(frozen=True, slots=True)
class CostRow:
    """What a recipe costs."""

    recipe: ComparedRecipe
    network: str  # as people write it


@dataclass(frozen=True, slots=True)
class CostSection(Content):
    """Costs of all recipes, and a picture per label."""

    pictures: Sequence[GainPicture]
    rows: Sequence[CostRow]
    machine: str | None  # on which speed was measured
    table: str


def cost_section(context: ComparisonContext) -> CostSection:
    """The costs of a comparison."""
    recipes = context.comparison.candidates
    pictures = [_gain_picture(context, label, place) for place, label in enumerate(context.comparison.labels)]
    return CostSection(
        [picture for picture in pictures if picture],
        [CostRow(recipe, network_name(recipe.architecture)) for recipe in recipes],
        recipes[0].cost.machine if recipes else None,
        COSTS,
    )


def _gain_picture(context: ComparisonContext, label: str, place: int) -> GainPicture | None:
    """The picture of one label's verdicts against cost; None without verdicts."""
    deciding = context.comparison.deciding(label)
    if not any(item.difference.value is not None for item in deciding):
        return None
    recipes = context.comparison.candidates
    timed = all(recipe.cost.relative_time is not None for recipe in recipes)
    costs = {
        recipe.name: recipe.cost.relative_gflop if recipe.cost.relative_time is None or not timed
        else recipe.cost.relative_time
        for recipe in recipes
    }  # fmt: skip
    ours = {network_name(recipe.architecture) for recipe in recipes}
    shown = {
        recipe.name: recipe.name if recipe.name in ours else f"no. {number}"
        for number, recipe in enumerate(recipes, start=1)
    }
    points = [GainPoint(shown[context.comparison.reference], 1.0, 0.0, None, None)]
    for item in deciding:
        found = item.difference
        if found.value is not None:
            name = item.candidate
            points.append(GainPoint(shown[name], costs[name], found.value, found.low, found.high))
    bar = max((item.seed_bar for item in deciding if item.seed_bar is not None), default=None)
    unit = "time per image on this machine" if timed else "floating-point operations per image"
    with drawing(
        f"gain-{place}",
        title="What the cost buys",
        description="Difference of AUROC from the reference, with interval, against relative cost. Within the grey "
        "band a difference is no more than another seed gives. The line joins candidates that nothing cheaper "
        "equals.",
        size=(5.2, 3.1),
    ) as drawn:
        draw_gain(drawn.axes, points, bar=bar, unit=unit, palette=PAGE_PALETTE)
    return GainPicture(label, drawn.svg, unit)


def front(points: Sequence[GainPoint]) -> list[GainPoint]:
    """The points that no other is at least as good as at no higher cost (Pareto), the cheapest first."""
    return sorted(
        (one for one in points if not any(_dominates(other, one) for other in points)), key=lambda point: point.cost
    )


def _dominates(other: GainPoint, one: GainPoint) -> bool:
    better = other.cost < one.cost or other.gain > one.gain
    return other.cost <= one.cost and other.gain >= one.gain and better


def draw_gain(
    axes: Axes, points: Sequence[GainPoint], *, bar: float | None, unit: str, palette: Palette = PAPER_PALETTE
) -> Axes:
    """AUROC gained against cost; within the band a difference is a tie.

    Args:
        axes: drawn on, and returned.
        points: the reference first.
        bar: what a seed alone changes.
        unit: what the cost is.
        palette: colours.
    """
    if bar is not None:
        axes.axhspan(-bar, bar, color=palette.rule, alpha=0.6, linewidth=0)
    axes.axhline(0, color=palette.muted, linewidth=0.8, linestyle=(0, (3, 3)))
    best = front(points)
    axes.plot(
        [point.cost for point in best], [point.gain for point in best], color=palette.first, linewidth=1, alpha=0.6
    )
    for place, point in enumerate(points):
        colour = palette.second if place == 0 else palette.first
        if point.low is not None and point.high is not None:
            axes.plot([point.cost] * 2, [point.low, point.high], color=colour, linewidth=1.6)
        axes.plot(point.cost, point.gain, "D" if place == 0 else "o", color=colour, markersize=6)
        above = (7, 6) if place % 2 else (7, -13)  # neighbours on two sides of their dots
        axes.annotate(point.name, (point.cost, point.gain), above, textcoords="offset points", color=colour)
    costs = [point.cost for point in points]
    ends = [bound for point in points for bound in (point.gain, point.low, point.high) if bound is not None]
    reach = 1.2 * max(*map(abs, ends), 0.005)
    axes.set_ylim(-reach, reach)
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.35, max(costs) * 1.9)  # room for names
    ticks = _apart(sorted({float(f"{value:.2g}") for value in costs}))
    axes.set_xticks(ticks, [f"× {tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=f"Cost: {unit}, reference = 1", ylabel="AUROC minus the reference's")
    return axes


def _apart(ticks: Sequence[float]) -> list[float]:
    """Ticks far enough from each other to be read."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick / kept[-1] > 1.15:
            kept.append(tick)
    return kept
