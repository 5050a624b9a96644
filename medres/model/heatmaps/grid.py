"""Where the cells of a map lie in the network's input and in the image; no network is needed for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medres.config import Architecture
from medres.errors import UsageError
from medres.imaging.preprocessing import Placement

FineStride = Literal[16, 8]
"""Input pixels between neighbouring cells of a fine map."""

Stride = Literal[32, 16, 8]
"""Input pixels between neighbouring cells: 32 is the exact map's, which costs nothing beside the prediction."""

SHOWN: FineStride = 16
"""The stride of the maps that people are shown."""


def scale_at(exact: float, stride: int) -> float:
    """The value of a map's cell that is drawn as full colour, on a grid of a stride.

    It is the same number of logits from one cell on every grid: of a finer one each cell adds less of a mean.

    Args:
        exact: what a card says, for the exact map's grid, whose stride is 32.
        stride: of the grid, network input pixels.
    """
    return exact * (32 / stride) ** 2


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
    averages = architecture.startswith("densenet")  # its transitions, from a stride of 4 on
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
