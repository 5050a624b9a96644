"""Pictures people look at: radiographs and heatmaps as 8-bit images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.errors import UsageError
from medres.files import replaced, write_bytes

_ROWS = 256  # that are blended at a time
_STRONGEST = 0.6  # opacity of a heatmap at full colour


def may_be_exported(attributes: Mapping[str, str]) -> bool:
    """Whether BurnedInAnnotation says that the pixels hold no name (PS3.3 C.7.6.1.1): only then they leave DICOM."""
    return attributes.get("BurnedInAnnotation") == "NO"


def as_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Display values [0, 1] as uint8, rounded."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def overlay(
    pixels: NDArray[np.float32] | NDArray[np.uint8], heatmap: NDArray[np.float32], *, scale: float
) -> NDArray[np.uint8]:
    """A radiograph with a heatmap over it, uint8 (rows, columns, 3), RGB.

    Colour and opacity grow with heatmap ÷ scale and end at 1: the same value looks the same on every image, and a
    weak map stays weak.

    Args:
        pixels: the radiograph, (rows, columns): float32 in [0, 1], or uint8.
        heatmap: (rows, columns), ≥ 0, logit units.
        scale: the value drawn as full colour, logit units.
    """
    blended = np.empty((*pixels.shape, 3), np.uint8)
    for start in range(0, len(pixels), _ROWS):  # the whole in float32 would be many times as large as the picture
        rows = slice(start, start + _ROWS)
        strength = np.clip(heatmap[rows] / scale, 0, 1)
        colours = cv2.applyColorMap(as_bytes(strength), cv2.COLORMAP_INFERNO)[:, :, ::-1].astype(np.float32)
        opacity = (_STRONGEST * strength)[:, :, None]
        shown = pixels[rows]
        gray = shown.astype(np.float32) if shown.dtype == np.uint8 else np.clip(shown, 0, 1) * 255
        blended[rows] = np.rint(gray[:, :, None] * (1 - opacity) + colours * opacity)
    return blended


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
        try:
            with replaced(path) as file:
                np.save(file, values.astype(np.float32, copy=False))
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    else:
        raise UsageError(f"{path}: the name must end in .png (a picture) or .npy (float32 values)")
