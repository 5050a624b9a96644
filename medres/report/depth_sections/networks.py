"""Every network: what it reaches, how that differs from the best, what it learnt by heart, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.comparison_results import ComparedDifference
from medres.evaluation.depth import LabelDepth, NetworkCost
from medres.formatting import network_name
from medres.records import Interval
from medres.report.depth_sections.context import DepthContext
from medres.report.page import Content


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """A network and one label."""

    network: str  # as people write it
    cost: NetworkCost
    auroc: Interval
    compared: ComparedDifference | None  # None of the best
    known: float | None  # mean AUROC on images that were learnt from
    unknown: float | None  # on those of the same folds that were not
    gap: float | None
    answer: bool


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The networks of one label, the cheapest first."""

    label: str
    rows: Sequence[NetworkRow]


@dataclass(frozen=True, slots=True)
class NetworksSection(Content):
    """A table per label."""

    tables: Sequence[LabelTable]
    probe: bool
    machine: str
    training: str  # device and precision
    method: str  # how the intervals of differences were made; "" where there is none


def networks_section(context: DepthContext) -> NetworksSection:
    """The networks of a study."""
    study = context.study
    methods = [
        item.difference.method
        for found in study.found.values()
        for item in found.differences
        if item.difference.low is not None
    ]
    return NetworksSection(
        [LabelTable(label, [_row(found, cost) for cost in study.networks]) for label, found in study.found.items()],
        study.probe,
        study.networks[0].machine,
        study.networks[0].training_device,
        methods[0] if methods else "",
    )


def _row(found: LabelDepth, cost: NetworkCost) -> NetworkRow:
    name = cost.architecture
    return NetworkRow(
        network_name(name),
        cost,
        found.auroc[name],
        found.difference(name),
        found.training_auroc[name],
        found.held_out_auroc[name],
        found.gap(name),
        found.answer == name,
    )
