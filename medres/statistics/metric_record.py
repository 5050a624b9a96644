"""What a metric is: its name and meaning, what it judges, its kernel and how its interval is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics.agreement import OfConfusions
from medres.statistics.arrays import checked
from medres.statistics.intervals import ONE_CLASS, fewest_patients
from medres.statistics.kernels import Prepare, PrepareWithin
from medres.statistics.student import ScaleName

Judged = Literal["probabilities", "calibration", "decisions", "answers"]
"""What a metric looks at: the order of probabilities, their size, decisions at a threshold, grades or classes."""

Direction = Literal["higher", "lower", "closer"]
"""Which of two values is better; `closer`: the one closer to the perfect value."""

Place = Literal["pooled", "folds", "subgroups", "rules", "comparison", "recalibration", "patients", "grades", "classes"]
"""Where a metric is computed and shown.

All images of a label, each fold, parts of the cohort, every rule for a threshold, the comparison of runs, an external
cohort before and after recalibration, patients by all their images; and the tasks whose answers are grades or classes.
"""

IntervalMethod = Literal["student", "logit", "gaps", "sandwich"]
"""How the bounds are found.

`student`: see `student.scaled_interval`, on the metric's scale. `logit`: the same on the logit scale, and none where a
class has fewer than `intervals.LEAST_PATIENTS`. `gaps`: see `intervals.deviation_interval`. `sandwich`: see
`calibration.calibration_intervals`.
"""

Base = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.bool_]]
"""Labels and decisions to the images that a share is a share of."""

Influence = Callable[[NDArray[np.int64], NDArray[np.float64], float], NDArray[np.float64]]
"""Labels, scores and the value to how far each image moves it, to first order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of performance. Of the three kernels it has the one that fits what it judges."""

    name: str  # its key in metrics.json
    title: str
    meaning: str  # for a page, in a few words
    judges: Judged
    shown: frozenset[Place]
    better: Direction = "higher"
    range: tuple[float, float] = (0.0, 1.0)
    perfect: float = 1.0
    chance: float | None = None  # what guessing gives; None where that depends on the cohort, or means nothing
    interval: IntervalMethod = "student"
    scale: ScaleName = "logit"  # on which a `student` interval is symmetric
    rests_on: Literal["all", "rarest"] = "all"  # whose patients say how sure it is; of a share those of `share_of`
    prepare: Prepare | None = None  # its kernel; of grades and classes, of each of their labels, whose mean it is
    prepare_within: PrepareWithin | None = None  # its kernel, where images of one fold are compared with each other
    of_confusions: OfConfusions | None = None  # its kernel, where answers are judged
    resampled: Prepare | None = None  # what is resampled for the interval, where that is not the metric itself
    influence: Influence | None = None  # what the difference of two parts of a cohort needs
    share_of: Base | None = None  # the images that it rests on; None: all
    exact: Literal["", "patients", "pairs"] = ""  # what a value that no resample changes is an exact share of
    undefined: str = ONE_CLASS  # why it has no value, where there are images

    def value(self, labels: ArrayLike, scores: ArrayLike) -> float | None:
        """The metric of all images; None where it is undefined.

        Args:
            labels: 0 or 1 per image.
            scores: a probability per image; where decisions are judged, the decision 0 or 1.

        Raises:
            ValueError: see `arrays.checked`; or the metric does not judge labels and scores alone.

        >>> from medres.statistics.metric import metric
        >>> metric("auroc").value([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
        >>> metric("sensitivity").value([1, 1, 0], [1, 0, 0]), metric("sensitivity").value([0, 0], [1, 0])
        (0.5, None)
        """
        if self.prepare is None:
            raise ValueError(f"{self.name} does not follow from labels and scores alone")
        truth, values = checked(labels, scores)
        if not len(truth):
            return None
        kernel = self.prepare(truth, values, np.arange(len(truth)))
        found = float(kernel(np.ones((1, len(truth)), dtype=np.int64))[0])
        return None if np.isnan(found) else found

    def fewest(self, labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> int:
        """Patients whom it rests on: of a share those it is a share of; else all, or those of the rarer class.

        Args:
            labels: 0 or 1 per image.
            scores: as for `value`.
            patient: number of each image's patient.
        """
        if self.share_of:
            return len(np.unique(patient[self.share_of(labels, scores)]))
        return fewest_patients(labels, patient) if self.rests_on == "rarest" else len(np.unique(patient))
