"""A peak is on a box, near it, or not; evidence is inside or not; and what is shown overlaps it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.statistics.pointing import Rectangle, covered, energy_inside, is_hit, overlap, peak


def test_a_peak_is_the_centre_of_its_plateau() -> None:
    heatmap = np.zeros((20, 30))
    heatmap[4:7, 10:15] = 2.5
    assert peak(heatmap) == (5.0, 12.0)
    heatmap[15, 29] = 2.5
    assert heatmap[tuple(map(int, peak(heatmap)))] == 2.5
    assert np.isnan(peak(np.zeros((4, 4)))).all()
    with pytest.raises(ValueError, match="finite"):
        peak([[np.nan, 1.0]])


def test_a_hit_is_on_a_box_or_near_it_and_a_map_without_a_peak_has_none() -> None:
    boxes = [Rectangle(9.5, 9.5, 14.5, 19.5), Rectangle(39.5, 39.5, 44.5, 44.5)]
    assert is_hit((12, 12), boxes)
    assert not is_hit((16, 12), boxes)
    assert is_hit((16, 12), boxes, near=2)
    assert is_hit((42, 46), boxes, near=2)
    assert not is_hit((float("nan"), float("nan")), boxes, near=1000)
    with pytest.raises(ValueError, match="needs a box"):
        is_hit((1, 1), [])


@given(st.integers(0, 39), st.integers(0, 29), st.integers(0, 12), st.integers(0, 5))
def test_the_zone_of_a_box_is_where_a_peak_would_hit(row: int, column: int, near: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, 30), rng.integers(0, 20)
    boxes = [Rectangle(top - 0.5, left - 0.5, top + 6.5, left + 3.5)]
    zone = covered(boxes, (40, 30), near=near)
    assert zone[row, column] == is_hit((row, column), boxes, near=near)
    assert covered(boxes, (40, 30)).sum() == 7 * 4


def test_perfect_inverted_constant_and_centre_maps_are_told_apart() -> None:
    zone = covered([Rectangle(1.5, 1.5, 9.5, 9.5)], (40, 40))
    perfect, constant = zone.astype(np.float64), np.ones((40, 40))
    assert energy_inside(perfect, zone) == overlap(perfect, zone, contour=0.5) == 1
    assert energy_inside(1 - perfect, zone) == overlap(1 - perfect, zone, contour=0.5) == 0
    assert energy_inside(constant, zone) == overlap(constant, zone, contour=0.5) == pytest.approx(64 / 1600)
    assert np.isnan(energy_inside(-perfect, zone))
    assert overlap(-perfect, zone, contour=0.5) == 0
