"""Where a heatmap is strong, in numbers: its peak, and boxes around what its contour holds, in native pixels and mm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_ASPECT_LIMIT = 16.0  # beyond 16:1 a spacing is a typing error, not a detector
_LARGEST = 10.0  # mm; no detector has such pixels


@dataclass(frozen=True, slots=True)
class Region:
    """One connected region above the contour, in native pixels; pixels that touch at a corner are connected."""

    x: int  # the leftmost column, counted from 0
    y: int  # the topmost row
    width: int
    height: int
    pixels: int  # its area


@dataclass(frozen=True, slots=True)
class Measures:
    """A heatmap in numbers, in native pixels; points count from the centre of the first pixel."""

    peak: tuple[float, float] | None  # row and column; None of a map that is the same everywhere
    regions: tuple[Region, ...]  # largest first

    @property
    def pixels(self) -> int:
        """The area of all regions."""
        return sum(region.pixels for region in self.regions)


@dataclass(frozen=True, slots=True)
class Spacing:
    """How large a pixel is, and which attribute says so."""

    row: float  # mm from one row's centre to the next
    column: float
    source: str
    """ImagerPixelSpacing: at the detector, where all is larger than in the patient by the geometric magnification.
    PixelSpacing: corrected for that where both differ; alone it may be either."""


def measure(heatmap: NDArray[np.float32], level: float) -> Measures:
    """The peak of a heatmap, and the regions at or above a level.

    Args:
        heatmap: native (rows, columns).
        level: above 0, in the heatmap's unit.
    """
    return Measures(_peak(heatmap), _regions(heatmap >= level))


def _peak(heatmap: NDArray[np.float32]) -> tuple[float, float] | None:
    """The strongest point: of the largest plateau of equal maxima, the pixel nearest to its middle."""
    highest = heatmap.max()
    if highest <= 0 or highest == heatmap.min():
        return None
    _, names, found, centres = cv2.connectedComponentsWithStats((heatmap == highest).astype(np.uint8), connectivity=8)
    largest = 1 + int(np.argmax(found[1:, cv2.CC_STAT_AREA]))
    points = np.argwhere(names == largest)
    middle = centres[largest][::-1]
    row, column = points[np.argmin(((points - middle) ** 2).sum(axis=1))]
    return float(row), float(column)


def _regions(inside: NDArray[np.bool_]) -> tuple[Region, ...]:
    count, _, found, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    regions = [Region(*map(int, found[number])) for number in range(1, count)]
    return tuple(sorted(regions, key=lambda region: (-region.pixels, region.y, region.x)))


def spacing_of(attributes: Mapping[str, str]) -> Spacing | None:
    """What a header says of the size of its pixels; None where it says nothing that can be one.

    A PixelSpacing that equals ImagerPixelSpacing was copied from it, not calibrated (PS3.3 10.7.1.3), and counts as it.

    Args:
        attributes: as a Radiograph has them: "row spacing\\\\column spacing" of both keywords.

    >>> spacing_of({"PixelSpacing": "0.2\\\\0.1", "ImagerPixelSpacing": "0.3\\\\0.3"})
    Spacing(row=0.2, column=0.1, source='PixelSpacing')
    """
    own, detector = (_sizes(attributes.get(name, "")) for name in ("PixelSpacing", "ImagerPixelSpacing"))
    if own is not None and own != detector:
        return Spacing(*own, "PixelSpacing")
    return Spacing(*detector, "ImagerPixelSpacing") if detector is not None else None


def _sizes(text: str) -> tuple[float, float] | None:
    try:
        row, column = map(float, text.split("\\"))
    except ValueError:
        return None
    sound = all(math.isfinite(size) and 0 < size <= _LARGEST for size in (row, column))
    return (row, column) if sound and 1 / _ASPECT_LIMIT <= row / column <= _ASPECT_LIMIT else None
