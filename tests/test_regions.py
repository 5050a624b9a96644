"""A heatmap in numbers: its peak, its regions, and how large pixels are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medres.model.heatmaps.regions import Spacing, measure, spacing_of
from medres.statistics.pointing import peak

MAPS = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.floats(0, 8, width=16)
)


@given(MAPS, st.floats(0.25, 8))
def test_regions_hold_every_pixel_at_or_above_the_level_and_no_other(heatmap: np.ndarray, level: float) -> None:
    found = measure(heatmap, level)
    assert found.pixels == (heatmap >= level).sum()
    covered = np.zeros(heatmap.shape, bool)
    for region in found.regions:
        box = (slice(region.y, region.y + region.height), slice(region.x, region.x + region.width))
        assert (heatmap[box] >= level).sum() >= region.pixels
        for edge in (heatmap[box][0], heatmap[box][-1], heatmap[box][:, 0], heatmap[box][:, -1]):
            assert (edge >= level).any()  # as tight as it can be
        covered[box] = True
    assert covered[heatmap >= level].all()
    assert list(found.regions) == sorted(found.regions, key=lambda region: -region.pixels)


@given(MAPS)
def test_the_peak_is_a_maximum_and_a_single_one_is_the_pointing_game_s(heatmap: np.ndarray) -> None:
    found = measure(heatmap, 1.0).peak
    if np.ptp(heatmap) == 0:
        assert found is None
        return
    assert found is not None
    assert heatmap[tuple(map(int, found))] == heatmap.max()
    if (heatmap == heatmap.max()).sum() == 1:
        assert found == peak(heatmap)


def test_diagonal_neighbours_are_one_region() -> None:
    (region,) = measure(np.eye(4, dtype=np.float32), 0.5).regions
    assert (region.x, region.y, region.width, region.height, region.pixels) == (0, 0, 4, 4, 4)


@pytest.mark.parametrize(
    ("own", "detector", "expected"),
    [
        ("0.2\\0.1", "0.3\\0.3", Spacing(0.2, 0.1, "PixelSpacing")),
        ("0.2\\0.1", "", Spacing(0.2, 0.1, "PixelSpacing")),
        ("", "0.3\\0.25", Spacing(0.3, 0.25, "ImagerPixelSpacing")),
        ("0.3\\0.3", "0.30\\0.3", Spacing(0.3, 0.3, "ImagerPixelSpacing")),  # copied, not calibrated
        ("0\\0", "0.3\\0.3", Spacing(0.3, 0.3, "ImagerPixelSpacing")),
        ("", "", None), ("nan\\1", "", None), ("0.1", "", None), ("-1\\-1", "", None), ("143\\143", "", None),
        ("0.1\\9", "", None), ("a\\b", "", None),
    ],
)  # fmt: skip
def test_the_size_of_a_pixel_is_known_where_the_header_says_one_that_can_be(
    own: str, detector: str, expected: Spacing | None
) -> None:
    assert spacing_of({"PixelSpacing": own, "ImagerPixelSpacing": detector}) == expected
    if not own and not detector:
        assert spacing_of({}) is None
