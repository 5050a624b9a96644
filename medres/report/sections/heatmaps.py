"""What heatmaps are worth: the licence of every label, and the measures that it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medres.evaluation.heatmaps.measures import BASELINES, MEASURES, MapMeasure
from medres.evaluation.heatmaps.results import HeatmapResults, LabelHeatmaps, State, Verdict
from medres.formatting import duration
from medres.records import Interval
from medres.report.page import Content
from medres.report.run_context import RunContext

_WORDS: Mapping[Verdict, str] = {"passes": "passes", "fails": "does not pass", "open": "not sure", "told": "—"}


@dataclass(frozen=True, slots=True)
class Compared:
    """What maps that know nothing of the image have, and how much better these are."""

    words: str
    value: Interval
    gain: Interval


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One measure of one label."""

    measure: MapMeasure
    value: Interval
    asked: str  # what the rule asks for, in words
    compared: Sequence[Compared]
    verdict: str


@dataclass(frozen=True, slots=True)
class LabelMaps:
    """All measures of one label's maps."""

    name: str
    state: State
    reasons: Sequence[str]
    auroc: Interval
    called: int
    mapped: int
    altered: int
    boxed: int
    rows: Sequence[MeasureRow]


@dataclass(frozen=True, slots=True)
class HeatmapsSection(Content):
    """The whole of `heatmaps.json`."""

    method: str
    stride: int
    measured_on: str
    images: int
    sampled: bool
    seconds: str
    percent: int | None  # of the training's passes
    limits: Mapping[str, float]
    labels: Sequence[LabelMaps]

    @property
    def failed(self) -> Sequence[LabelMaps]:
        """Labels whose maps failed: the first screen names them."""
        return [label for label in self.labels if label.state == "failed"]

    @property
    def validated(self) -> int:
        """How many labels' maps are validated."""
        return sum(label.state == "validated" for label in self.labels)


def heatmaps_section(context: RunContext) -> HeatmapsSection | None:
    """What a run measured of its heatmaps; None where it did not."""
    found = context.files.heatmaps
    if found is None:
        return None
    return HeatmapsSection(
        method=found.method,
        stride=found.stride,
        measured_on=found.measured_on,
        images=found.images,
        sampled=found.sampled,
        seconds=duration(found.seconds),
        percent=None if found.share is None else round(100 * found.share),
        limits=found.limits,
        labels=[_label(name, one, found) for name, one in found.labels.items()],
    )


def _label(name: str, found: LabelHeatmaps, content: HeatmapResults) -> LabelMaps:
    rows = []
    for measure in MEASURES:
        if (one := found.measures.get(measure.name)) is None:
            continue
        rows.append(
            MeasureRow(
                measure=measure,
                value=one.value,
                asked=_asked(measure, content.limits),
                compared=[
                    Compared(BASELINES[other], value, one.gains[other]) for other, value in one.baselines.items()
                ],
                verdict=_WORDS[one.verdict],
            )
        )
    return LabelMaps(
        name=name,
        state=found.state,
        reasons=found.reasons,
        auroc=found.auroc,
        called=found.called,
        mapped=found.mapped,
        altered=found.altered,
        boxed=found.boxed,
        rows=rows,
    )


def _asked(measure: MapMeasure, limits: Mapping[str, float]) -> str:
    if measure.judged == "gain":
        return "surely better"
    return f"{measure.judged} {limits[measure.limit]:g}" if measure.judged else ""
