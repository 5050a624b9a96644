"""What several networks are together: the folds of a cross-validation run as one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medres.errors import ModelError
from medres.model.calibration import RULES, OperatingPoint
from medres.model.card import ModelCard, digits
from medres.tables import sha256_json


def ensemble_card(cards: Sequence[ModelCard]) -> ModelCard:
    """The card of networks whose calibrated probabilities are averaged.

    Raises:
        ModelError: they were asked other questions, or see images otherwise.
    """
    first = cards[0]
    for card in cards[1:]:
        if (card.tasks, card.preprocessing_sha256, card.gate) != (
            first.tasks,
            first.preprocessing_sha256,
            first.gate,
        ):
            raise ModelError("the folds of this run differ in labels, preprocessing or gate; they are not one model")
    points = {label: _mean_point([card.operating_points[label] for card in cards]) for label in first.labels}
    by_rule = {
        label: {rule: _mean_point([card.points_by_rule[label][rule] for card in cards]) for rule in RULES}
        for label in first.labels
    }
    scale: Mapping[str, float] = {
        label: float(np.mean([card.heatmap_scale[label] for card in cards])) for label in first.labels
    }
    identity = sha256_json([card.model_id for card in cards])[: digits(min(card.format for card in cards))]
    return first.model_copy(
        update={
            "model_id": f"{first.architecture}-ensemble{len(cards)}-{identity}",
            "operating_points": points,
            "points_by_rule": by_rule,
            "heatmap_scale": dict(scale),
            "metrics": {},
            "metrics_split": "none: the out-of-fold figures of the run are not the ensemble's",
            "members": len(cards),
            "files": {},
        }
    )


def joint_card(cards: tuple[ModelCard, ...]) -> ModelCard:
    """The card of a model, or of the ensemble that several are.

    Raises:
        ModelError: the models are not those of one run.
    """
    return cards[0] if len(cards) == 1 else ensemble_card(cards)


def _mean_point(points: Sequence[OperatingPoint]) -> OperatingPoint:
    """The ensemble's threshold: the mean of those that its members chose; what it reaches was not measured."""
    chosen = [point for point in points if point.sensitivity is not None]
    if not chosen:  # a class is missing in every validation: all have the same placeholder
        return points[0]
    count = f"{len(chosen)} of {len(points)}" if len(chosen) < len(points) else str(len(points))
    rules = "; or ".join(dict.fromkeys(point.rule for point in chosen))
    return chosen[0].model_copy(
        update={
            "threshold": float(np.mean([point.threshold for point in chosen])),
            "rule": f"mean of {count} folds' thresholds, each: {rules}",
            "sensitivity": None,
            "specificity": None,
        }
    )
