"""The cells of a map and the pixels that belong to each, in the network's square input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cells:
    """A grid of cells over a square: each pixel belongs to the cell whose centre is nearest."""

    side: int  # cells
    size: int  # pixels of the square
    first: float  # the pixel on which the first cell is centred
    stride: int  # pixels between neighbouring cells

    def line(self) -> NDArray[np.intp]:
        """The row (or column) of cells that each row (or column) of pixels belongs to."""
        nearest = np.floor((np.arange(self.size) - self.first) / self.stride + 0.5)
        return nearest.clip(0, self.side - 1).astype(np.intp)

    def spread(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """One value a cell, (side, side), as one value a pixel, (size, size)."""
        line = self.line()
        return values[line[:, None], line[None, :]]

    def means(self, pixels: NDArray[np.generic]) -> NDArray[np.float64]:
        """The mean of the pixels, (size, size), of each cell: (side, side)."""
        line = self.line()
        cell = (line[:, None] * self.side + line[None, :]).ravel()
        sums = np.bincount(cell, weights=np.asarray(pixels, dtype=np.float64).ravel(), minlength=self.side**2)
        return (sums / np.bincount(cell, minlength=self.side**2)).reshape(self.side, self.side)
