"""Two images laid upon each other: how alike their details are where both show something.

What an image shows is cut out first: black that preprocessing padded, or that a turn left empty, is nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Pixels of a side of the images that are compared: enough to tell exposures apart, little to keep."""

COARSE = (1.0, 4.0)
"""Pixels: Gaussians whose difference is hashed, and aligned first: a small shift matters little."""

_DETAIL = (0.7, 3.0)  # pixels: Gaussians whose difference is correlated: finer, where exposures of one kind differ
_STEPS = 30  # most of an alignment
_WORTH_ALIGNING = 0.8  # after an alignment at half the size: what correlates less is no copy
_BORDER = 0.02  # of the brightest pixel: what counts as black around an image
_MARGIN = 4  # pixels along the border of what an image shows: a crop ends there, and edges spread that far
_SHARED = 0.4  # part of the square that both images must show


class Window(NamedTuple):
    """How a copy may lie in the image it was made from."""

    zoom: float = 1.0  # part of the side that a crop keeps
    top: float = 0.0  # where it begins, in parts of the side
    left: float = 0.0
    degrees: float = 0.0  # how far it is turned about its middle


WHOLE = Window()


def aligned_correlation(whole: NDArray[np.uint16], cropped: NDArray[np.uint16], window: Window = WHOLE) -> float:
    """The normalised correlation of two images' details where both show something, after affine alignment.

    Brightness and contrast do not matter. Source of the alignment: Evangelidis and Psarakis 2008 (ECC).

    Args:
        whole: (SIDE, SIDE); what `cropped` may be a part of.
        cropped: (SIDE, SIDE).
        window: about how `cropped` lies in `whole`.
    """
    masks = [_content_mask(image) for image in (whole, cropped)]
    details = [details_of(image, _DETAIL) for image in (whole, cropped)]
    coarse = [_halved(details_of(image, COARSE)) for image in (whole, cropped)]  # which lead astray less
    found = _aligned(coarse, [_halved(mask) for mask in masks], _at_scale(matrix_of(window), 0.5))
    rough = _at_scale(found, 2.0)
    value = _correlation(details, masks, rough)
    if value < _WORTH_ALIGNING:
        return value
    return max(value, _correlation(details, masks, _aligned(details, masks, rough)))


def _aligned(
    details: list[NDArray[np.float32]], masks: list[NDArray[np.uint8]], start: NDArray[np.float32]
) -> NDArray[Any]:
    """The affine matrix, near `start`, with which the first image's details fit those of the second best."""
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _STEPS, 1e-5)
    try:
        _, fitted = cv2.findTransformECCWithMask(
            details[1], details[0], masks[1], masks[0], start.copy(), cv2.MOTION_AFFINE, criteria, 1
        )
    except cv2.error:  # it does not converge where two images have little in common
        return start
    return np.asarray(fitted)


def _halved(image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(cv2.resize(image, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA))


def _at_scale(matrix: NDArray[Any], scale: float) -> NDArray[np.float32]:
    """The same mapping between images of another size; pixel centres lie half a pixel inside."""
    linear = matrix[:, :2]
    middle = np.full(2, (scale - 1) / 2)
    shift = scale * matrix[:, 2] + middle - linear @ middle
    return np.column_stack([linear, shift]).astype(np.float32)


def _correlation(details: list[NDArray[np.float32]], masks: list[NDArray[np.uint8]], matrix: NDArray[Any]) -> float:
    shown = seen_through(details[0], matrix)
    both = (seen_through(masks[0], matrix, nearest=True) > 0) & (masks[1] > 0)
    if both.mean() < _SHARED:
        return 0.0
    first, second = shown[both] - shown[both].mean(), details[1][both] - details[1][both].mean()
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second) + 1e-9))


def details_of(image: NDArray[np.uint16], gaussians: tuple[float, float]) -> NDArray[np.float32]:
    """A band of spatial frequencies, free of brightness and contrast; black around the image adds no edge.

    Source of the blur that leaves out what the image does not show: Knutsson and Westin 1993 (normalised convolution).
    """
    content = content_of(image)
    inside = image[content].astype(np.float32)
    weight = content.astype(np.float32)
    mean, deviation = (float(inside.mean()), float(inside.std())) if len(inside) else (0.0, 1.0)
    values = weight * ((image.astype(np.float32) - mean) / (deviation + 1e-6))

    def blurred(sigma: float) -> NDArray[np.float32]:
        above, below = (
            cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for part in (values, weight)
        )
        return np.asarray(above / np.maximum(below, 1e-3))

    fine, coarse = map(blurred, gaussians)
    return weight * (fine - coarse)


def content_of(image: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """What is not black up to the border: what preprocessing padded, or a turn left empty, shows nothing."""
    black = (image <= _BORDER * float(image.max())).astype(np.uint8)
    framed = cv2.copyMakeBorder(black, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    parts = cv2.connectedComponents(framed, connectivity=4)[1]
    return np.asarray(parts[1:-1, 1:-1] != parts[0, 0])


def _content_mask(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """255 where the image shows something, without a margin."""
    kernel = np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8)
    shown = np.pad(content_of(image).astype(np.uint8), _MARGIN)
    inner = slice(_MARGIN, -_MARGIN)
    return np.asarray(255 * cv2.erode(shown, kernel)[inner, inner], np.uint8)


def matrix_of(window: Window) -> NDArray[np.float32]:
    """The affine matrix that finds a pixel of the crop in the whole image."""
    middle = (SIDE - 1) / 2  # pixel centres lie half a pixel inside
    turn = np.deg2rad(window.degrees)
    linear = window.zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([window.left, window.top]) * SIDE + (window.zoom * SIDE - 1) / 2  # of the crop, in the image
    return np.column_stack([linear, centre - linear @ np.full(2, middle)]).astype(np.float32)


def seen_through(image: NDArray[Any], matrix: NDArray[Any], *, nearest: bool = False) -> NDArray[Any]:
    """An image as a crop shows it, at the same size."""
    flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_CONSTANT if nearest else cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[::-1], flags=flags, borderMode=border))
