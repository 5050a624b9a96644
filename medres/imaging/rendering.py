"""From stored values to what a screen shows: the grayscale chain of PS3.3 as pure functions, array in, array out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.errors import Refused

WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
Voi = Literal["header", "full", "percentile"]
"""What spans black to white: the header's window or table, the full stored range, or percentiles of the image."""

WINDOW_FUNCTIONS: tuple[str, ...] = get_args(WindowFunction)
Values = NDArray[np.float64]
_EXACT_IN_FLOAT = 2**24  # float32 counts exactly up to here
_MIDDLE = (1.0, 99.0)  # percentiles


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table of the Standard: the output values, and the input that the first of them belongs to (PS3.3 C.11.1.1)."""

    first: int
    values: Values
    highest: int  # the greatest value that an entry may have
    doubtful: bool = False  # what it says of its depth is not what its entries have, which is what `highest` follows


@dataclass(frozen=True, slots=True)
class Window:
    """A window over modality values (PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: WindowFunction = "LINEAR"


@dataclass(frozen=True, slots=True)
class Grayscale:
    """The grayscale chain of one image, all of it declared."""

    stored_range: tuple[int, int]  # least and greatest value that the stored bits can hold
    inverted: bool  # MONOCHROME1: the least value is white
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookupTable | None = None  # goes before slope and intercept
    padding: tuple[int, int] | None = None  # stored values that are no part of the image, both ends included
    voi: LookupTable | Window | None = None  # None: the full range


@dataclass(frozen=True, slots=True)
class Histogram:
    """Which stored values occur in an image, and how often: all that any step of the chain needs to know of it."""

    levels: NDArray[np.int64]  # in rising order
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, stored: NDArray[np.integer[Any]]) -> Histogram:
        """Count the values of an image, (rows, columns)."""
        if stored.dtype.itemsize > 2:
            levels, counts = np.unique(stored, return_counts=True)
            return cls(levels.astype(np.int64), counts.astype(np.int64))
        cells = _as_cells(stored)
        size = 256**stored.dtype.itemsize
        found = np.zeros(size, np.int64)
        rows = max(1, _EXACT_IN_FLOAT // max(1, stored.shape[1]))
        for first in range(0, len(cells), rows):  # OpenCV counts in float32
            found += (
                cv2.calcHist([cells[first : first + rows]], [0], None, [size], [0, size]).reshape(-1).astype(np.int64)
            )
        places = np.flatnonzero(found)
        levels = places.astype(cells.dtype).view(stored.dtype).astype(np.int64)
        order = np.argsort(levels, kind="stable")  # negative values lie above the positive ones
        return cls(levels[order], found[places][order])


def _as_cells(stored: NDArray[np.integer[Any]]) -> NDArray[np.unsignedinteger[Any]]:
    """The same memory as unsigned integers, which OpenCV takes as indices."""
    return np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")


def render(
    stored: NDArray[np.integer[Any]],
    grayscale: Grayscale,
    *,
    voi: Voi = "header",
    percentiles: tuple[float, float] = (0.5, 99.5),
) -> NDArray[np.float32]:
    """Stored values become display values: modality, then VOI, then polarity, then [0, 1], higher = brighter.

    Padding is left out of every statistic and drawn black (PS3.3 C.7.5.1.1.2).

    Args:
        stored: (rows, columns), bits and sign resolved.
        grayscale: the header's chain.
        voi: the header's window or table, the full stored range, or percentiles of the image.
        percentiles: lower and upper, of `voi="percentile"`.

    Returns:
        float32 (rows, columns) in [0, 1].

    Raises:
        Refused: NO_CONTRAST where every pixel is the same; BAD_GRAYSCALE where a result is not finite.
    """
    histogram = Histogram.of(stored)
    return replace_levels(stored, histogram, display_values(histogram, grayscale, voi=voi, percentiles=percentiles))


def replace_levels(
    stored: NDArray[np.integer[Any]], histogram: Histogram, shown: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The image in which every stored value is replaced by its display value.

    Args:
        stored: (rows, columns).
        histogram: of `stored`.
        shown: the display value of each of the histogram's levels.
    """
    if stored.dtype.itemsize > 2:
        return np.asarray(shown[np.searchsorted(histogram.levels, stored)])
    table = np.zeros(256**stored.dtype.itemsize, np.float32)
    table[histogram.levels.astype(stored.dtype).view(f"u{stored.dtype.itemsize}")] = shown
    cells = _as_cells(stored)
    try:
        return np.asarray(cv2.LUT(cells, table), dtype=np.float32)
    except cv2.error:  # before version 5 OpenCV takes no table of 65,536 entries
        return np.take(table, cells)


def middle_span(histogram: Histogram, shown: NDArray[np.float32], grayscale: Grayscale) -> float:
    """The part of the display range that the middle 98 % of the image's pixels span; padding does not count.

    Args:
        histogram: of the stored values.
        shown: the display value of each of its levels.
        grayscale: the chain that gave them.
    """
    image = _image_levels(histogram, grayscale)
    low, high = percentile_range(shown[image].astype(np.float64), histogram.counts[image], _MIDDLE)
    return high - low


def _image_levels(histogram: Histogram, grayscale: Grayscale) -> NDArray[np.bool_]:
    """Which levels are part of the image, and not padding."""
    if grayscale.padding is None:
        return np.ones(len(histogram.levels), dtype=bool)
    low, high = grayscale.padding
    return np.asarray((histogram.levels < low) | (histogram.levels > high))


def display_values(
    histogram: Histogram,
    grayscale: Grayscale,
    *,
    voi: Voi = "header",
    percentiles: tuple[float, float] = (0.5, 99.5),
) -> NDArray[np.float32]:
    """The display value of every stored value that occurs: each step maps one value to one value.

    Raises:
        Refused: as `render`.
    """
    image = _image_levels(histogram, grayscale)
    if image.sum() < 2:
        raise Refused("NO_CONTRAST", "all pixels have the same value")
    values = apply_modality(histogram.levels, grayscale)
    if not np.isfinite(values).all():
        raise Refused("BAD_GRAYSCALE", "the rescaled values are not finite numbers")
    if voi == "header" and isinstance(grayscale.voi, Window):
        shown = apply_window(values, grayscale.voi)
    elif voi == "header" and isinstance(grayscale.voi, LookupTable):
        shown = look_up(values, grayscale.voi) / grayscale.voi.highest
    elif voi == "percentile":
        shown = stretch(values, *percentile_range(values[image], histogram.counts[image], percentiles))
    else:
        shown = stretch(values, *full_range(grayscale))
    if not np.isfinite(shown).all():
        raise Refused("BAD_GRAYSCALE", "the header's grayscale values give something that is no number")
    shown = np.clip(1.0 - shown if grayscale.inverted else shown, 0.0, 1.0)
    if np.ptp(shown[image].astype(np.float32)) == 0.0:
        raise Refused("NO_CONTRAST", "the header's window or table gives all pixels the same value")
    return np.where(image, shown, 0.0).astype(np.float32)


def apply_modality(stored: NDArray[np.integer[Any]], grayscale: Grayscale) -> Values:
    """The Modality LUT, or else rescale slope and intercept (PS3.3 C.11.1)."""
    if grayscale.modality_lut is not None:
        return look_up(stored.astype(np.float64), grayscale.modality_lut)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        return stored.astype(np.float64) * grayscale.slope + grayscale.intercept


def look_up(values: Values, table: LookupTable) -> Values:
    """The table's entries; inputs beyond either end take the entry of that end (PS3.3 C.11.1.1.1)."""
    places = np.clip(np.rint(values) - table.first, 0, len(table.values) - 1).astype(np.int64)
    found: Values = table.values[places]
    return found


def apply_window(values: Values, window: Window) -> Values:
    """LINEAR (PS3.3 C.11.2.1.2.1), SIGMOID (C.11.2.1.3.1) or LINEAR_EXACT (C.11.2.1.3.2), to [0, 1].

    >>> apply_window(np.array([0.0, 2047.5, 4095.0]), Window(2048, 4096)).tolist()
    [0.0, 0.5, 1.0]
    """
    if window.function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - window.center) / window.width, -700.0, 700.0)))
    if window.function == "LINEAR_EXACT":
        return np.clip((values - window.center) / window.width + 0.5, 0.0, 1.0)
    if window.width == 1:
        return (values > window.center - 0.5).astype(np.float64)
    return np.clip((values - (window.center - 0.5)) / (window.width - 1.0) + 0.5, 0.0, 1.0)


