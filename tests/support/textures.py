"""Pictures with details of every size, and what people do to copies of them."""

from __future__ import annotations

import cv2
import numpy as np


def texture(seed: int, size: int = 256) -> np.ndarray:
    """Something with details of every size, as radiographs have; uint8."""
    rng = np.random.default_rng(seed)
    found = sum(
        scale * cv2.resize(rng.normal(size=(size // scale, size // scale)), (size, size), interpolation=cv2.INTER_CUBIC)
        for scale in (4, 8, 16, 32, 64)
    )
    return np.clip(128 + 60 * found / found.std(), 1, 255).astype(np.uint8)


def without_edges(pixels: np.ndarray, parts: tuple[float, float, float, float]) -> np.ndarray:
    rows, columns = pixels.shape
    top, bottom, left, right = parts
    return pixels[round(top * rows) : round((1 - bottom) * rows), round(left * columns) : round((1 - right) * columns)]


def brighter(pixels: np.ndarray, contrast: float, shift: float) -> np.ndarray:
    return np.clip(pixels * contrast + shift, 0, 255).astype(np.uint8)


def turned_by(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about its middle; what the turn leaves empty is black."""
    rows, columns = pixels.shape
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(pixels, matrix, (columns, rows), borderMode=cv2.BORDER_CONSTANT))
