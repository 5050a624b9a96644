"""A radiograph as a viewer is given it: plain data, which also travel between processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medres.records import Shutter


@dataclass(frozen=True, slots=True)
class NamedWindow:
    """A window that the header offers, in modality units."""

    name: str  # WindowCenterWidthExplanation, else its number
    center: float
    width: float
    function: str  # LINEAR, LINEAR_EXACT or SIGMOID


@dataclass(frozen=True, slots=True)
class Spacing:
    """The size of a pixel."""

    row: float  # millimetres from one row to the next
    column: float  # from one column to the next
    keyword: str  # the attribute that says so
    where: str  # in words: where a millimetre is one


@dataclass(frozen=True, slots=True)
class Presentation:
    """One radiograph, ready to be windowed by a viewer."""

    levels: NDArray[np.uint16]  # (rows, columns): the stored value is `first` + `step` × level
    rows: int  # native
    columns: int  # native
    first: float
    step: float
    count: int  # of levels
    modality: NDArray[np.float32]  # (1, count), the modality value of each level
    inverted: bool  # MONOCHROME1
    padding: tuple[int, int] | None  # levels that are no part of the image, both ends included
    windows: tuple[NamedWindow, ...]
    table_names: tuple[str, ...]
    tables: NDArray[np.uint16]  # (names, count), 65535 × the display value of each level, polarity included
    chosen: int  # what is shown first, of the windows and then the tables: the header's choice
    spacing: Spacing | None
    pixel_aspect_ratio: float  # height ÷ width of one pixel
    edges: tuple[str, str, str, str]  # which side of the patient lies left, right, above, below; "" where unknown
    shutter: Shutter | None
    left_limb: bool = False  # of a left limb: networks may be given its mirror image
