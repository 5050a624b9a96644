"""`medres explain` as users run it: one file, folders with broken files, and maps that have not earned to be shown."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from medres import Classifier, read_radiograph
from medres.config import Limits, Preprocessing
from medres.errors import UsageError
from medres.model.heatmaps.licence import State
from medres.model.heatmaps.shown import Drawing
from medres.scoring.explaining.explainer import Asked, Explainer, LabelMap
from medres.scoring.explaining.folder import Reading, explain_folder
from medres.scoring.explaining.table import COLUMNS, MapFiles
from medres.statistics.pointing import peak
from medres.tables import original
from tests.conftest import Medres
from tests.support.licences import REASONS, licensed
from tests.support.phantoms import blob, write_radiograph

LABEL = "disc"


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "heatmaps.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert tuple(found[0]) == COLUMNS
    return [{name: original(cell) for name, cell in row.items()} for row in found]


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    return write_radiograph(tmp_path / "in" / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    return write_radiograph(tmp_path / "in" / "dark.dcm", blob(2, bright=False), patient="2", uid="2.25.2")


def test_one_file_gets_a_picture_that_says_what_it_is_and_its_array(
    medres: Medres, small_model: Path, bright: Path, tmp_path: Path
) -> None:
    done = medres("explain", small_model, bright, "--out", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    assert "disc: probability" in done.stdout
    assert "heatmap not validated: nobody has measured" in done.stdout
    assert "full colour" in done.stdout
    picture = cv2.imread(str(tmp_path / "a.png"))
    pixels = np.rint(255 * read_radiograph(bright).pixels).astype(int)
    gap = (picture.shape[1] - 2 * 6 * 80) // 2
    assert 0 <= gap <= 8  # 96 × 80 pixels, six times as large, twice, and a line between
    assert np.array_equal(picture[: 6 * 96 : 6, : 6 * 80 : 6, 1], pixels)
    assert medres("explain", small_model, bright, "--label", LABEL, "--out", tmp_path / "a.npy").returncode == 0
    heatmap = np.load(tmp_path / "a.npy")
    assert (heatmap.dtype, heatmap.shape) == (np.float32, (96, 80))
    expected = Classifier.load(small_model, device="cpu").explain(read_radiograph(bright), label=LABEL).heatmap
    np.testing.assert_allclose(heatmap, expected, atol=1e-3)


@pytest.mark.parametrize("state", ["validated", "not validated", "failed"])
def test_a_map_is_shown_as_far_as_it_has_earned_it(
    medres: Medres, small_model: Path, bright: Path, tmp_path: Path, state: State
) -> None:
    model = licensed(small_model, tmp_path / "model", {LABEL: state})
    out = tmp_path / "a.png"
    done = medres("explain", model, bright, "--out", out)
    assert REASONS[state] in done.stdout
    if state != "failed":
        assert (done.returncode, out.exists()) == (0, True)
        assert f"heatmap {state}: " in done.stdout
        return
    assert (done.returncode, out.exists()) == (3, False)
    assert "no heatmap of disc: heatmap failed" in done.stdout
    done = medres("explain", model, bright, "--out", out, "--show-anyway")
    assert (done.returncode, out.exists()) == (0, True)
    assert "shown on request: heatmap failed" in done.stdout


def test_below_the_operating_point_there_is_a_map_only_on_request(
    medres: Medres, small_model: Path, dark: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.png"
    done = medres("explain", small_model, dark, "--out", out)
    assert (done.returncode, out.exists()) == (3, False)
    assert "no label is at or above its operating point" in done.stdout
    done = medres("explain", small_model, dark, "--label", LABEL, "--out", out)
    assert (done.returncode, out.exists()) == (3, False)
    assert "no heatmap of disc: below the operating point" in done.stdout
    done = medres("explain", small_model, dark, "--label", LABEL, "--out", out, "--show-anyway")
    assert (done.returncode, out.exists()) == (0, True)
    assert "shown on request: below the operating point" in done.stdout


def test_python_gives_the_licence_beside_the_map_and_refuses_nothing(
    small_model: Path, dark: Path, tmp_path: Path
) -> None:
    model = Classifier.load(licensed(small_model, tmp_path / "model", {LABEL: "failed"}), device="cpu")
    found = model.explain(read_radiograph(dark), label=LABEL)
    assert (found.licence, found.licence_reasons) == ("failed", (REASONS["failed"],))
    assert found.heatmap.shape == (96, 80)


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """Bright and dark images, one that may show a name, a copy, and what is no image."""
    folder = tmp_path / "in"
    for number in range(4):
        path, pixels = folder / f"{number}.dcm", blob(number, bright=number % 2 == 0)
        sizes = {"PixelSpacing": [0.5, 0.25], "ImagerPixelSpacing": [0.6, 0.3]} if number else {}
        write_radiograph(path, pixels, patient=str(number), uid=f"2.25.{number + 1}", **sizes)
    write_radiograph(folder / "named.dcm", blob(6, bright=True), patient="6", uid="2.25.7", burned_in="YES")
    shutil.copy(folder / "0.dcm", folder / "copy.dcm")
    (folder / "=letter.txt").write_text("dear colleague")
    (folder / "deep").mkdir()
    (folder / "deep" / "cut.dcm").write_bytes((folder / "0.dcm").read_bytes()[:900])
    return folder


def test_of_a_folder_nothing_is_lost(medres: Medres, small_model: Path, incoming: Path, tmp_path: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in incoming.rglob("*"))
    out = tmp_path / "out"
    done = medres("explain", small_model, incoming, "--out", out, "--format", "png", "--format", "npy")
    assert done.returncode == 3, done.stderr
    assert "2 refused, 1 duplicate\n3 heatmaps\n1 without a picture" in done.stdout
    assert "8 files" in done.stdout
    rows = {row["path"]: row for row in rows_of(out)}
    assert list(rows) == sorted(rows)
    assert {path: row["reason"] for path, row in rows.items() if row["status"] == "refused"} == {
        "./=letter.txt": "NOT_DICOM", "deep/cut.dcm": "TRUNCATED",
    }  # fmt: skip
    assert (rows["copy.dcm"]["status"], rows["copy.dcm"]["shown"]) == ("duplicate", "")
    assert "0.dcm" in rows["copy.dcm"]["detail"]
    for name in ("1.dcm", "3.dcm"):
        assert (rows[name]["label"], rows[name]["shown"]) == ("", "0")
        assert rows[name]["withheld"] == "no label is at or above its operating point"
    for name in ("0.dcm", "2.dcm"):
        row = rows[name]
        assert (row["label"], row["positive"], row["shown"], row["licence"]) == (LABEL, "1", "1", "not validated")
        heatmap = np.load(out / row["npy"])
        assert heatmap.shape == (96, 80)
        assert (out / row["png"]).read_bytes().startswith(b"\x89PNG")
        assert heatmap[int(float(row["peak_row"])), int(float(row["peak_column"]))] == heatmap.max()
        assert int(row["area_pixels"]) == (heatmap >= float(row["contour"])).sum()
        assert float(row["contour"]) == pytest.approx(0.5 * float(row["full_colour"]))
    assert (rows["0.dcm"]["spacing"], rows["0.dcm"]["area_mm2"]) == ("", "")
    assert (rows["named.dcm"]["png"], rows["named.dcm"]["shown"]) == ("", "1")
    assert "BurnedInAnnotation is YES" in rows["named.dcm"]["detail"]
    assert (out / rows["named.dcm"]["npy"]).is_file()  # numbers are no picture
    assert sorted((path, path.stat().st_mtime_ns) for path in incoming.rglob("*")) == before


def test_millimetres_are_pixels_times_the_spacing_that_is_named(
    medres: Medres, small_model: Path, incoming: Path, tmp_path: Path
) -> None:
    medres("explain", small_model, incoming / "2.dcm", "--out", tmp_path / "out", "--contour", "0.1")
    (row,) = rows_of(tmp_path / "out")
    assert (row["spacing"], row["row_spacing_mm"], row["column_spacing_mm"]) == ("PixelSpacing", "0.5", "0.25")
    assert float(row["peak_row_mm"]) == pytest.approx(0.5 * float(row["peak_row"]))
    assert float(row["peak_column_mm"]) == pytest.approx(0.25 * float(row["peak_column"]))
    assert float(row["area_mm2"]) == pytest.approx(0.125 * float(row["area_pixels"]))
    for box, in_mm in zip(json.loads(row["boxes"]), json.loads(row["boxes_mm"]), strict=True):
        assert in_mm == pytest.approx([size * part for size, part in zip(box, (0.25, 0.5, 0.25, 0.5), strict=True)])
    assert json.loads(row["boxes"])


@pytest.mark.parametrize("state", ["validated", "failed"])
def test_rows_say_what_was_withheld_and_why(small_model: Path, incoming: Path, tmp_path: Path, state: State) -> None:
    model = licensed(small_model, tmp_path / "model", {LABEL: state})
    summary = explain_folder(
        model, incoming, out=tmp_path / "out", asked=Asked((LABEL,), formats=("npy",)), reading=Reading(workers=1)
    )
    rows = {row["path"]: row for row in rows_of(tmp_path / "out") if row["label"]}
    below = "heatmap failed: " + REASONS["failed"] if state == "failed" else "below the operating point"
    assert (rows["1.dcm"]["positive"], rows["1.dcm"]["shown"], rows["1.dcm"]["withheld"]) == ("0", "0", below)
    assert rows["0.dcm"]["shown"] == str(int(state != "failed"))
    assert rows["0.dcm"]["licence_reasons"] == REASONS[state]
    assert (rows["0.dcm"]["strength"] == "") == (state == "failed")
    assert (summary.maps, summary.failed) == ((0, 3) if state == "failed" else (3, 0))
    assert len(list((tmp_path / "out" / "heatmaps").iterdir())) == summary.maps


def test_resume_keeps_rows_of_unchanged_files_and_makes_the_others(
    small_model: Path, incoming: Path, tmp_path: Path
) -> None:
    def again(where: str, *, resume: bool = False, force: bool = False, labels: tuple[str, ...] = ()) -> int:
        return explain_folder(
            small_model, incoming, out=tmp_path / where, asked=Asked(labels), reading=Reading(workers=1),
            resume=resume, force=force,
        ).kept  # fmt: skip

    assert again("out") == 0
    whole = (tmp_path / "out" / "heatmaps.csv").read_bytes()
    assert again("out", resume=True) == 5
    assert (tmp_path / "out" / "heatmaps.csv").read_bytes() == whole
    first = next((tmp_path / "out" / "heatmaps").iterdir())
    content = first.read_bytes()
    first.unlink()
    assert again("out", resume=True) == 4
    assert first.read_bytes() == content
    write_radiograph(incoming / "1.dcm", blob(10, bright=True), patient="1", uid="2.25.2")
    (incoming / "3.dcm").unlink()
    assert again("out", resume=True) == 3
    again("fresh")
    assert (tmp_path / "out" / "heatmaps.csv").read_bytes() == (tmp_path / "fresh" / "heatmaps.csv").read_bytes()
    with pytest.raises(UsageError, match="another labels"):
        again("out", resume=True, labels=(LABEL,))
    with pytest.raises(UsageError, match="already exists"):
        again("out")
    again("out", force=True, labels=(LABEL,))
    assert {row["label"] for row in rows_of(tmp_path / "out") if row["status"] == "ok"} == {LABEL}


def test_several_maps_do_not_fit_into_one_file_and_contradictions_are_named(
    medres: Medres, small_model: Path, bright: Path, tmp_path: Path
) -> None:
    for arguments, said in (
        ((bright.parent, "--out", tmp_path / "a.png"), "let --out name a folder"),
        ((bright, "--out", tmp_path / "a.png", "--format", "npy"), "--format is about a folder"),
        ((bright, "--out", tmp_path / "a.jpg"), "must end in .png"),
        ((bright.parent, "--out", bright.parent / "out"), "lies inside"),
        ((tmp_path / "no.dcm", "--out", tmp_path / "a.png"), "is not there"),
        ((bright, "--out", tmp_path / "a.png", "--label", "other"), "no label 'other'"),
        ((bright, "--out", tmp_path / "o", "--method", "gradcam", "--stride", "8"), "exact map only"),
    ):
        done = medres("explain", small_model, *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_method_without_a_scale_says_so(medres: Medres, small_model: Path, bright: Path, tmp_path: Path) -> None:
    done = medres("explain", small_model, bright, "--method", "eigencam", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (row,) = rows_of(tmp_path / "out")
    assert (row["method"], row["unit"], row["licence"]) == ("eigencam", "", "not validated")
    assert row["full_colour"] == row["strength"]


@pytest.mark.parametrize("left", [False, True])
def test_the_peak_of_a_planted_blob_is_found_in_an_anisotropic_mirrored_image(
    small_model: Path, tmp_path: Path, left: bool
) -> None:
    """As a model sees it whose left limbs are mirrored: the row's pixels and millimetres are the file's own."""
    row, column, (down, across) = 70, 110, (0.2, 0.1)
    y, x = np.mgrid[:100, :180]
    pixels = 1200 + 1800 * np.exp(-(((y - row) * 2) ** 2 + (x - column) ** 2) / (2 * 18.0**2))
    write_radiograph(
        tmp_path / "in" / "a.dcm", pixels, patient="1", uid="2.25.1", PixelSpacing=[down, across],
        BodyPartExamined="KNEE", ImageLaterality="L" if left else "R",
    )  # fmt: skip
    model = Classifier.load(small_model, device="cpu")
    spec = Preprocessing(size=128, laterality="mirror-left-limbs")
    model.card = model.card.model_copy(update={"preprocessing": spec})
    explainer = Explainer(model, Asked((LABEL,), Drawing(), formats=("npy",), show_anyway=True))
    [[found]] = explainer.explained(tmp_path / "in", ["a.dcm"], limits=Limits(), workers=1)
    (one,) = found.maps
    assert isinstance(one, LabelMap)
    (said,) = MapFiles(model, explainer.asked, tmp_path / "out").rows(found)
    seen = [float(str(said[name])) for name in ("peak_row", "peak_column")]
    assert tuple(seen) == peak(np.load(tmp_path / "out" / str(said["npy"])))
    cell = 16 * 200 / 128  # millimetre-square pixels of 0.1 mm: the longer side has 200
    assert abs(seen[0] - row) * 2 <= cell
    assert abs(seen[1] - column) <= cell
    assert said["peak_row_mm"] == pytest.approx(down * seen[0])
    assert said["peak_column_mm"] == pytest.approx(across * seen[1])
