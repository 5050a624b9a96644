"""Does a heatmap point at the finding? The pointing game, with what blind pointing would reach.

Source: Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.records import Interval
from medres.statistics.intervals import wilson

Lesion = tuple[float, float, float]
"""Row and column of a lesion's centre and its radius, pixels."""


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often a peak lies on a lesion, and how often a random point would."""

    interval: Interval
    chance: float  # mean share of the image area in which a peak counts as a hit


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


def hit_rate(
    peaks: Sequence[tuple[float, float]],
    lesions: Sequence[Sequence[Lesion]],
    *,
    shapes: Sequence[tuple[int, int]],
    tolerance: float | Sequence[float],
    confidence: float = 0.95,
) -> HitRate:
    """How many heatmaps have their peak within a lesion's radius plus a tolerance.

    Args:
        peaks: (row, column) per image, as `peak` gives it.
        lesions: the lesions of each image, at least one.
        shapes: (rows, columns) of each image.
        tolerance: pixels, one for all or one per image (half a cell of the feature map is usual).
        confidence: of the interval, which is Wilson's and takes images as independent.

    Raises:
        ValueError: unequal lengths, no images, or an image without a lesion.
    """
    reach = [float(tolerance)] * len(peaks) if isinstance(tolerance, int | float) else [float(one) for one in tolerance]
    if not len(peaks) == len(lesions) == len(shapes) == len(reach):
        raise ValueError("one peak, list of lesions, shape and tolerance per image")
    if not peaks or not all(len(some) for some in lesions):
        raise ValueError("a hit rate needs images, each with at least one lesion")
    hits, shares = 0, []
    for (row, column), some, shape, extra in zip(peaks, lesions, shapes, reach, strict=True):
        hits += any(np.hypot(row - place[0], column - place[1]) <= place[2] + extra for place in some)
        shares.append(float(_hit_zone(some, shape, extra).mean()))
    return HitRate(wilson(hits, len(peaks), confidence=confidence), float(np.mean(shares)))


def _hit_zone(lesions: Sequence[Lesion], shape: tuple[int, int], extra: float) -> NDArray[np.bool_]:
    zone = np.zeros(shape, dtype=bool)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for row, column, radius in lesions:
        zone |= np.hypot(rows - row, columns - column) <= radius + extra
    return zone
