"""A small folder as a hospital might send one, scored: what the tests of the review room and of the app look at."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import TINY, run_medres
from tests.support.phantoms import blob, write_cohort, write_radiograph

SCRIPT = "<script>window.owned = 1</script>"
NAME = "DOE^JANE"


def write_incoming(folder: Path) -> Path:
    """Eight usable images of five patients, one of them with hostile tags, and three files without a score."""
    for number in range(6):
        path, pixels = folder / f"{NAME} {number}.dcm", blob(700 + number, bright=number % 2 == 0)
        write_radiograph(path, pixels, patient=f"P{number // 2}", uid=f"2.25.{700 + number}", PatientName=NAME)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Invalid value for VR", category=UserWarning)  # that is the point
        hostile = {"PatientName": SCRIPT, "ViewPosition": SCRIPT}
        write_radiograph(folder / "hostile.dcm", blob(800, bright=True), patient=SCRIPT, uid="2.25.800", **hostile)
    write_radiograph(folder / "burned.dcm", blob(801, bright=True), patient="P9", uid="2.25.801", burned_in="YES")
    shutil.copy(folder / "burned.dcm", folder / "copy of burned.dcm")
    (folder / "notes.txt").write_text("not an image", encoding="utf-8")
    (folder / "short.dcm").write_bytes((folder / "burned.dcm").read_bytes()[:-4000])
    return folder


def score_shared_uid(model: Path, folder: Path) -> Path:
    """Score a.dcm and b.dcm, two images with one SOPInstanceUID, and c.dcm, a copy of a.dcm; returns the scores."""
    for name, seed in (("a", 810), ("b", 811)):
        write_radiograph(folder / f"incoming/{name}.dcm", blob(seed, bright=True), patient="P1", uid="2.25.810")
    shutil.copy(folder / "incoming/a.dcm", folder / "incoming/c.dcm")
    done = run_medres("score", model, folder / "incoming", "--out", folder / "scored")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "scored"


def score_three_labels(folder: Path, labels: Sequence[str] = "abc") -> tuple[Path, Path]:
    """A model of three labels, whose network is made, and the scores of its own images."""
    manifest = write_cohort(folder / "cohort", patients=12, images=1)
    _, *rows = manifest.read_text(encoding="utf-8").splitlines()
    lines = [f"{row},{number // 2 % 2},{number // 3 % 2}" for number, row in enumerate(rows)]
    head = ["path", "PatientID", "SOPInstanceUID", *(f"label_{label}" for label in labels)]
    manifest.write_text("\n".join([",".join(head), *lines]), encoding="utf-8")
    asked = [word for label in labels for word in ("--label", label)]
    model, scores = folder / "model", folder / "scored"
    train = ("train", manifest, *asked, "--out", model, *TINY)
    score = ("score", model, manifest.parent / "images", "--out", scores)
    for done in (run_medres(*train, made="disc"), run_medres(*score)):
        assert done.returncode == 0, done.stderr[-3000:]
    return model, scores


def score_grades(folder: Path) -> tuple[Path, Path]:
    """A model of a finding, disc, and of grades 0 to 2 of kl, whose network is made, and the scores of its images."""
    manifest = write_cohort(folder / "cohort", patients=12, images=1)
    head, *rows = manifest.read_text(encoding="utf-8").splitlines()
    lines = [f"{row},{number % 3}" for number, row in enumerate(rows)]
    manifest.write_text("\n".join([f"{head},label_kl", *lines]), encoding="utf-8")
    model, scores = folder / "model", folder / "scored"
    train = ("train", manifest, "--label", "disc", "--ordinal", "kl", "--out", model, *TINY)
    score = ("score", model, manifest.parent / "images", "--out", scores, "--heatmaps")
    for done in (run_medres(*train, made="disc"), run_medres(*score)):
        assert done.returncode == 0, done.stderr[-3000:]
    return model, scores


def score_incoming(model: Path, folder: Path) -> Path:
    """Score such a folder below `folder` through the command line; returns the folder of scores."""
    write_incoming(folder / "incoming")
    done = run_medres("score", model, folder / "incoming", "--out", folder / "scored")
    assert done.returncode == 3, done.stderr[-3000:]  # some inputs are refused
    return folder / "scored"


def score_folder_of(model: Path, folder: Path, scores: Path) -> Path:
    """Score a folder of images that all can be through the command line; returns the folder of scores."""
    done = run_medres("score", model, folder, "--out", scores)
    assert done.returncode == 0, done.stderr[-3000:]
    return scores
