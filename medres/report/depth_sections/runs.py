"""Every run of a study, what another seed changes, and where the study comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.depth import DepthRun, DepthStudy
from medres.formatting import network_name
from medres.records import Interval
from medres.report.comparison_sentences import spread_sentence
from medres.report.depth_sections.context import DepthContext
from medres.report.page import Content
from medres.runs.records import RunRecord


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run."""

    run: DepthRun
    network: str  # as people write it
    aurocs: Sequence[Interval]  # of every label


@dataclass(frozen=True, slots=True)
class RunsSection(Content):
    """All runs."""

    study: DepthStudy
    record: RunRecord
    rows: Sequence[RunRow]
    spreads: Sequence[tuple[str, str]]  # label, and in one sentence where its seeds' variance comes from


def runs_section(context: DepthContext) -> RunsSection:
    """The runs of a study."""
    study = context.study
    rows = [
        RunRow(
            run,
            network_name(network.architecture),
            [found.intervals[network.architecture][place] for found in study.found.values()],
        )
        for network in study.networks
        for place, run in enumerate(study.runs_of(network.architecture))
    ]
    said = "Nothing is random in a linear probe: another seed changes nothing."
    spreads = [
        (label, said if study.probe else spread_sentence(found.seed_spread, over="seeds"))
        for label, found in study.found.items()
    ]
    return RunsSection(study, context.record, rows, spreads)