def percentile_range(
    values: Values, counts: NDArray[np.integer[Any]], percentiles: tuple[float, float]
) -> tuple[float, float]:
    """The values that the given percentages of all pixels do not exceed; each is a value that occurs.

    Args:
        values: the distinct values.
        counts: how many pixels have each.
        percentiles: lower and upper, 0 to 100.

    >>> percentile_range(np.array([1.0, 2.0, 9.0]), np.array([1, 98, 1]), (0.5, 99.5))
    (1.0, 9.0)
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    places = np.searchsorted(reached, np.array(percentiles) / 100.0 * reached[-1], side="left")
    low, high = values[order][np.minimum(places, len(values) - 1)]
    return float(low), float(high)


def stretch(values: Values, low: float, high: float) -> Values:
    """Values from `low` (black) to `high` (white), linearly.

    Raises:
        Refused: NO_CONTRAST where `low` and `high` are equal.
    """
    if not high > low:
        raise Refused("NO_CONTRAST", "the values that should be black and white are the same")
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def full_range(grayscale: Grayscale) -> tuple[float, float]:
    """The modality values of the least and greatest stored value."""
    if grayscale.modality_lut is not None:
        return 0.0, float(grayscale.modality_lut.highest)
    ends = [value * grayscale.slope + grayscale.intercept for value in grayscale.stored_range]
    return min(ends), max(ends)
