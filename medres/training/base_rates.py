"""What training did to base rates, and how the logits get them back: shifts that end in the head's bias."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medres.cohort.tasks import Task, task_columns
from medres.config import Training
from medres.model.calibration import fit_shifts
from medres.training.batches import sampling_weights
from medres.training.losses import balancing_weights

log = logging.getLogger(__name__)


def distorts(training: Training, task: Task) -> bool:
    """Whether scores of a task settle on other base rates than the cohort's."""
    focused = training.focusing or (
        task.kind != "multiclass" and (training.negative_focusing or training.negative_margin)
    )
    return training.balance != "none" or training.sampler != "shuffle" or bool(focused)


def known_shifts(tasks: Sequence[Task], learned: NDArray[np.float32], training: Training) -> NDArray[np.float64]:
    """The log odds (labels,) that undo weights of positives and a balanced sampler in a network that learned perfectly.

    What a focused loss does to base rates has no such formula, and is left.

    Args:
        tasks: what was asked.
        learned: (images, labels) that training saw: 1, 0, NaN unknown, 0.5 soft.
        training: its settings.
    """
    drawn = sampling_weights(learned) if training.sampler == "balanced" else np.ones(len(learned))
    weights = balancing_weights(learned) if training.balance == "positives" else (1.0,) * learned.shape[1]
    found = -np.log(weights)
    for task, columns in task_columns(tasks):
        for place in range(learned.shape[1])[columns]:
            sure = ~np.isnan(learned[:, columns] if task.kind == "multiclass" else learned[:, [place]]).any(axis=1)
            positive = learned[sure, place].astype(np.float64)
            found[place] -= _log_change(positive, drawn[sure])
            if task.kind != "multiclass":
                found[place] += _log_change(1 - positive, drawn[sure])
    return found


def _log_change(share: NDArray[np.float64], drawn: NDArray[np.float64]) -> float:
    """Logarithm of how much oftener a class is drawn than it occurs; 0 where it does not occur."""
    return float(np.log((share * drawn).sum() / share.sum())) if share.sum() else 0.0


def restored(
    tasks: Sequence[Task],
    training: Training,
    *,
    learned: NDArray[np.float32],
    targets: NDArray[np.float32],
    logits: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What to add to each label's logits (labels,), so that they are log odds of the cohort again; says it in the log.

    Fitted on validation images where there are enough of either class, else what the settings are known to do. 0
    where no setting changes base rates.

    Args:
        tasks: what was asked.
        training: the settings.
        learned: targets of the training images, as training saw them.
        targets: (n, labels) of the validation images: 1, 0, NaN unknown.
        logits: (n, labels) of the validation images.
    """
    shifts = np.zeros(logits.shape[1])
    if not any(distorts(training, task) for task in tasks):
        return shifts
    fitted, known = fit_shifts(tasks, targets, logits), known_shifts(tasks, learned, training)
    for task, columns in task_columns(tasks):
        if not distorts(training, task):
            continue
        for place, label in zip(range(len(shifts))[columns], task.labels, strict=True):
            if np.isfinite(fitted[place]):
                shifts[place] = fitted[place]
                log.info("base rate of %s: logits %+.2f, fitted on validation images", label, shifts[place])
            else:
                shifts[place] = known[place]
                log.warning(
                    "base rate of %s: logits %+.2f, computed from balance and sampler alone: too few validation images "
                    "of a class to fit it, so probabilities may be off",
                    label,
                    shifts[place],
                )
    return shifts
