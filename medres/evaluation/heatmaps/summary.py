"""From values of single images to what is written: means, intervals, paired gains and the licence of every label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.evaluation.heatmaps.measures import MEASURES, MapMeasure, value_name
from medres.evaluation.heatmaps.results import LabelHeatmaps, MeasuredMap, MeasureResults
from medres.evaluation.heatmaps.rule import judge
from medres.evaluation.results import LabelResults
from medres.statistics.means import clustered_mean
from medres.statistics.resampling import Resampling


def summarise_label(
    maps: Sequence[MeasuredMap], results: LabelResults, *, called: int, evaluation: Evaluation, seed: int
) -> LabelHeatmaps:
    """What a label's maps are worth.

    Args:
        maps: what was measured of them.
        results: the label's own figures, on the same held-out images.
        called: held-out images at or above the operating point.
        evaluation: replicates, confidence, and the rule.
        seed: of the resamples.
    """
    resampling = Resampling(evaluation.replicates, evaluation.confidence, seed)
    found = {}
    for measure in MEASURES:
        own = [one for one in maps if np.isfinite(one.values.get(value_name(measure.name), np.nan))]
        if own:
            found[measure.name] = _measure(measure, own, resampling)
    pooled = results.pooled
    patients = pooled["sensitivity"].n_patients, pooled["specificity"].n_patients
    judged = judge(pooled["auroc"], patients, found, evaluation.heatmaps)
    return LabelHeatmaps(
        state=judged.state,
        reasons=judged.reasons,
        auroc=pooled["auroc"],
        patients_with=patients[0],
        patients_without=patients[1],
        called=called,
        mapped=len(maps),
        altered=sum("deletion" in one.values for one in maps),
        boxed=sum("pointing" in one.values for one in maps),
        measures={name: result.model_copy(update={"verdict": judged.verdicts[name]}) for name, result in found.items()},
    )


def _measure(measure: MapMeasure, maps: Sequence[MeasuredMap], resampling: Resampling) -> MeasureResults:
    patients = [one.patient for one in maps]
    own = _values(maps, measure.name)
    others: Mapping[str, NDArray[np.float64]] = {
        name: _values(maps, value_name(measure.name, name)) for name in measure.baselines
    }
    sign = -1 if measure.lower_is_better else 1
    mean = clustered_mean(own, patients, resampling=resampling, shares=measure.share)
    return MeasureResults(
        value=mean,
        baselines={name: clustered_mean(other, patients, resampling=resampling) for name, other in others.items()},
        gains={
            name: clustered_mean(sign * (own - other), patients, resampling=resampling)
            for name, other in others.items()
        },
    )


def _values(maps: Sequence[MeasuredMap], name: str) -> NDArray[np.float64]:
    return np.array([one.values.get(name, np.nan) for one in maps], dtype=np.float64)
