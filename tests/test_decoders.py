"""A smaller copy that a compressed image holds gives the network what the whole image does, or is not decoded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from medres.cohort.duplicates import Repeats
from medres.config import GATES, Limits, Preprocessing
from medres.errors import Refused
from medres.imaging import codecs, decoders
from medres.imaging.codestream import read_codestream_header
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Prepared, prepare, preprocess
from medres.imaging.reading import read_radiograph
from medres.records import Radiograph, Sampling
from tests.support.dicom_files import JPEG, compress, radiograph, write

SIZE = 128
J2K, J2K_LOSSY, HTJ2K, HTJ2K_LOSSY, BASELINE = (f"{JPEG}{end}" for end in ("90", "91", "201", "203", "50"))
Encode = Callable[[NDArray[Any], int], bytes]


def scene(rows: int, columns: int, bits: int) -> NDArray[Any]:
    """Smooth anatomy with edges and noise, in so many bits, its sides independent of its size."""
    down, across = np.mgrid[:rows, :columns].astype(np.float64)
    down, across = down / rows, across / columns
    shade = 0.5 + 0.2 * np.sin(11 * down) * np.cos(9 * across) + 0.1 * np.sin(40 * (down + across))
    shade += 0.15 * (np.hypot(down - 0.4, across - 0.55) < 0.12)
    shade += np.random.default_rng(0).normal(0, 0.004, shade.shape)
    shade[:, : columns // 20] = 1.0
    return (shade.clip(0, 1) * (2**bits - 1)).round().astype(np.uint16 if bits > 8 else np.uint8)


def j2k(stored: NDArray[Any], bits: int, **options: Any) -> bytes:
    """A JPEG 2000 codestream, without loss where nothing else is said."""
    given = {"level": 0, "codecformat": "j2k", "bitspersample": bits, "reversible": True} | options
    return bytes(imagecodecs.jpeg2k_encode(stored, **given))


def tiled(stored: NDArray[Any], bits: int) -> bytes:
    """The same in tiles of odd sides, of 8 bits (Pillow mixes up tiles of 16 when it encodes them)."""
    assert bits == 8
    coded = BytesIO()
    Image.fromarray(stored).save(coded, "JPEG2000", no_jp2=True, tile_size=(333, 259), irreversible=False)
    return coded.getvalue()


def htj2k(stored: NDArray[Any], bits: int, **options: Any) -> bytes:
    """An HTJ2K codestream, whose precision is that of the cells."""
    assert bits in {8, 16}
    return bytes(imagecodecs.htj2k_encode(stored, **{"reversible": True} | options))


def jpeg(stored: NDArray[Any], bits: int) -> bytes:
    """A baseline JPEG image."""
    assert bits == 8
    return bytes(imagecodecs.jpeg8_encode(stored, level=92))


def file(folder: Path, stored: NDArray[Any], bits: int, syntax: str, encode: Encode, **changes: Any) -> Path:
    """A DICOM file that holds an image so encoded."""
    header = {"BitsStored": bits, "HighBit": bits - 1, "WindowCenter": None, **changes}
    return write(folder / "image.dcm", compress(radiograph(stored, **header), syntax, encode(stored, bits)))


def both(path: Path, size: int = SIZE, **spec: Any) -> tuple[Prepared, Prepared]:
    """What the network gets of a file: from all its pixels, and from fewer."""
    made = partial(prepare, str(path), spec=Preprocessing(size=size, **spec), gate=GATES["any"], limits=Limits())
    return made(decode="full"), made(decode="reduced")


EVERY = [
    pytest.param(J2K, 12, j2k, id="J2K, 12 bits"),
    pytest.param(J2K, 16, j2k, id="J2K, 16 bits"),
    pytest.param(J2K, 8, j2k, id="J2K, 8 bits"),
    pytest.param(J2K_LOSSY, 12, partial(j2k, level=60, reversible=False), id="J2K with loss"),
    pytest.param(J2K, 8, tiled, id="J2K in tiles"),
    pytest.param(HTJ2K, 16, htj2k, id="HTJ2K"),
    pytest.param(HTJ2K, 16, partial(htj2k, tile=(333, 259)), id="HTJ2K in tiles"),
    pytest.param(HTJ2K_LOSSY, 16, partial(htj2k, reversible=False), id="HTJ2K with loss"),
    pytest.param(BASELINE, 8, jpeg, id="JPEG"),
]


def compare(path: Path, bits: int, rows: int, columns: int) -> str:
    """Hold both inputs of a file against each other at 128 and 160 pixels; how it was decoded for the latter."""
    for size in (128, 160):
        full, reduced = both(path, size)
        assert (full.decode, full.placement) == ("full", reduced.placement)
        step, side = {"1/2": 2, "1/4": 4, "1/8": 8}[reduced.decode], min(rows, columns)
        assert -(-side // step) >= 4 * size > -(-side // (2 * step))
        apart = np.abs(full.pixels.astype(int) - reduced.pixels.astype(int)) / 65535
        assert apart.max() < 0.04  # beside a step of half the range, which a low-pass of two native pixels moves
        assert apart.mean() < (0.0025 if bits == 8 else 0.0005)  # the reversible wavelet rounds to whole values
        assert (full.pixels_sha256 != "", reduced.pixels_sha256) == (True, "")
        assert full.sop_instance_uid == reduced.sop_instance_uid
    return reduced.decode


@pytest.mark.parametrize(("syntax", "bits", "encode"), EVERY)
def test_the_input_hardly_differs_from_that_of_all_pixels(
    tmp_path: Path, syntax: str, bits: int, encode: Encode
) -> None:
    rows, columns = 1283, 1406
    assert compare(file(tmp_path, scene(rows, columns, bits), bits, syntax, encode), bits, rows, columns) == "1/2"


@pytest.mark.parametrize(("syntax", "bits", "encode"), [EVERY[0], EVERY[5], EVERY[8]])
def test_nor_does_that_of_a_quarter(tmp_path: Path, syntax: str, bits: int, encode: Encode) -> None:
    rows, columns = 2565, 2559
    assert compare(file(tmp_path, scene(rows, columns, bits), bits, syntax, encode), bits, rows, columns) == "1/4"


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
def test_white_beside_black_stays_white(tmp_path: Path, syntax: str) -> None:
    rows, columns = 1024, 1026
    stored = np.where((np.arange(columns) // 8 + np.arange(rows)[:, None] // 8) % 2, 65535, 0).astype(np.uint16)
    stored[:, 513:] = 65535
    full, reduced = both(file(tmp_path, stored, 16, syntax, j2k if syntax == J2K else htj2k))
    assert reduced.decode == "1/2"  # a low-pass overshoots at such edges; what wraps is off by the whole range
    assert np.abs(full.pixels.astype(int) - reduced.pixels.astype(int)).max() / 65535 < 0.15


def centroid(pixels: NDArray[Any]) -> tuple[float, float]:
    weights = pixels.astype(float)
    down, across = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return float((weights * down).sum() / weights.sum()), float((weights * across).sum() / weights.sum())


@pytest.mark.parametrize(
    ("syntax", "bits", "encode"),
    [(J2K, 12, j2k), (J2K, 8, tiled), (HTJ2K, 16, htj2k), (BASELINE, 8, jpeg)],
    ids=["J2K", "tiles", "HTJ2K", "JPEG"],
)
@pytest.mark.parametrize("side", [512, 1024])
def test_a_planted_blob_lies_where_it_was_planted(
    tmp_path: Path, syntax: str, bits: int, encode: Encode, side: int
) -> None:
    rows, columns = 2 * side + 3, 2 * side + 96
    planted = (0.31 * rows, 0.66 * columns)
    down, across = np.mgrid[:rows, :columns].astype(np.float64)
    blob = np.exp(-((down - planted[0]) ** 2 + (across - planted[1]) ** 2) / (2 * (0.03 * side) ** 2))
    stored = (blob * (2**bits - 1)).round().astype(np.uint16 if bits > 8 else np.uint8)
    stored[stored < 2 ** (bits - 5)] = 0
    full, reduced = both(file(tmp_path, stored, bits, syntax, encode), side // 4, voi="full")
    assert reduced.decode == "1/2"
    found = reduced.placement.to_native(np.array([centroid(reduced.pixels)]))[0]
    assert np.abs(found - planted).max() < 0.25  # native pixels, of which the network's are eight
    assert np.abs(np.subtract(centroid(full.pixels), centroid(reduced.pixels))).max() < 0.02
    eighth = Preprocessing(size=side // 16, voi="full")
    smallest = prepare(str(tmp_path / "image.dcm"), spec=eighth, gate=GATES["any"], limits=Limits(), decode="reduced")
    assert smallest.decode == "1/8"
    found = smallest.placement.to_native(np.array([centroid(smallest.pixels)]))[0]
    assert np.abs(found - planted).max() < 0.5


@given(
    rows=st.integers(40, 90), columns=st.integers(40, 90), halvings=st.integers(1, 3), wavelet=st.booleans(),
    size=st.sampled_from([32, 37]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_averages_of_a_plane_are_those_of_its_native_pixels(
    rows: int, columns: int, halvings: int, wavelet: bool, size: int
) -> None:
    step = 2**halvings
    first = 0.0 if wavelet else (step - 1) / 2
    centres = [first + step * np.arange(-(-side // step)) for side in (rows, columns)]
    plane = (0.2 + 0.003 * centres[0][:, None] + 0.002 * centres[1][None]).astype(np.float32)
    whole = (0.2 + 0.003 * np.arange(rows)[:, None] + 0.002 * np.arange(columns)[None]).astype(np.float32)
    spec = Preprocessing(size=size)
    made = [
        preprocess(Radiograph(pixels, "2.25.1", "", "", "", "", sampling=sampling), spec)
        for pixels, sampling in ((whole, None), (plane, Sampling(rows, columns, step, first)))
    ]
    assert made[0].placement == made[1].placement
    apart = np.abs(made[0].pixels.astype(int) - made[1].pixels.astype(int)) / 65535
    assert apart.max() <= 0.005 * step  # at the edges, where the last pixel goes on, and between centres


LARGE = (1100, 1060)  # whose half suffices for SIZE
SIGNED = partial(radiograph, scene(*LARGE, 16).astype(np.int16) // 2, BitsStored=16, HighBit=15)


def of_another_precision() -> Dataset:
    """12 bits in a codestream of 16."""
    return compress(radiograph(scene(*LARGE, 12)), J2K, j2k(scene(*LARGE, 12), 16))


def with_overlay() -> Dataset:
    """An overlay in bit 12, which the codestream holds as well."""
    made = radiograph(scene(*LARGE, 12))
    made.add_new(0x60000100, "US", 16)
    made.add_new(0x60000102, "US", 12)
    return compress(made, J2K, j2k(scene(*LARGE, 12), 12))


def twelve_bits(**changes: Any) -> Dataset:
    """A radiograph that could be decoded reduced, changed."""
    return compress(radiograph(scene(*LARGE, 12), **changes), J2K, j2k(scene(*LARGE, 12), 12))


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: compress(SIGNED(), J2K, j2k(scene(*LARGE, 16).astype(np.int16) // 2, 16)), id="signed"),
        pytest.param(lambda: twelve_bits(PixelPaddingValue=0), id="padding value"),
        pytest.param(lambda: twelve_bits(PixelPaddingValue=0, PixelPaddingRangeLimit=3), id="padding range"),
        pytest.param(of_another_precision, id="precision is not BitsStored"),
        pytest.param(with_overlay, id="overlay bits"),
        pytest.param(
            lambda: compress(radiograph(scene(*LARGE, 12)), J2K, j2k(scene(*LARGE, 12), 12, resolutions=1)),
            id="no decomposition levels",
        ),
        pytest.param(
            lambda: compress(radiograph(scene(*LARGE, 12)), f"{JPEG}80", imagecodecs.jpegls_encode(scene(*LARGE, 12))),
            id="JPEG-LS",
        ),
        pytest.param(lambda: radiograph(scene(*LARGE, 12)), id="not compressed"),
    ],
)
def test_what_cannot_be_reduced_is_decoded_in_full(tmp_path: Path, made: Callable[[], Dataset]) -> None:
    full, reduced = both(write(tmp_path / "image.dcm", made()))
    assert reduced.decode == "full"
    assert (full.pixels_sha256, full.pixels.tobytes()) == (reduced.pixels_sha256, reduced.pixels.tobytes())


def test_an_image_that_could_be_reduced_is_one(tmp_path: Path) -> None:
    assert both(write(tmp_path / "image.dcm", twelve_bits()))[1].decode == "1/2"


@pytest.mark.parametrize(("resolutions", "expected"), [(0, "full"), (1, "1/2"), (2, "1/4"), (3, "1/8"), (6, "1/8")])
def test_a_codestream_is_not_halved_more_often_than_it_can(tmp_path: Path, resolutions: int, expected: str) -> None:
    stored = scene(1100, 1030, 12)
    file_here = BytesIO()
    Image.fromarray(stored << 4).save(file_here, "JPEG2000", no_jp2=True, num_resolutions=resolutions + 1)
    found = read_codestream_header(file_here.getvalue())
    assert found is not None
    assert found.halvings == resolutions
    made = compress(radiograph(stored << 4, BitsStored=16, HighBit=15), J2K, file_here.getvalue())
    assert both(write(tmp_path / "image.dcm", made), size=32)[1].decode == expected


def test_a_small_image_is_decoded_in_full(tmp_path: Path) -> None:
    path = file(tmp_path, scene(1022, 1100, 12), 12, J2K, j2k)
    assert both(path)[1].decode == "full"  # 511 rows are fewer than four times 128


def test_what_no_decoder_reduces_is_decoded_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_smaller_j2k", lambda *_: np.zeros((3, 3), np.uint16))
    full, reduced = both(write(tmp_path / "image.dcm", twelve_bits()))
    assert reduced.decode == "full"
    assert np.array_equal(full.pixels, reduced.pixels)


@pytest.mark.parametrize("bits", [8, 9, 12, 16])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (65, 67), (71, 97)])
@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_smaller_copies_have_the_scale_of_stored_values(bits: int, rows: int, columns: int, halvings: int) -> None:
    shade = 5 * 2**bits // 7
    stored = np.full((rows, columns), shade, np.uint16 if bits > 8 else np.uint8)
    code = j2k(stored, bits)
    found = read_codestream_header(code)
    assert found is not None
    smaller = decoders.decode_reduced(code, found, halvings)
    assert smaller is not None
    assert smaller[0].shape == (-(-rows // 2**halvings), -(-columns // 2**halvings))
    assert np.unique(smaller[0]).tolist() == [shade]


def test_a_worker_says_how_it_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "image.dcm", twelve_bits())
    job = partial(prepare, spec=Preprocessing(size=SIZE, decode="reduced"), gate=GATES["any"], limits=Limits())
    with Workers(1) as pool:
        ((_, found),) = pool.map(job, [str(path)])
    assert isinstance(found, Prepared)
    here = job(str(path))
    assert (found.decode, found.pixels.tobytes()) == ("1/2", here.pixels.tobytes())


def test_a_radiograph_is_read_for_a_model_that_needs_fewer_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "image.dcm", twelve_bits(WindowCenter=2000, WindowWidth=3000))
    spec = Preprocessing(size=SIZE, decode="reduced")
    smaller = read_radiograph(path, shorter_side=spec.shorter_side())
    assert smaller.sampling == Sampling(*LARGE, 2, 0.0)
    assert smaller.pixels.shape == (550, 530)
    expected = prepare(str(path), spec=spec, gate=GATES["any"], limits=Limits())
    assert np.array_equal(preprocess(smaller, spec).pixels, expected.pixels)


def test_files_of_which_not_all_pixels_are_known_are_never_the_same_image() -> None:
    repeats = Repeats()
    unknown = partial(repeats.compare, sop_instance_uid="2.25.1", pixels_sha256="")
    assert not unknown("a.dcm", sha256="1" * 64).conflict
    assert unknown("b.dcm", sha256="2" * 64).conflict
    assert unknown("c.dcm", sha256="1" * 64).identical_to == "a.dcm"
    assert repeats.compare("d.dcm", sop_instance_uid="2.25.1", sha256="3" * 64, pixels_sha256="4" * 64).conflict
    other = Repeats()
    other.compare("a.dcm", sop_instance_uid="2.25.1", sha256="1" * 64, pixels_sha256="4" * 64)
    assert other.compare("b.dcm", sop_instance_uid="2.25.1", sha256="2" * 64, pixels_sha256="").conflict


def flipped(code: bytes, *places: int) -> bytes:
    """A codestream with some bytes inverted."""
    made = bytearray(code)
    for place in places:
        made[place] ^= 0xFF
    return bytes(made)


def test_htj2k_that_openjph_cannot_read_is_not_what_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    code = htj2k(scene(256, 272, 16), 16)
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    for place in range(len(code) // 2, len(code), 211):
        damaged = flipped(code, place)
        imagecodecs.htj2k_decode(damaged)
        if heard:
            break
    assert heard, "imagecodecs raises by itself now: the hook is needed no more"
    heard.clear()
    header = {"BitsStored": 16, "HighBit": 15}
    with pytest.raises(Refused, match="DECODE_FAILED"):
        codecs.decode(compress(radiograph(scene(256, 272, 16), **header), HTJ2K, damaged), limits=Limits())
    assert not heard
    assert codecs.decode(compress(radiograph(scene(256, 272, 16), **header), HTJ2K, code), limits=Limits()).pixels.any()


DAMAGED = {
    (J2K, 12): j2k(scene(128, 136, 12), 12),
    (HTJ2K, 16): htj2k(scene(128, 136, 16), 16),
    (BASELINE, 8): jpeg(scene(128, 136, 8), 8),
}


@given(kind=st.sampled_from(sorted(DAMAGED)), places=st.lists(st.integers(20, 10_000), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_damage_is_refused_or_gives_an_image_of_the_size_asked_for(kind: tuple[str, int], places: list[int]) -> None:
    (syntax, bits), code = kind, DAMAGED[kind]
    damaged = flipped(code, *(place % len(code) for place in places))
    made = compress(radiograph(scene(128, 136, bits), BitsStored=bits, HighBit=bits - 1), syntax, damaged)
    try:
        found = codecs.decode(made, limits=Limits(), shorter_side=32)
    except Refused:
        return
    step = found.sampling.step if found.sampling else 1
    assert found.pixels.shape == (128 // step, 136 // step)
    assert int(found.pixels.max()) < 2**bits
