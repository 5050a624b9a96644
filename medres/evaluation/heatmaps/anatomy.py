"""How much of a map's evidence lies outside of the anatomy: on markers, borders and the black around a radiograph.

No anatomy is recognised. What is surely none is told by its place: the black that reaches in from the border (padding,
collimation, air), and the corners, beyond the ellipse that touches the radiograph's four sides, where markers and
annotations are put. It takes 21 % of a radiograph, so that a map that is the same everywhere has that share there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medres.evaluation.heatmaps.cells import Cells

BLACK = round(0.02 * 65535)
"""Preprocessed pixels up to this value are black: 2 % of the display's range."""


def radiograph_box(pixels: NDArray[np.uint16]) -> tuple[int, int, int, int]:
    """First row, end of rows, first column, end of columns of what is not black; of a black image, all of it."""
    rows, columns = (np.flatnonzero((pixels > BLACK).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, pixels.shape[0], 0, pixels.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def outside(pixels: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Which pixels of a preprocessed image, (size, size), are surely no anatomy."""
    from scipy.ndimage import label

    top, bottom, left, right = radiograph_box(pixels)
    down, across = (
        (np.arange(side) - (start + end - 1) / 2) / ((end - start) / 2)
        for side, start, end in ((pixels.shape[0], top, bottom), (pixels.shape[1], left, right))
    )
    corners = down[:, None] ** 2 + across[None, :] ** 2 > 1
    regions, _ = label(pixels <= BLACK)
    border = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    found: NDArray[np.bool_] = corners | np.isin(regions, border[border > 0])
    return found


def energy_outside(cells: NDArray[np.floating], pixels: NDArray[np.uint16], grid: Cells) -> float:
    """The share of a map's positive evidence in cells outside of the anatomy; NaN where nothing is positive.

    A cell that lies partly outside counts in part.

    Args:
        cells: the map, (k, k), logit units.
        pixels: the preprocessed image, (size, size).
        grid: where the cells lie.
    """
    positive = np.asarray(cells, dtype=np.float64).clip(min=0)
    whole = float(positive.sum())
    return float((positive * grid.means(outside(pixels))).sum()) / whole if whole > 0 else float("nan")
