"""Where a cohort's images are bright and where dark, coarsely: enough to tell its negatives from its positives."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.config.versions import Versioned

_SIDE = 8  # cells of a coarse image, in rows and columns
_LEAST_IMAGES = 100  # below, a share of false alarms of one in a hundred cannot be promised
_FALSE_ALARMS = 0.005  # the share of the cohort's own images that may lie below the cut
_LEAST_FOUND = 0.8  # the share of the cohort's negatives that must lie below it, or the cohort is too varied to tell


class Layout(Versioned):
    """The mean coarse image of a cohort, and how little an image of its kind is like it."""

    images: int
    patients: int
    cells: tuple[float, ...]  # row by row, of normalised images
    cut: float  # at most 0: images whose correlation with `cells` is smaller are more like a negative

    def is_negative(self, pixels: NDArray[np.uint16]) -> bool:
        """Whether a preprocessed image (size, size) is more like a negative of the cohort's images than like them."""
        return bool(_normalised(_coarse(pixels)) @ _normalised(np.array(self.cells)) < self.cut)


def describe_layout(pixels: Sequence[NDArray[np.uint16]], patients: Sequence[str]) -> Layout | None:
    """The layout of preprocessed images (size, size); None of a cohort that is too small or too varied to tell.

    Each image is compared with those of other patients. The cut is the correlation below which one in 200 of them lies,
    at most 0.
    """
    if len(pixels) < _LEAST_IMAGES:
        return None
    own = np.array([_normalised(_coarse(one)) for one in pixels])
    turned = np.array([_normalised(_coarse(negative(one))) for one in pixels])
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), own.shape[1]))
    np.add.at(sums, owner, own)
    others = np.array([_normalised(cells) for cells in sums.sum(axis=0) - sums[owner]])
    cut = min(0.0, float(np.sort((own * others).sum(axis=1))[int(_FALSE_ALARMS * len(own))]))
    if np.mean((turned * others).sum(axis=1) < cut) < _LEAST_FOUND:
        return None
    cells = np.round(_normalised(sums.sum(axis=0)), 4)
    return Layout(images=len(own), patients=len(names), cells=tuple(cells.tolist()), cut=round(cut, 4))


def negative(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """A preprocessed image as its negative would be: black and white change places, but not in the black padding."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    found = np.array(pixels)
    if len(rows):
        inside = found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        np.subtract(np.uint16(65535), inside, out=inside)
    return found


def _coarse(pixels: NDArray[np.uint16]) -> NDArray[np.float64]:
    cells = cv2.resize(np.asarray(pixels, dtype=np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, dtype=np.float64).ravel()


def _normalised(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and length 1; all 0 where nothing varies."""
    centred = cells - cells.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length > 1e-9 else np.zeros_like(centred)
