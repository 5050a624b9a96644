"""Images that show the same thing though their pixels differ: re-encoded, cropped, brighter, mirrored, inverted.

First a perceptual hash proposes pairs: every image, whole and cropped in 36 ways, is reduced to 12 × 12 values, and all
are compared at once by matrix products. Then each pair is aligned, and the normalised correlation of what both show
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

SIDE = 64
"""Pixels of a side of the images that are compared: enough to tell exposures apart, little to keep."""

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
_WINDOW = (1.0, 4.0)  # pixels: Gaussians whose difference is hashed: coarse, so that a small shift matters little
_DETAIL = (0.7, 3.0)  # pixels: Gaussians whose difference is correlated: finer, where exposures of one kind differ
_ZOOMS = (0.98, 0.93, 0.88, 0.83)  # parts of the side that a crop may keep
_SHIFTS = (-0.035, 0.0, 0.035)  # how far its middle may lie from the image's, in parts of the side
_LEAST_LIKE = 0.84  # of the hash: what lies below is not looked at again
_PROPOSED = 4  # most pairs of different patients that an image is looked at with
_STEPS = 30  # most of an alignment
_WORTH_ALIGNING = 0.8  # after an alignment at half the size: what correlates less is no copy
_BLOCK = 256  # images compared with all others at a time
_BORDER = 0.02  # of the brightest pixel: what counts as black around an image
_MARGIN = 4  # pixels along the border of what an image shows: a crop ends there, and edges spread that far
_SHARED = 0.4  # part of the square that both images must show

Window = tuple[float, float, float]
"""Zoom, top and left of a crop, in parts of the side."""

WINDOWS: tuple[Window, ...] = (
    (1.0, 0.0, 0.0),
    *(
        (zoom, (1 - zoom) / 2 + down, (1 - zoom) / 2 + right)
        for zoom in _ZOOMS
        for down in _SHIFTS
        for right in _SHIFTS
    ),
)


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
        top, bottom, left, right = _content(image)
        image, inside = image.copy(), image[top:bottom, left:right]
        image[top:bottom, left:right] = inside.max() - inside + inside.min()
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
        coarse = _details(image, _WINDOW)
        for number, window in enumerate(windows):
            shown = _shown(coarse, _matrix(window))
            cells = np.asarray(cv2.resize(shown, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA))
            found[place, number] = cells[inner, inner].ravel()
    found -= found.mean(axis=2, keepdims=True)
    found /= np.linalg.norm(found, axis=2, keepdims=True) + 1e-9
    return found


def aligned_correlation(whole: NDArray[np.uint16], cropped: NDArray[np.uint16], window: Window = WINDOWS[0]) -> float:
    """The normalised correlation of two images' details where both show something, after affine alignment.

    Brightness and contrast do not matter. Source of the alignment: Evangelidis and Psarakis 2008 (ECC).

    Args:
        whole: (SIDE, SIDE); what `cropped` may be a part of.
        cropped: (SIDE, SIDE).
        window: about how `cropped` lies in `whole`.
    """
    masks = [_content_mask(image) for image in (whole, cropped)]
    details = [_details(image, _DETAIL) for image in (whole, cropped)]
    coarse = [_halved(_details(image, _WINDOW)) for image in (whole, cropped)]  # which lead astray less
    found = _aligned(coarse, _halved(masks[1]), _at_scale(_matrix(window), 0.5))
    rough = _at_scale(found, 2.0)
    value = _correlation(details, masks, rough)
    if value < _WORTH_ALIGNING:
        return value
    return max(value, _correlation(details, masks, _aligned(details, masks[1], rough)))


def _aligned(details: list[NDArray[np.float32]], mask: NDArray[np.uint8], start: NDArray[np.float32]) -> NDArray[Any]:
    """The affine matrix, near `start`, with which the first image's details fit those of the second best."""
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _STEPS, 1e-3)
    try:
        _, fitted = cv2.findTransformECC(details[1], details[0], start.copy(), cv2.MOTION_AFFINE, criteria, mask, 1)
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
    shown = _shown(details[0], matrix)
    both = (_shown(masks[0], matrix, nearest=True) > 0) & (masks[1] > 0)
    if both.mean() < _SHARED:
        return 0.0
    first, second = shown[both] - shown[both].mean(), details[1][both] - details[1][both].mean()
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second) + 1e-9))


def _details(image: NDArray[np.uint16], gaussians: tuple[float, float]) -> NDArray[np.float32]:
    """A band of spatial frequencies, free of brightness and contrast; black around the image adds no edge."""
    top, bottom, left, right = _content(image)
    inside = image[top:bottom, left:right].astype(np.float32)
    inside = (inside - inside.mean()) / (inside.std() + 1e-6)
    rows, columns = image.shape
    whole = cv2.copyMakeBorder(inside, top, rows - bottom, left, columns - right, cv2.BORDER_REPLICATE)
    fine, coarse = (cv2.GaussianBlur(whole, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for sigma in gaussians)
    return np.asarray(fine - coarse, dtype=np.float32)


def _content(image: NDArray[np.uint16]) -> tuple[int, int, int, int]:
    """First and last row and column (exclusive) that are not black: what preprocessing padded is left out."""
    bright = image > _BORDER * float(image.max())
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    if not len(rows):
        return 0, image.shape[0], 0, image.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _content_mask(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """255 where the image shows something, without a margin."""
    mask = np.zeros(image.shape, np.uint8)
    top, bottom, left, right = _content(image)
    mask[top + _MARGIN : max(bottom - _MARGIN, 0), left + _MARGIN : max(right - _MARGIN, 0)] = 255
    return mask


def _matrix(window: Window) -> NDArray[np.float32]:
    """The affine matrix that finds a pixel of the crop in the whole image."""
    zoom, top, left = window
    centre = (zoom - 1) / 2  # pixel centres lie half a pixel inside
    return np.array([[zoom, 0, left * SIDE + centre], [0, zoom, top * SIDE + centre]], np.float32)


def _shown(image: NDArray[Any], matrix: NDArray[Any], *, nearest: bool = False) -> NDArray[Any]:
    """An image as a crop shows it, at the same size."""
    flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_CONSTANT if nearest else cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[::-1], flags=flags, borderMode=border))
