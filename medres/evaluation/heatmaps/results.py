"""The typed results of what was measured of heatmaps: what `heatmaps.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from medres.documents import Document
from medres.records import Interval

FORMAT: Final = 1
FILE: Final = "heatmaps.json"

Verdict = Literal["passes", "fails", "open", "told"]
"""Of a measure: its limits are kept, broken, or neither can be said; or it has none."""

State = Literal["validated", "not validated", "failed"]


@dataclass(frozen=True, slots=True)
class MeasuredMap:
    """What was measured of one label's map of one held-out image; what was not, is not there."""

    label: str
    patient: str
    values: Mapping[str, float]  # by `measures.value_name`; NaN where undefined


class MeasureResults(Document):
    """One measure of one label: means over images, patients resampled."""

    value: Interval
    baselines: Mapping[str, Interval] = {}  # the same of what it is compared with
    gains: Mapping[str, Interval] = {}  # how much better the map is than each, paired by image; 0 is a tie
    verdict: Verdict = "told"


class LabelHeatmaps(Document):
    """What a label's maps are worth."""

    state: State
    reasons: tuple[str, ...]
    auroc: Interval
    patients_with: int  # patients with an image that has the finding
    patients_without: int
    called: int  # held-out images at or above the operating point
    mapped: int  # of those, images of which maps were drawn
    altered: int  # of those, images that were altered and scored again
    boxed: int  # called images with boxes whose maps were drawn
    measures: Mapping[str, MeasureResults]  # by name of `measures.MEASURES`


class HeatmapResults(Document):
    """The content of `heatmaps.json`."""

    format: int
    method: str
    stride: int  # network pixels between cells
    measured_on: str  # whose images, and whose networks, in words
    images: int  # distinct ones
    passes: float  # of an image through a network, of full size, about
    share: float | None  # of those that the training took; None: it is not known
    sampled: bool  # not all called images were measured
    seconds: float
    boxes_sha256: str = ""  # of the file of boxes
    limits: Mapping[str, float]  # the rule: by name of config.HeatmapEvidence
    labels: Mapping[str, LabelHeatmaps]
    created: str  # ISO 8601, UTC
