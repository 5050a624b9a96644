"""Class-activation maps: where in the input a label's logit comes from, exact and without gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medres.config import Architecture
from medres.imaging.preprocessing import Placement
from medres.model.network import STRIDE, RadiographNetwork, family


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


def native_heatmap(
    architecture: Architecture, placement: Placement, cells: NDArray[np.float32], *, stride: int = STRIDE
) -> NDArray[np.float32]:
    """A class-activation map (k, k) in native pixels, each cell where the strides of such a network centre it.

    Args:
        architecture: of the network.
        placement: of the radiograph in its input.
        cells: the map. The first cell of a finer one lies where that of the coarse one does.
        stride: input pixels between neighbouring cells.
    """
    return Grid(family(architecture).first_cell, stride).restored(placement, cells)
