"""Radiographs and heatmaps encoded for the browser, which windows them itself.

PNG would be cut to 8 bits by a browser's canvas, which shows as bands once a narrow window is chosen. So pixels travel
as 12-bit values, differenced along rows and deflated: a browser undoes that in milliseconds, and windows without asking
the server again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.imaging.pictures import CONTOUR, colour

LONGEST_SIDE = 1600  # pixels of the picture that is sent
HEATMAP_SIDE = 160  # cells of the grid that is sent; a class-activation map has 10 to 32
_CONTOUR_SIDE = 480  # pixels of the longer side of the map, made larger or smaller, in which contours are found
LEVELS = 4096  # gray levels that are sent: 12 bits


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A radiograph for the browser."""

    rows: int  # of the picture that is sent; square pixels
    columns: int
    pixels: bytes  # deflated little-endian uint16, row by row, each value minus its left neighbour modulo 2**16


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


def encode_picture(pixels: NDArray[np.float32], *, pixel_aspect_ratio: float = 1.0) -> EncodedPicture:
    """Display values (rows, columns) in [0, 1] as a EncodedPicture of at most 1600 × 1600 square pixels.

    Args:
        pixels: the radiograph's display values.
        pixel_aspect_ratio: height ÷ width of one pixel.
    """
    height, width = pixels.shape[0] * max(pixel_aspect_ratio, 1.0), pixels.shape[1] / min(pixel_aspect_ratio, 1.0)
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    rows, columns = max(1, round(height * shrink)), max(1, round(width * shrink))
    if (rows, columns) != pixels.shape:
        smaller = rows <= pixels.shape[0] and columns <= pixels.shape[1]
        mode = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(pixels, (columns, rows), interpolation=mode), dtype=np.float32)
    levels = np.rint(np.clip(pixels, 0, 1) * (LEVELS - 1)).astype("<u2")
    levels[:, 1:] -= levels[:, :-1].copy()  # wraps modulo 2**16
    return EncodedPicture(rows, columns, zlib.compress(levels.tobytes(), 1))


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
    times = _CONTOUR_SIDE / max(heatmap.shape)
    rows, columns = (max(1, round(side * times)) for side in heatmap.shape)
    mode = cv2.INTER_AREA if times < 1 else cv2.INTER_LINEAR
    inside = np.asarray(cv2.resize(heatmap, (columns, rows), interpolation=mode)) >= level
    lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    points = [(line.reshape(-1, 2) + 0.5) / (columns, rows) for line in lines]
    return tuple(tuple(round(float(part), 4) for part in line.ravel()) for line in points)


def colours() -> list[int]:
    """The 256 colours of every heatmap that medres draws, as 768 numbers R, G, B, R, …"""
    return [int(value) for value in colour(np.linspace(0, 1, 256, dtype=np.float32)[None]).ravel()]


def pack(picture: EncodedPicture, grid: HeatmapGrid | None, words: Mapping[str, str | bool]) -> bytes:
    """One message to the viewer: a length (uint32, little-endian), a JSON header of that length, and the two parts.

    Args:
        picture: the radiograph.
        grid: the heatmap over it; None: there is none to show.
        words: what else the viewer shows; goes into the header as it is.
    """
    header = json.dumps(
        {
            **words,
            "picture": {"rows": picture.rows, "columns": picture.columns, "bytes": len(picture.pixels)},
            "heatmap": {"rows": grid.rows, "columns": grid.columns, "bytes": len(grid.cells)} if grid else None,
            "contour": {"part": grid.contour, "lines": grid.lines} if grid else None,
            "levels": LEVELS,
            "colours": colours(),
        }
    ).encode()
    return len(header).to_bytes(4, "little") + header + picture.pixels + (grid.cells if grid else b"")
