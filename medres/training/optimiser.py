"""How weights move: AdamW, the learning rate's course, and the running average of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

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


class Copies:
    """Tensors and their copies, which are brought up to date, or put back, in one call for each type of number.

    Args:
        values: the tensors.
        copies: as many, of the same shapes and types.
    """

    def __init__(self, values: Sequence[Tensor], copies: Sequence[Tensor]) -> None:
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for value, copy in zip(values, copies, strict=True):
            of_type = groups.setdefault(value.dtype, ([], []))
            of_type[0].append(value.detach())
            of_type[1].append(copy.detach())
        self._groups = list(groups.values())

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the values."""
        for values, copies in self._groups:
            torch._foreach_copy_(copies, values)

    @torch.no_grad()
    def restore(self) -> None:
        """Let the values be what they were."""
        for values, copies in self._groups:
            torch._foreach_copy_(values, copies)


class RunningAverage:
    """A running average of a network's weights, `decay` of it kept at each step.

    Early on less is kept, (1 + n) ÷ (10 + n) after n steps, so that the random start is soon forgotten. The statistics
    of batch norms are not averaged but taken from the network: an average over many steps lags behind the weights.

    All weights move in one call, and the steps are counted here: nobody waits for a GPU. (torch's AveragedModel copies
    buffers one by one, and asks the device how many steps it has seen.)

    Args:
        network: whose weights are averaged.
        decay: of the average, at most.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = deepcopy(network)
        self.decay = decay
        self.steps = 0
        mine, theirs = ([*one.parameters()] for one in (self.module, network))
        self._weights: tuple[list[Tensor], list[Tensor]] = ([*mine], [*theirs])
        self._buffers = Copies(list(network.buffers()), list(self.module.buffers()))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights of this step."""
        mine, theirs = self._weights
        if self.steps:
            part = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(mine, theirs, part)
        else:
            torch._foreach_copy_(mine, theirs)
        self._buffers.keep()
        self.steps += 1

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by the names that AveragedModel gave."""
        held = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        return {"n_averaged": torch.tensor(self.steps), **held}

    def load_state_dict(self, values: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.steps = int(values["n_averaged"])
        held = {name: value for name, value in values.items() if name.startswith("module.")}
        self.module.load_state_dict({name.removeprefix("module."): value for name, value in held.items()})
