"""Two maps are alike or not: by order, by structure, by their peaks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medres.statistics.map_similarity import peak_distance, rank_correlation, structural_similarity


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(8, 8))


@given(st.integers(0, 300), st.floats(0.1, 50))
def test_a_map_is_like_itself_at_any_strength_and_unlike_its_inverse(seed: int, strength: float) -> None:
    one = drawn(seed)
    assert rank_correlation(one, strength * one) == 1
    assert rank_correlation(one, -one) == -1
    assert structural_similarity(one, strength * one) > 1 - 1e-9
    assert structural_similarity(one, -one) < 0.5
    assert structural_similarity(one, drawn(seed + 1)) == structural_similarity(drawn(seed + 1), one)
    assert peak_distance(one, strength * one) == 0


def test_maps_of_chance_are_not_alike() -> None:
    ranks = [rank_correlation(drawn(seed), drawn(seed + 1000)) for seed in range(100)]
    structure = [structural_similarity(drawn(seed), drawn(seed + 1000)) for seed in range(100)]
    assert abs(np.mean(ranks)) < 0.05
    assert np.mean(structure) < 0.25


def test_a_map_of_nothing_is_like_nothing_but_itself() -> None:
    nothing, something = np.zeros((8, 8)), drawn(1)
    assert rank_correlation(nothing, something) == structural_similarity(nothing, something) == 0
    assert structural_similarity(nothing, -np.ones((8, 8))) == 1
    assert np.isnan(peak_distance(nothing, something))
