"""How alike two heatmaps are: by the order of their cells, by their structure, and by where they peak."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics.pointing import peak

_SMOOTHED = 1.0  # standard deviation of the window in which structure is compared, cells
_STABLE = (0.01**2, 0.03**2)  # of Wang et al. 2004, for values of which 1 is the highest


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's correlation of two maps cell by cell; 0 where one is the same everywhere: it is like nothing.

    >>> rank_correlation([[1, 2], [3, 4]], [[1, 4], [9, 16]]), rank_correlation([[1, 2], [3, 4]], [[1, 1], [1, 1]])
    (1.0, 0.0)
    """
    from scipy.stats import rankdata

    first, second = (np.asarray(values, dtype=np.float64).ravel() for values in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    return float(round((ranks[0] * ranks[1]).sum() / np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()), 12))


def structural_similarity(one: ArrayLike, other: ArrayLike) -> float:
    """SSIM of two maps as they are drawn, each with its own highest value as 1; mean over cells, at most 1.

    0 where a map is nothing and the other something; 1 where both are nothing.

    Source: Wang, Bovik, Sheikh and Simoncelli 2004, Image quality assessment; Arun et al. 2021, who used it so.
    """
    from scipy.ndimage import gaussian_filter

    first, second = (_drawn(values) for values in (one, other))
    if not first.any() or not second.any():
        return float(not first.any() and not second.any())

    def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = gaussian_filter(values, _SMOOTHED, mode="nearest", truncate=2.0)
        return found

    means = smoothed(first), smoothed(second)
    spreads = smoothed(first**2) - means[0] ** 2, smoothed(second**2) - means[1] ** 2
    together = smoothed(first * second) - means[0] * means[1]
    light, contrast = _STABLE
    above = (2 * means[0] * means[1] + light) * (2 * together + contrast)
    below = (means[0] ** 2 + means[1] ** 2 + light) * (spreads[0] + spreads[1] + contrast)
    return float((above / below).mean())


def _drawn(values: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64).clip(min=0)
    return found / found.max() if found.max() > 0 else found


def peak_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Cells between the peaks of two maps; NaN where one has none.

    >>> peak_distance([[1, 0], [0, 0]], [[0, 0], [0, 1]]) == 2**0.5
    True
    """
    first, second = peak(one), peak(other)
    return float(np.hypot(first[0] - second[0], first[1] - second[1]))
