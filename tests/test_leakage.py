from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.cohort.alignment import SIDE, aligned_correlation
from medres.cohort.cache import CachedImage
from medres.cohort.identifiers import similar_patients
from medres.cohort.leakage import find_leaks
from medres.cohort.manifest import read_manifest
from medres.cohort.planted import FOUND_OF_PLANTED, PLANTED, what_is_found
from medres.cohort.similarity import CERTAIN, NEAR_DUPLICATE, Likeness, similar_images, threshold
from medres.config import load_config
from medres.evaluation.metadata import readable_labels
from medres.imaging.reading import read_radiograph
from medres.imaging.synthesis import synthesise_cohort
from medres.records import ManifestRow
from medres.runs import cohort as cohorts
from medres.runs.cohort import load_cohort
from tests.conftest import SHARED, Medres, needs_shared
from tests.support.phantoms import write_cohort, write_radiograph
from tests.support.textures import brighter, texture, turned_by, without_edges


def row(name: str, patient: str) -> ManifestRow:
    return ManifestRow(Path(name), patient, "", "", {})


def image(number: int, pixels: str, uid: str = "", sex: str = "") -> CachedImage:
    return CachedImage(number, uid, pixels, (), (), {"PatientSex": sex})


def small(pixels: np.ndarray) -> np.ndarray:
    """As the cache has it: aspect kept, padded with black, uint16 (SIDE, SIDE)."""
    rows, columns = (round(SIDE * side / max(pixels.shape)) for side in pixels.shape)
    square = np.zeros((SIDE, SIDE), np.uint16)
    top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
    shrunk = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    square[top : top + rows, left : left + columns] = shrunk.astype(np.uint16) * 257
    return square


def recompressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def test_the_same_image_under_two_patients_is_a_problem() -> None:
    rows = [row("a", "P1"), row("b", "P2"), row("c", "P3")]
    (leak,) = find_leaks(rows, [image(0, "x"), image(1, "x"), image(2, "y")])
    assert (leak.kind, leak.rows, leak.problem) == ("same image", (0, 1), True)
    assert "a, b" in leak.detail
    assert "P1" not in leak.detail


def test_the_same_image_twice_of_one_patient_is_only_worth_knowing() -> None:
    (leak,) = find_leaks([row("a", "P1"), row("b", "P1")], [image(0, "x"), image(1, "x")])
    assert not leak.problem


def test_other_pixels_under_one_identifier_are_a_problem() -> None:
    rows = [row("a", "P1"), row("b", "P1"), row("c", "P2")]
    (leak,) = find_leaks(rows, [image(0, "x", "2.25.1"), image(1, "y", "2.25.1"), image(2, "z", "2.25.2")])
    assert (leak.kind, leak.rows, leak.problem) == ("same SOPInstanceUID", (0, 1), True)


@pytest.mark.parametrize(
    ("one", "other", "differ_by"),
    [
        ("0012a", "12 A", "leading zeros"),
        ("CHEST-1f", "chest-1F ", "case or spaces"),
        ("0004711", "4711", "leading zeros"),
        ("Hospital A/4711", "4711", "issuer"),
        ("Hospital A/4711", "hospital a /04711", "leading zeros"),
    ],
)
def test_patientids_that_people_write_differently_are_likely_one_person(one: str, other: str, differ_by: str) -> None:
    (found,) = similar_patients([one, other, "X9"], {})
    assert found.patients == tuple(sorted((one, other)))
    assert found.likely
    assert found.differ_by == differ_by


def test_two_numbering_schemes_are_no_alarm() -> None:
    short = [*map(str, range(1, 200)), *(f"{number:03d}" for number in range(1, 100))]
    found = similar_patients(short, {})
    assert len(found) == 99
    assert not any(one.likely for one in found)
    rng = np.random.default_rng(0)
    long = [str(number) for number in np.unique(rng.integers(10**7, 10**8, 2000))]
    found = similar_patients([*long, f"00{long[3]}"], {})
    assert [(one.patients, one.likely) for one in found] == [((f"00{long[3]}", long[3]), True)]


def test_another_sex_or_another_issuer_makes_two_people() -> None:
    (found,) = similar_patients(["0012345", "12345"], {"0012345": "F", "12345": "M"})
    assert (found.likely, found.reason) == (False, "their sex differs")
    (found,) = similar_patients(["A/12345", "B/12345"], {})
    assert (found.likely, found.reason) == (False, "their issuers differ")


