"""The same stored values give the same picture, however they are encoded and whatever else a header says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medres.config import Preprocessing
from medres.errors import Refused
from medres.imaging.display import LEAST_SPAN
from medres.imaging.reading import read_radiograph
from medres.records import Radiograph, Shutter
from tests.conftest import SHARED, needs_shared
from tests.support.dicom_files import JPEG, compress, picture, radiograph, write
from tests.support.odd_files import ENHANCED_XA, RF, WHOLE_CELLS, XA, group, table


def shown(dataset: Dataset, **options: Any) -> Radiograph:
    with tempfile.TemporaryDirectory() as folder:
        return read_radiograph(write(Path(folder) / "a.dcm", dataset), **options)


# Stored values


@settings(max_examples=25)
@given(
    bits=st.integers(8, 15),
    signed=st.booleans(),
    overlay=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_lies_above_the_stored_bits_changes_the_picture_in_no_encoding(
    bits: int, signed: bool, overlay: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = picture(seed=seed) >> (12 - bits) if bits < 12 else picture(seed=seed) << (bits - 12)
    above = 1 << bits if overlay else 0x10000 - (1 << bits)
    junk = rng.integers(0, 2**16, values.shape, dtype=np.uint16) & np.uint16(above)
    junk[0, 0] = above  # at least one bit, and in a signed image no sign that goes on
    values[0, 0] = 1
    facts: dict[str, Any] = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(signed)}
    clean, cells = radiograph(values, **facts), [radiograph(values | junk, **facts)]
    cells += [
        compress(radiograph(values, **facts), syntax, code(values | junk)) for syntax, code in WHOLE_CELLS.items()
    ]
    expected = shown(clean)
    for dataset in cells:
        if overlay:
            dataset.add_new(0x60000102, "US", bits)
        found = shown(dataset)
        assert np.array_equal(found.pixels, expected.pixels), dataset.file_meta.TransferSyntaxUID.name
        assert found.warnings == (*expected.warnings, *(() if overlay else ("HIGH_BITS",)))


def test_a_sign_that_goes_on_to_the_highest_bit_is_nothing_odd() -> None:
    values = picture().astype(np.int16) - 2048
    assert shown(radiograph(values)).warnings == ()
    coded = imagecodecs.jpegls_encode(values.view(np.uint16), level=0)
    found = shown(compress(radiograph(values), f"{JPEG}80", coded))
    assert found.warnings == ()
    assert np.array_equal(found.pixels, shown(radiograph(values)).pixels)


def test_smallest_and_largest_pixel_value_are_no_display_range() -> None:
    plain = shown(radiograph())
    facts = {"SmallestImagePixelValue": 900, "LargestImagePixelValue": 3000}
    for voi in ("header", "full", "percentile"):
        assert np.array_equal(shown(radiograph(**facts), voi=voi).pixels, shown(radiograph(), voi=voi).pixels)
    assert plain.review == ()


# Lookup tables


@settings(max_examples=60)
@given(claimed=st.integers(8, 16), deepest=st.integers(8, 16), keyword=st.sampled_from(["VOILUT", "ModalityLUT"]))
def test_a_table_is_shown_by_the_depth_of_its_entries_where_its_claim_is_wrong(
    claimed: int, deepest: int, keyword: str
) -> None:
    entries = np.linspace(0, 2**deepest - 1, 4096).astype(np.uint16)
    found = shown(radiograph(**{f"{keyword}Sequence": [table(entries, bits=claimed)]}))
    wrong = deepest > claimed or claimed - deepest >= 2
    assert found.review == (("LUT_DEPTH",) if wrong else ())
    highest = 2 ** (deepest if wrong else claimed) - 1
    np.testing.assert_allclose(found.pixels, entries[picture()] / highest, atol=1e-6)


def test_the_depth_of_a_modality_table_does_not_matter_below_a_window() -> None:
    entries = np.arange(4096) // 4
    facts = {"ModalityLUTSequence": [table(entries, bits=16)], "WindowCenter": 512, "WindowWidth": 1024}
    assert shown(radiograph(**facts)).review == ()
    assert shown(radiograph(**facts), voi="full").review == ("LUT_DEPTH",)


@pytest.mark.parametrize(
    "broken",
    [
        {"LUTData": None},
        {"LUTDescriptor": None},
        {"LUTDescriptor": [4000, 0, 12]},
        {"LUTDescriptor": [4096, 0, 99]},
    ],
)
def test_a_voi_table_that_cannot_be_used_leaves_its_alternative_the_window(broken: dict[str, Any]) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    item = table(np.arange(4096), bits=12)
    for keyword, value in broken.items():
        if value is None:
            delattr(item, keyword)
        else:
            item.add_new(keyword, "US", value)
    found = shown(radiograph(VOILUTSequence=[item], **window))
    assert found.warnings == ("VOI_LUT_UNUSABLE",)
    assert found.provenance["voi"].startswith("window 1 of 1")
    assert np.array_equal(found.pixels, shown(radiograph(**window)).pixels)
    with pytest.raises(Refused, match="BAD_GRAYSCALE"):
        shown(radiograph(VOILUTSequence=[item]))


def test_a_voi_table_that_shows_one_gray_leaves_its_alternative_the_window() -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    found = shown(radiograph(VOILUTSequence=[table(np.full(4096, 4095), bits=12)], **window))
    assert found.warnings == ("VOI_LUT_UNUSABLE",)
    assert np.array_equal(found.pixels, shown(radiograph(**window)).pixels)


# Rules that depend on the object


@pytest.mark.parametrize("sop_class", [XA, ENHANCED_XA, RF])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 3000}])
@pytest.mark.parametrize(
    "modality",
    [
        {"ModalityLUTSequence": [table(np.arange(4096)[::-1] ** 2 // 256, bits=16)]},
        {"RescaleSlope": 3, "RescaleIntercept": -900},
    ],
)
def test_angiography_shows_stored_values(sop_class: str, window: dict[str, Any], modality: dict[str, Any]) -> None:
    """PS3.4 N.2: there the Modality LUT tells of the X-ray intensity, and is no part of the display."""
    for name in ("XA", "DX"):  # the SOP class decides, not Modality
        facts = {"SOPClassUID": sop_class, "Modality": name, **window}
        found = shown(radiograph(**facts, **modality))
        assert np.array_equal(found.pixels, shown(radiograph(**window)).pixels)
        assert found.provenance["modality_transform"] == "identity"
    assert not np.array_equal(shown(radiograph(**window, **modality)).pixels, shown(radiograph(**window)).pixels) or (
        "RescaleSlope" in modality and not window  # without a window the rescaled range is shown, which is the same
    )


@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_an_enhanced_object_keeps_its_window_spacing_and_laterality_in_functional_groups(where: str) -> None:
    macros: dict[str, dict[str, Any]] = {
        "FrameVOILUTSequence": {"WindowCenter": 2000, "WindowWidth": 700},
        "PixelMeasuresSequence": {"PixelSpacing": [0.2, 0.1]},
        "FrameAnatomySequence": {"FrameLaterality": "L"},
        "PixelValueTransformationSequence": {"RescaleSlope": 2, "RescaleIntercept": 0},
    }
    found = shown(radiograph(NumberOfFrames=1, WindowCenter=1000, WindowWidth=90, **{where: [group(**macros)]}))
    expected = shown(radiograph(WindowCenter=2000, WindowWidth=700, RescaleSlope=2, RescaleIntercept=0))
    assert np.array_equal(found.pixels, expected.pixels)
    assert (found.pixel_aspect_ratio, found.laterality) == (2.0, "L")


def test_of_functional_groups_the_innermost_wins() -> None:
    frame = group(FrameVOILUTSequence={"WindowCenter": 2000, "WindowWidth": 700}, FrameAnatomySequence={})
    shared = group(
        FrameVOILUTSequence={"WindowCenter": 900, "WindowWidth": 50}, FrameAnatomySequence={"FrameLaterality": "R"}
    )
    groups = {"PerFrameFunctionalGroupsSequence": [frame], "SharedFunctionalGroupsSequence": [shared]}
    found = shown(radiograph(ImageLaterality="L", **groups))
    assert np.array_equal(found.pixels, shown(radiograph(WindowCenter=2000, WindowWidth=700)).pixels)
    assert found.laterality == "R"  # the frame's own group says nothing of it


# What can be seen


@settings(max_examples=60)
@given(part=st.floats(0.005, 1.0), voi=st.sampled_from(["header", "full"]), inverted=st.booleans())
def test_a_picture_of_hardly_any_contrast_is_for_a_human_to_look_at(part: float, voi: Any, inverted: bool) -> None:
    values = np.linspace(0, 4095, 48 * 40).reshape(48, 40).astype(np.uint16)
    width = round(4096 / part)  # so that the whole image spans this part of the display
    facts: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": width} if voi == "header" else {}
    values = values if voi == "header" else np.rint(values * part).astype(np.uint16)
    facts["PhotometricInterpretation"] = "MONOCHROME1" if inverted else "MONOCHROME2"
    spans = 0.98 * part
    if abs(spans - LEAST_SPAN) < 0.005:
        return
    assert shown(radiograph(values, **facts), voi=voi).review == (("LOW_CONTRAST",) if spans < LEAST_SPAN else ())


def test_padding_and_single_bright_pixels_lend_no_contrast() -> None:
    values = np.full((48, 40), 2000, np.uint16)
    values[::2] = 2010
    values[0, :10] = 4095
    values[:, :4] = 0
    found = shown(radiograph(values, PixelPaddingValue=0))
    assert found.review == ("LOW_CONTRAST",)
    assert shown(radiograph(values, PixelPaddingValue=0), voi="percentile").review == ()


def test_a_score_of_a_picture_without_contrast_is_for_a_human_to_look_at(tmp_path: Path) -> None:
    from medres.config import GATES, Limits
    from medres.imaging.preprocessing import prepare

    path = write(tmp_path / "a.dcm", radiograph(picture() // 20))
    prepared = prepare(str(path), spec=Preprocessing(), gate=GATES["any"], limits=Limits())
    assert prepared.review == ("LOW_CONTRAST",)


@pytest.mark.parametrize("cohort", [pytest.param(name, marks=needs_shared(name)) for name in ("knee", "chest64")])
def test_no_sound_radiograph_is_said_to_lack_contrast(cohort: str) -> None:
    """A part of those by which LEAST_SPAN was chosen."""
    files = sorted((SHARED / cohort).rglob("*.dcm"))
    assert len(files) >= 1000
    for path in files[::25]:
        for voi in ("header", "full", "percentile"):
            assert "LOW_CONTRAST" not in read_radiograph(path, voi=voi).review, path


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {
                "ShutterShape": "RECTANGULAR",
                "ShutterUpperHorizontalEdge": 3,
                "ShutterLowerHorizontalEdge": 40,
                "ShutterLeftVerticalEdge": 2,
                "ShutterRightVerticalEdge": 30,
            },
            Shutter(("RECTANGULAR",), rectangle=(3, 40, 2, 30)),
        ),
        (
            {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [24, 20], "RadiusOfCircularShutter": 15},
            Shutter(("CIRCULAR",), circle=(24, 20, 15)),
        ),
        (
            {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2, 30, 4, 9, 38]},
            Shutter(("POLYGONAL",), polygon=((1, 2), (30, 4), (9, 38))),
        ),
        ({"ShutterShape": "BITMAP"}, Shutter(("BITMAP",))),
        ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [24]}, Shutter(("CIRCULAR",))),
    ],
)
def test_a_shutter_is_told_with_its_shape_and_hides_nothing(attributes: dict[str, Any], expected: Shutter) -> None:
    plain = shown(radiograph())
    in_the_frame = {"PerFrameFunctionalGroupsSequence": [group(FrameDisplayShutterSequence=attributes)]}
    for facts in (attributes, in_the_frame):
        found = shown(radiograph(**facts))
        assert found.shutter == expected
        assert found.warnings == ("SHUTTER",)
        assert np.array_equal(found.pixels, plain.pixels)
    assert plain.shutter is None
