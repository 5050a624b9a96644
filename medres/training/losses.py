"""What training minimises: cross-entropy over the targets that are known, and its declared variants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

UncertainPolicy = Literal["ignore", "ones", "zeros", "soft"]
_LEAST = 1e-7  # of a probability that is raised to a focusing power: at 0 the gradient is no number
SOFT = 0.5
"""The target of an uncertain finding under the policy `soft`: the loss then asks for indecision."""


def training_targets(
    targets: NDArray[np.float32], uncertain: NDArray[np.bool_], policy: UncertainPolicy
) -> NDArray[np.float32]:
    """Targets as training sees them; validation and held-out images keep theirs, where uncertain is unknown.

    Args:
        targets: (images, labels): 1, 0, NaN unknown or uncertain.
        uncertain: (images, labels): where the manifest says −1.
        policy: `ignore` leaves NaN; `ones`, `zeros` and `soft` put 1, 0 and 0.5 in its place (the U-policies of
            CheXpert, Irvin et al. 2019).

    >>> training_targets(np.array([[1, np.nan]], np.float32), np.array([[False, True]]), "soft")
    array([[1. , 0.5]], dtype=float32)
    """
    value = {"ignore": np.nan, "ones": 1.0, "zeros": 0.0, "soft": SOFT}[policy]
    return np.where(uncertain, np.float32(value), targets)


def balancing_weights(targets: NDArray[np.float32]) -> tuple[float, ...]:
    """Per label, negatives ÷ positives among known targets; 1 where a class is missing.

    >>> balancing_weights(np.array([[1, 0], [0, 0], [0, np.nan]], np.float32))
    (2.0, 1.0)
    """
    positive = (targets > 0.5).sum(axis=0)
    negative = (targets < 0.5).sum(axis=0)
    return tuple(float(n / p) if n and p else 1.0 for p, n in zip(positive, negative, strict=True))


@dataclass(frozen=True, slots=True)
class MaskedLoss:
    """Mean cross-entropy over known targets (NaN does not count).

    Every label is a yes or no of its own (binary cross-entropy), except the classes of one question: they share a
    softmax, and an image whose class is known counts as one known target.

    Args:
        classes: columns of labels of which exactly one is true, one slice per question.
        smoothing: targets move this part of the way to 0.5 (Szegedy et al. 2016).
        focusing: γ of the focal loss (Lin et al. 2017); 0 is plain cross-entropy.
        negative_focusing: γ of negative targets, where it is another (asymmetric loss, Ridnik et al. 2021).
        negative_margin: probabilities of negatives are lowered by this much, so that those below it cost nothing.
        positive_weights: per label, the weight of positive targets; empty: 1.
    """

    classes: tuple[slice, ...] = ()
    smoothing: float = 0.0
    focusing: float = 0.0
    negative_focusing: float | None = None
    negative_margin: float = 0.0
    positive_weights: tuple[float, ...] = ()

    def count(self, targets: Tensor) -> Tensor:
        """How many known targets a batch has: what its loss is a mean over."""
        known = ~torch.isnan(targets)
        shared = [known[:, columns].all(dim=1).sum() for columns in self.classes]
        return self._alone(known).sum() + sum(shared, known.new_zeros((), dtype=torch.int64))

    def _alone(self, values: Tensor) -> Tensor:
        """The columns that share no softmax, of (N, labels): chosen by number, for which nobody waits."""
        if not self.classes:
            return values
        labels = range(values.shape[1])
        together = {place for columns in self.classes for place in labels[columns]}
        alone = tuple(float(place) for place in labels if place not in together)
        return values.index_select(1, _constant(alone, values.device, torch.int64))

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (N, labels) float32 against targets (N, labels) in [0, 1] or NaN; 0 if none is known."""
        known = ~torch.isnan(targets)
        asked = torch.nan_to_num(targets)
        smooth = asked + self.smoothing * (0.5 - asked)
        weights = _constant(self.positive_weights, logits.device, logits.dtype) if self.positive_weights else None
        if self.focusing or self.negative_focusing or self.negative_margin:
            losses = self._focused(logits, smooth, weights)
        else:
            losses = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights, reduction="none")
        total = self._alone(losses * known).sum()
        for columns in self.classes:
            sure = known[:, columns].all(dim=1)
            total = total + (self._class_losses(logits[:, columns], asked[:, columns], weights, columns) * sure).sum()
        return total / self.count(targets).clamp(min=1)

    def _focused(self, logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Binary cross-entropy (N, labels) in which what is known already counts less."""
        gamma = self.focusing if self.negative_focusing is None else self.negative_focusing
        positive = -functional.logsigmoid(logits) * torch.sigmoid(-logits).clamp(min=_LEAST) ** self.focusing
        if weights is not None:
            positive = positive * weights
        if self.negative_margin:
            lowered = (torch.sigmoid(logits) - self.negative_margin).clamp(min=0)
            negative = -torch.log1p(-lowered) * lowered**gamma
        else:
            negative = -functional.logsigmoid(-logits) * torch.sigmoid(logits).clamp(min=_LEAST) ** gamma
        return targets * positive + (1 - targets) * negative

    def _class_losses(self, logits: Tensor, truth: Tensor, weights: Tensor | None, columns: slice) -> Tensor:
        """Per image (N,): cross-entropy of a softmax, weighted by the true class, focused on what is not yet known."""
        smooth = truth + self.smoothing * (1 / truth.shape[1] - truth)
        log_probabilities = functional.log_softmax(logits, dim=1)
        losses = -(smooth * log_probabilities).sum(dim=1)
        if weights is not None:
            losses = losses * (truth * weights[columns]).sum(dim=1)
        if self.focusing:
            unsure = 1 - (truth * log_probabilities.exp()).sum(dim=1)
            losses = losses * unsure.clamp(min=_LEAST) ** self.focusing
        return losses


@lru_cache(maxsize=32)
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers on a device, sent there once."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def chance_loss(targets: Tensor, classes: tuple[slice, ...] = ()) -> float:
    """The loss of saying each label's prevalence of every image: what a network must beat to know anything.

    Args:
        targets: (N, labels): 1, 0, NaN unknown.
        classes: as for MaskedLoss.
    """
    known = ~torch.isnan(targets)
    share = (torch.nan_to_num(targets).sum(dim=0) / known.sum(dim=0).clamp(min=1)).clamp(1e-6, 1 - 1e-6)
    logits = torch.logit(share)
    for columns in classes:
        logits[columns] = torch.log(share[columns])
    return float(MaskedLoss(classes)(logits.expand(targets.shape), targets))
