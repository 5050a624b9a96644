"""A heatmap as a picture: the radiograph is untouched, the map lies where it lay, and every word is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.imaging.pictures import colour, overlay
from medres.model.heatmaps import figure as figures
from medres.model.heatmaps.figure import Legend, Words, figure

WORDS = Words("disc: probability 0.900, at or above the operating point 0.400", "Heatmap validated: it is", "cam · m")
LEGEND = Legend(2.0, "logit", 0.5)


def bump(rows: int, columns: int, row: float, column: float) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (2 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 200)).astype(np.float32)


@pytest.mark.parametrize("shape", [(96, 80), (700, 500), (500, 900)])
def test_the_untouched_radiograph_stands_beside_the_map(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    picture = figure(pixels, np.zeros(shape, np.float32), LEGEND, WORDS)
    rows, columns = shape
    times = max(1, 640 // max(shape))
    width = picture.shape[1]
    gap = max(4, rows * times // 100)
    left = (width - 2 * columns * times - gap) // 2
    shown = picture[: rows * times, left : left + columns * times]
    assert np.array_equal(shown[::times, ::times], np.repeat(pixels[:, :, None], 3, axis=2))
    beside = picture[: rows * times, left + columns * times + gap :][:, : columns * times]
    assert np.array_equal(beside, shown)  # a map of nothing has no colour and no contour


@given(st.integers(20, 75), st.integers(20, 60), st.sampled_from([0.5, 1.0, 1.6]))
def test_colour_lies_where_the_map_is_strong_and_is_neither_mirrored_nor_moved(
    row: int, column: int, aspect: float
) -> None:
    rows, columns = 96, 80
    heat = bump(rows, columns, row, column)
    picture = figure(
        np.zeros((rows, columns), np.uint8), heat, Legend(2.0, "logit", 1.0), WORDS, beside=False, aspect=aspect
    )
    height, width = round(rows * max(aspect, 1)), round(columns / min(aspect, 1))
    times = 640 // max(height, width)
    left = (picture.shape[1] - width * times) // 2
    shown = picture[: height * times, left : left + width * times].astype(int).sum(axis=2)
    weights = np.where(shown > 60, shown, 0)
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]]
    found = [(weights * axis).sum() / weights.sum() for axis in (y, x)]
    expected = [(row + 0.5) * height * times / rows - 0.5, (column + 0.5) * width * times / columns - 0.5]
    assert np.abs(np.array(found) - expected).max() < 12  # two native pixels; parts of the bump lie outside


def test_the_contour_is_where_the_map_passes_its_part_of_the_scale() -> None:
    heat, black = bump(200, 200, 100, 100), np.zeros((200, 200), np.uint8)
    plain, lined = (overlay(black, heat, scale=2.0, contour=part).astype(int) for part in (0.0, 0.5))
    changed = np.abs(lined - plain).sum(axis=2)
    y, x = np.nonzero(changed)
    distance = np.hypot(y - 100, x - 100)
    assert distance.min() > np.sqrt(200 * np.log(2)) - 5
    assert distance.max() < np.sqrt(200 * np.log(2)) + 5
    assert len(y) > 50


def test_a_weak_map_has_no_contour() -> None:
    heat = 0.4 * bump(60, 60, 30, 30)
    plain, lined = (overlay(np.zeros((60, 60), np.uint8), heat, scale=2.0, contour=part) for part in (0.0, 0.5))
    assert np.array_equal(plain, lined)


def test_brightness_of_the_colours_grows_with_strength() -> None:
    ramp = colour(np.linspace(0, 1, 256, dtype=np.float32)[None])[0].astype(float)
    luma = ramp @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(np.convolve(luma, np.ones(5) / 5, "valid")) > 0).all()


def test_what_speaks_against_a_label_has_no_colour() -> None:
    pixels = np.full((20, 20), 90, np.uint8)
    assert (overlay(pixels, np.full((20, 20), -3, np.float32), scale=1.0) == 90).all()


def test_every_word_is_drawn_whatever_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    drawn: list[str] = []
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda self, at, said, **how: (drawn.append(said), text(self, at, said, **how))[1]
    )
    long = Words("l" * 300, "Heatmap failed: " + "because it does so " * 12, "cam · m", ["Shown on request: failed"])
    picture = figure(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.float32), LEGEND, long)
    said = " ".join(drawn)
    assert said.replace(" ", "").count("l" * 300) == 1
    assert long.licence.strip() in said
    assert {"Shown on request: failed", "cam · m · Not for diagnostic use", "contour 1.0", "≥ 2.0 logits"} <= set(drawn)
    assert picture.shape[1] >= figures._LEAST_WIDTH


def test_without_a_unit_the_legend_says_so() -> None:
    legend = Legend(0.3, "", 0.5)
    assert "no unit" in legend.sentence.lower()
    assert not [text for _, text in legend.ticks if "logit" in text]
