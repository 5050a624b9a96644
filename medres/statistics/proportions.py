"""Intervals of a share of n, from the counts alone."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, norm

from medres.records import Interval
from medres.statistics.metrics import NO_IMAGES


def exact_bounds(hits: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's bounds of a share.

    >>> [round(bound, 4) for bound in exact_bounds(10, 10)]
    [0.6915, 1.0]
    """
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def wilson(hits: int, n: int, *, confidence: float = 0.95) -> Interval:
    """A share with Wilson's score interval; images are taken as independent.

    >>> found = wilson(8, 10)
    >>> found.value, round(found.low or 0, 4), round(found.high or 0, 4)
    (0.8, 0.4902, 0.9433)
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is not a share")
    if n == 0:
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    z = float(norm.isf((1 - confidence) / 2))
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    low, high = min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach))
    return Interval(share, low, high, "Wilson score interval; images taken as independent, not clustered", n, n)
