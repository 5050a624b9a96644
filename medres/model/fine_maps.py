"""Finer class-activation maps from the same weights: what the strides of the last stages leave out, computed as well.

A stage that halves the image keeps every second place of every second row. Without its stride, and with its later
3 × 3 convolutions dilated, it gives the maps of all shifts of its grid, stitched together: every second cell of the
fine map is a cell of the coarse one (the à trous algorithm, Holschneider et al. 1989; Yu et al. 2017, Dilated Residual
Networks). The prediction stays the plain network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medres.model.device import full_precision
from medres.model.explain import evidence
from medres.model.network import STRIDE, RadiographNetwork

FineStride = Literal[16, 8]
"""Input pixels between neighbouring cells of a fine map."""

Stride = Literal[32, 16, 8]
"""Input pixels between neighbouring cells: 32 is the network's own, and costs nothing beside its prediction."""

SHOWN: FineStride = 16
"""The stride of the maps that people are shown."""


_STAGES = {16: 1, 8: 2}


@dataclass(frozen=True, slots=True)
class Finer:
    """Of which images of a batch finer maps are wanted beside the scores."""

    stride: FineStride = SHOWN
    called_only: bool = True  # only where a label is at or above its operating point

    @property
    def stages(self) -> int:
        """How many of the last stages are computed again."""
        return _STAGES[self.stride]


OF_CALLED = Finer()
"""The maps that people are shown, where a label is called."""


class FineMaps:
    """The last stages of a network on a finer grid; they share its weights, and the network itself stays as it is.

    Args:
        network: in evaluation mode.
        stride: 16 changes the last stage, which then costs four times as much; 8 also the one before it.
    """

    def __init__(self, network: RadiographNetwork, stride: FineStride = 16) -> None:
        self.network, self.stride = network, stride
        self.stages = _STAGES[stride]
        own = [*network.parameters(), *network.buffers()]
        self.last = deepcopy(network.last_stages(self.stages), {id(tensor): tensor for tensor in own})
        _widen(self.last)

    @torch.inference_mode()
    @full_precision()
    def of(self, before: Tensor) -> Tensor:
        """Every label's class-activation map.

        Args:
            before: what `network.before(images, stages)` gives for these stages.

        Returns:
            (N, labels, k, k), ≥ 0, logit units; cell 0 lies where the coarse map's does, the others `stride` pixels on.
        """
        return evidence(self.network, self.network.activated(self.last(before)))


def fine_maps(
    members: Sequence[FineMaps], before: Sequence[Tensor], wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.float32] | None, ...]:
    """The fine maps of some images of a batch, each computed alone, so that none depends on its neighbours.

    Args:
        members: of each network.
        before: what their last stages were given, (n, channels, rows, columns).
        wanted: (n,), which images.

    Returns:
        An array (networks, labels, k, k) for each wanted image, None for the others.
    """

    def of(place: int) -> NDArray[np.float32]:
        alone = [member.of(batch[place : place + 1]) for member, batch in zip(members, before, strict=True)]
        return torch.cat(alone).cpu().numpy()

    return tuple(of(place) if asked else None for place, asked in enumerate(wanted))


def _widen(stages: nn.Sequential) -> None:
    """Take the strides out, and let what follows each of them reach as far as before."""
    reach = 1
    for stage in stages:
        halving = [module for module in stage.modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)]
        after = 2 * reach if halving else reach
        for name, module in list(stage.named_modules()):
            if isinstance(module, nn.AvgPool2d):  # DenseNet halves with the mean of four
                stage.set_submodule(name, _MeanOfFour(reach))
                after = 2 * reach
            elif isinstance(module, nn.Conv2d):
                _dilate(module, reach if module in halving else after)
        reach = after


def _dilate(module: nn.Conv2d, reach: int) -> None:
    module.stride = (1, 1)
    if module.kernel_size != (1, 1):
        module.dilation, module.padding = (reach, reach), (reach, reach)


class _MeanOfFour(nn.Module):
    """The mean of four cells that lie so far apart, at every place."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, k - reach, k - reach)."""
        reach = self.reach
        two = x[..., :-reach, :] + x[..., reach:, :]
        return (two[..., :-reach] + two[..., reach:]) / 4


def coarse_cells(fine: Tensor, stride: FineStride) -> Tensor:
    """The cells of a fine map that the coarse one has."""
    step = STRIDE // stride
    return fine[..., ::step, ::step]
