"""Do maps lie on the boxes that readers drew? Each against a blot in the middle, and the mean map of other patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medres.config.evaluation import HeatmapEvidence
from medres.evaluation.heatmaps.anatomy import radiograph_box
from medres.evaluation.heatmaps.measures import CENTRE, CHANCE, MEAN_MAP, value_name
from medres.statistics.pointing import Rectangle, covered, energy_inside, is_hit, overlap, peak

_BLOT = 1 / 8  # standard deviation of the blot in the middle, share of the radiograph's sides


def localisation(
    heatmap: NDArray[np.floating],
    mean_map: NDArray[np.floating] | None,
    boxes: Sequence[Rectangle],
    pixels: NDArray[np.uint16],
    rule: HeatmapEvidence,
) -> dict[str, float]:
    """What one map is worth by the boxes of its image, and what maps that know nothing of the image are.

    Args:
        heatmap: in the network's pixels, (size, size).
        mean_map: of other patients; None: there are none.
        boxes: in the network's pixels.
        pixels: the preprocessed image, (size, size).
        rule: how near a peak must be, and where a map is cut.
    """
    zone = covered(boxes, heatmap.shape)
    near = covered(boxes, heatmap.shape, near=rule.near)
    top, bottom, left, right = radiograph_box(pixels)
    shown = np.zeros(heatmap.shape, dtype=bool)
    shown[top:bottom, left:right] = True
    found = _of(heatmap, boxes, zone, rule, "")
    found |= _of(middle_blot(heatmap.shape, (top, bottom, left, right)), boxes, zone, rule, CENTRE)
    if mean_map is not None:
        found |= _of(mean_map, boxes, zone, rule, MEAN_MAP)
    found[value_name("pointing", CHANCE)] = float(near[shown].mean())
    found[value_name("pointing strict", CHANCE)] = float(zone[shown].mean())
    return found


def _of(
    heatmap: NDArray[np.floating],
    boxes: Sequence[Rectangle],
    zone: NDArray[np.bool_],
    rule: HeatmapEvidence,
    baseline: str,
) -> dict[str, float]:
    place = peak(heatmap)
    inside = energy_inside(heatmap, zone)
    values = {
        "pointing": float(is_hit(place, boxes, near=rule.near)),
        "pointing strict": float(is_hit(place, boxes)),
        "inside": 0.0 if np.isnan(inside) else inside,  # a map of nothing has nothing inside
        "overlap": overlap(heatmap, zone, contour=rule.contour),
    }
    return {value_name(name, baseline): value for name, value in values.items()}


def middle_blot(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """A map that knows nothing but where the radiograph lies: a blot in its middle.

    Args:
        shape: of the map.
        box: first row, end of rows, first column, end of columns of the radiograph.
    """
    rows, columns = (
        ((np.arange(side) - (start + end - 1) / 2) / ((end - start) * _BLOT)) ** 2
        for side, start, end in ((shape[0], *box[:2]), (shape[1], *box[2:]))
    )
    found: NDArray[np.float64] = np.exp(-(rows[:, None] + columns[None, :]) / 2)
    return found


def means_of_others(maps: NDArray[np.floating], patients: Sequence[str]) -> Sequence[NDArray[np.float64] | None]:
    """For every map the mean of those of all other patients, (k, k); None where there is no other patient.

    Each map counts with its own highest value as 1, so that a strong one does not speak for all.

    Args:
        maps: (n, k, k).
        patients: of each.
    """
    positive = np.asarray(maps, dtype=np.float64).clip(min=0)
    highest = positive.max(axis=(1, 2), keepdims=True)
    drawn = np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)
    whole, owners = drawn.sum(axis=0), np.asarray(patients, dtype=object)
    sums: Mapping[str, tuple[NDArray[np.float64], int]] = {
        str(one): (drawn[owners == one].sum(axis=0), int((owners == one).sum())) for one in set(patients)
    }
    count = len(drawn)
    return [
        (whole - sums[one][0]) / (count - sums[one][1]) if count > sums[one][1] else None for one in map(str, patients)
    ]
