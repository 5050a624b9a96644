"""The grayscale chain against the formulas of PS3.3, and what must hold for every image."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from medres.errors import Refused
from medres.imaging.rendering import Grayscale, LookupTable, Window, percentile_range, render

TWELVE_BITS = (0, 4095)
IMAGES = arrays.arrays(np.uint16, (4, 5), elements=st.integers(0, 4095)).filter(lambda image: np.ptp(image) > 0)
WINDOWS = st.builds(
    Window,
    center=st.floats(-100, 4200),
    width=st.floats(1, 6000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)


def by_the_standard(value: float, window: Window) -> float:
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3, as their pseudo-code has it, with 0 and 1 as ymin and ymax."""
    center, width = window.center, window.width
    if window.function == "SIGMOID":
        return 0.5 + 0.5 * math.tanh(2 * (value - center) / width)  # the same as 1 ÷ (1 + exp(-4 (x - c) ÷ w))
    if window.function == "LINEAR_EXACT":
        if value <= center - width / 2:
            return 0.0
        return 1.0 if value > center + width / 2 else (value - center) / width + 0.5
    if value <= center - 0.5 - (width - 1) / 2:
        return 0.0
    return 1.0 if value > center - 0.5 + (width - 1) / 2 else (value - (center - 0.5)) / (width - 1) + 0.5


def rendered(stored: NDArray[Any], grayscale: Grayscale, **options: Any) -> NDArray[np.float32] | None:
    try:
        return render(stored, grayscale, **options)
    except Refused as refusal:
        assert refusal.code == "NO_CONTRAST"
        return None


@given(IMAGES, WINDOWS)
def test_each_window_function_follows_its_formula(stored: NDArray[np.uint16], window: Window) -> None:
    shown = rendered(stored, Grayscale(TWELVE_BITS, inverted=False, voi=window))
    expected = np.array([[by_the_standard(float(value), window) for value in row] for row in stored])
    if shown is not None:
        np.testing.assert_allclose(shown, expected, atol=1e-6)


@given(IMAGES, WINDOWS)
def test_monochrome1_and_its_inverse_render_alike(stored: NDArray[np.uint16], window: Window) -> None:
    if window.function == "LINEAR":
        mirrored = Window(4095 - window.center + 1, window.width, "LINEAR")
    else:
        mirrored = Window(4095 - window.center, window.width, window.function)
    negative = rendered(4095 - stored, Grayscale(TWELVE_BITS, inverted=True, voi=mirrored))
    positive = rendered(stored, Grayscale(TWELVE_BITS, inverted=False, voi=window))
    if positive is None or negative is None or window.width < 1.001:  # at width 1 a step's edge belongs to one side
        return
    np.testing.assert_allclose(negative, positive, atol=1e-5)


@given(
    arrays.arrays(np.int32, (3, 4), elements=st.integers(-(2**31), 2**31 - 1)),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["header", "full", "percentile"]),
    st.booleans(),
)
def test_a_display_value_is_a_number_from_0_to_1_or_the_image_is_refused(
    stored: NDArray[np.int32],
    slope: float,
    intercept: float,
    voi: Literal["header", "full", "percentile"],
    inverted: bool,
) -> None:
    grayscale = Grayscale((-(2**31), 2**31 - 1), inverted, slope=slope, intercept=intercept, voi=Window(0.0, 1e6))
    try:
        shown = render(stored, grayscale, voi=voi)
    except Refused as refusal:
        assert refusal.code in {"NO_CONTRAST", "BAD_GRAYSCALE"}
        return
    assert shown.dtype == np.float32
    assert np.isfinite(shown).all()
    assert shown.min() >= 0.0
    assert shown.max() <= 1.0
    assert np.ptp(shown) > 0


@given(IMAGES)
def test_rescaling_moves_the_window_with_the_values(stored: NDArray[np.uint16]) -> None:
    plain = rendered(stored, Grayscale(TWELVE_BITS, inverted=False, voi=Window(2000, 3000, "LINEAR_EXACT")))
    rescaled = Grayscale(TWELVE_BITS, inverted=False, slope=0.5, intercept=-100, voi=Window(900, 1500, "LINEAR_EXACT"))
    moved = rendered(stored, rescaled)
    if plain is not None and moved is not None:
        np.testing.assert_allclose(moved, plain, atol=1e-6)


