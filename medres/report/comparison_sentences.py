"""A comparison in one plain sentence per verdict, for its page and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from medres.evaluation.comparison import PRIMARY
from medres.evaluation.comparison_results import ADDED_VARIANCES, ComparedDifference, Comparison, Cost, SpreadOfSeeds
from medres.evaluation.seeds import DEFAULT_SPREAD, ENOUGH, FEWEST_RUNS, PRIOR_DEGREES, USUAL_SPREAD
from medres.formatting import bounds, estimate, figure, signed, times

_SAME_TIME = 0.1  # a tenth more or less is said to be as long


def sentences(comparison: Comparison) -> list[str]:
    """One plain sentence per verdict; where all runs are one recipe, what they say of its spread."""
    deciding = comparison.deciding()
    if not deciding:
        return [_one_recipe(comparison, label) for label in comparison.labels]
    costs: Mapping[str, Cost] = {recipe.name: recipe.cost for recipe in comparison.candidates}
    many = len(comparison.labels) > 1
    if comparison.rule != ADDED_VARIANCES:
        return [_earlier_sentence(item, costs[item.candidate], name_label=many) for item in deciding]
    return [_sentence(comparison, item, costs[item.candidate], name_label=many) for item in deciding]


def _sentence(comparison: Comparison, item: ComparedDifference, cost: Cost, *, name_label: bool) -> str:
    one, other, difference = item.candidate, item.reference, item.difference
    label = f"{item.label}: " if name_label else ""
    price = f" It {_price(cost)}."
    if item.verdict == "undefined":
        return f"{label}{one} and {other} cannot be compared here: {difference.method}.{price}"
    if not bounds(difference):
        alike = f"AUROC {signed(difference.value)}: a tie in every resample"
        return f"{label}{one} is not better than {other} here: {alike}.{price}"
    over = f"{bounds(difference)} over other patients and other seeds{_assumed(comparison, item.label)}"
    figures = f"AUROC {signed(difference.value)} ({over})"
    if item.verdict == "tie":
        return f"{label}{one} is not better than {other} here: {figures}: a tie.{price}"
    return f"{label}{one} is {item.verdict} than {other} here: {figures}.{price}"


def _assumed(comparison: Comparison, label: str) -> str:
    """What is said of seeds beside a verdict where their spread was not measured."""
    spread = comparison.seed_spread[label]
    if spread.degrees:
        return ""
    return f", whose change was not measured: {spread.usual:g} between two runs is assumed, {_source(spread.usual)}"


def _source(usual: float) -> str:
    low, high = USUAL_SPREAD
    return f"the upper end of the published {low:g} to {high:g}" if usual == DEFAULT_SPREAD else "as --seed-spread says"


def advice(comparison: Comparison) -> str:
    """How a spread that was assumed, or hardly measured, would be measured; "" where it is."""
    few = [label for label, spread in comparison.seed_spread.items() if spread.degrees < ENOUGH]
    if not few or not comparison.candidates:
        return ""
    folder = comparison.candidates[0].runs[0].folder
    return (
        "Three seeds of every recipe measure what another seed changes: run `medres crossval` again for each recipe, "
        f"with its own options, `--splits {folder}/splits.json --set seed=1` and another `--out`, once more with "
        "`--set seed=2`, and give all runs to `medres compare`."
    )


def _earlier_sentence(item: ComparedDifference, cost: Cost, *, name_label: bool) -> str:
    """A verdict of an earlier version, which held patients and seeds against the difference one after the other."""
    one, other, difference = item.candidate, item.reference, item.difference
    label = f"{item.label}: " if name_label else ""
    price = f" It {_price(cost)}."
    if item.verdict == "undefined":
        return f"{label}{one} and {other} cannot be compared here: {difference.method}.{price}"
    interval = f" ({bounds(difference)})" if bounds(difference) else ""
    figures = f"AUROC {signed(difference.value)}{interval}"
    if item.verdict != "tie":
        bar = f"more than another seed changes ({figure(item.seed_bar)})"
        return f"{label}{one} is {item.verdict} than {other} here: {figures}, {bar}.{price}"
    why = "a tie" if interval else "a tie in every resample"
    if item.excludes_zero:
        why = f"a tie, because another seed alone can change it by {figure(item.seed_bar)}"
    return f"{label}{one} is not better than {other} here: {figures}: {why}.{price}"


def _price(cost: Cost) -> str:
    if cost.relative_time is None:
        return f"needs {times(cost.relative_gflop)} the arithmetic per image"
    if abs(cost.relative_time - 1) < _SAME_TIME:
        return "takes as long per image"
    return f"takes {times(cost.relative_time)} as long per image"


def _one_recipe(comparison: Comparison, label: str) -> str:
    name = comparison.reference
    mean, found = comparison.means[label][PRIMARY][name], comparison.values[label][PRIMARY][name]
    values = [value for value in found if value is not None]
    before = f"{label}: " if len(comparison.labels) > 1 else ""
    others, alone = (
        ("other repeats of the folds", "dividing and training anew")
        if len(comparison.repeats) > 1
        else ("other seeds", "a seed alone")
    )
    start = f"{before}These {len(found)} runs are one recipe, {name}, with {others}"
    if mean.value is None:
        return f"{start}, and their AUROC is undefined."
    return (
        f"{start}, so they are a tie: their mean AUROC is {estimate(mean)}, and theirs goes from "
        f"{figure(min(values))} to {figure(max(values))}: that is what {alone} changes.{_reached(comparison, label)}"
    )


def _reached(comparison: Comparison, label: str) -> str:
    """What a recipe reaches if other patients train its networks, too; how to tell where that is not known."""
    whole = comparison.recipes.get(label, {}).get(comparison.reference)
    if whole is None or not bounds(whole):
        return f" With {FEWEST_RUNS} runs or more it is also said what the recipe reaches on other training patients."
    return f" If other patients had trained the networks, too, the recipe may reach {bounds(whole)}."


def spread_sentence(spread: SpreadOfSeeds, *, over: str) -> str:
    """Where the variance of seeds comes from.

    Args:
        spread: what was measured, or is assumed.
        over: what the runs of a recipe differ in.
    """
    usual = f"{spread.usual:g} between two runs in 95 of 100 pairs ({_source(spread.usual)})"
    if spread.deviation is None:
        return (
            f"Not measured, because no recipe was run with two seeds that differ in their AUROC: {usual} is assumed. "
            "If seeds change more, a verdict is less sure than it says. Runs with other seeds on the same --splits "
            "measure it."
        )
    degrees = f"{spread.degrees} degree{'s' if spread.degrees > 1 else ''} of freedom"
    measured = (
        f"Measured: over {over} one recipe's AUROC has the standard deviation {figure(spread.deviation, 4)} ({degrees})"
    )
    if spread.degrees >= ENOUGH:
        return f"{measured}."
    return f"{measured}; that is little, and {usual} counts as {PRIOR_DEGREES} degrees of freedom beside it."
