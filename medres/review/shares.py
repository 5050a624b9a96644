"""How sure a card's sensitivity and specificity are: a card keeps both, and of how many images, but no interval."""

from __future__ import annotations

from statistics import NormalDist

from medres.review.sent import Bounds

_EXACT = 1e-6  # a share of whole numbers comes this near to one
CONFIDENCE = 0.95


def bounded(sensitivity: float, specificity: float, images: int) -> tuple[Bounds, Bounds]:
    """Both with Wilson's interval, as if images were independent.

    How many images are positive follows from the two shares, which are of whole numbers; where several numbers fit, as
    for two shares of 1, the bounds hold for each of them.

    Args:
        sensitivity: a share of the positive images.
        specificity: a share of the others.
        images: positive and other ones together.

    >>> one, other = bounded(5 / 6, 1.0, 12)
    >>> [round(bound, 2) for bound in (one.low, one.high, other.low, other.high)]
    [0.44, 0.97, 0.61, 1.0]
    """
    fitting = [
        positive
        for positive in range(1, images)
        if _is_whole(sensitivity * positive) and _is_whole(specificity * (images - positive))
    ]
    if not fitting:
        return Bounds(value=sensitivity, low=None, high=None), Bounds(value=specificity, low=None, high=None)
    found = [_wilson(sensitivity, positive) for positive in fitting]
    others = [_wilson(specificity, images - positive) for positive in fitting]
    return _around(sensitivity, found), _around(specificity, others)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < _EXACT


def _wilson(share: float, n: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _around(value: float, intervals: list[tuple[float, float]]) -> Bounds:
    low, high = min(low for low, _ in intervals), max(high for _, high in intervals)
    return Bounds(value=value, low=min(low, value), high=max(high, value))