def test_a_wide_range_of_values_renders_as_a_narrow_one_does() -> None:
    narrow = np.arange(12, dtype=np.uint16).reshape(3, 4)
    wide = narrow.astype(np.int32) * 1_000_000
    few = render(narrow, Grayscale((0, 15), inverted=False))
    many = render(wide, Grayscale((0, 15_000_000), inverted=False))
    np.testing.assert_allclose(many, few, atol=1e-7)


def test_no_window_spans_what_the_bits_can_hold_and_not_what_the_image_holds() -> None:
    stored = np.array([[1000, 2000]], np.uint16)
    np.testing.assert_allclose(render(stored, Grayscale(TWELVE_BITS, inverted=False)), stored / 4095, atol=1e-7)
    signed = np.array([[-2048, 2047]], np.int16)
    np.testing.assert_allclose(render(signed, Grayscale((-2048, 2047), inverted=False)), [[0, 1]])


def test_a_negative_slope_turns_the_full_range_round() -> None:
    stored = np.array([[0, 4095]], np.uint16)
    shown = render(stored, Grayscale(TWELVE_BITS, inverted=False, slope=-2.0, intercept=7.0))
    np.testing.assert_allclose(shown, [[1, 0]])


def test_padding_is_black_in_both_polarities_and_outside_of_every_statistic() -> None:
    stored = np.array([[0, 0, 15, 1000], [2000, 3000, 2500, 1500]], np.uint16)
    for inverted in (False, True):
        grayscale = Grayscale(TWELVE_BITS, inverted, padding=(0, 15))
        shown = render(stored, grayscale, voi="percentile", percentiles=(0.0, 100.0))
        assert shown[0, :3].tolist() == [0, 0, 0]
        assert shown[0, 3] == (1.0 if inverted else 0.0)  # the least value of the image itself


def test_a_lookup_table_goes_before_rescaling_and_holds_at_its_ends() -> None:
    table = LookupTable(first=100, values=np.array([10.0, 20.0, 40.0]), highest=40)
    grayscale = Grayscale(TWELVE_BITS, inverted=False, slope=3.0, intercept=9.0, modality_lut=table)
    shown = render(np.array([[0, 100, 101, 102, 4000]], np.uint16), grayscale)
    np.testing.assert_allclose(shown, [[0.25, 0.25, 0.5, 1.0, 1.0]])


def test_a_voi_table_is_stretched_over_its_bits_and_not_over_its_entries() -> None:
    table = LookupTable(first=0, values=np.array([0.0, 100.0, 200.0]), highest=255)
    shown = render(np.array([[0, 1, 2]], np.uint16), Grayscale(TWELVE_BITS, inverted=False, voi=table))
    np.testing.assert_allclose(shown, [[0, 100 / 255, 200 / 255]], atol=1e-7)


@pytest.mark.parametrize("padding", [None, (7, 7)])
def test_an_image_of_one_value_is_refused(padding: tuple[int, int] | None) -> None:
    stored = np.full((20, 20), 5, np.uint16)
    if padding:
        stored[:3] = 7
    with pytest.raises(Refused) as refusal:
        render(stored, Grayscale(TWELVE_BITS, inverted=False, padding=padding))
    assert refusal.value.code == "NO_CONTRAST"


def test_a_window_that_shows_nothing_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        render(np.array([[1, 2]], np.uint16), Grayscale(TWELVE_BITS, inverted=False, voi=Window(90_000, 10)))
    assert refusal.value.code == "NO_CONTRAST"


@given(arrays.arrays(np.int16, st.integers(1, 60), elements=st.integers(-50, 50)), st.floats(0, 40), st.floats(60, 100))
def test_percentiles_are_values_of_the_image_that_so_many_pixels_do_not_exceed(
    pixels: NDArray[np.int16], lower: float, upper: float
) -> None:
    values, counts = np.unique(pixels, return_counts=True)
    low, high = percentile_range(values.astype(float), counts, (lower, upper))
    expected = np.percentile(pixels, [lower, upper], method="inverted_cdf")
    assert (low, high) == tuple(expected)
