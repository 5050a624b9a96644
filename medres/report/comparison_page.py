"""A comparison in one sentence each, and as one page: no script, no network, nothing that is not in comparison.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.ticker import NullLocator

from medres.evaluation.comparison import ENOUGH, PRIMARY, PRIOR_DEGREES, USUAL_SPREAD
from medres.formatting import network_name
from medres.report.drawing import FIRST, MUTED, RULE, SECOND, STYLE, as_svg, new_figure
from medres.report.page import render_template
from medres.report.rules import read_interval
from medres.statistics.metric import METRICS
from medres.tables import read_json, write_text

COSTS = "costs.csv"  # written by runs.compare
"""The table beside the page that its pictures of gain and cost were drawn from."""

_SAME_TIME = 0.1  # a tenth more or less is said to be as long


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate in the picture of gain and cost."""

    name: str  # our own words: a network's name, or its number in the table
    cost: float  # as a multiple of the reference's
    gain: float  # AUROC minus the reference's
    low: float | None
    high: float | None


def write_comparison(folder: Path) -> Path:
    """Write compare.html into the folder of a comparison, from its comparison.json and run.json.

    Raises:
        UsageError: one of them is missing or malformed.
    """
    content, record = read_json(folder / "comparison.json"), read_json(folder / "run.json")
    target = folder / "compare.html"
    deciding = [item for item in content["comparisons"] if item["metric"] == PRIMARY]
    drawn = [
        (label, *figure) for place, label in enumerate(content["labels"]) if (figure := _gain(content, label, place))
    ]
    page = render_template(
        "compare.html",
        content=content,
        record=record,
        sentences=sentences(content),
        deciding=deciding,
        others=[item for item in content["comparisons"] if item["metric"] != PRIMARY],
        spreads=[(label, spread_sentence(content, label)) for label in content["labels"]],
        figures=drawn,
        signed=signed,
        bounds=_bounds,
        level=percentage,
        times=times,
        figure_of=lambda item, name: read_interval(content["means"][item["label"]][item["metric"]][name]),
        own=read_interval,
        costs=COSTS,
        several=several(content),
        network=network_name,
        title_of=lambda name: METRICS[name].title if name in METRICS else name,
        lower=lower_is_better(content),
    )
    write_text(target, page)
    return target


def lower_is_better(content: Mapping[str, Any]) -> list[str]:
    """The titles of the metrics on which nothing is decided, and of which the lower value is the better."""
    others = {item["metric"] for item in content["comparisons"]} - {PRIMARY}
    return [one.title for name, one in METRICS.items() if name in others and one.better == "lower"]


def sentences(content: Mapping[str, Any]) -> list[str]:
    """One plain sentence per verdict; where all runs are one recipe, what they say of its spread."""
    deciding = [item for item in content["comparisons"] if item["metric"] == PRIMARY]
    if not deciding:
        return [_one_recipe(content, label) for label in content["labels"]]
    costs = {item["name"]: item["cost"] for item in content["candidates"]}
    many = len(content["labels"]) > 1
    return [_sentence(item, costs[item["candidate"]], name_label=many) for item in deciding]


def _sentence(item: Mapping[str, Any], cost: Mapping[str, Any], *, name_label: bool) -> str:
    one, other, difference = item["candidate"], item["reference"], item["difference"]
    label = f"{item['label']}: " if name_label else ""
    price = f" It {_price(cost)}."
    if item["verdict"] == "undefined":
        return f"{label}{one} and {other} cannot be compared here: {difference['method']}.{price}"
    bounds = f" ({_bounds(difference)})" if difference["low"] is not None else ""
    figures = f"AUROC {signed(difference['value'])}{bounds}"
    if item["verdict"] != "tie":
        bar = f"more than another seed changes ({item['seed_bar']:.3f})"
        return f"{label}{one} is {item['verdict']} than {other} here: {figures}, {bar}.{price}"
    why = "a tie" if bounds else "a tie in every resample"
    if item["excludes_zero"]:
        why = f"a tie, because another seed alone can change it by {item['seed_bar']:.3f}"
    return f"{label}{one} is not better than {other} here: {figures}: {why}.{price}"


def _price(cost: Mapping[str, Any]) -> str:
    if cost["relative_time"] is None:
        return f"needs {times(cost['relative_gflop'])} the arithmetic per image"
    ratio = cost["relative_time"]
    if abs(ratio - 1) < _SAME_TIME:
        return "takes as long per image"
    return f"takes {times(ratio)} as long per image"


def _one_recipe(content: Mapping[str, Any], label: str) -> str:
    name, mean = content["reference"], content["means"][label][PRIMARY][content["reference"]]
    values = [value for value in content["values"][label][PRIMARY][name] if value is not None]
    before = f"{label}: " if len(content["labels"]) > 1 else ""
    others, alone = (
        ("other repeats of the folds", "dividing and training anew")
        if several(content)
        else ("other seeds", "a seed alone")
    )
    count = len(content["values"][label][PRIMARY][name])
    start = f"{before}These {count} runs are one recipe, {name}, with {others}"
    if mean["value"] is None:
        return f"{start}, and their AUROC is undefined."
    bounds = f" ({_bounds(mean)})" if mean["low"] is not None else ""
    return (
        f"{start}, so they are a tie: their mean AUROC is {mean['value']:.3f}{bounds}, and theirs goes from "
        f"{min(values):.3f} to {max(values):.3f}: that is what {alone} changes."
    )


