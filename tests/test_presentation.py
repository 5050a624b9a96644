"""What a viewer is given of a radiograph: every stored value, and every way the header knows to show it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medres import read_radiograph
from medres.config import GATES, Limits
from medres.errors import Refused
from medres.imaging.isolation import done_isolated
from medres.imaging.rendering import Window, apply_window
from medres.imaging.viewing.presentation import NETWORK, VOI_LUT, present, read_spacing
from medres.imaging.viewing.records import Presentation
from medres.review.feed import packed
from tests.support.dicom_files import radiograph, write

RANDOM = np.random.default_rng(0)


def presented(path: Path, **changes: Any) -> Presentation:
    asked: dict[str, Any] = {
        "gate": GATES["grayscale"],
        "voi": "header",
        "percentiles": (0.5, 99.5),
        "limits": Limits(),
    }
    return present(str(path), **{**asked, "limits": Limits(), **changes})


def film(folder: Path, stored: np.ndarray, **attributes: Any) -> Path:
    dataset = radiograph(stored)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    write(folder / "film.dcm", dataset)
    return folder / "film.dcm"


def as_the_network(found: Presentation) -> np.ndarray:
    return found.tables[found.table_names.index(NETWORK)][found.levels] / 65535


@given(data=st.data())
def test_as_the_network_sees_it_is_what_read_radiograph_gives(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("film")
    stored = RANDOM.integers(0, 4096, (40, 33)).astype(np.uint16)
    chosen = {"PhotometricInterpretation": data.draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))}
    if data.draw(st.booleans()):
        chosen |= {"RescaleSlope": data.draw(st.sampled_from([1, 0.5, -2])), "RescaleIntercept": -100}
    if data.draw(st.booleans()):
        chosen |= {"WindowCenter": data.draw(st.integers(0, 4000)), "WindowWidth": data.draw(st.integers(50, 5000))}
    voi = data.draw(st.sampled_from(["header", "full", "percentile"]))
    path = film(folder, stored, **chosen)
    try:
        wanted = read_radiograph(path, voi=voi).pixels
    except Refused as refusal:
        with pytest.raises(Refused, match=refusal.code):
            presented(path, voi=voi)
        return
    found = presented(path, voi=voi)
    assert np.abs(as_the_network(found) - wanted).max() <= 0.5 / 65535 + 1e-7
    if voi == "header" and found.chosen < len(found.windows):
        window = found.windows[found.chosen]
        shown = apply_window(found.modality[0][found.levels].astype(float), Window(window.center, window.width))
        np.testing.assert_allclose(1 - shown if found.inverted else shown, wanted, atol=1e-4)


def test_no_stored_value_is_lost_whatever_the_header_s_window_clips(tmp_path: Path) -> None:
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    found = presented(film(tmp_path, stored, WindowCenter=[100, 2048], WindowWidth=[10, 4096],
                           WindowCenterWidthExplanation=["BONE", "ALL"]))  # fmt: skip
    np.testing.assert_array_equal(found.first + found.step * found.levels, stored)
    assert [window.name for window in found.windows] == ["BONE", "ALL"]
    assert (found.chosen, found.count, found.padding) == (0, 4096, None)


def test_signed_values_and_padding_keep_their_places(tmp_path: Path) -> None:
    dataset = radiograph(np.zeros((40, 40), np.uint16))
    signed = RANDOM.integers(-2048, 2048, (40, 40)).astype(np.int16)
    dataset.PixelRepresentation, dataset.PixelPaddingValue = 1, -2048
    dataset.PixelData = signed.tobytes()
    write(tmp_path / "signed.dcm", dataset)
    found = presented(tmp_path / "signed.dcm")
    np.testing.assert_array_equal(found.first + found.levels.astype(int), signed)
    assert found.padding == (0, 0)


def test_a_table_of_the_header_goes_before_its_window(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4096, 0, 12], np.arange(4095, -1, -1).astype("<u2").tobytes()
    path = film(tmp_path, np.arange(4096, dtype=np.uint16).reshape(64, 64), WindowCenter=9, WindowWidth=9,
                VOILUTSequence=[item])  # fmt: skip
    found = presented(path)
    assert found.table_names[found.chosen - len(found.windows)] == VOI_LUT
    assert found.tables[0][0] == 65535 and found.tables[0][4095] == 0


@pytest.mark.parametrize(("attributes", "keyword", "words"), [
    ({}, "", ""),
    ({"ImagerPixelSpacing": [0.2, 0.1]}, "ImagerPixelSpacing", "at the detector; the body lies magnified on it"),
    ({"PixelSpacing": [0.2, 0.1]}, "PixelSpacing", "where it is one, the header does not say"),
    ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, "PixelSpacing", "at the detector"),
    ({"PixelSpacing": [0.19, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, "PixelSpacing",
     "corrected for magnification, the header does not say how"),
    ({"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"}, "PixelSpacing",
     "in the body, calibrated by an object of known size"),
    ({"NominalScannedPixelSpacing": [0.2, 0.1]}, "NominalScannedPixelSpacing", "on the film that was scanned"),
    ({"PixelSpacing": [0, 0.1]}, "", ""),
])  # fmt: skip
def test_a_ruler_says_where_a_millimetre_is_one(attributes: dict[str, Any], keyword: str, words: str) -> None:
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    found = read_spacing(dataset)
    assert (found.keyword, found.where) == (keyword, words) if found else keyword == ""


def test_the_edges_are_those_of_the_patient(tmp_path: Path) -> None:
    stored = RANDOM.integers(0, 4096, (40, 33)).astype(np.uint16)
    assert presented(film(tmp_path, stored, PatientOrientation=["L", "F"])).edges == ("R", "L", "H", "F")
    assert presented(film(tmp_path, stored, PatientOrientation=["X"])).edges == ("", "", "", "")


def test_a_message_holds_its_parts_at_multiples_of_four(tmp_path: Path) -> None:
    path = film(tmp_path, RANDOM.integers(0, 4096, (41, 33)).astype(np.uint16), ImagerPixelSpacing=[0.2, 0.1])
    job = partial(present, gate=GATES["grayscale"], voi="header", percentiles=(0.5, 99.5), limits=Limits())
    found = done_isolated(job, path, limits=Limits())
    message = packed(found, {})
    length = int.from_bytes(message[:4], "little")
    header, place = json.loads(message[4 : 4 + length]), 4 + length
    assert header["size"] == {"rows": 41, "columns": 33} and header["spacing"] == [0.2, 0.1]
    np.testing.assert_array_equal(np.frombuffer(message, "<u2", 41 * 33, place).reshape(41, 33), found.levels)
    place += 2 * 41 * 33 + (-2 * 41 * 33) % 4
    np.testing.assert_array_equal(np.frombuffer(message, "<f4", header["count"], place), found.modality[0])
    assert len(message) == place + 4 * header["count"] + 2 * header["count"] * len(header["tables"])
    assert length % 4 == 0 and place % 4 == 0


def test_a_file_that_changed_is_not_shown(tmp_path: Path) -> None:
    path = film(tmp_path, RANDOM.integers(0, 4096, (40, 33)).astype(np.uint16))
    with pytest.raises(Refused, match="CHANGED"):
        presented(path, sha256="0" * 64)
