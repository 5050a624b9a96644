"""Does the score need what a map points at? Cells are taken away, or shown, in the map's order and in a random one.

Deletion and insertion put a blurred image in the place of cells, or cells into a blurred image; the area under the
score is compared with that of a random order of the same cells. ROAD takes cells away so that their outline says
nothing: what is missing is the weighted mean of its neighbours, and noise.

Sources: Petsiuk, Das and Saenko 2018, RISE; Rong et al. 2022, A consistent and efficient evaluation strategy for
attribution methods (remove and debias).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.evaluation.heatmaps.cells import Cells

DELETED = (0.1, 0.3, 0.6)
"""Shares of the cells after which the score is looked at, beside none and all of them."""

REMOVED = (0.1, 0.3)
"""The same for ROAD: beyond, what is left says little of what was taken away."""

_BLUR = 1 / 8  # standard deviation of the blurred image, share of the side
_NOISE = 0.01  # standard deviation, of the display's range
_SWEEPS = 24  # of relaxation at each scale
_NEIGHBOURS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32) / 12  # Rong et al.: direct ones count twice


@dataclass(frozen=True, slots=True)
class Altered:
    """Copies of one image, and which of them belongs to what."""

    images: NDArray[np.uint16]  # (n, size, size)
    places: Mapping[str, Sequence[int]]  # by name of a curve: the images along it


def random_order(cells: NDArray[np.floating], *, seed: Sequence[int]) -> NDArray[np.float64]:
    """A map of random values of the same shape."""
    return np.random.default_rng(list(seed)).permutation(cells.size).reshape(cells.shape).astype(np.float64)


def ranks(cells: NDArray[np.floating], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How many of the used cells stand before each, as a share: 0 for the first; 1 for cells that are not used.

    >>> ranks(np.array([[3.0, 9.0], [5.0, 7.0]]), np.array([[True, True], [False, True]])).round(2).tolist()
    [[0.67, 0.0], [1.0, 0.33]]
    """
    found = np.ones(cells.shape)
    values = np.asarray(cells, dtype=np.float64)[used]
    place = np.empty(len(values))
    place[np.argsort(-values, kind="stable")] = np.arange(len(values))
    found[used] = place / max(1, len(values))
    return found


def alterations(
    pixels: NDArray[np.uint16], orders: Mapping[str, NDArray[np.floating]], grid: Cells, *, seed: Sequence[int]
) -> Altered:
    """The copies of one image that `curves` needs the scores of.

    Args:
        pixels: the preprocessed image, (size, size).
        orders: maps (k, k) by name; the highest cell goes first. Cells of nothing but padding are left out.
        grid: where the cells lie.
        seed: of the noise.
    """
    blurred = cv2.GaussianBlur(pixels, (0, 0), _BLUR * grid.size, borderType=cv2.BORDER_REPLICATE)
    used = grid.means(pixels > 0) > 0
    images, places = [pixels, blurred], dict[str, Sequence[int]]()
    noise = np.random.default_rng(list(seed)).normal(0, _NOISE * 65535, pixels.shape)
    for name, order in orders.items():
        before = grid.spread(ranks(order, used)).astype(np.float64)
        start = len(images)
        images += [np.where(before < share, blurred, pixels) for share in DELETED]
        images += [np.where(before < share, pixels, blurred) for share in DELETED]
        images += [imputed(pixels, before < share, noise) for share in REMOVED]
        count = len(DELETED)
        places[f"deletion {name}"] = [0, *range(start, start + count), 1]
        places[f"insertion {name}"] = [1, *range(start + count, start + 2 * count), 0]
        places[f"road {name}"] = range(start + 2 * count, len(images))
    return Altered(np.stack(images), places)


def curves(altered: Altered, scores: NDArray[np.float64]) -> dict[str, float]:
    """What the scores of the copies give: areas under deletion and insertion, and the mean score that ROAD leaves.

    Args:
        altered: see `alterations`.
        scores: probability of the label per copy, (n,).
    """
    shares = np.array([0.0, *DELETED, 1.0])
    return {
        name: float(scores[list(places)].mean())
        if name.startswith("road")
        else float(np.trapezoid(scores[list(places)], shares))
        for name, places in altered.places.items()
    }


def imputed(pixels: NDArray[np.uint16], missing: NDArray[np.bool_], noise: NDArray[np.floating]) -> NDArray[np.uint16]:
    """An image whose missing pixels are the weighted mean of their eight neighbours, and noise.

    The equations are solved from coarse to fine: what the halved image gives is where the relaxation of the whole one
    starts.

    Args:
        pixels: (rows, columns).
        missing: which are to be made; not all.
        noise: what is added there.
    """
    known = np.where(missing, 0, pixels).astype(np.float32)
    filled = _fill(known, (~missing).astype(np.float32))
    values = np.where(missing, filled + noise, pixels)
    found: NDArray[np.uint16] = np.rint(values.clip(0, 65535)).astype(np.uint16)
    return found


def _fill(known: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values everywhere, of an image (0 where the weight is 0) and where it is known."""
    if weight.all() or min(weight.shape) < 2:
        return np.where(weight > 0, known, known.sum() / max(float(weight.sum()), 1.0)).astype(np.float32)
    rows, columns = weight.shape
    half = ((columns + 1) // 2, (rows + 1) // 2)
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    small = cv2.resize(known * weight, half, interpolation=cv2.INTER_AREA)
    means = np.divide(small, small_weight, out=np.zeros_like(small), where=small_weight > 0).astype(np.float32)
    coarse = _fill(means, (small_weight > 0).astype(np.float32))
    start = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR)
    found = np.where(weight > 0, known, start).astype(np.float32)
    for _ in range(_SWEEPS):
        around = cv2.filter2D(found, -1, _NEIGHBOURS, borderType=cv2.BORDER_REFLECT_101)
        found = np.where(weight > 0, known, around).astype(np.float32)
    return found