@given(st.lists(st.text("0123456789abAB -/", min_size=1, max_size=6), max_size=30, unique=True))
def test_any_patientids_can_be_compared_and_nobody_is_in_two_groups(patients: list[str]) -> None:
    found = similar_patients(patients, {})
    named = [name for one in found for name in one.patients]
    assert len(named) == len(set(named))
    assert set(named) <= set(patients)
    assert found == similar_patients(patients[::-1], {})


def test_copies_are_found_among_images_that_differ() -> None:
    originals = [texture(seed) for seed in range(60)]
    copies = [
        recompressed(originals[0], 50),
        without_edges(originals[1], (0.1, 0.0, 0.06, 0.1)),
        without_edges(originals[2], (0.1, 0.1, 0.1, 0.1)),
        brighter(originals[3], 0.7, 30),
        recompressed(brighter(without_edges(originals[4], (0.03, 0.08, 0.0, 0.09)), 1.1, -15), 70),
    ]
    pixels = np.stack([small(one) for one in (*originals, *copies)])
    found = similar_images(pixels, [str(number) for number in range(65)])
    assert {(pair.first, pair.second) for pair in found} == {(number, 60 + number) for number in range(5)}
    assert all(pair.correlation >= NEAR_DUPLICATE for pair in found)


def test_a_handful_of_images_can_be_compared() -> None:
    one, other = small(texture(1)), small(texture(2))
    assert similar_images(one[:0, None], []) == ()
    assert similar_images(one[None], ["a"]) == ()
    (pair,) = similar_images(np.stack([one, other, one]), ["a", "b", "c"])
    assert (pair.first, pair.second) == (0, 2)
    assert pair.correlation == pytest.approx(1, abs=1e-3)
    flat = np.full((SIDE, SIDE), 700, np.uint16)
    assert aligned_correlation(flat, one) < 0.5


def write_planted(folder: Path) -> tuple[Path, dict[str, str]]:
    """chest64 with 20 planted leaks; the manifest, and for each planted path who it really shows."""
    table = pd.read_csv(SHARED / "chest64" / "manifest.csv", dtype=str, keep_default_na=False)
    table["path"] = [str(SHARED / "chest64" / path) for path in table["path"]]
    rng = np.random.default_rng(2024)
    chosen = rng.choice(len(table), 20, replace=False)
    planted, shown = [], {}
    for number, place in enumerate(chosen):
        source = dict(table.iloc[place])
        pixels = np.rint(read_radiograph(source["path"]).pixels * 255).astype(np.uint8)
        patient, kind = f"NEW-{number}", number // 4
        if kind == 1:
            pixels = recompressed(pixels, int(rng.integers(50, 90)))
        elif kind == 2:
            pixels = without_edges(pixels, tuple(rng.uniform(0, 0.1, 4)))
        elif kind == 3:
            pixels = brighter(pixels, rng.uniform(0.8, 1.2), rng.uniform(-25, 25))
        elif kind == 4:  # another image of the same patient, under another spelling
            patient = f" {source['PatientID'].swapcase()}"
            pixels = np.rot90(pixels).copy()  # which no comparison of images would find
        path = folder / f"planted-{number:02d}.dcm"
        uid = f"2.25.{900 + number}" if kind else ""
        if kind:
            write_radiograph(path, pixels.astype(np.uint16) * 16, patient=patient, uid=uid)
        else:  # the same file under another name
            shutil.copy(source["path"], path)
        planted.append(source | {"path": str(path), "PatientID": patient, "SOPInstanceUID": uid})
        shown[str(path)] = source["PatientID"]
    manifest = folder / "manifest.csv"
    pd.concat([table, pd.DataFrame(planted)]).to_csv(manifest, index=False)
    return manifest, shown


@needs_shared("chest64")
def test_twenty_of_twenty_planted_leaks_are_found_in_real_radiographs(medres: Medres, tmp_path: Path) -> None:
    manifest, shown = write_planted(tmp_path)
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    person = dict(zip(table["path"], table["PatientID"], strict=True)) | shown
    done = medres("check", manifest, "--out", tmp_path / "leaks")
    assert done.returncode == 3, done.stderr
    leaks = pd.read_csv(tmp_path / "leaks" / "leaks.csv", dtype=str, keep_default_na=False)
    problems = leaks[leaks["level"] == "problem"]
    pairs = list(zip(problems["path"], problems["other_path"], strict=True))
    right = [pair for pair in pairs if person[pair[0]] == person[pair[1]]]
    assert {path for pair in right for path in pair} >= set(shown)
    assert len(shown) == 20
    assert len(pairs) - len(right) <= 2, "false alarms"
    assert set(problems["kind"]) == {"same image", "near-duplicate", "similar PatientID"}


