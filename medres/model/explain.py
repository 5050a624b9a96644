"""Class-activation maps: where in the input a label's logit comes from, exact and without gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medres.config import Architecture
from medres.errors import UsageError
from medres.imaging.preprocessing import Placement
from medres.model.network import RadiographNetwork, family


def evidence(network: RadiographNetwork, feature_maps: Tensor) -> Tensor:
    """Every label's class-activation map of given feature maps.

    With global average pooling before one linear layer, logit_c = bias_c + mean over cells of w_c · A: the map
    w_c · A is the logit's evidence, cell by cell. Its positive part is what Grad-CAM at the last block gives, up to
    Grad-CAM's constant factor 1 / cells and without its stretching to [0, 1].

    Args:
        network: its head gives the weights.
        feature_maps: `network.feature_maps(images)`, (N, channels, k, k).

    Returns:
        (N, labels, k, k), ≥ 0, logit units.

    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization; Selvaraju et al. 2017, Grad-CAM.
    """
    return torch.einsum("lc,nchw->nlhw", network.head.weight, feature_maps).clamp(min=0)


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the cells of a map lie in the network's input."""

    first: float  # the input pixel on which the first cell is centred, rows and columns
    stride: int  # input pixels between neighbouring cells

    def restored(self, placement: Placement, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map (k, k) in native pixels."""
        return placement.restore(cells, first_center=self.first, step=self.stride)


def grid_of(architecture: Architecture, size: int, side: int) -> Grid:
    """Where the cells of a map of one of a network's layers lie; how many there are a side tells which layer it is.

    Args:
        architecture: of the network.
        size: of its input, pixels.
        side: cells a side.

    Raises:
        UsageError: no strides of the network lead to so many cells.

    >>> grid_of("resnet18", 128, 4), grid_of("densenet121", 128, 8)
    (Grid(first=0.0, stride=32), Grid(first=6.0, stride=16))
    """
    averages = family(architecture).first_cell > 0  # DenseNet's transitions, from a stride of 4 on
    found, stride = size, 1
    while found > side:
        stride *= 2
        found = found // 2 if averages and stride > 4 else (found + 1) // 2
    if found != side:
        raise UsageError(f"a layer with {side} × {side} cells of {size} × {size} pixels cannot be placed")
    return Grid(max(0.0, stride / 2 - 2) if averages else 0.0, stride)


def native_heatmap(architecture: Architecture, placement: Placement, cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map (k, k) of one of a network's layers in native pixels, each cell where the strides centre it."""
    return grid_of(architecture, placement.size, len(cells)).restored(placement, cells)
