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

LONGEST_SIDE = 1600  # pixels of the picture that is sent
HEATMAP_SIDE = 160  # cells of the grid that is sent; a class-activation map has 10 to 32
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
    strength: float  # of the strongest cell, logit units
    scale: float  # what is drawn as full colour, logit units; the same for every image


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


def encode_heatmap(heatmap: NDArray[np.float32], *, scale: float, strength: float) -> HeatmapGrid:
    """A heatmap (rows, columns) in logit units as a HeatmapGrid that covers the same picture.

    Args:
        heatmap: ≥ 0, logit units.
        scale: what is drawn as full colour, logit units.
        strength: as the Explanation says it: the strongest cell, which may lie between two pixels.
    """
    shrink = min(1.0, HEATMAP_SIDE / max(heatmap.shape))
    rows, columns = (max(1, round(side * shrink)) for side in heatmap.shape)
    small = cv2.resize(heatmap, (columns, rows), interpolation=cv2.INTER_AREA)
    cells = np.rint(np.clip(np.asarray(small) / scale, 0, 1) * 255).astype(np.uint8)
    return HeatmapGrid(rows, columns, zlib.compress(cells.tobytes(), 6), strength, scale)


def colours() -> list[int]:
    """The 256 colours of every heatmap that medres draws, as 768 numbers R, G, B, R, …"""
    ramp = np.arange(256, dtype=np.uint8)[None]
    return [int(value) for value in cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[0, :, ::-1].ravel()]


def pack(picture: EncodedPicture, grid: HeatmapGrid, words: Mapping[str, str | bool]) -> bytes:
    """One message to the viewer: a length (uint32, little-endian), a JSON header of that length, and the two parts.

    Args:
        picture: the radiograph.
        grid: the heatmap over it.
        words: what else the viewer shows; goes into the header as it is.
    """
    header = json.dumps(
        {
            **words,
            "picture": {"rows": picture.rows, "columns": picture.columns, "bytes": len(picture.pixels)},
            "heatmap": {"rows": grid.rows, "columns": grid.columns, "bytes": len(grid.cells)},
            "levels": LEVELS,
            "colours": colours(),
        }
    ).encode()
    return len(header).to_bytes(4, "little") + header + picture.pixels + grid.cells
