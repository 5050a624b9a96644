"""Images that show the same thing though their pixels differ: compressed again, cropped, turned, mirrored, inverted.

First a perceptual hash proposes pairs: every image, whole, cropped in 44 ways and turned in four, is reduced to 12 × 12
values, and all are compared at once by matrix products. Then each pair is aligned, and the normalised correlation of
what both show decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from medres.cohort.alignment import (
    COARSE,
    WHOLE,
    Window,
    aligned_correlation,
    content_of,
    details_of,
    matrix_of,
    seen_through,
)

NEAR_DUPLICATE = 0.92
"""Correlation after alignment from which two images are near-duplicates.

Between different patients the likeliest pairs reach 0.87 in 1,000 chest radiographs of 64 × 64 pixels (NIH
ChestX-ray14) and 0.915 in 2,800 knee radiographs (OAI), which resemble each other most. Of 600 copies of each cohort
(up to a tenth of each side cut off; JPEG of quality 40 to 80; contrast changed by a quarter and brightness by a tenth)
599 and 591 lie above. So do some radiographs that one patient had soon after each other: under two PatientIDs they leak
just as well. A cohort whose patients resemble each other more raises it: see `threshold`.
"""

CERTAIN = 0.98
"""Correlation from which two images are near-duplicates in any cohort."""

_STANDING_OUT = 4.0  # standard deviations of Fisher's z above the usual likeness of different patients
_FEWEST = 50  # pairs that tell what is usual
_CELLS = 16  # cells of a side of the square, of which the perceptual hash leaves the outermost two out:
_EDGE = 2  # there a crop that is not square shows padding
_ZOOMS = (0.98, 0.93, 0.88, 0.83)  # parts of the side that a crop may keep
_SHIFTS = (-0.035, 0.0, 0.035)  # how far its middle may lie from the image's, in parts of the side
_CORNERS = (0.0, 0.1, 0.2)  # where a crop by a fifth of both sides may begin, in parts of the side
_DEGREES = (-8.0, -4.0, 4.0, 8.0)  # how far an image may be turned; an alignment bridges two degrees
_LEAST_LIKE = 0.84  # of the hash: what lies below is not looked at again
_PROPOSED = 4  # most pairs of different patients that an image is looked at with
_BLOCK = 256  # images compared with all others at a time


WINDOWS: tuple[Window, ...] = (
    WHOLE,
    *(
        Window(zoom, (1 - zoom) / 2 + down, (1 - zoom) / 2 + right)
        for zoom in _ZOOMS
        for down in _SHIFTS
        for right in _SHIFTS
    ),
    *(Window(0.8, top, left) for top in _CORNERS for left in _CORNERS if (top, left) != (0.1, 0.1)),
    *(Window(degrees=degrees) for degrees in _DEGREES),
)
"""The whole image first."""


Turn = Literal["", "mirrored", "inverted", "mirrored and inverted"]
"""What was done to an image besides; "" for nothing."""

TURNS: tuple[Turn, ...] = ("", "mirrored", "inverted", "mirrored and inverted")


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two images that show the same."""

    first: int  # places in what was compared, first < second
    second: int
    correlation: float  # of their details after alignment
    turn: Turn = ""  # how one of them lies to the other


@dataclass(frozen=True, slots=True)
class _Proposal:
    whole: int
    cropped: int
    hash_correlation: float
    window: int  # of WINDOWS: how `cropped` lies in `whole`
    turn: Turn = ""  # what makes `cropped` lie so


def similar_images(
    pixels: NDArray[np.uint16], patients: Sequence[str], *, progress: Callable[[int, int], None] | None = None
) -> tuple[Likeness, ...]:
    """Every pair of near-duplicates, best first.

    Args:
        pixels: (images, SIDE, SIDE), as `cached_pixels` gives them.
        patients: the patient of each image; pairs within one patient are looked for as well.
        progress: told (done, total) while pairs are aligned.
    """
    if not len(pixels):
        return ()
    proposals = _proposals(pixels, patients)
    pairs = []
    for number, proposal in enumerate(proposals, start=1):
        cropped = turned(pixels[proposal.cropped], proposal.turn)
        value = aligned_correlation(pixels[proposal.whole], cropped, WINDOWS[proposal.window])
        first, second = sorted((proposal.whole, proposal.cropped))
        pairs.append(Likeness(first, second, value, proposal.turn))
        if progress:
            progress(number, len(proposals))
    least = threshold([pair for pair in pairs if patients[pair.first] != patients[pair.second]])
    found = [pair for pair in pairs if pair.correlation >= least]
    return tuple(sorted(found, key=lambda pair: (-pair.correlation, pair.first, pair.second)))