def test_the_page_of_leaks_shows_both_images_and_no_patient(medres: Medres, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "c", patients=6)
    pixels = texture(3).astype(np.uint16) * 16
    for number, (crop, burned_in) in enumerate([(slice(None), "NO"), (slice(9, -9), "NO"), (slice(5, -4), "YES")]):
        path, patient = tmp_path / f"c/images/{number}.dcm", f"SECRET{number}"
        write_radiograph(path, pixels[crop, crop], patient=patient, uid=f"2.25.{number + 1}", burned_in=burned_in)
    lines = [f"images/{number}.dcm,SECRET{number},2.25.{number + 1},1" for number in range(3)]
    manifest.write_text(manifest.read_text() + "\n".join(lines) + "\n")
    done = medres("check", manifest, "--out", tmp_path / "leaks")
    assert done.returncode == 3
    assert done.stdout.count("near-duplicate") == 3
    page = (tmp_path / "leaks" / "leaks.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', page)
    assert sorted({path for _, path in shown}) == ["images/0.dcm", "images/1.dcm"]
    for data, _ in shown:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture.std() > 20
    assert "withheld: BurnedInAnnotation is YES" in page
    assert "SECRET" not in page + (tmp_path / "leaks" / "leaks.csv").read_text()
    assert "http" not in page
    done = medres("check", manifest, "--out", tmp_path / "leaks", "--force", "--allow-burned-in")
    assert "withheld:" not in (tmp_path / "leaks" / "leaks.html").read_text(encoding="utf-8")


def test_no_model_is_made_from_one_image_of_two_patients(medres: Medres, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "c", patients=20)
    source = (tmp_path / "c" / "images" / "0000.dcm").read_bytes()
    (tmp_path / "c" / "images" / "0003.dcm").write_bytes(source)
    done = medres("crossval", manifest, "--label", "disc", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "1 images lie under several PatientIDs" in done.stderr
    assert "0000.dcm, 0003.dcm" in done.stderr
    assert not (tmp_path / "out").exists()


def columns(patients: int = 120, seed: int = 0) -> pd.DataFrame:
    """Two images a patient, a label, and columns that say much, something and nothing of it."""
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.random(patients) < 0.4, 2)
    flipped = label ^ (rng.random(2 * patients) < 0.25)
    return pd.DataFrame(
        {
            "PatientID": np.repeat([f"P{number}" for number in range(patients)], 2),
            "label_mass": label.astype(int).astype(str),
            "Manufacturer": np.where(label, "A", "B"),
            "ViewPosition": np.where(flipped, "AP", "PA"),
            "grade": np.where(label, "3", "0"),
            "InstitutionName": rng.choice(["X", "Y", "Z"], 2 * patients),
            "Room": [f"room {number}" for number in range(2 * patients)],
        }
    )


def test_a_column_that_gives_the_label_away_is_named() -> None:
    found = {one.column: one for one in readable_labels(columns(), header=["Manufacturer", "ViewPosition"])}
    assert {name: one.problem for name, one in found.items()} == {
        "Manufacturer": True,
        "grade": False,
        "ViewPosition": False,
    }
    assert found["ViewPosition"].auroc.value == pytest.approx(0.75, abs=0.06)
    assert "mass from Manufacturer alone: AUROC 1.00" in str(found["Manufacturer"])


def test_columns_that_know_nothing_are_not_named_even_where_patients_repeat() -> None:
    """A PatientID in disguise gives every patient's own label away, unless patients are kept together."""
    for seed in range(20):
        table = columns(seed=seed)[["PatientID", "label_mass", "InstitutionName", "Room"]]
        assert readable_labels(table.assign(Bed=table["PatientID"]), header=["Bed"]) == ()


def likenesses(usual: float, spread: float, *, images: int = 60, copies: int = 0) -> list[Likeness]:
    """Every two of some images of different patients, and copies of some of them."""
    generator = np.random.default_rng(0)
    values = np.tanh(generator.normal(np.arctanh(usual), spread, size=(images, images)))
    pairs = [Likeness(one, other, float(values[one, other])) for other in range(images) for one in range(other)]
    return pairs + [Likeness(image, images + image, 0.99) for image in range(copies)]


@pytest.mark.parametrize("copies", [0, 6, 60])
def test_a_copy_stands_out_of_its_own_cohort_however_many_there_are(copies: int) -> None:
    least = threshold(likenesses(0.85, 0.2, copies=copies))
    assert NEAR_DUPLICATE < least <= CERTAIN
    assert threshold(likenesses(0.7, 0.1, copies=copies)) == NEAR_DUPLICATE
    assert threshold(likenesses(0.97, 0.3, copies=copies)) == CERTAIN


def test_phantoms_resemble_each_other_and_are_not_accused(medres: Medres, tmp_path: Path) -> None:
    synthesise_cohort(tmp_path / "cohort", patients=30, seed=3)
    manifest = tmp_path / "manifest.csv"
    labels = tmp_path / "cohort" / "labels.csv"
    assert medres("index", tmp_path / "cohort" / "images", "--labels", labels, "--out", manifest).returncode in (0, 3)
    done = medres("check", manifest)
    assert done.returncode == 0, done.stdout
    assert "two PatientIDs" not in done.stdout


def test_a_manifest_of_which_no_file_is_usable_is_checked_and_every_file_named(medres: Medres, tmp_path: Path) -> None:
    lines = ["path,PatientID,label_x"]
    for number in range(2):
        (tmp_path / f"{number}.dcm").write_text("no radiograph")
        lines.append(f"{number}.dcm,{number},{number}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = medres("check", tmp_path / "manifest.csv")
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("NOT_DICOM") == 2


def test_a_run_records_what_it_looked_for_and_how_much_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["path,PatientID,label_x"]
    for number, patient in enumerate(["A-1", "a-1", "B", "C", "D", "E"]):
        pixels = 10.0 * texture(max(number, 1)) + 5 * number  # the first two show the same, one a little brighter
        write_radiograph(tmp_path / f"{number}.dcm", pixels, patient=patient, uid=f"2.25.{number}")
        lines.append(f"{number}.dcm,{patient},{number % 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = read_manifest(tmp_path / "manifest.csv", ["x"])
    config = load_config("quick", ["preprocessing.size=96"])
    found = load_cohort(manifest, config).leaks
    assert found == {"similar PatientID": 1, "same SOPInstanceUID": 0, "near-duplicate": 1}
    monkeypatch.setattr(cohorts, "MOST_COMPARED", 5)
    assert load_cohort(manifest, config).leaks == found | {"near-duplicate": None}


@pytest.mark.parametrize("turn", ["mirrored", "inverted", "mirrored and inverted"])
def test_a_copy_that_was_mirrored_or_inverted_is_found_and_said_to_be(turn: str) -> None:
    originals = [texture(seed) for seed in range(20)]
    copy = originals[3][:, ::-1] if "mirrored" in turn else originals[3]
    copy = 255 - copy if "inverted" in turn else copy
    pixels = np.stack([small(one) for one in (*originals, np.ascontiguousarray(copy))])
    (pair,) = similar_images(pixels, [str(number) for number in range(21)])
    assert (pair.first, pair.second, pair.turn) == (3, 20, turn)
    rows = [row(f"{number}.dcm", str(number)) for number in range(21)]
    images = [image(number, str(number)) for number in range(21)]
    (leak,) = find_leaks(rows, images, pixels)
    assert f"two PatientIDs, {turn}, correlation" in leak.detail


@pytest.mark.parametrize(
    "change",
    [lambda pixels: without_edges(pixels, (0.2, 0.0, 0.2, 0.0)), lambda pixels: turned_by(pixels, -7)],
    ids=["cropped at a corner", "turned by 7 degrees"],
)
def test_a_copy_that_was_cropped_at_a_corner_or_turned_is_found(change: Callable[[np.ndarray], np.ndarray]) -> None:
    originals = [texture(seed) for seed in range(20)]
    pixels = np.stack([small(one) for one in (*originals, change(originals[3]))])
    (pair,) = similar_images(pixels, [str(number) for number in range(21)])
    assert (pair.first, pair.second, pair.turn) == (3, 20, "")


def test_check_says_what_it_looked_for_and_how_much_of_what_was_planted_it_finds(
    medres: Medres, small_cohort: Path, tmp_path: Path
) -> None:
    done = medres("check", small_cohort, "--out", tmp_path / "leaks")
    said = what_is_found()
    assert said in done.stdout
    page = (tmp_path / "leaks" / "leaks.html").read_text(encoding="utf-8")
    for kind, found in FOUND_OF_PLANTED.items():
        assert f"{kind} {found['chests']} and {found['knees']}" in said
        assert f"<td>{kind}</td><td>{found['chests']} of {PLANTED}</td><td>{found['knees']} of {PLANTED}</td>" in page
