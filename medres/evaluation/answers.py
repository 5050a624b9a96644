"""The three answers that data can give: found, not found, and that it cannot be told. Silence is none of them."""

from __future__ import annotations

from typing import Literal

from medres.records import Interval

Answer = Literal["found", "not found", "cannot be told"]

FOUND: Answer = "found"
NOT_FOUND: Answer = "not found"
CANNOT_BE_TOLD: Answer = "cannot be told"


def above(figure: Interval, bound: float) -> Answer:
    """Whether a figure surely exceeds a bound; without an interval that cannot be told.

    >>> above(Interval(0.7, 0.6, 0.8, "", 9, 9), 0.5), above(Interval(0.7, 0.4, 0.9, "", 9, 9), 0.5)
    ('found', 'not found')
    >>> above(Interval(0.7, None, None, "no interval: only one patient", 9, 1), 0.5)
    'cannot be told'
    """
    if figure.low is None:
        return CANNOT_BE_TOLD
    return FOUND if figure.low > bound else NOT_FOUND
