"""How weights move: AdamW, the learning rate's course, and the running average of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from medres.config import Training
from medres.model.network import RadiographNetwork

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


def adamw(network: RadiographNetwork, training: Training) -> torch.optim.AdamW:
    """AdamW; the head learns faster, early blocks slower (`layer_decay`), biases and norms are not decayed."""
    factors = {id(parameter): training.head_learning_rate_factor for parameter in network.head.parameters()}
    blocks = _blocks(network)
    for depth, parameters in enumerate(blocks):
        factors |= dict.fromkeys(map(id, parameters), training.layer_decay ** (len(blocks) - 1 - depth))
    grouped: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        grouped.setdefault((factors[id(parameter)], parameter.ndim > 1), []).append(parameter)
    groups = [
        {
            "params": chosen,
            "peak": training.learning_rate * factor,
            "lr": training.learning_rate * factor,
            "weight_decay": training.weight_decay if decayed else 0.0,
        }
        for (factor, decayed), chosen in grouped.items()
    ]
    return torch.optim.AdamW(groups, fused=True)


def _blocks(network: RadiographNetwork) -> list[list[nn.Parameter]]:
    """The backbone's parameters from first to last: the stem, then its blocks, each with what leads to the next."""
    blocks: list[list[nn.Parameter]] = [[]]
    names = [f"{name}." for name in network.family.blocks]
    for name, parameter in network.backbone.named_parameters():
        if len(blocks) <= len(names) and name.startswith(names[len(blocks) - 1]):
            blocks.append([])
        blocks[-1].append(parameter)
    return blocks


def average_of(network: nn.Module, decay: float) -> AveragedModel | None:
    """A running average of a network's weights, `decay` of it kept at each step; None for decay 0.

    Early on less is kept, (1 + n) ÷ (10 + n) after n steps, so that the random start is soon forgotten. The statistics
    of batch norms are not averaged but taken from the network: an average over many steps lags behind the weights.
    """
    if not decay:
        return None

    def average(kept: Sequence[torch.Tensor], new: Sequence[torch.Tensor], steps: torch.Tensor | int) -> None:
        n = int(steps)
        part = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(kept), list(new), part)

    return AveragedModel(network, multi_avg_fn=average)
