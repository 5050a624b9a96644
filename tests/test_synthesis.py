"""Phantoms are what their tables say they are: physics, findings, files."""

from __future__ import annotations

import csv
import filecmp
import math
import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)
from sklearn.metrics import roc_auc_score

from medres.config import GATES
from medres.errors import REASONS, OutputExists, Refused, UsageError
from medres.imaging.anatomy import LUNG, SOFT_TISSUE, Anatomy, Nodule, draw_nodules, line_integral
from medres.imaging.phantom_dicom import (
    TRANSFER_SYNTAXES,
    Identity,
    Person,
    Site,
    deterministic_uid,
    radiograph_dataset,
    write_dataset,
)
from medres.imaging.projection import Array, Ellipsoid, Rays, View, ellipsoid, rod
from medres.imaging.reading import read_radiograph
from medres.imaging.reference import reference_radiograph
from medres.imaging.synthesis import (
    FOREIGN_FILES,
    Phantom,
    expose,
    phantom,
    synthesise_cohort,
    synthesise_foreign_files,
)

VIEWS: tuple[View, ...] = ("PA", "AP", "LL")
PATIENTS = 16
# Decoders that are not the encoder's other half where the installation has one: libjpeg-turbo's lossless JPEG is read
# by jpegsof3, OpenJPH's HTJ2K by OpenJPEG.
DECODERS = {
    JPEGLosslessSV1: imagecodecs.jpegsof3_decode,
    JPEGLSLossless: imagecodecs.jpegls_decode,
    JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    HTJ2KLossless: imagecodecs.jpeg2k_decode,
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    synthesise_cohort(folder, patients=PATIENTS, seed=3)
    return folder


@pytest.fixture(scope="module")
def headers(cohort: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted((cohort / "images").rglob("*.dcm"))]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _decoded(dataset: pydicom.Dataset) -> NDArray[np.uint16]:
    decoder = DECODERS.get(dataset.file_meta.TransferSyntaxUID)
    if decoder is None:
        return np.asarray(dataset.pixel_array)
    return np.asarray(decoder(next(generate_frames(dataset.PixelData, number_of_frames=1))))


def _displayed(dataset: pydicom.Dataset) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.2.1 and the polarity, written down a second time."""
    center, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    values = np.clip((_decoded(dataset) - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    return 1 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values


def _identity(view: View = "PA") -> Identity:
    person = Person("PHANTOM-TEST", "F", 61, Site("Site T", "Phantom Imaging", "Analytic 1"))
    study, series, image = (deterministic_uid("test", level) for level in range(3))
    return Identity(person, view, "20240229", study, series, image)


def _grid(size: int, half_width: float) -> tuple[Array, Array, float]:
    positions = np.linspace(-half_width, half_width, size)
    return positions, positions.copy(), float(positions[1] - positions[0])


# physics


@given(
    axes=st.tuples(*[st.floats(5, 60)] * 3),
    tilt=st.floats(-1.5, 1.5),
    view=st.sampled_from(VIEWS),
    radius=st.floats(3, 10),
    azimuth=st.floats(0, 6.2),
    rise=st.floats(-1.5, 1.5),
)
@settings(max_examples=30, deadline=None)
def test_paths_through_a_body_add_up_to_its_volume(
    axes: tuple[float, float, float], tilt: float, view: View, radius: float, azimuth: float, rise: float
) -> None:
    across, down, step = _grid(301, 75.0)
    rays = Rays(across, down, view)
    direction = (math.cos(rise) * math.cos(azimuth), math.sin(rise), math.cos(rise) * math.sin(azimuth))
    bodies: list[tuple[Ellipsoid, float]] = [
        (ellipsoid((3.0, -2.0, 1.0), axes, tilt), math.prod(axes)),
        (rod((1.0, 2.0, 3.0), direction, 50.0, radius), 25.0 * radius * radius),
    ]
    for body, product in bodies:
        path = np.zeros((down.size, across.size))
        rays.add(path, body, 1.0)
        assert path.sum() * step * step == pytest.approx(4 / 3 * math.pi * product, rel=0.02)


@given(seed=st.integers(0, 10_000), view=st.sampled_from(VIEWS), lesions=st.sampled_from([1, 2]))
@settings(max_examples=25, deadline=None)
def test_a_lesion_lies_where_the_table_says(seed: int, view: View, lesions: int) -> None:
    clean = phantom(np.random.default_rng(seed), rows=224, columns=192, view=view)
    sick = phantom(np.random.default_rng(seed), rows=224, columns=192, view=view, lesions=lesions)
    assert clean.lesions == ()
    assert len(sick.lesions) == lesions
    difference = sick.stored.astype(int) - clean.stored
    rows, columns = np.indices(difference.shape)
    distance = np.min(
        [np.hypot(rows - lesion.row, columns - lesion.column) / lesion.radius for lesion in sick.lesions], axis=0
    )
    peak = np.unravel_index(np.argmax(difference), difference.shape)
    assert distance[peak] < 1
    assert difference[distance < 0.5].mean() > 60
    assert abs(np.median(difference[distance > 1.2])) < 8
    for lesion in sick.lesions:
        assert 0.12 <= 2 * lesion.radius / 192 <= 0.16


@given(seed=st.integers(0, 10_000), sex=st.sampled_from(["F", "M"]), view=st.sampled_from(VIEWS))
@settings(max_examples=40, deadline=None)
def test_every_nodule_replaces_lung(seed: int, sex: str, view: View) -> None:
    rng = np.random.default_rng(seed)
    anatomy = Anatomy.draw(rng, sex="F" if sex == "F" else "M")
    across, down, step = _grid(241, 180.0)
    clean = line_integral(anatomy, across, down, view=view)
    for nodule in draw_nodules(rng, anatomy):
        added = line_integral(anatomy, across, down, view=view, nodules=[nodule]) - clean
        whole = 4 / 3 * math.pi * nodule.radius**3 * (nodule.density * SOFT_TISSUE - LUNG)
        assert added.min() >= -1e-12
        assert added.sum() * step * step > 0.55 * whole  # the rest lies where vessels, heart or diaphragm already are


def test_the_lungs_are_dark_and_heart_spine_and_ribs_bright() -> None:
    picture = reference_radiograph(512, 416).pixels
    lung, heart, spine, beside = picture[230, 95], picture[300, 250], picture[280, 208], picture[40, 8]
    assert beside < lung < heart < spine
    right_lung = picture[150:320, 95]
    assert right_lung.max() - right_lung.min() > 0.05  # ribs cross it


def test_the_beam_falls_off_as_beer_lambert_says() -> None:
    across, down, _ = _grid(5, 1.0)
    anatomy = Anatomy()
    thin = line_integral(anatomy, across, down, view="PA")
    one = line_integral(anatomy, across - 78, down - 32, view="PA", nodules=[Nodule((-78.0, 8.0, -32.0), 20.0)])
    none = line_integral(anatomy, across - 78, down - 32, view="PA")
    assert (thin > none).all()  # the spine absorbs more than lung
    assert one[2, 2] - none[2, 2] <= 40 * 0.0145 + 1e-9
    assert one[2, 2] - none[2, 2] > 0.5 * 40 * 0.0145


def test_the_reference_needs_no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a random number was asked for")

    first = reference_radiograph().pixels
    monkeypatch.setattr(np.random, "default_rng", refuse)
    second = reference_radiograph()
    assert second.pixels.dtype == np.float32
    assert second.pixels.shape == (256, 208)
    assert (second.pixels == first).all()
    assert 0 == second.pixels.min() < second.pixels.max() <= 1


def test_the_reference_hardly_moves_when_arithmetic_rounds_otherwise() -> None:
    across = (np.arange(208) - 103.5) * (345.6 / 208)
    down = (np.arange(256) - 127.5) * (345.6 / 208)
    nodules = (Nodule((-78.0, 8.0, -32.0), 20.0),)
    exact = line_integral(Anatomy(), across, down, view="PA", nodules=nodules)
    for nudge in (-3e-15, 3e-15):
        rounded = line_integral(Anatomy(), across * (1 + nudge), down * (1 - nudge), view="PA", nodules=nodules)
        assert np.abs(rounded - exact).max() / 4.2 < 1e-6


def test_a_person_is_the_same_on_every_film_and_at_every_matrix_size() -> None:
    anatomy = Anatomy.draw(np.random.default_rng(5), sex="F")
    small = expose(np.random.default_rng(6), anatomy, rows=112, columns=96).stored.astype(float)
    large = expose(np.random.default_rng(6), anatomy, rows=448, columns=384).stored.astype(float)
    shrunk = large.reshape(112, 4, 96, 4).mean((1, 3))
    assert np.corrcoef(small[8:-8, 8:-8].ravel(), shrunk[8:-8, 8:-8].ravel())[0, 1] > 0.98
    again = expose(np.random.default_rng(7), anatomy, rows=112, columns=96).stored
    assert not np.array_equal(again, small)


def test_stored_values_have_twelve_bits_and_the_window_spans_the_body() -> None:
    for seed, view in enumerate(VIEWS):
        picture = phantom(np.random.default_rng(seed), view=view)
        assert picture.stored.dtype == np.uint16
        assert picture.stored.max() <= 4095
        low = picture.window_center - picture.window_width / 2
        inside = (picture.stored > low) & (picture.stored < low + picture.window_width)
        assert inside.mean() > 0.4


def test_three_lesions_are_refused() -> None:
    with pytest.raises(ValueError, match="lesions must be 0 to 2"):
        phantom(np.random.default_rng(0), rows=56, columns=48, lesions=3)


# the label


def test_brightness_does_not_tell_the_label_and_the_place_does() -> None:
    labels, means, contrasts = [], [], []
    for seed in range(60):
        label = seed % 2
        picture = phantom(np.random.default_rng(seed), rows=224, columns=192, lesions=label, sex="FM"[seed // 2 % 2])  # type: ignore[arg-type]
        place = phantom(np.random.default_rng(seed), rows=224, columns=192, lesions=1).lesions[0]
        rows, columns = np.indices(picture.stored.shape)
        distance = np.hypot(rows - place.row, columns - place.column) / place.radius
        shown = np.clip((picture.stored.astype(float) - picture.window_center) / picture.window_width + 0.5, 0, 1)
        labels.append(label)
        means.append(shown.mean())
        contrasts.append(shown[distance < 0.8].mean() - shown[(distance > 1.1) & (distance < 1.6)].mean())
    assert 0.3 < roc_auc_score(labels, means) < 0.7
    assert roc_auc_score(labels, contrasts) > 0.8


def test_site_and_sex_do_not_tell_the_label(headers: list[pydicom.Dataset], cohort: Path) -> None:
    positive = {row["SOPInstanceUID"] for row in _table(cohort / "labels.csv") if row["label_nodule"] == "1"}
    cells: dict[tuple[str, str], dict[str, bool]] = {}
    for dataset in headers:
        cell = cells.setdefault((dataset.InstitutionName, dataset.PatientSex), {})
        cell[dataset.PatientID] = cell.get(dataset.PatientID, False) or dataset.SOPInstanceUID in positive
    assert len(cells) == 4
    assert all(len(cell) == PATIENTS // 4 for cell in cells.values())
    assert all(1 <= sum(cell.values()) <= 2 for cell in cells.values())


# the cohort on disk


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", 1), ("second", 1), ("third", 2)):
        synthesise_cohort(tmp_path / name, patients=3, seed=seed)
        synthesise_foreign_files(tmp_path / name / "foreign", seed=seed)
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert filecmp.cmpfiles(tmp_path / "first", tmp_path / "second", files, shallow=False) == (files, [], [])
    assert (tmp_path / "first/images/00/00001.dcm").read_bytes() != (
        tmp_path / "third/images/00/00001.dcm"
    ).read_bytes()


def test_every_image_has_one_label_and_every_positive_image_its_lesions(
    headers: list[pydicom.Dataset], cohort: Path
) -> None:
    labels = {row["SOPInstanceUID"]: row["label_nodule"] for row in _table(cohort / "labels.csv")}
    lesions = _table(cohort / "lesions.csv")
    images = {str(dataset.SOPInstanceUID): dataset for dataset in headers}
    assert set(labels) == set(images)
    assert len(images) == len(headers)
    assert set(labels.values()) == {"0", "1"}
    assert {row["SOPInstanceUID"] for row in lesions} == {uid for uid, label in labels.items() if label == "1"}
    for row in lesions:
        dataset = images[row["SOPInstanceUID"]]
        assert row["label"] == "nodule"
        assert 0 < float(row["row"]) < dataset.Rows
        assert 0 < float(row["column"]) < dataset.Columns
        assert float(row["radius"]) < 0.081 * dataset.Columns


def test_all_films_of_a_study_have_one_label(headers: list[pydicom.Dataset], cohort: Path) -> None:
    labels = {row["SOPInstanceUID"]: row["label_nodule"] for row in _table(cohort / "labels.csv")}
    studies: dict[str, set[str]] = {}
    for dataset in headers:
        studies.setdefault(dataset.StudyInstanceUID, set()).add(labels[dataset.SOPInstanceUID])
    assert all(len(found) == 1 for found in studies.values())


def test_patients_have_two_to_four_images_and_everything_is_mixed(headers: list[pydicom.Dataset]) -> None:
    counts: dict[str, int] = {}
    for dataset in headers:
        counts[dataset.PatientID] = counts.get(dataset.PatientID, 0) + 1
    assert len(counts) == PATIENTS
    assert set(counts.values()) <= {2, 3, 4}
    assert {dataset.file_meta.TransferSyntaxUID for dataset in headers} == set(TRANSFER_SYNTAXES)
    assert {dataset.ViewPosition for dataset in headers} == {"PA", "AP", "LL"}
    assert {dataset.PhotometricInterpretation for dataset in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert {(dataset.Rows, dataset.Columns) for dataset in headers} == {(448, 384), (416, 352)}
    assert all(dataset.PatientName == "" and dataset.BurnedInAnnotation == "NO" for dataset in headers)


def test_no_file_name_tells_the_patient_or_the_label(cohort: Path) -> None:
    assert all(path.stem.isdigit() for path in (cohort / "images").rglob("*.dcm"))


def test_progress_counts_every_image(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    synthesise_cohort(tmp_path / "new" / "cohort", patients=2, progress=lambda done, total: calls.append((done, total)))
    total = len(list((tmp_path / "new/cohort/images").rglob("*.dcm")))
    assert calls == [(done, total) for done in range(1, total + 1)]
    labels = {row["label_nodule"] for row in _table(tmp_path / "new/cohort/labels.csv")}
    assert labels == {"0", "1"}


def test_a_cohort_never_overwrites_another(cohort: Path) -> None:
    with pytest.raises(OutputExists):
        synthesise_cohort(cohort, patients=2)


def test_a_cohort_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 patients"):
        synthesise_cohort(tmp_path / "cohort", patients=1)


# files


@pytest.fixture(scope="module")
def picture() -> Phantom:
    return phantom(np.random.default_rng(11), rows=131, columns=117, lesions=1)  # odd sizes: the last byte is padding


@pytest.mark.parametrize("negative", [False, True], ids=["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES, ids=lambda uid: pydicom.uid.UID(uid).name)
def test_a_written_file_reads_as_what_was_exposed(
    picture: Phantom, transfer_syntax: str, negative: bool, tmp_path: Path
) -> None:
    dataset = radiograph_dataset(picture, _identity(), transfer_syntax=transfer_syntax, negative=negative)
    write_dataset(dataset, tmp_path / "image.dcm")
    read = pydicom.dcmread(tmp_path / "image.dcm")
    assert read.file_meta.TransferSyntaxUID == transfer_syntax
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == dataset.SOPInstanceUID
    expected = 4095 - picture.stored if negative else picture.stored
    assert (_decoded(read) == expected).all()
    radiograph = read_radiograph(tmp_path / "image.dcm")
    assert np.abs(radiograph.pixels - _displayed(read)).max() < 1e-6
    assert radiograph.warnings == ()
    if transfer_syntax == JPEGLosslessSV1:
        scan = read.PixelData.index(b"\xff\xda")
        assert read.PixelData[scan + 7] == 1  # selection value 1, as the transfer syntax promises


def test_both_polarities_display_one_picture(picture: Phantom) -> None:
    twins = [radiograph_dataset(picture, _identity(), negative=negative) for negative in (False, True)]
    positive, negative = (_displayed(twin) for twin in twins)
    assert np.abs(positive - negative).max() < 1e-9


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(picture: Phantom, tmp_path: Path) -> None:
    for index, transfer_syntax in enumerate(TRANSFER_SYNTAXES):
        if transfer_syntax in (DeflatedExplicitVRLittleEndian, HTJ2KLossless):
            continue  # this tool neither inflates nor knows HTJ2K
        path = tmp_path / f"{index}.dcm"
        dataset = radiograph_dataset(
            picture, _identity(VIEWS[index % 3]), transfer_syntax=transfer_syntax, negative=bool(index % 2)
        )
        write_dataset(dataset, path)
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        complaints = [
            line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))
        ]
        assert complaints == []


def test_foreign_files_are_as_many_as_are_written_and_have_known_codes(tmp_path: Path) -> None:
    count = synthesise_foreign_files(tmp_path / "foreign")
    names = {path.name for path in (tmp_path / "foreign").iterdir()}
    assert names == set(FOREIGN_FILES)
    assert count == len(names)
    assert set(FOREIGN_FILES.values()) <= {*REASONS, ""}
    assert (tmp_path / "foreign/copy.dcm").read_bytes() == (tmp_path / "foreign/original.dcm").read_bytes()
    with pytest.raises(OutputExists):
        synthesise_foreign_files(tmp_path / "foreign")


@pytest.mark.parametrize("name", sorted(FOREIGN_FILES))
def test_a_foreign_file_ends_with_the_reason_it_deserves(name: str, tmp_path: Path) -> None:
    synthesise_foreign_files(tmp_path)
    code = FOREIGN_FILES[name]
    if code in ("", "DUPLICATE_IDENTICAL"):  # copies are found by whoever sees both
        assert read_radiograph(tmp_path / name, gate=GATES["any"]).pixels.shape == (224, 192)
    else:
        with pytest.raises(Refused) as refusal:
            read_radiograph(tmp_path / name, gate=GATES["any"])
        assert refusal.value.code == code
