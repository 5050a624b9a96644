"""How weights move: AdamW, the learning rate's course, and the running average of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from medres.config import Training
from medres.model.network import ResNetClassifier

Rate = Callable[[int], float]
"""The learning rates' factor at an absolute step."""


def warmup_cosine(steps: int, warmup: float) -> Rate:
    """A factor that rises linearly over the first part of the steps, then falls along half a cosine to 0.

    >>> rate = warmup_cosine(100, 0.1)
    >>> round(rate(5), 3), round(rate(10), 3), round(rate(55), 3), round(rate(100), 3)
    (0.6, 1.0, 0.5, 0.0)
    """
    rising = min(steps * warmup, steps - 1)

    def factor(step: int) -> float:
        if step < rising:
            return min(1.0, (step + 1) / rising)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))

    return factor


def adamw(network: ResNetClassifier, training: Training) -> torch.optim.AdamW:
    """AdamW; the head learns faster, biases and norms are not decayed."""
    groups = []
    for module, factor in ((network.backbone, 1.0), (network.head, training.head_learning_rate_factor)):
        for decayed in (True, False):
            chosen = [parameter for parameter in module.parameters() if (parameter.ndim > 1) is decayed]
            groups.append(
                {
                    "params": chosen,
                    "peak": training.learning_rate * factor,
                    "lr": training.learning_rate * factor,
                    "weight_decay": training.weight_decay if decayed else 0.0,
                }
            )
    return torch.optim.AdamW(groups, fused=True)


def average_of(network: nn.Module, decay: float) -> AveragedModel | None:
    """A running average of a network's weights and statistics, `decay` of it kept at each step; None for decay 0.

    Early on less is kept, (1 + n) ÷ (10 + n) after n steps, so that the random start is soon forgotten.
    """
    if not decay:
        return None

    def average(kept: Sequence[torch.Tensor], new: Sequence[torch.Tensor], steps: torch.Tensor | int) -> None:
        n = int(steps)
        part = 1 - min(decay, (1 + n) / (10 + n))
        for old, value in zip(kept, new, strict=True):
            if old.is_floating_point():
                old.lerp_(value, part)
            else:
                old.copy_(value)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
