"""The typed results of an evaluation: what `metrics.json` and an external validation hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from medres.cohort.tasks import Task
from medres.documents import Document
from medres.model.calibration import Rule
from medres.records import Interval


class WithFigures(Document):
    """A record whose figures stand by metric beside its other fields in the file, so that a metric may be added."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "figures" in content:
            return content
        figures = {name: value for name, value in content.items() if name not in cls.model_fields}
        return {name: value for name, value in content.items() if name in cls.model_fields} | {"figures": figures}

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for name, value in handler(self).items():
            written |= value if name == "figures" else {name: value}
        return written


class FoldResults(WithFigures):
    """One fold's figures; None where a figure is undefined."""

    fold: int
    n: int  # images
    n_patients: int
    n_positive: int
    figures: Mapping[str, float | None]  # by metric
    auroc_low: float | None
    auroc_high: float | None
    auroc_method: str = ""
    intervals: Mapping[str, Interval] = {}  # of the same figures, by metric; {} in runs of earlier versions

    @property
    def auroc(self) -> float | None:
        """The AUROC of this fold's network on its held-out images."""
        return self.figures.get("auroc")


class SubgroupResults(WithFigures):
    """The images with one value of a column; figures are None where there are too few patients for one."""

    value: str
    n: int  # images
    n_patients: int
    n_positive: int
    figures: Mapping[str, Interval | None]  # by metric
    difference: Mapping[str, Interval] = {}  # by metric: this group minus all other images

    @property
    def auroc(self) -> Interval | None:
        """The AUROC of this group."""
        return self.figures.get("auroc")

    @property
    def sensitivity(self) -> Interval | None:
        """The sensitivity at the frozen thresholds."""
        return self.figures.get("sensitivity")

    @property
    def specificity(self) -> Interval | None:
        """The specificity at the frozen thresholds."""
        return self.figures.get("specificity")


class IntersectionResults(WithFigures):
    """The images with one value of each of two columns."""

    values: tuple[str, ...]
    n: int  # images
    n_patients: int
    n_positive: int
    figures: Mapping[str, Interval]  # by metric

    @property
    def auroc(self) -> Interval:
        """The AUROC of these images."""
        return self.figures["auroc"]


class SubgroupColumn(Document):
    """A column that divides the cohort, with its groups."""

    column: str
    title: str
    groups: tuple[SubgroupResults, ...]
    alike: str = ""  # title of an earlier column that divides the images just so; "" where none does


class Intersection(Document):
    """Two columns that divide the cohort together, with the groups that are large enough to show."""

    columns: tuple[str, ...]
    titles: tuple[str, ...]
    groups: tuple[IntersectionResults, ...]
    suppressed_groups: int
    suppressed_images: int


class PredictiveValues(Document):
    """What a call would mean at another prevalence."""

    ppv: Interval
    npv: Interval


class OperatingPointResults(WithFigures):
    """What the decisions of one rule reach on patients who did not choose its thresholds."""

    figures: Mapping[str, Interval]  # by metric
    n_called: int  # images
    at_prevalence: Mapping[str, PredictiveValues] = {}  # by prevalence, as text: "0.05"

    @property
    def sensitivity(self) -> Interval:
        """The share of positives that were called."""
        return self.figures["sensitivity"]

    @property
    def specificity(self) -> Interval:
        """The share of negatives that were not called."""
        return self.figures["specificity"]

    @property
    def ppv(self) -> Interval:
        """The share of positive calls that are right."""
        return self.figures["ppv"]

    @property
    def npv(self) -> Interval:
        """The share of negative calls that are right."""
        return self.figures["npv"]


class PatientResults(WithFigures):
    """One label's figures where patients, not images, are judged."""

    rule: Literal["any", "mean", "worst"]  # how a patient's images are judged together
    n_images: int
    n_patients: int
    n_positive: int  # patients with a positive image
    several: int  # patients with several images
    disagreeing: int  # patients whose images do not all have the same label
    figures: Mapping[str, Interval]  # by metric; `n` counts patients


class LabelResults(Document):
    """Every figure of one label."""

    pooled: Mapping[str, Interval]  # by metric, in the order in which they are shown
    folds: tuple[FoldResults, ...]
    undefined_folds: int = 0  # folds without an AUROC
    n: int  # images whose label is known
    n_patients: int
    n_positive: int
    prevalence: float | None
    uncertain: int = 0  # images left out because the label is -1
    unknown: int = 0  # images left out because the label is blank
    subgroups: tuple[SubgroupColumn, ...] = ()
    intersections: tuple[Intersection, ...] = ()
    needed: Mapping[str, int] = {}  # by metric: patients that would make its interval as narrow as is asked for
    patients: PatientResults | None = None  # where patients have several images
    operating_points: Mapping[Rule, OperatingPointResults] = {}  # not written where no rule is recorded

    def __getattr__(self, name: str) -> Any:
        """A pooled metric by its name: `results.auroc`."""
        pooled = self.__dict__.get("pooled") or {}
        if name in pooled:
            return pooled[name]
        raise AttributeError(f"{type(self).__name__} has no metric or field {name!r}")


class TaskResults(Document):
    """Every figure of a grade or a class."""

    kind: Literal["ordinal", "multiclass"]
    values: tuple[str, ...]
    labels: tuple[str, ...]
    n: int  # images whose answer is known
    n_patients: int
    confusion: tuple[tuple[int, ...], ...]  # images; rows are the true, columns the predicted values
    metrics: Mapping[str, Interval]
    references: Mapping[str, Interval] = {}  # by metric: what the one answer that does best without an image reaches
    gains: Mapping[str, Interval] = {}  # by metric: how much better the model is than that, from the same resamples

    def task(self, name: str) -> Task:
        """The task that these figures answer."""
        return Task(name, self.kind, self.values)


class Metrics(Document):
    """The content of `metrics.json`: a function of `oof.csv`."""

    labels: Mapping[str, LabelResults]
    tasks: Mapping[str, TaskResults] = {}

    def __getitem__(self, label: str) -> LabelResults:
        """The figures of one label."""
        return self.labels[label]


@dataclass(frozen=True, slots=True)
class Shift:
    """One line: what was so in training, what is so here, and by how much it differs."""

    group: str  # "tags", "intensities" or "features"
    name: str
    value: str  # of a tag; "" for a number
    training: float | None  # share of images, or mean
    here: float | None
    difference: float | None  # of shares; of means, in standard deviations
    low: float | None
    high: float | None
    unit: str  # "share" or "standard deviations"
    differs: bool
    training_images: int  # for which it is known; of the features: the validation images
    training_patients: int
    here_images: int
    here_patients: int


class CohortSize(Document):
    """How many images and patients a cohort has."""

    images: int
    patients: int


class ShiftRecord(Document):
    """How an external cohort differs from the training cohort."""

    sentence: str
    training: CohortSize
    here: CohortSize
    lines: tuple[Shift, ...]


class RecalibrationRecord(Document):
    """What recalibration on an external cohort would give one label."""

    reason: str  # why there is none; "" where there is
    metrics: Mapping[str, Interval] | None
