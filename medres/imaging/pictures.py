"""Pictures people look at: radiographs and heatmaps as 8-bit images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.errors import UsageError
from medres.files import replaced, write_bytes

CONTOUR = 0.5
"""Where a heatmap's contour lies unless somebody chooses: at half of full colour.

Half of a peak's height is what its width is measured at; on phantoms a blob's own outline lies near it. A map that
reaches no such value anywhere in the image has no contour: weak maps outline nothing.
"""

COLOURS = cv2.COLORMAP_INFERNO
"""Perceptually uniform and told apart by readers who are blind to red or green; brightness alone orders it."""

_ROWS = 256  # that are blended at a time
_STRONGEST = 0.6  # opacity of a heatmap at full colour
_LINE = 450  # a contour is this part of the longer side thick, and two pixels at least


def may_be_exported(attributes: Mapping[str, str]) -> bool:
    """Whether BurnedInAnnotation says that the pixels hold no name (PS3.3 C.7.6.1.1): only then they leave DICOM."""
    return attributes.get("BurnedInAnnotation") == "NO"


def name_may_show(attributes: Mapping[str, str]) -> str:
    """Why there may be no picture of a radiograph, in words; "" where there may."""
    if may_be_exported(attributes):
        return ""
    return f"BurnedInAnnotation is {attributes.get('BurnedInAnnotation') or 'absent'}: the pixels may hold a name"


def as_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Display values [0, 1] as uint8, rounded."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def overlay(
    pixels: NDArray[np.float32] | NDArray[np.uint8],
    heatmap: NDArray[np.float32],
    *,
    scale: float,
    contour: float = 0.0,
) -> NDArray[np.uint8]:
    """A radiograph with a heatmap over it, uint8 (rows, columns, 3), RGB.

    Colour and opacity grow with heatmap ÷ scale and end at 1: the same value looks the same on every image, and a
    weak map stays weak. What is negative speaks against a label, and has no colour.

    Args:
        pixels: the radiograph, (rows, columns): float32 in [0, 1], or uint8.
        heatmap: (rows, columns), logit units.
        scale: the value drawn as full colour, logit units.
        contour: the part of `scale` whose contour is drawn; 0: none.
    """
    blended = np.empty((*pixels.shape, 3), np.uint8)
    for start in range(0, len(pixels), _ROWS):  # the whole in float32 would be many times as large as the picture
        rows = slice(start, start + _ROWS)
        strength = np.clip(heatmap[rows] / scale, 0, 1)
        shown = pixels[rows]
        gray: NDArray[np.float32] = shown.astype(np.float32)
        blended[rows] = blend(gray if shown.dtype == np.uint8 else np.clip(gray, 0, 1) * 255, strength)
    if contour > 0:
        _outline(blended, heatmap >= contour * scale)
    return blended


def blend(gray: NDArray[np.float32], strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Gray levels (rows, columns) in [0, 255] under the colours of strengths in [0, 1]."""
    colours = colour(strength).astype(np.float32)
    opacity = (_STRONGEST * strength)[:, :, None]
    blended: NDArray[np.uint8] = np.rint(gray[:, :, None] * (1 - opacity) + colours * opacity).astype(np.uint8)
    return blended


def colour(strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The colours of strengths (rows, columns) in [0, 1], RGB: those of every heatmap that medres draws."""
    return np.asarray(cv2.applyColorMap(as_bytes(strength), COLOURS)[:, :, ::-1], dtype=np.uint8)


def _outline(picture: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    """Draw where regions end: a white line with a dark edge, which shows on every gray and every colour."""
    lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    width = max(2, round(max(picture.shape) / _LINE))
    for shade, thick in ((0, width + 1 + width // 2), (255, width)):
        cv2.drawContours(picture, lines, -1, (shade, shade, shade), thick, cv2.LINE_AA)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write uint8 (rows, columns) or (rows, columns, 3) RGB as PNG, atomically.

    Raises:
        UsageError: the folder cannot be written.
    """
    encoded, data = cv2.imencode(".png", picture if picture.ndim == 2 else picture[:, :, ::-1])
    if not encoded:
        raise UsageError(f"{path} could not be encoded as PNG")
    try:
        write_bytes(path, data.tobytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def refuse_burned_in(path: Path, attributes: Mapping[str, str], *, allowed: bool) -> None:
    """Stop before a picture is written whose pixels may hold a patient's name; numbers (`.npy`) are no picture.

    Raises:
        UsageError: BurnedInAnnotation is not NO, and nobody has said that this is allowed.
    """
    if path.suffix != ".npy" and not allowed and not may_be_exported(attributes):
        found = attributes.get("BurnedInAnnotation") or "absent"
        raise UsageError(
            f"BurnedInAnnotation is {found}: the pixels may hold a patient's name. "
            "After a look at the image, --allow-burned-in writes the picture"
        )


def write_picture(path: Path, values: NDArray[np.float32], picture: NDArray[np.uint8]) -> None:
    """Write what the file name asks for: `.npy` the float32 values, `.png` the picture.

    Raises:
        UsageError: another ending, or the folder cannot be written.
    """
    if path.suffix.lower() == ".png":
        write_png(path, picture)
    elif path.suffix.lower() == ".npy":
        write_array(path, values)
    else:
        raise UsageError(f"{path}: the name must end in .png (a picture) or .npy (float32 values)")


def write_array(path: Path, values: NDArray[np.float32]) -> None:
    """Write values as float32 in NumPy's format, atomically.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        with replaced(path) as file:
            np.save(file, values.astype(np.float32, copy=False))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
