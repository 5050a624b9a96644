"""What a model was most wrong about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medres.evaluation.table import JudgedImages

MISSED, FALSE_ALARM = "missed", "false alarm"
_MOST_OF_A_KIND = 6
_MOST_PAIRS = 24  # of one kind, over all labels of a report


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image the model was most wrong about."""

    row: int  # of the table, from 0
    kind: str  # missed, or false alarm
    fold: int
    probability: float

    @property
    def line(self) -> int:
        """The line of `oof.csv` that it stands on."""
        return self.row + 2


def most_of_a_kind(labels: int) -> int:
    """How many misses, and how many false alarms, of one label are shown, so that a page stays of a bounded size.

    >>> most_of_a_kind(1), most_of_a_kind(14), most_of_a_kind(100)
    (6, 1, 1)
    """
    return min(_MOST_OF_A_KIND, max(1, _MOST_PAIRS // max(1, labels)))


def worst_mistakes(images: JudgedImages, *, most: int) -> list[Mistake]:
    """The positives with the lowest and the negatives with the highest probability among the wrong calls.

    Args:
        images: of one label.
        most: of either kind.
    """
    wrong = images.positive != images.truth
    surprise = np.where(images.truth == 1, 1 - images.probabilities, images.probabilities)
    chosen: list[Mistake] = []
    for one, kind in ((1, MISSED), (0, FALSE_ALARM)):
        places = np.flatnonzero(wrong & (images.truth == one))
        chosen += [
            Mistake(int(images.rows[at]), kind, int(images.folds[at]), float(images.probabilities[at]))
            for at in places[np.argsort(-surprise[places], kind="stable")][:most]
        ]
    return chosen
