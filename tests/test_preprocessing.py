"""From radiograph to network input and back: nothing is stretched, lost or put in another place."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from medres.config import GATES, Limits, Preprocessing
from medres.imaging.preprocessing import (
    WHITE,
    Placement,
    as_float,
    file_sha256,
    inspect,
    pixels_sha256,
    place,
    prepare,
    preprocess,
    specification_hash,
)
from medres.records import Radiograph
from tests.support.dicom_files import picture, radiograph, write

PLACEMENTS = st.builds(
    place,
    st.integers(16, 600),
    st.integers(16, 600),
    size=st.sampled_from([32, 33, 64, 224]),
    pixel_aspect_ratio=st.floats(0.4, 2.5),
    mirrored=st.booleans(),
)
POINTS = arrays.arrays(np.float64, (6, 2), elements=st.floats(-0.5, 599.5))


def film(pixels: NDArray[Any], **changes: Any) -> Radiograph:
    base = Radiograph(pixels.astype(np.float32), "2.25.1", "2.25.2", "patient", "PA", "")
    return dataclasses.replace(base, **changes)


@given(PLACEMENTS, POINTS)
def test_points_come_back_to_where_they_were(placement: Placement, points: NDArray[np.float64]) -> None:
    there = placement.to_input(points)
    np.testing.assert_allclose(placement.to_native(there), points, atol=1e-6)


@given(PLACEMENTS)
def test_the_corners_of_the_radiograph_lie_inside_the_square_and_touch_two_of_its_sides(placement: Placement) -> None:
    corners = np.array([[-0.5, -0.5], [placement.rows - 0.5, placement.columns - 0.5]])
    edges = placement.to_input(corners) + 0.5
    assert edges.min() >= -1e-9
    assert edges.max() <= placement.size + 1e-9
    sides = np.abs(edges[0] - edges[1])
    assert np.isclose(sides.max(), placement.size)


@given(PLACEMENTS)
def test_aspect_is_kept_within_half_a_pixel(placement: Placement) -> None:
    height, width = placement.rows * placement.scale_row, placement.columns * placement.scale_column
    assert height == pytest.approx(round(height))
    assert width == pytest.approx(round(width))


@given(PLACEMENTS, st.integers(1, 12), st.floats(0, 50))
def test_a_flat_heatmap_stays_flat(placement: Placement, side: int, value: float) -> None:
    restored = placement.restore(np.full((side, side), value, np.float32))
    assert restored.shape == (placement.rows, placement.columns)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, value, rtol=1e-5, atol=1e-6)


@given(PLACEMENTS, arrays.arrays(np.float32, (7, 7), elements=st.floats(0, 1, width=32)))
def test_restoring_never_stretches_values(placement: Placement, heatmap: NDArray[np.float32]) -> None:
    restored = placement.restore(heatmap)
    assert restored.min() >= heatmap.min() - 1e-6
    assert restored.max() <= heatmap.max() + 1e-6


@given(PLACEMENTS, st.integers(3, 10))
def test_a_ramp_in_the_input_is_read_at_the_place_where_each_native_pixel_lies(placement: Placement, side: int) -> None:
    centres = (np.arange(side) + 0.5) * placement.size / side - 0.5
    restored = placement.restore(np.broadcast_to(centres.astype(np.float32), (side, side)))
    points = np.stack([np.zeros(placement.columns), np.arange(placement.columns)], axis=1)
    expected = np.clip(placement.to_input(points)[:, 1], centres[0], centres[-1])
    np.testing.assert_allclose(restored[0], expected, atol=1e-3)


@given(st.integers(0, 179), st.integers(0, 119), st.booleans(), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_bright_spot_is_where_the_placement_says(row: int, column: int, left: bool, ratio: float) -> None:
    pixels = np.zeros((180, 120), np.float32)
    pixels[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = 1.0
    knee = film(
        pixels, pixel_aspect_ratio=ratio, laterality="L" if left else "R", attributes={"BodyPartExamined": "KNEE"}
    )
    done = preprocess(knee, Preprocessing(size=96, laterality="mirror-left-limbs"))
    assert done.placement.mirrored is left
    weights = as_float(done.pixels)
    centre = (np.argwhere(weights > 0) * weights[weights > 0][:, None]).sum(axis=0) / weights.sum()
    spot = np.argwhere(pixels > 0).mean(axis=0)
    np.testing.assert_allclose(done.placement.to_input(spot[None])[0], centre, atol=0.6)
    peak = np.unravel_index(done.placement.restore(weights).argmax(), pixels.shape)
    assert np.abs(np.array(peak) - spot).max() <= 6


def test_pixels_that_are_twice_as_high_as_wide_make_the_image_twice_as_tall() -> None:
    done = preprocess(film(np.ones((50, 100)), pixel_aspect_ratio=2.0), Preprocessing(size=64))
    assert (done.pixels == WHITE).all()
    flat = preprocess(film(np.ones((50, 100))), Preprocessing(size=64)).pixels
    assert (flat[16:48] == WHITE).all()
    assert not flat[:16].any()
    assert not flat[48:].any()


def test_shrinking_averages_and_does_not_skip() -> None:
    stripes = np.zeros((256, 256), np.float32)
    stripes[:, ::2] = 1.0
    shrunk = as_float(preprocess(film(stripes), Preprocessing(size=64)).pixels)
    np.testing.assert_allclose(shrunk, 0.5, atol=1e-4)


@pytest.mark.parametrize(
    ("part", "side", "setting", "mirrored"),
    [
        ("KNEE", "L", "mirror-left-limbs", True),
        ("knee", "L", "mirror-left-limbs", True),
        ("KNEE", "R", "mirror-left-limbs", False),
        ("KNEE", "", "mirror-left-limbs", False),
        ("KNEE", "L", "as-acquired", False),
        ("CHEST", "L", "mirror-left-limbs", False),
        ("", "L", "mirror-left-limbs", False),
    ],
)
def test_only_left_limbs_are_mirrored_and_only_when_asked(part: str, side: str, setting: Any, mirrored: bool) -> None:
    gradient = np.broadcast_to(np.linspace(0, 1, 64), (64, 64))
    image = film(gradient, laterality=side, attributes={"BodyPartExamined": part})
    done = preprocess(image, Preprocessing(size=64, laterality=setting))
    assert done.placement.mirrored is mirrored
    assert (done.pixels[0, 0] > done.pixels[0, -1]) is np.bool_(mirrored)


def test_quantising_loses_less_than_a_code() -> None:
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    back = as_float(preprocess(film(values), Preprocessing(size=64)).pixels)
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= 0.5 / WHITE + 1e-7


def test_the_hash_of_a_specification_depends_on_every_field() -> None:
    base = Preprocessing()
    others = [
        Preprocessing(size=64),
        Preprocessing(voi="full"),
        Preprocessing(percentiles=(1, 99)),
        Preprocessing(laterality="mirror-left-limbs"),
        Preprocessing(decode="reduced"),
    ]
    assert len(others) == len(Preprocessing.model_fields)
    assert len({specification_hash(spec) for spec in (base, *others)}) == len(others) + 1
    assert specification_hash(base) == specification_hash(Preprocessing())


@given(arrays.arrays(np.int32, (3, 4), elements=st.integers(-40_000, 70_000)))
def test_the_hash_of_pixels_depends_on_values_and_shape_alone(stored: NDArray[np.int32]) -> None:
    assert pixels_sha256(stored) == pixels_sha256(stored.astype(np.int64))
    assert pixels_sha256(stored) == pixels_sha256(np.asfortranarray(stored))
    assert pixels_sha256(stored) != pixels_sha256(stored.reshape(4, 3))
    other = stored.copy()
    other[0, 0] += 1
    assert pixels_sha256(stored) != pixels_sha256(other)


def test_preparing_and_inspecting_a_file_agree(tmp_path: Any) -> None:
    path = str(write(tmp_path / "a.dcm", radiograph(picture(), PatientSex="F", PatientAge="061Y")))
    spec = Preprocessing(size=64)
    prepared = prepare(path, spec=spec, gate=GATES["frontal-chest"], limits=Limits())
    inspected = inspect(path, gate=GATES["frontal-chest"], limits=Limits())
    for field in dataclasses.fields(inspected):
        assert getattr(prepared, field.name) == getattr(inspected, field.name)
    assert prepared.sha256 == file_sha256(path)
    assert prepared.pixels.dtype == np.uint16
    assert prepared.attributes["PatientSex"] == "F"
    assert (prepared.warnings, prepared.review) == ((), ())
