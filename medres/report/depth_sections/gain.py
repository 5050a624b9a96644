"""What depth buys: AUROC against arithmetic, and how much of what was learnt is learnt by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes

from medres.evaluation.depth import DepthStudy
from medres.formatting import network_name
from medres.report.comparison_sections.cost import GainPoint, draw_gain
from medres.report.depth_sections.context import DepthContext
from medres.report.page import Content
from medres.report.plots import PAPER_PALETTE, Palette
from medres.report.svg import PAGE_PALETTE, drawing

_SIZE = (5.2, 3.1)  # inches


@dataclass(frozen=True, slots=True)
class DepthPictures:
    """The pictures of one label."""

    label: str
    gain: Markup
    gap: Markup | None  # None where an AUROC is undefined


@dataclass(frozen=True, slots=True)
class GainSection(Content):
    """The pictures of every label."""

    pictures: Sequence[DepthPictures]


def gain_section(context: DepthContext) -> GainSection | None:
    """The pictures of a study; none where no label has differences."""
    study = context.study
    labels = [(place, label) for place, label in enumerate(study.labels) if gain_points(study, label)[1:]]
    return GainSection([_pictures(study, label, place) for place, label in labels]) if labels else None


def _pictures(study: DepthStudy, label: str, place: int) -> DepthPictures:
    found = study.found[label]
    bar = max((item.seed_bar for item in found.differences if item.seed_bar is not None), default=None)
    with drawing(
        f"depth-gain-{place}",
        title="What depth buys",
        description="Difference of AUROC from the best network, with interval, against arithmetic per image. Within "
        "the grey band a difference is no more than another seed gives. The line joins networks that nothing cheaper "
        "equals.",
        size=_SIZE,
    ) as drawn:
        unit = "floating-point operations per image"
        draw_gain(drawn.axes, gain_points(study, label), bar=bar, unit=unit, palette=PAGE_PALETTE)
        drawn.axes.set(xlabel=f"Cost: {unit}, the best's = 1", ylabel="AUROC minus the best's")
    names = [one.architecture for one in study.networks]
    if any(found.gap(name) is None for name in names):
        return DepthPictures(label, drawn.svg, None)
    with drawing(
        f"depth-gap-{place}",
        title="What was learnt by heart",
        description="Mean AUROC of each network on the images that it learnt from and on held-out ones, a line between "
        "them.",
        size=_SIZE,
    ) as second:
        draw_overfitting(second.axes, study, label, palette=PAGE_PALETTE)
    return DepthPictures(label, drawn.svg, second.svg)


def gain_points(study: DepthStudy, label: str) -> list[GainPoint]:
    """The networks of one label as gain against cost, the best first."""
    found = study.found[label]
    least = study.network(found.best).gflop
    points = [GainPoint(network_name(found.best), 1.0, 0.0, None, None)]
    for item in found.differences:
        if (difference := item.difference).value is not None:
            relative = study.network(item.candidate).gflop / least
            name = network_name(item.candidate)
            points.append(GainPoint(name, relative, difference.value, difference.low, difference.high))
    return points


def draw_overfitting(axes: Axes, study: DepthStudy, label: str, *, palette: Palette = PAPER_PALETTE) -> Axes:
    """Mean AUROC where networks learnt, and where they did not; the line between them is what was learnt by heart.

    Args:
        axes: drawn on, and returned.
        study: of whose networks.
        label: which.
        palette: colours.
    """
    found = study.found[label]
    names = [one.architecture for one in study.networks]
    known = [found.training_auroc[name] or 0.0 for name in names]
    unknown = [found.held_out_auroc[name] or 0.0 for name in names]
    places = range(len(names))
    axes.vlines(places, unknown, known, color=palette.muted, linewidth=1.6)
    axes.plot(places, known, "o", color=palette.second, markersize=6, label="images it learnt from")
    axes.plot(places, unknown, "o", color=palette.first, markersize=6, label="held-out images")
    axes.set_xticks(list(places), [network_name(name) for name in names])
    axes.set(xlim=(-0.5, len(names) - 0.5), ylabel="AUROC, mean over folds and seeds", xlabel="Network, by arithmetic")
    axes.legend(loc="best", handlelength=1.2)
    return axes
