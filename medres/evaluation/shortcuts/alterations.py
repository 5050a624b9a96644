"""Radiographs with a part of them hidden: what is left of a score then did not need that part.

That networks judge radiographs without the anatomy, by markers, borders and the style of a site, is known: Zech et al.
2018 (metal tokens and departments), DeGrave et al. 2021 (laterality markers, edges), Maguolo and Nanni 2021 (the same
results with the lungs blacked out, whose test this is).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CENTRE = 0.75
"""Part of each side of the radiograph that counts as its centre: it holds nearly all of a chest's lungs or a joint."""

CORNER = 0.2
"""Part of each side that counts as a corner: where markers and annotations are put."""


@dataclass(frozen=True, slots=True)
class Alteration:
    """One way to hide a part of a radiograph."""

    name: str
    title: str
    meaning: str


WITHOUT_CENTRE = Alteration(
    "without_centre", "Centre hidden", f"only a frame is left: the middle {100 * CENTRE:.0f} % of each side is hidden"
)
CENTRE_ONLY = Alteration("centre_only", "Centre only", "the frame is hidden, the centre is left")
CORNERS_ONLY = Alteration(
    "corners_only", "Corners only", f"only four corners of {100 * CORNER:.0f} % of each side are left"
)
ALTERATIONS = (WITHOUT_CENTRE, CORNERS_ONLY, CENTRE_ONLY)
"""In the order they are shown."""


def altered(pixels: NDArray[np.uint16], alteration: Alteration) -> NDArray[np.uint16]:
    """The images with a part replaced by the mean of what is left, so that nothing of the hidden part shines through.

    The radiograph is what lies within the outermost pixels above 0; the black around it (padding, collimation) stays.

    Args:
        pixels: preprocessed, (n, size, size), 0 black to 65535 white.
        alteration: of ALTERATIONS.
    """
    result = pixels.copy()
    for image in result:
        top, bottom, left, right = _bounds(image)
        box = image[top:bottom, left:right]
        kept = _kept(box.shape, alteration)
        if kept.any():
            box[~kept] = np.rint(box[kept].mean())
    return result


def _bounds(image: NDArray[np.uint16]) -> tuple[int, int, int, int]:
    """First row, end of rows, first column, end of columns of what is not black."""
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    return (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1) if len(rows) else (0, 0, 0, 0)


def _kept(shape: tuple[int, ...], alteration: Alteration) -> NDArray[np.bool_]:
    """Which pixels of a radiograph of that shape are left."""
    rows, columns = ((np.arange(side) + 0.5) / side for side in shape)  # of pixel centres, 0 to 1
    if alteration == CORNERS_ONLY:
        near_row, near_column = (np.minimum(place, 1 - place) < CORNER for place in (rows, columns))
        return near_row[:, None] & near_column[None, :]
    in_rows, in_columns = (np.abs(place - 0.5) < CENTRE / 2 for place in (rows, columns))
    centre = in_rows[:, None] & in_columns[None, :]
    return centre if alteration == CENTRE_ONLY else ~centre
