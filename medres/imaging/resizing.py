"""Arrays become larger or smaller: pixels that are averaged or interpolated, also from a smaller copy of an image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.records import Sampling


def resize(
    pixels: NDArray[np.float32], height: int, width: int, sampling: Sampling | None = None
) -> NDArray[np.float32]:
    """Resize in one step, or in one a direction where one shrinks (pixels averaged) and the other grows (bilinear).

    Args:
        pixels: (rows, columns).
        height: rows of the result.
        width: columns of the result.
        sampling: where the pixels lie, if they are a smaller copy: the result is as if made of all pixels, and smaller.
    """
    if sampling:
        return _averages(pixels, sampling, height, width)
    rows, columns = pixels.shape
    if height <= rows and width <= columns:
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    if height >= rows and width >= columns:
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR))
    shrunk = (min(width, columns), min(height, rows))
    smaller = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(smaller, (width, height), interpolation=cv2.INTER_LINEAR))


def _averages(pixels: NDArray[np.float32], sampling: Sampling, height: int, width: int) -> NDArray[np.float32]:
    """What shrinking the native image to (height, width) averages, taken from a smaller copy, each where it lies.

    A pixel of the copy stands for the native pixels around its centre; the last row and column go on to the edge. What
    a rectangle holds is a difference of sums from the corner, which between whole pixels are bilinear.
    """
    padded = cv2.copyMakeBorder(pixels, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    sums = np.asarray(cv2.integral(padded, sdepth=cv2.CV_64F))
    for native, parts in ((sampling.rows, height), (sampling.columns, width)):
        edges = np.arange(parts + 1) * (native / parts) - 0.5  # native
        cells = (edges - sampling.first) / sampling.step + 0.5
        lower = cells.astype(np.intp)
        share = (cells - lower)[:, None]
        between = sums[lower] * (1 - share) + sums[np.minimum(lower + 1, len(sums) - 1)] * share
        sums = np.diff(between, axis=0).T * (sampling.step * parts / native)  # the other axis comes first now
    return sums.astype(np.float32)


def interpolation(cells: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """The matrix (positions × cells) that interpolates a line of `side` cells linearly at these positions."""
    inside = np.clip(cells, 0.0, side - 1)
    lower = np.minimum(inside.astype(np.intp), max(side - 2, 0))
    part = inside - lower
    matrix = np.zeros((len(cells), side), np.float32)
    rows = np.arange(len(cells))
    matrix[rows, lower] = 1.0 - part
    matrix[rows, np.minimum(lower + 1, side - 1)] += part
    return matrix
