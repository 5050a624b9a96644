"""Heatmaps encoded for the browser, which draws them over the radiograph itself."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.imaging.pictures import CONTOUR, colour

HEATMAP_SIDE = 160  # cells of the grid that is sent; a class-activation map has 10 to 32
CONTOUR_SIDE = 480  # pixels of the longer side of the map, made larger or smaller, in which contours are found


@dataclass(frozen=True, slots=True)
class HeatmapGrid:
    """A heatmap for the browser."""

    rows: int
    columns: int
    cells: bytes  # deflated uint8: 255 × min(heatmap ÷ scale, 1)
    strength: float  # of the strongest cell, in `unit`
    scale: float  # what is drawn as full colour; of logits the same for every image
    unit: str = "logit"  # "" where the method has none: then the scale is this image's own
    contour: float = CONTOUR  # part of the scale
    lines: tuple[tuple[float, ...], ...] = ()  # of the contour: x, y, x, y, …, parts of width and height


def encode_heatmap(heatmap: NDArray[np.float32], *, scale: float, strength: float, unit: str = "logit") -> HeatmapGrid:
    """A heatmap (rows, columns) as a HeatmapGrid that covers the same picture.

    Args:
        heatmap: in `unit`; what is negative speaks against the label, and is not drawn.
        scale: what is drawn as full colour.
        strength: as the Explanation says it: the strongest cell, which may lie between two pixels.
        unit: `logit`, or "".
    """
    shrink = min(1.0, HEATMAP_SIDE / max(heatmap.shape))
    rows, columns = (max(1, round(side * shrink)) for side in heatmap.shape)
    small = cv2.resize(heatmap, (columns, rows), interpolation=cv2.INTER_AREA)
    cells = np.rint(np.clip(np.asarray(small) / scale, 0, 1) * 255).astype(np.uint8)
    packed = zlib.compress(cells.tobytes(), 6)
    return HeatmapGrid(rows, columns, packed, strength, scale, unit, CONTOUR, _lines(heatmap, CONTOUR * scale))


def _lines(heatmap: NDArray[np.float32], level: float) -> tuple[tuple[float, ...], ...]:
    """Where regions at or above a level end, in parts of the picture."""
    times = CONTOUR_SIDE / max(heatmap.shape)
    rows, columns = (max(1, round(side * times)) for side in heatmap.shape)
    mode = cv2.INTER_AREA if times < 1 else cv2.INTER_LINEAR
    inside = np.asarray(cv2.resize(heatmap, (columns, rows), interpolation=mode)) >= level
    lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    points = [(line.reshape(-1, 2) + 0.5) / (columns, rows) for line in lines]
    return tuple(tuple(round(float(part), 4) for part in line.ravel()) for line in points)


def colours() -> list[int]:
    """The 256 colours of every heatmap that medres draws, as 768 numbers R, G, B, R, …"""
    return [int(value) for value in colour(np.linspace(0, 1, 256, dtype=np.float32)[None]).ravel()]
