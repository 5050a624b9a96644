"""Does a heatmap lie on the finding? The pointing game, the energy inside, and the overlap; for boxes.

Everything is in one frame of pixels, whose pixel centres have whole coordinates: a box that begins with pixel 3 begins
at 2.5.

Source: Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop; Saporta et al. 2022, CheXlocalize.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box: from edge to edge."""

    top: float
    left: float
    bottom: float
    right: float

    def distance(self, row: float, column: float) -> float:
        """Pixels from a point to the box; 0 within it.

        >>> Rectangle(0.5, 0.5, 4.5, 4.5).distance(2, 7.5), Rectangle(0.5, 0.5, 4.5, 4.5).distance(1, 1)
        (3.0, 0.0)
        """
        down, across = (
            max(low - place, 0.0, place - high)
            for low, place, high in ((self.top, row, self.bottom), (self.left, column, self.right))
        )
        return float(np.hypot(down, across))


def peak(heatmap: ArrayLike) -> tuple[float, float]:
    """Row and column of the maximum; of a plateau, its centre.

    Where the centre of all maxima is not itself one (two equal peaks), the maximum nearest to it. A map that is
    the same everywhere has no peak: (nan, nan), which lies on no lesion.

    >>> peak([[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]])
    (1.0, 2.0)

    Raises:
        ValueError: not two-dimensional, empty, or not finite.
    """
    values = np.asarray(heatmap, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"a heatmap is a finite (rows, columns) array, got shape {values.shape}")
    if np.ptp(values) == 0:
        return (float("nan"), float("nan"))
    maxima = np.argwhere(values == values.max())
    centre = maxima.mean(axis=0)
    if values[tuple(np.round(centre).astype(int))] != values.max():
        centre = maxima[np.argmin(((maxima - centre) ** 2).sum(axis=1))]
    return (float(centre[0]), float(centre[1]))


def is_hit(place: tuple[float, float], boxes: Sequence[Rectangle], *, near: float = 0) -> bool:
    """Whether a peak lies on a box, or within so many pixels of one; no peak (nan, nan) is no hit.

    Raises:
        ValueError: there is no box.
    """
    if not boxes:
        raise ValueError("a pointing game needs a box")
    return any(box.distance(*place) <= near for box in boxes)


def covered(boxes: Sequence[Rectangle], shape: tuple[int, int], *, near: float = 0) -> NDArray[np.bool_]:
    """The pixels whose centre lies on a box, or within so many pixels of one: (rows, columns)."""
    zone = np.zeros(shape, dtype=bool)
    rows, columns = (np.arange(side) for side in shape)
    for box in boxes:
        down = np.maximum(np.maximum(box.top - rows, rows - box.bottom), 0)
        across = np.maximum(np.maximum(box.left - columns, columns - box.right), 0)
        zone |= np.hypot(down[:, None], across[None, :]) <= near
    return zone


def energy_inside(heatmap: NDArray[np.floating], zone: NDArray[np.bool_]) -> float:
    """The share of a map's positive values that lies in a zone; NaN where nothing is positive.

    >>> energy_inside(np.array([[3.0, 1.0], [0.0, -5.0]]), np.array([[True, False], [False, True]]))
    0.75
    """
    positive = np.asarray(heatmap, dtype=np.float64).clip(min=0)
    whole = float(positive.sum())
    return float(positive[zone].sum()) / whole if whole > 0 else float("nan")


def overlap(heatmap: NDArray[np.floating], zone: NDArray[np.bool_], *, contour: float) -> float:
    """Intersection over union of a zone with where a map reaches a share of its highest value; 0 for a map of nothing.

    >>> overlap(np.array([[4.0, 3.0, 1.0]]), np.array([[False, True, True]]), contour=0.5)
    0.3333333333333333
    """
    highest = float(np.max(heatmap))
    if highest <= 0:
        return 0.0
    shown = np.asarray(heatmap) >= contour * highest
    return float((shown & zone).sum() / (shown | zone).sum())
