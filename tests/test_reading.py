"""A file is read right or refused with a reason, and nothing in it can do harm."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from medres.config import GATES, Gate, Limits
from medres.errors import REASONS, WARNINGS, Refused
from medres.imaging import codecs, grayscale
from medres.imaging.preprocessing import file_sha256, inspect, pixels_sha256
from medres.imaging.reading import read_dataset, read_radiograph
from tests.support.dicom_files import JPEG, LOSSLESS, RLE, compress, picture, radiograph, write

CHEST = GATES["frontal-chest"]
FILE = Path  # what the fixture `file` gives for a data set


@pytest.fixture
def file(tmp_path: Path) -> Any:
    return partial(write, tmp_path / "a.dcm")


def code_of(path: Path, **options: Any) -> str:
    with pytest.raises(Refused) as refusal:
        read_radiograph(path, **options)
    assert refusal.value.code in REASONS
    assert "\n" not in refusal.value.detail
    return refusal.value.code


def stored(path: Path) -> np.ndarray[Any, Any]:
    return codecs.decode(read_dataset(path).dataset, limits=Limits()).pixels


# Files


def test_a_sound_radiograph_is_read_without_a_warning(file: Any) -> None:
    image = read_radiograph(file(radiograph()), gate=CHEST)
    assert (image.warnings, image.review) == ((), ())
    assert (image.patient_id, image.view_position, image.sop_instance_uid) == ("PHANTOM-1", "PA", "2.25.101")
    np.testing.assert_allclose(image.pixels, picture() / 4095, atol=1e-6)
    assert image.attributes["Rows"] == "48"
    assert not [name for name in image.attributes if "Date" in name or name in {"PatientName", "PatientID"}]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_refused_without_being_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert code_of(tmp_path / "fifo") == "UNREADABLE"
    with pytest.raises(Refused):
        file_sha256(tmp_path / "fifo")


def test_what_is_no_readable_file_is_unreadable(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "UNREADABLE"
    assert code_of(tmp_path / "absent") == "UNREADABLE"
    assert code_of(tmp_path / "n\0l") == "UNREADABLE"
    if Path(os.devnull).exists():
        assert code_of(Path(os.devnull)) == "UNREADABLE"


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 128 + b"DICM", b"GIF89a" * 99, b"\x89PNG\r\n\x1a\n" * 50, bytes(4096)]
)
def test_what_is_not_dicom_is_said_not_to_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert code_of(tmp_path / "a") == "NOT_DICOM"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0.0, 0.9999))
def test_a_file_that_was_cut_off_is_never_read(file: Any, part: float) -> None:
    path = file(radiograph())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    assert code_of(path) in {"TRUNCATED", "NOT_DICOM"}


def test_a_file_beyond_its_budget_is_not_parsed(file: Any) -> None:
    path = file(radiograph())
    assert code_of(path, limits=Limits(file_bytes=1000)) == "LIMIT"
    assert code_of(path, limits=Limits(pixels=100)) == "LIMIT"


def test_a_file_beyond_its_budget_is_not_even_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as sparse:
        sparse.truncate(Limits().file_bytes + 1)
    tracemalloc.start()
    try:
        assert code_of(tmp_path / "large") == "LIMIT"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_data_set_without_preamble_and_meta_information_is_recognised(file: Any) -> None:
    path = file(radiograph())
    whole = path.read_bytes()
    path.write_bytes(whole[whole.index(struct.pack("<HH", 8, 0x16)) :])
    image = read_radiograph(path)
    assert image.warnings == ("NO_FILE_META",)
    np.testing.assert_allclose(image.pixels, picture() / 4095, atol=1e-6)


@pytest.mark.parametrize("magic", [b"MZ\x90\0", b"\x7fELF", b"#!/bin/sh\n"])
def test_an_executable_preamble_is_flagged(file: Any, magic: bytes) -> None:
    path = file(radiograph())
    path.write_bytes(magic + path.read_bytes()[len(magic) :])
    assert read_radiograph(path).warnings == ("PREAMBLE_EXECUTABLE",)


# Encodings


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_every_uncompressed_encoding_gives_the_same_pixels(file: Any, syntax: Any) -> None:
    dataset = radiograph()
    dataset.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(stored(file(dataset)), picture())


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8])
def test_big_endian_gives_the_same_pixels(file: Any, dtype: Any) -> None:
    values = (picture() >> 4).astype(dtype) if dtype is np.uint8 else picture()
    dataset = radiograph(values)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    assert np.array_equal(stored(file(dataset)), values)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_compression_changes_no_pixel_and_no_hash(file: Any, syntax: str) -> None:
    path = file(compress(radiograph(), syntax, LOSSLESS[syntax](picture())))
    assert np.array_equal(stored(path), picture())
    image = read_radiograph(path, gate=CHEST)
    assert image.warnings == ()
    assert image.provenance["transfer_syntax"] == syntax
    assert inspect(str(path), gate=CHEST, limits=Limits()).pixels_sha256 == pixels_sha256(picture())


def test_rle_changes_no_pixel(file: Any) -> None:
    dataset = radiograph()
    dataset.compress(RLE, generate_instance_uid=False)
    assert np.array_equal(stored(file(dataset)), picture())


def test_signed_values_keep_their_sign_in_every_encoding(file: Any) -> None:
    values = picture().astype(np.int16) - 2048
    assert np.array_equal(stored(file(radiograph(values))), values)
    coded = imagecodecs.jpegls_encode(values.astype(np.uint16) & 0xFFF, level=0)
    assert np.array_equal(stored(file(compress(radiograph(values), f"{JPEG}80", coded))), values)
    coded = imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", bitspersample=12)
    assert np.array_equal(stored(file(compress(radiograph(values), f"{JPEG}90", coded))), values)


def test_lossy_compression_is_flagged(file: Any) -> None:
    eight = (picture() >> 4).astype(np.uint8)
    image = read_radiograph(file(compress(radiograph(eight), f"{JPEG}50", imagecodecs.jpeg8_encode(eight, level=90))))
    assert image.warnings == ("LOSSY",)
    assert image.provenance["lossy"] == "yes"
    assert np.abs(image.pixels * 255 - eight).mean() < 12


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_stays_white_in_a_lossy_htj2k_image(file: Any, kind: Any) -> None:
    """OpenJPH returns what a lossy image overshoots modulo the number of codes: white pixels come back black."""
    white = np.iinfo(kind).max
    squares = (np.indices((64, 64)) // 3).sum(axis=0) % 2
    coded = imagecodecs.htj2k_encode((squares * white).astype(kind), reversible=False, level=0.01)
    dataset = compress(radiograph((squares * white).astype(kind), BitsStored=8 * kind().itemsize), f"{JPEG}203", coded)
    dataset.HighBit = dataset.BitsStored - 1
    image = read_radiograph(file(dataset))
    assert image.warnings == ("LOSSY",)
    assert np.abs(image.pixels - squares).max() < 0.2


def test_fragments_of_one_frame_are_joined(file: Any) -> None:
    coded = imagecodecs.jpegls_encode(picture(), level=0)
    dataset = compress(radiograph(), f"{JPEG}80", coded)
    items = [b"", coded[:100], coded[100:300], coded[300:] + b"\0" * (len(coded) % 2)]
    dataset.PixelData = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item for item in items)
    assert np.array_equal(stored(file(dataset)), picture())


def test_a_second_frame_that_the_header_does_not_count_is_left_out_with_a_warning(file: Any) -> None:
    frames = [imagecodecs.jpegls_encode(picture(seed=seed), level=0) for seed in (0, 1)]
    path = file(compress(radiograph(), f"{JPEG}80", *frames))
    assert np.array_equal(stored(path), picture())
    assert read_radiograph(path).warnings == ("TRAILING_BYTES",)


def test_the_codestream_wins_over_the_headers_bits(file: Any) -> None:
    fourteen = imagecodecs.jpeg2k_encode(picture() * 4, level=0, codecformat="j2k", bitspersample=14)
    image = read_radiograph(file(compress(radiograph(), f"{JPEG}90", fourteen)))  # under a header of 12
    assert image.warnings == ("CODESTREAM_PRECISION",)
    np.testing.assert_allclose(image.pixels, picture() * 4 / (2**14 - 1), atol=1e-4)


def test_an_image_coded_in_whole_cells_is_shown_by_the_headers_bits(file: Any) -> None:
    coded = imagecodecs.jpeg_encode(picture(), lossless=True, predictor=1, bitspersample=16)
    image = read_radiograph(file(compress(radiograph(), f"{JPEG}70", coded)))
    assert image.warnings == ()
    np.testing.assert_allclose(image.pixels, picture() / 4095, atol=1e-6)


@pytest.mark.parametrize("syntax", [syntax for syntax in LOSSLESS if syntax != f"{JPEG}57"])
@pytest.mark.parametrize("label", [*LOSSLESS, f"{JPEG}50", RLE])
def test_a_codestream_of_another_family_is_refused(file: Any, syntax: str, label: str) -> None:
    same = {label, syntax} <= {f"{JPEG}57", f"{JPEG}70"} or {label, syntax} <= {f"{JPEG}90", f"{JPEG}201"}
    path = file(compress(radiograph(), label, LOSSLESS[syntax](picture())))
    if label == syntax or same:
        assert np.array_equal(stored(path), picture())
    else:
        assert code_of(path) in {"TRANSFER_SYNTAX", "DECODE_FAILED"}


def test_a_lossy_image_does_not_pass_as_a_lossless_one(file: Any) -> None:
    eight = (picture() >> 4).astype(np.uint8)
    coded = imagecodecs.jpeg8_encode(eight, level=90)
    assert code_of(file(compress(radiograph(eight), f"{JPEG}70", coded))) == "TRANSFER_SYNTAX"


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_codestream_of_other_dimensions_is_refused(file: Any, syntax: str) -> None:
    path = file(compress(radiograph(), syntax, LOSSLESS[syntax](picture(64, 40))))
    assert code_of(path) == "DIMENSION_MISMATCH"


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_codestream_that_was_cut_off_is_refused(file: Any, syntax: str) -> None:
    coded = LOSSLESS[syntax](picture())
    path = file(compress(radiograph(), syntax, coded[: len(coded) * 6 // 10]))
    assert code_of(path) in {"TRUNCATED", "DECODE_FAILED"}


@pytest.mark.parametrize("syntax", [f"{JPEG}53", f"{JPEG}110", f"{JPEG}102"])
def test_a_transfer_syntax_without_a_decoder_is_named(file: Any, syntax: str) -> None:
    known = next(known for known in LOSSLESS if len(known) == len(syntax))  # pydicom writes no other
    path = file(compress(radiograph(), known, b"\0" * 64))
    path.write_bytes(path.read_bytes().replace(known.encode(), syntax.encode(), 1))
    assert code_of(path) == "UNSUPPORTED_TRANSFER_SYNTAX"


# Bombs


def nested(levels: int) -> Dataset:
    item = Dataset()
    for _ in range(levels):
        outer = Dataset()
        outer.ContentSequence = Sequence([item])
        item = outer
    dataset = radiograph()
    dataset.update(item)
    return dataset


def test_sequences_are_followed_as_deep_as_the_budget_goes(file: Any) -> None:
    assert read_radiograph(file(nested(50))).warnings == ()
    assert code_of(file(nested(51))) == "DEPTH_LIMIT"


@pytest.mark.parametrize("implicit", [False, True])
def test_a_tower_of_sequences_ends_no_process(file: Any, implicit: bool) -> None:
    dataset = radiograph()
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = file(dataset)
    opening = struct.pack("<HH", 0x0040, 0xA730) + (b"" if implicit else b"SQ\0\0") + struct.pack("<L", 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    whole = path.read_bytes()
    place = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    path.write_bytes(whole[:place] + (opening + item) * 20_000 + whole[place:])
    assert code_of(path) == "DEPTH_LIMIT"


def test_a_deflated_bomb_is_not_inflated(file: Any) -> None:
    dataset = radiograph()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = file(dataset)
    whole = path.read_bytes()
    start = 144 + struct.unpack_from("<L", whole, 140)[0]
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(engine.compress(bytes(2**20)) for _ in range(60)) + engine.flush()
    path.write_bytes(whole[:start] + bomb)
    assert code_of(path) == "LIMIT"
    assert code_of(path, limits=Limits(inflated_bytes=2**20, inflation_ratio=1e9)) == "LIMIT"


@pytest.mark.parametrize(("syntax", "code"), [(None, "LENGTH_MISMATCH"), (RLE, "LIMIT")])
def test_a_header_that_promises_gigabytes_is_refused_before_they_are_allocated(
    file: Any, syntax: str | None, code: str
) -> None:
    dataset = radiograph()
    if syntax:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.Rows = dataset.Columns = 65535
    assert code_of(file(dataset)) == code


# The image


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PhotometricInterpretation": "RGB"}, "PHOTOMETRIC"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PHOTOMETRIC"),
        ({"PhotometricInterpretation": None}, "PHOTOMETRIC"),
        ({"SamplesPerPixel": 3}, "PHOTOMETRIC"),
        ({"NumberOfFrames": 2}, "MULTIFRAME"),
        ({"HighBit": 15}, "BAD_BITS"),
        ({"BitsStored": 17, "HighBit": 16}, "BAD_BITS"),
        ({"BitsAllocated": 12}, "BAD_BITS"),
        ({"PixelRepresentation": 7}, "BAD_BITS"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "BAD_GRAYSCALE"),
        ({"SOPInstanceUID": "../../etc/passwd"}, "BAD_UID"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom notices what the test does on purpose
def test_an_image_that_cannot_be_shown_right_is_refused(file: Any, changes: dict[str, Any], code: str) -> None:
    assert code_of(file(radiograph(**changes))) == code


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"PresentationLUTShape": "INVERSE"}, "POLARITY_CONFLICT"),
        ({"RescaleSlope": 2}, "RESCALE_INCOMPLETE"),
        ({"RescaleIntercept": 2}, "RESCALE_INCOMPLETE"),
        ({"WindowCenter": [2000, 100], "WindowWidth": 3000}, "WINDOW_VM_MISMATCH"),
        ({"WindowCenter": 2000, "WindowWidth": 0}, "BAD_WINDOW"),
        ({"WindowCenter": 90_000, "WindowWidth": 10}, "BAD_WINDOW"),
        ({"WindowCenter": 2000, "WindowWidth": 300, "VOILUTFunction": "CUBIC"}, "BAD_WINDOW"),
        ({"NumberOfFrames": 0}, "NUMBER_OF_FRAMES"),
        ({"PatientOrientation": ["R", "F"]}, "ORIENTATION"),
        ({"PatientOrientation": ["L", "H"]}, "ORIENTATION"),
        ({"PatientOrientation": ["L", "R"]}, "ORIENTATION"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "ORIENTATION"),
        ({"BurnedInAnnotation": "YES"}, "BURNED_IN"),
        ({"BurnedInAnnotation": None}, "BURNED_IN_UNKNOWN"),
        ({"PatientID": "P\r\nFAKE"}, "TEXT"),
        ({"LossyImageCompression": "01"}, "LOSSY"),
    ],
)
def test_what_is_doubtful_is_accepted_with_a_warning(file: Any, changes: dict[str, Any], warning: str) -> None:
    image = read_radiograph(file(radiograph(**changes)), gate=CHEST)
    assert image.warnings == (warning,)
    assert warning in WARNINGS


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    "changes", [{"StudyDate": "20201340"}, {"PatientAge": "-3Q"}, {"PatientBirthDate": "nineteen"}]
)
def test_dates_that_no_calendar_knows_are_flagged(file: Any, changes: dict[str, Any]) -> None:
    image = read_radiograph(file(radiograph(**changes)))
    assert image.warnings == ("BAD_DEMOGRAPHICS",)
    assert image.attributes["PatientAge"] == ""


def test_bits_above_the_stored_ones_are_no_part_of_the_image(file: Any) -> None:
    path = file(radiograph(picture() | 0xA000))
    assert np.array_equal(stored(path), picture())
    assert read_radiograph(path).warnings == ("HIGH_BITS",)


def test_further_bytes_are_ignored_and_missing_ones_are_not_made_up(file: Any) -> None:
    longer, shorter, far_too_short = radiograph(), radiograph(), radiograph()
    longer.PixelData += bytes(80)
    shorter.PixelData = shorter.PixelData[:-80]
    far_too_short.PixelData = far_too_short.PixelData[:80]
    image = read_radiograph(file(longer))
    assert image.warnings == ("TRAILING_BYTES",)
    assert image.pixels.shape == (48, 40)
    assert code_of(file(shorter)) == "TRUNCATED"
    assert code_of(file(far_too_short)) == "LENGTH_MISMATCH"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1.0, "none")),
        ({"PixelSpacing": [0.4, 0.2]}, (2.0, "PixelSpacing")),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, (0.5, "ImagerPixelSpacing")),
        ({"PixelAspectRatio": [3, 2]}, (1.5, "PixelAspectRatio")),
        ({"PixelSpacing": [0.4, 0], "PixelAspectRatio": [2, 1]}, (2.0, "PixelAspectRatio")),
        ({"PixelSpacing": [0.4, 0.00001]}, (1.0, "none")),
    ],
)
def test_the_shape_of_pixels_is_taken_from_the_attribute_that_says_so(changes: Any, expected: Any) -> None:
    ratio, source = grayscale.pixel_aspect_ratio(radiograph(**changes))
    assert (pytest.approx(ratio), source) == expected


# The gate


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Modality": "CT"}, "MODALITY"),
        ({"Modality": None}, "MODALITY"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR_PROCESSING"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "FOR_PROCESSING"),
        ({"BodyPartExamined": "HAND"}, "BODY_PART"),
        ({"ViewPosition": "LL"}, "VIEW"),
    ],
)
def test_the_gate_refuses_on_the_header_alone(file: Any, changes: dict[str, Any], code: str) -> None:
    broken = compress(radiograph(**changes), f"{JPEG}90", b"no codestream at all")
    assert code_of(file(broken), gate=CHEST) == code
    assert code_of(file(broken)) == "TRANSFER_SYNTAX"


@pytest.mark.parametrize(
    ("changes", "review"),
    [
        ({"ViewPosition": None}, ("VIEW",)),
        ({"BodyPartExamined": None}, ("BODY_PART",)),
        ({"BodyPartExamined": "SKULL", "SeriesDescription": "Chest PA"}, ("BODY_PART",)),
        ({"BodyPartExamined": "SKULL", "ProtocolName": "thorax pa"}, ("BODY_PART",)),
        ({"PatientID": ""}, ("NO_PATIENT_ID",)),
        ({"StudyInstanceUID": "../../x"}, ("BAD_UID",)),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_a_human_must_decide_goes_to_review(file: Any, changes: dict[str, Any], review: tuple[str, ...]) -> None:
    image = read_radiograph(file(radiograph(**changes)), gate=CHEST)
    assert image.review == review
    assert "/" not in image.study_instance_uid


def test_a_gate_of_ones_own_is_compared_without_regard_to_case(file: Any) -> None:
    gate = Gate(name="knees", modality=("dx",), body_part=("Knee",))
    assert read_radiograph(file(radiograph(BodyPartExamined="KNEE")), gate=gate).review == ()
    assert code_of(file(radiograph()), gate=gate) == "BODY_PART"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"PatientID": " 00123 "}, "00123"),
        ({"PatientID": "00123", "IssuerOfPatientID": "B"}, "B/00123"),
        ({"PatientID": "", "IssuerOfPatientID": "B"}, ""),
        ({"PatientID": "A\x1b[31mB\u202eC"}, "AB C"),
    ],
)
def test_patients_are_told_apart_by_issuer_and_zeros_but_not_by_spaces(file: Any, changes: Any, expected: str) -> None:
    dataset = radiograph(SpecificCharacterSet="ISO_IR 192", **changes)
    assert read_radiograph(file(dataset)).patient_id == expected
