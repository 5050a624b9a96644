"""Maps that lie on the boxes, beside them, everywhere or in the middle; and evidence in corners and black borders."""

from __future__ import annotations

import numpy as np
import pytest

from medres.config.evaluation import HeatmapEvidence
from medres.evaluation.heatmaps.anatomy import energy_outside, outside, radiograph_box
from medres.evaluation.heatmaps.cells import Cells
from medres.evaluation.heatmaps.localisation import localisation, means_of_others, middle_blot
from medres.statistics.pointing import Rectangle, covered, peak

SIZE = 64
RULE = HeatmapEvidence(near=4)
GRID = Cells(8, SIZE, 0.0, 8)


def film(margin: int = 0) -> np.ndarray:
    """Noise with black columns on both sides, as padding leaves it."""
    pixels = np.zeros((SIZE, SIZE), np.uint16)
    pixels[:, margin : SIZE - margin] = np.random.default_rng(0).integers(5_000, 60_000, (SIZE, SIZE - 2 * margin))
    return pixels


def test_a_map_on_its_box_a_map_beside_it_and_one_that_is_the_same_everywhere() -> None:
    box = Rectangle(7.5, 7.5, 15.5, 15.5)
    perfect = covered([box], (SIZE, SIZE)).astype(np.float64)
    found = localisation(perfect, 1 - perfect, [box], film(), RULE)
    assert [found[name] for name in ("pointing", "pointing strict", "inside", "overlap")] == [1, 1, 1, 1]
    assert [found[f"{name} of mean map"] for name in ("pointing", "inside", "overlap")] == [0, 0, 0]
    assert found["pointing of centre"] == 0 and found["inside of centre"] < 0.05
    assert found["pointing strict of chance"] == pytest.approx(64 / SIZE**2)
    assert found["pointing of chance"] > found["pointing strict of chance"]
    constant = localisation(np.ones((SIZE, SIZE)), None, [box], film(), RULE)
    assert constant["pointing"] == 0  # it has no peak
    assert constant["inside"] == constant["overlap"] == pytest.approx(64 / SIZE**2)
    assert "pointing of mean map" not in constant
    nothing = localisation(np.zeros((SIZE, SIZE)), None, [box], film(), RULE)
    assert nothing["pointing"] == nothing["inside"] == nothing["overlap"] == 0


def test_chance_is_a_share_of_the_radiograph_and_not_of_its_padding() -> None:
    box = Rectangle(7.5, 23.5, 15.5, 31.5)
    whole, padded = (localisation(np.eye(SIZE), None, [box], film(margin), RULE) for margin in (0, 16))
    assert padded["pointing strict of chance"] == pytest.approx(2 * whole["pointing strict of chance"])


def test_a_finding_in_the_middle_is_found_by_a_map_that_knows_nothing() -> None:
    box = Rectangle(27.5, 27.5, 35.5, 35.5)
    blot = middle_blot((SIZE, SIZE), (0, SIZE, 0, SIZE))
    assert peak(blot) == (31.5, 31.5)
    found = localisation(blot, blot, [box], film(), RULE)
    for name in ("pointing", "inside", "overlap"):
        assert found[name] == found[f"{name} of centre"] == found[f"{name} of mean map"]
    assert found["pointing of centre"] == 1


def test_the_mean_map_of_an_image_holds_no_map_of_its_own_patient() -> None:
    maps = np.zeros((4, 2, 2))
    maps[0, 0, 0], maps[1, 0, 1], maps[2, 1, 0], maps[3, 1, 1] = 1, 2, 100, -1
    means = means_of_others(maps, ["a", "a", "b", "c"])
    assert np.array_equal(means[0], [[0, 0], [0.5, 0]])  # of b and c, each with its own highest value as 1
    assert np.array_equal(means[0], means[1])
    assert np.array_equal(means[2], np.array([[1, 1], [0, 0]]) / 3)
    assert means_of_others(maps[:2], ["a", "a"]) == [None, None]


def test_corners_and_the_black_around_are_outside_and_the_middle_is_not() -> None:
    beyond = outside(film(16))
    assert beyond[:, :16].all() and beyond[:, -16:].all()
    assert beyond[0, 16] and beyond[-1, 47]
    assert not beyond[24:40, 24:40].any()
    assert radiograph_box(film(16)) == (0, SIZE, 16, 48)
    assert outside(film()).mean() == pytest.approx(1 - np.pi / 4, abs=0.02)
    hollow = film()
    hollow[30:34, 30:34] = 0  # black within the anatomy, such as air in a lung, is anatomy
    assert not outside(hollow)[30:34, 30:34].any()
    assert radiograph_box(np.zeros((8, 8), np.uint16)) == (0, 8, 0, 8)


@pytest.mark.parametrize(("cell", "share"), [((0, 0), 1.0), ((4, 4), 0.0), ((0, 4), 0.0), ((7, 7), 1.0)])
def test_evidence_counts_where_its_cell_lies(cell: tuple[int, int], share: float) -> None:
    cells = np.full((8, 8), -3.0)
    cells[cell] = 2.0
    assert energy_outside(cells, film(), GRID) == pytest.approx(share, abs=0.12)


def test_a_map_of_nothing_has_no_share_outside_and_one_that_is_the_same_everywhere_that_of_the_corners() -> None:
    assert np.isnan(energy_outside(np.zeros((8, 8)), film(), GRID))
    assert energy_outside(np.ones((8, 8)), film(), GRID) == pytest.approx(1 - np.pi / 4, abs=0.06)