def threshold(between: Sequence[Likeness]) -> float:
    """The correlation from which a pair is reported, between NEAR_DUPLICATE and CERTAIN.

    A copy stands out of its own cohort. What is usual there, pairs of different patients tell of which neither image
    has its best partner in the other: a cohort in which every image has a copy must not make copies usual. Medians and
    the upper decile of Fisher's z stand for the normal distribution that few copies do not disturb.

    Args:
        between: pairs of images of different patients.

    >>> threshold([Likeness(0, 1, 0.99)])
    0.92
    """
    best: dict[int, float] = {}
    for pair in between:
        for image in (pair.first, pair.second):
            best[image] = max(best.get(image, 0.0), pair.correlation)
    usual = [pair.correlation for pair in between if pair.correlation < min(best[pair.first], best[pair.second])]
    if len(usual) < _FEWEST:
        return NEAR_DUPLICATE
    middle, high = np.quantile(np.arctanh(np.clip(usual, 0, 0.999)), [0.5, 0.9])
    limit = float(np.tanh(middle + _STANDING_OUT * (high - middle) / norm.ppf(0.9)))
    return min(max(limit, NEAR_DUPLICATE), CERTAIN)


def _proposals(pixels: NDArray[np.uint16], patients: Sequence[str]) -> list[_Proposal]:
    """Pairs worth aligning, one of each, in the direction that fits better."""
    owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1]
    whole = np.concatenate([_hashes(pixels[part], WINDOWS[:1])[:, 0] for part in _parts(len(pixels))])
    mirrored = np.concatenate([_hashes(pixels[part, :, ::-1], WINDOWS[:1])[:, 0] for part in _parts(len(pixels))])
    best: dict[tuple[int, int], _Proposal] = {}
    for part in _parts(len(pixels)):
        hashes = _hashes(pixels[part], WINDOWS)
        likeness = hashes[:, 0] @ whole.T
        for window in range(1, len(WINDOWS)):
            np.maximum(likeness, hashes[:, window] @ whole.T, out=likeness)
        same = owner[part][:, None] == owner[None, :]
        for group in (np.where(same, -1.0, likeness), np.where(same, likeness, -1.0)):
            for row, column in _strongest(group):
                one, other, value = part.start + row, column, float(group[row, column])
                pair = (min(one, other), max(one, other))
                if one != other and (pair not in best or best[pair].hash_correlation < value):
                    window = int(np.argmax(hashes[row] @ whole[other]))
                    best[pair] = _Proposal(one, other, value, window)
        reflected = hashes[:, 0] @ mirrored.T
        likenesses: dict[Turn, NDArray[np.float32]] = {
            "mirrored": reflected,
            "inverted": -hashes[:, 0] @ whole.T,
            "mirrored and inverted": -reflected,
        }
        for turn, values in likenesses.items():
            for row, column in _strongest(values):
                one, other, value = part.start + row, column, float(values[row, column])
                pair = (min(one, other), max(one, other))
                if one != other and (pair not in best or best[pair].hash_correlation < value):
                    best[pair] = _Proposal(one, other, value, 0, turn)
    return [best[pair] for pair in sorted(best)]


def turned(image: NDArray[np.uint16], turn: Turn) -> NDArray[np.uint16]:
    """An image mirrored, or with bright and dark exchanged where it shows something.

    >>> turned(np.array([[1, 3]], np.uint16), "mirrored and inverted").tolist()
    [[1, 3]]
    """
    if "mirrored" in turn:
        image = image[:, ::-1].copy()
    if "inverted" in turn:
        content = content_of(image)
        if content.any():
            inside, image = image[content], image.copy()
            image[content] = inside.max() - inside + inside.min()
    return image


def _parts(count: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]


def _strongest(likeness: NDArray[np.floating[Any]]) -> Iterator[tuple[int, int]]:
    """Of each row the places of the few greatest values that are great enough."""
    kept = min(_PROPOSED + 1, likeness.shape[1])  # an image is most like itself
    places = np.argpartition(-likeness, kept - 1, axis=1)[:, :kept]
    for row, columns in enumerate(places):
        for column in columns:
            if likeness[row, column] >= _LEAST_LIKE:
                yield row, int(column)


def _hashes(pixels: NDArray[np.uint16], windows: Sequence[Window]) -> NDArray[np.float32]:
    """Perceptual hashes, (images, windows, 144): coarse details, mean 0, length 1."""
    inner = slice(_EDGE, _CELLS - _EDGE)
    found = np.empty((len(pixels), len(windows), (_CELLS - 2 * _EDGE) ** 2), np.float32)
    for place, image in enumerate(pixels):
        coarse = details_of(image, COARSE)
        for number, window in enumerate(windows):
            shown = seen_through(coarse, matrix_of(window))
            cells = np.asarray(cv2.resize(shown, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA))
            found[place, number] = cells[inner, inner].ravel()
    found -= found.mean(axis=2, keepdims=True)
    found /= np.linalg.norm(found, axis=2, keepdims=True) + 1e-9
    return found
