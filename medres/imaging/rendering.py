"""From stored values to what a screen shows: the grayscale chain of PS3.3 as pure functions, array in, array out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medres.errors import Refused

WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
WINDOW_FUNCTIONS: tuple[str, ...] = get_args(WindowFunction)
Values = NDArray[np.float64]
_LARGEST_TABLE = 2**17  # span of stored values up to which they are counted in a table


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table of the Standard: the output values, and the input that the first of them belongs to (PS3.3 C.11.1.1)."""

    first: int
    values: Values
    highest: int  # the greatest value that an entry may have


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


def render(
    stored: NDArray[np.integer[Any]],
    grayscale: Grayscale,
    *,
    voi: Literal["header", "full", "percentile"] = "header",
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
    low, high = int(stored.min()), int(stored.max())
    if high - low < _LARGEST_TABLE:
        places = np.subtract(stored, low, dtype=np.intp)
        counts = np.bincount(places.reshape(-1), minlength=high - low + 1)
        levels = np.flatnonzero(counts)
        table = np.zeros(high - low + 1, np.float32)
        table[levels] = _shown(levels + low, counts[levels], grayscale, voi, percentiles)
    else:
        levels, places, counts = np.unique(stored, return_inverse=True, return_counts=True)
        table = _shown(levels, counts, grayscale, voi, percentiles)
    display: NDArray[np.float32] = np.take(table, places).reshape(stored.shape)
    return display


def _shown(
    levels: NDArray[np.integer[Any]],
    counts: NDArray[np.integer[Any]],
    grayscale: Grayscale,
    voi: Literal["header", "full", "percentile"],
    percentiles: tuple[float, float],
) -> NDArray[np.float32]:
    """The display value of every stored value that occurs: each step maps one value to one value."""
    image = np.ones(len(levels), dtype=bool)
    if grayscale.padding is not None:
        image = (levels < grayscale.padding[0]) | (levels > grayscale.padding[1])
    if image.sum() < 2:
        raise Refused("NO_CONTRAST", "all pixels have the same value")
    values = apply_modality(levels, grayscale)
    if not np.isfinite(values).all():
        raise Refused("BAD_GRAYSCALE", "the rescaled values are not finite numbers")
    if voi == "header" and isinstance(grayscale.voi, Window):
        shown = apply_window(values, grayscale.voi)
    elif voi == "header" and isinstance(grayscale.voi, LookupTable):
        shown = look_up(values, grayscale.voi) / grayscale.voi.highest
    elif voi == "percentile":
        shown = stretch(values, *percentile_range(values[image], counts[image], percentiles))
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