def several(content: Mapping[str, Any]) -> bool:
    """Whether the runs are of several repeats of one split file."""
    return len(content["repeats"]) > 1


def spread_sentence(content: Mapping[str, Any], label: str) -> str:
    """Where the bar that a difference must exceed comes from."""
    spread = content["seed_spread"][label]
    low, high = USUAL_SPREAD
    usual = f"{spread['usual']:g} between two runs ({low:g} to {high:g} is published as usual)"
    if spread["deviation"] is None:
        return (
            f"Not measured, because no recipe was run with two seeds that differ in their AUROC: {usual} is taken. "
            "Runs with other seeds on the same --splits measure it."
        )
    degrees = f"{spread['degrees']} degree{'s' if spread['degrees'] > 1 else ''} of freedom"
    over = "seeds and repeats" if several(content) else "seeds"
    measured = (
        f"Measured: over {over} one recipe's AUROC has the standard deviation {spread['deviation']:.4f} ({degrees})"
    )
    if spread["degrees"] >= ENOUGH:
        return f"{measured}."
    return f"{measured}; that is little, and {usual} counts as {PRIOR_DEGREES} degrees of freedom beside it."


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign.

    >>> signed(0.0031), signed(-0.02), signed(None), signed(-0.0001)
    ('+0.003', '−0.020', 'undefined', '0.000')
    """
    if value is None:
        return "undefined"
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _bounds(result: Mapping[str, Any]) -> str:
    if result["low"] is None:
        return ""
    return " to ".join(f"{result[key]:.3f}".replace("-", "−") for key in ("low", "high"))


def percentage(level: float) -> str:
    """A confidence level.

    >>> percentage(0.95), percentage(0.975), percentage(1 - 0.05 / 3)
    ('95 %', '97.5 %', '98.3 %')
    """
    return f"{100 * level:.3g} %"


def times(ratio: float) -> str:
    """A ratio as a person says it.

    >>> times(2.0), times(0.54), times(12.4)
    ('2.0 times', '0.5 times', '12 times')
    """
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def _gain(content: Mapping[str, Any], label: str, place: int) -> tuple[Markup, str] | None:
    """The picture of one label's verdicts against cost, and what its axis of cost is; None without verdicts."""
    deciding = [item for item in content["comparisons"] if item["metric"] == PRIMARY and item["label"] == label]
    if not any(item["difference"]["value"] is not None for item in deciding):
        return None
    costs = {item["name"]: item["cost"] for item in content["candidates"]}
    timed = all(item["relative_time"] is not None for item in costs.values())
    key = "relative_time" if timed else "relative_gflop"
    ours = {network_name(item["architecture"]) for item in content["candidates"]}
    shown = {
        item["name"]: item["name"] if item["name"] in ours else f"no. {number}"
        for number, item in enumerate(content["candidates"], start=1)
    }
    points = [Point(shown[content["reference"]], 1.0, 0.0, None, None)]
    for item in deciding:
        found = item["difference"]
        if found["value"] is not None:
            points.append(
                Point(
                    shown[item["candidate"]], costs[item["candidate"]][key], found["value"], found["low"], found["high"]
                )
            )
    bar = max((item["seed_bar"] for item in deciding if item["seed_bar"] is not None), default=None)
    unit = "time per image on this machine" if timed else "floating-point operations per image"
    return Markup(gain_figure(points, bar=bar, unit=unit, name=f"gain-{place}")), unit


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other is at least as good as at no higher cost (Pareto), the cheapest first."""
    return sorted(
        (one for one in points if not any(_dominates(other, one) for other in points)), key=lambda point: point.cost
    )


def _dominates(other: Point, one: Point) -> bool:
    better = other.cost < one.cost or other.gain > one.gain
    return other.cost <= one.cost and other.gain >= one.gain and better


def gain_figure(points: Sequence[Point], *, bar: float | None, unit: str, name: str) -> str:
    """AUROC gained against cost; within the band a difference is a tie.

    Args:
        points: the reference first.
        bar: what a seed alone changes.
        unit: what the cost is.
        name: prefix of ids in the page.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(5.2, 3.1)
        if bar is not None:
            axes.axhspan(-bar, bar, color=RULE, alpha=0.6, linewidth=0)
        axes.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        best = front(points)
        axes.plot([point.cost for point in best], [point.gain for point in best], color=FIRST, linewidth=1, alpha=0.6)
        for place, point in enumerate(points):
            colour = SECOND if place == 0 else FIRST
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
        ticks = sorted({float(f"{value:.2g}") for value in costs})
        axes.set_xticks(_apart(ticks), [f"× {tick:g}" for tick in _apart(ticks)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel=f"Cost: {unit}, reference = 1", ylabel="AUROC minus the reference's")
        return as_svg(
            figure,
            name=name,
            title="What the cost buys",
            description="Difference of AUROC from the reference, with interval, against relative cost. Within the grey "
            "band a difference is no more than another seed gives. The line joins candidates that nothing cheaper "
            "equals.",
        )


def _apart(ticks: Sequence[float]) -> list[float]:
    """Ticks far enough from each other to be read."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick / kept[-1] > 1.15:
            kept.append(tick)
    return kept
