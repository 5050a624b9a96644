"""What a header shows of an image: its grayscale chain, with alternatives where that shows nothing, and its shutter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medres.errors import Refused
from medres.imaging import header
from medres.imaging.grayscale import GrayscaleReading
from medres.imaging.rendering import (
    Grayscale,
    Histogram,
    LookupTable,
    Voi,
    display_values,
    middle_span,
    replace_levels,
)
from medres.records import Shutter

LEAST_SPAN = 0.10
"""Part of the display range that the middle 98 % of a radiograph's pixels must span, or a human must look.

Measured: of 3,800 real radiographs (2,800 knees, 1,000 chests) the flattest spans 0.14, by its header and over its full
stored range, and 0.68 between its percentiles. Values of 12 bits that a header says are 16 can span 0.06 at most.
"""

_EDGES = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """An image as it is shown."""

    pixels: NDArray[np.float32]  # (rows, columns), [0, 1], higher = brighter
    voi: str  # what spans black to white
    warnings: tuple[str, ...]  # keys of errors.WARNINGS
    review: tuple[str, ...]  # keys of errors.REASONS for which a human must look


def show(
    stored: NDArray[np.integer[Any]], chain: GrayscaleReading, *, voi: Voi, percentiles: tuple[float, float]
) -> Rendered:
    """Render stored values by the header's chain.

    Where its VOI LUT shows one shade of gray its window is taken instead, and where that does, the full stored range.

    Args:
        stored: (rows, columns), bits and sign resolved.
        chain: what the header says.
        voi: what spans black to white.
        percentiles: lower and upper, of `voi="percentile"`.

    Raises:
        Refused: NO_CONTRAST where every pixel is the same; BAD_GRAYSCALE where a result is not finite.
    """
    histogram = Histogram.of(stored)
    shown, grayscale, which, name, warnings = shown_levels(histogram, chain, voi=voi, percentiles=percentiles)
    review = ["LUT_DEPTH"] if _depth_is_doubtful(grayscale, which) else []
    if middle_span(histogram, shown, grayscale) < LEAST_SPAN:
        review.append("LOW_CONTRAST")
    return Rendered(replace_levels(stored, histogram, shown), name, warnings, tuple(review))


class Shown(NamedTuple):
    """What each stored value of an image becomes, and how."""

    values: NDArray[np.float32]  # of each of the histogram's levels, [0, 1]
    grayscale: Grayscale  # the chain that did it
    voi: Voi
    name: str  # what spans black to white
    warnings: tuple[str, ...]  # keys of errors.WARNINGS


def shown_levels(histogram: Histogram, chain: GrayscaleReading, *, voi: Voi, percentiles: tuple[float, float]) -> Shown:
    """The display value of each level of an image; arguments and errors are those of `show`."""
    tried = list(_alternatives(chain, voi))
    for number, (grayscale, which, name, warnings) in enumerate(tried):
        try:
            shown = display_values(histogram, grayscale, voi=which, percentiles=percentiles)
        except Refused as refusal:
            if refusal.code != "NO_CONTRAST" or number == len(tried) - 1:
                raise
            continue
        return Shown(shown, grayscale, which, name, warnings)
    raise AssertionError("there is always one way to show an image")


def _alternatives(chain: GrayscaleReading, voi: Voi) -> Iterator[tuple[Grayscale, Voi, str, tuple[str, ...]]]:
    """The chains to try in turn: each with its policy, what it is called, and what is doubtful where it is used."""
    if voi != "header":
        yield chain.grayscale, voi, voi, ()
        return
    yield chain.grayscale, "header", chain.voi_source, ()
    if isinstance(chain.grayscale.voi, LookupTable) and chain.window is not None:
        yield replace(chain.grayscale, voi=chain.window), "header", chain.window_source, ("VOI_LUT_UNUSABLE",)
    if chain.grayscale.voi is not None:
        yield chain.grayscale, "full", "full", ("BAD_WINDOW",)


def _depth_is_doubtful(grayscale: Grayscale, voi: Voi) -> bool:
    """Does white depend on a lookup table whose entries have another depth than it says?

    That is the VOI LUT's depth; without a window or VOI LUT it is the Modality LUT's.
    """
    table = grayscale.voi if voi == "header" and grayscale.voi is not None else grayscale.modality_lut
    return voi != "percentile" and isinstance(table, LookupTable) and table.doubtful


def read_shutter(dataset: Dataset) -> Shutter | None:
    """The display shutter (PS3.3 C.7.6.11), of enhanced objects that of the frame (C.7.6.16.2); None without one."""
    where = header.functional_group(dataset, "FrameDisplayShutterSequence", "ShutterShape")
    said = tuple(header.clean(str(value))[0].upper() for value in header.values(where, "ShutterShape") or ())
    shapes = tuple(shape for shape in said if header.is_code(shape))
    if not shapes:
        return None
    edges = tuple(header.integer(where, keyword) for keyword in _EDGES)
    centre, radius = _whole(where, "CenterOfCircularShutter"), header.integer(where, "RadiusOfCircularShutter")
    corners = _whole(where, "VerticesOfThePolygonalShutter")
    return Shutter(
        shapes=shapes,
        rectangle=edges if "RECTANGULAR" in shapes and None not in edges else None,  # type: ignore[arg-type]
        circle=(*centre, radius) if "CIRCULAR" in shapes and len(centre) == 2 and radius is not None else None,
        polygon=tuple(zip(corners[::2], corners[1::2], strict=False)) if "POLYGONAL" in shapes else (),
    )


def _whole(dataset: Dataset, keyword: str) -> tuple[int, ...]:
    found = header.numbers(dataset, keyword)
    return tuple(int(value) for value in found) if all(map(math.isfinite, found)) else ()
