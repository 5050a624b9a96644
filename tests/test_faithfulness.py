"""A map that points at what the score needs beats a random order; one that does not, does not. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medres.evaluation.heatmaps.cells import Cells
from medres.evaluation.heatmaps.faithfulness import alterations, curves, imputed, random_order, ranks

SIZE, SIDE = 64, 8
GRID = Cells(SIDE, SIZE, first=0.0, stride=8)
Scorer = Callable[[np.ndarray], np.ndarray]


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, Scorer]:
    """A grey image with a bright spot, the map that points at it, and a score that sees nothing but the spot."""
    rng = np.random.default_rng(seed)
    row, column = rng.integers(1, SIDE - 1, 2)
    pixels = rng.normal(20_000, 800, (SIZE, SIZE))
    spot = GRID.spread(np.arange(SIDE**2).reshape(SIDE, SIDE)) == row * SIDE + column
    pixels[spot] += 25_000
    cells = np.zeros((SIDE, SIDE))
    cells[row, column] = 1

    def score(images: np.ndarray) -> np.ndarray:
        brighter = images[:, spot].mean(axis=1) - 20_000
        return 1 / (1 + np.exp(-(brighter - 12_000) / 2_000))

    return pixels.clip(1, 65535).astype(np.uint16), cells, score


def gains(cells: np.ndarray, seeds: range) -> dict[str, float]:
    """How much better than a random order a map of the scenes is, in the mean, by measure."""
    found: dict[str, list[float]] = {"deletion": [], "insertion": [], "road": []}
    for seed in seeds:
        pixels, perfect, score = scene(seed)
        ties = np.random.default_rng(seed).normal(0, 1e-6, perfect.shape)
        order = cells if cells.ndim == 2 else perfect * cells[0, 0, 0] + ties
        altered = alterations(pixels, {"map": order, "random": random_order(order, seed=[seed, 1])}, GRID, seed=[seed])
        values = curves(altered, score(altered.images))
        for name, signed in found.items():
            sign = 1 if name == "insertion" else -1
            signed.append(sign * (values[f"{name} map"] - values[f"{name} random"]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_a_perfect_map_wins_an_inverted_one_loses_and_one_that_knows_nothing_ties() -> None:
    seeds = range(40)
    perfect, inverted = np.ones((1, 1, 1)), -np.ones((1, 1, 1))
    for name, gain in gains(perfect, seeds).items():
        assert gain > 0.2, name
    for name, gain in gains(inverted, seeds).items():
        assert gain < -0.02, name
    other = np.random.default_rng(99).normal(size=(SIDE, SIDE))  # the same for every image
    for name, gain in gains(other, seeds).items():
        assert abs(gain) < 0.15, name


@given(st.integers(0, 500))
def test_every_cell_is_used_once_and_padding_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, used = rng.normal(size=(5, 5)), rng.random((5, 5)) < 0.6
    found = ranks(cells, used)
    count = int(used.sum())
    assert sorted(found[used].tolist()) == pytest.approx([place / count for place in range(count)])
    assert (found[~used] == 1).all()
    if count:
        first = np.where(used, cells, -np.inf)
        assert found.ravel()[np.argmax(first)] == 0


def test_copies_begin_with_the_image_and_end_with_the_blurred_one_and_are_the_same_again() -> None:
    pixels, cells, score = scene(3)
    altered, again = (alterations(pixels, {"map": cells}, GRID, seed=[5]) for _ in range(2))
    assert np.array_equal(altered.images, again.images)
    assert np.array_equal(altered.images[0], pixels)
    deletion, insertion = altered.places["deletion map"], altered.places["insertion map"]
    assert (deletion[0], deletion[-1]) == (insertion[-1], insertion[0]) == (0, 1)
    values = score(altered.images)
    assert values[deletion[0]] > 0.95 and values[deletion[1]] < 0.05  # the first tenth holds the spot
    for place, other in zip(deletion[1:-1], insertion[1:-1], strict=True):  # what one has the other has not
        shown = altered.images[place] == pixels
        assert np.array_equal(altered.images[other][~shown], pixels[~shown])


@settings(max_examples=25)
@given(st.integers(0, 500))
def test_what_is_imputed_is_what_the_neighbours_say_and_tells_nothing_of_what_was_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    across = np.linspace(10_000, 50_000, SIZE)
    ramp = np.tile(across, (SIZE, 1)).astype(np.uint16)  # its own weighted mean everywhere
    top, left = rng.integers(8, 30, 2)
    missing = np.zeros(ramp.shape, dtype=bool)
    missing[top : top + 16, left : left + 24] = True
    hidden = np.where(missing, rng.integers(0, 65536, ramp.shape), ramp).astype(np.uint16)
    found = imputed(hidden, missing, np.zeros(ramp.shape))
    assert np.array_equal(found, imputed(ramp, missing, np.zeros(ramp.shape)))
    assert np.array_equal(found[~missing], ramp[~missing])
    assert np.abs(found.astype(float) - ramp)[missing].max() < 2_000  # of 65,535; relaxation is not to the end
    noisy = imputed(ramp, missing, rng.normal(0, 500, ramp.shape))
    assert 300 < (noisy.astype(float) - found)[missing].std() < 700
