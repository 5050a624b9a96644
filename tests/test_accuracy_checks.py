"""A model scores in another precision, or from smaller copies, only where a recorded check found it to score alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from medres import Classifier, read_radiograph
from medres.cli import medres as group
from medres.cohort.cache import cached_pixels
from medres.cohort.leakage import find_leaks
from medres.config import GATES, Limits
from medres.errors import ManifestError, UncheckedError, UsageError
from medres.imaging.preprocessing import as_float, prepare
from medres.model import accuracy
from medres.model.accuracy import AccuracyCheck, LabelCheck, need_check, read_checks
from medres.model.attachments import attach, read_attachments
from medres.model.bundle import card_text
from medres.model.classifier import Scores
from medres.records import ManifestRow
from medres.review import recomputing
from medres.review.about import card_facts
from medres.review.recomputing import Recomputation
from medres.runs import accuracy_checks
from medres.runs.accuracy_checks import check_accuracy
from medres.runs.options import RunOptions
from medres.scoring.folder import score_folder
from medres.scoring.heatmaps import HeatmapPolicy
from medres.tables import read_csv, read_json
from medres.training.transforms import LoadRadiographd
from tests.conftest import TINY, Medres
from tests.support.dicom_files import radiograph, write
from tests.support.phantoms import blob
from tests.support.smaller_copies import write_j2k_cohort

COUNT = 20
"""Images, where a check takes 100: see `few`."""

CPU = RunOptions(device="cpu")
REDUCED = ("--decode", "reduced")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of COUNT files of 520 × 516 pixels, which are decoded at half their size for a network of 64."""
    return write_j2k_cohort(tmp_path_factory.mktemp("j2k") / "cohort", count=COUNT, side=512)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check takes COUNT images, 5 of a class."""
    for home in (accuracy, accuracy_checks):
        monkeypatch.setattr(home, "FEWEST_IMAGES", COUNT)
        monkeypatch.setattr(home, "FEWEST_OF_A_CLASS", 5)


@pytest.fixture
def model(small_model: Path, tmp_path: Path, few: None) -> Path:
    return Path(shutil.copytree(small_model, tmp_path / "model"))


@pytest.fixture(scope="module")
def incoming(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the files, one that has no smaller copy, and no image."""
    folder = tmp_path_factory.mktemp("incoming")
    for number in range(2):
        shutil.copy(cohort.parent / f"images/{number:03d}.dcm", folder)
    write(folder / "raw.dcm", radiograph(blob(9, bright=True).astype(np.uint16), SOPInstanceUID="2.25.9"))
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


def test_a_check_lets_score_do_what_it_refuses_without(
    model: Path, cohort: Path, incoming: Path, tmp_path: Path, medres: Medres
) -> None:
    scores = tmp_path / "scores"
    where = ("--device", "cpu")
    refused = medres("score", model, incoming, "--out", scores, *REDUCED)
    assert refused.returncode == 2
    assert f"medres accuracy-check {model} MANIFEST --precision float32 --decode reduced" in refused.stderr
    assert not scores.exists()
    done = CliRunner().invoke(group, ["accuracy-check", str(model), str(cohort), *REDUCED, *where])
    assert done.exit_code == 0, done.output
    assert f"{COUNT} images, {COUNT} of them decoded otherwise" in done.output
    assert f"{COUNT} images of JPEG 2000 1/2\n" in done.output
    assert "nothing of the training cohort was found" in done.output
    (attached,) = read_attachments(model, Classifier.load(model, device="cpu").model_id)
    assert attached.kind == "accuracy-check"
    assert attached.content["labels"]["disc"]["images"] == COUNT  # type: ignore[index, call-overload]
    assert "SECRET" not in json.dumps(attached.content)
    scored = CliRunner().invoke(group, ["score", str(model), str(incoming), "--out", str(scores), *REDUCED, *where])
    assert scored.exit_code == 3, scored.output
    table = read_csv(scores / "predictions.csv").set_index("path")
    assert dict(table["decode"]) == {"000.dcm": "1/2", "001.dcm": "1/2", "notes.txt": "", "raw.dcm": "full"}
    assert dict(table["precision"]) == {
        "000.dcm": "float32",
        "001.dcm": "float32",
        "notes.txt": "",
        "raw.dcm": "float32",
    }
    columns = list(read_csv(scores / "predictions.csv").columns)
    place = columns.index("model_id")
    assert columns[place : place + 3] == ["model_id", "precision", "decode"]
    record = read_json(scores / "run.json")
    assert (record["forward"]["precision"], record["decode"]) == ("float32", "reduced")
    with pytest.raises(UsageError, match="--precision float32 --decode reduced"):
        score_folder(model, incoming, out=scores, resume=True, device="cpu")
    assert score_folder(model, incoming, out=scores, resume=True, decode="reduced", device="cpu").reused == 4
    again = Recomputation.open(scores, model, device="cpu")
    assert again.model.decode == again.worklist.model.decode == "reduced"
    for case in again.worklist.cases:
        opened = again.open_case(case)
        assert opened.case == case


def test_bf16_is_checked_and_scored_and_computed_again(
    model: Path, cohort: Path, incoming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "MOST_PROBABILITY", 0.2)  # a made network is steeper than any that is trained
    monkeypatch.setattr(accuracy, "MOST_CHANGED", 0.1)
    monkeypatch.setattr(accuracy, "MOST_AUROC", 0.1)
    monkeypatch.setattr(recomputing, "_SAME", 1e-6)
    found = check_accuracy(model, cohort, precision="bf16", options=CPU)
    assert found.check.failures == ()
    assert found.check.labels["disc"].largest_difference > 0
    score_folder(model, incoming, out=tmp_path / "scores", precision="bf16", device="cpu", workers=1)
    table = read_csv(tmp_path / "scores" / "predictions.csv").set_index("path")
    assert set(table["precision"]) == {"bf16", ""}
    again = Recomputation.open(tmp_path / "scores", model, device="cpu")
    assert again.model.precision == "bf16"
    for case in again.worklist.cases:
        again.open_case(case)  # to a millionth
    exact = Classifier.load(model, device="cpu")
    seen = read_radiograph(incoming / "000.dcm")
    assert exact.predict(seen).scores["disc"].probability != float(table["prob_disc"]["000.dcm"])


def test_one_check_holds_for_nothing_else(model: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_accuracy(model, cohort, decode="reduced", options=CPU).check.failures == ()
    need_check(model, Classifier.load(model, device="cpu", decode="reduced"))
    for precision, decode in (("bf16", "reduced"), ("bf16", "full")):
        with pytest.raises(UncheckedError, match="no recorded check"):
            need_check(model, Classifier.load(model, device="cpu", precision=precision, decode=decode))  # type: ignore[arg-type]
    monkeypatch.setattr(accuracy, "device_kind", lambda _: ("cuda", "some card"))
    with pytest.raises(UncheckedError, match="some card"):
        need_check(model, Classifier.load(model, device="cpu", decode="reduced"))


def made_check(**changes: object) -> AccuracyCheck:
    """A check that passes, changed."""
    label = LabelCheck(
        images=100, positives=50, auroc=0.9, auroc_asked=0.9019, largest_difference=0.005, changed_calls=0
    )
    return AccuracyCheck(
        precision="bf16", decode="full", device="cpu", card="", images=1000, decoded_otherwise=0, only_one_way=0,
        other_reviews=3, labels={"disc": label}, manifest_sha256="0" * 64, environment=accuracy.versions(),
        created="2026-01-01",
    ).model_copy(update=changes)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"auroc_asked": 0.8978}, "AUROC"),
        ({"auroc_asked": float("nan")}, "AUROC"),
        ({"largest_difference": 0.00501}, "probability"),
        ({"changed_calls": 2}, "calls"),
        ({"images": 99}, "few"),
        ({"positives": 9}, "few"),
        ({"positives": 91}, "few"),
    ],
)
def test_a_label_beyond_a_bound_fails(changed: dict[str, float], said: str) -> None:
    sound = made_check()
    assert sound.failures == ()
    assert (
        sound.model_copy(
            update={"labels": {"disc": sound.labels["disc"].model_copy(update={"changed_calls": 1})}}
        ).failures
        == ()
    )
    failures = made_check(labels={"disc": sound.labels["disc"].model_copy(update=changed)}).failures
    assert len(failures) == 1
    assert said in failures[0]


def test_files_that_only_one_way_reads_fail() -> None:
    assert "1 files" in made_check(only_one_way=1).failures[0]


def test_the_last_check_counts_whatever_it_says_of_itself(model: Path) -> None:
    classifier = Classifier.load(model, device="cpu", precision="bf16")
    attach(model, accuracy.KIND, made_check().model_dump(mode="json"))
    need_check(model, classifier)
    worse = made_check(created="2026-01-02", only_one_way=2)
    attach(model, accuracy.KIND, worse.model_dump(mode="json"))
    assert [check.created for check in read_checks(model, classifier.model_id)] == ["2026-01-01", "2026-01-02"]
    with pytest.raises(UncheckedError, match="2026-01-02 failed"):
        need_check(model, classifier)
    need_check(model, Classifier.load(model, device="cpu"))


def test_a_check_holds_for_the_versions_it_was_made_with(model: Path) -> None:
    classifier = Classifier.load(model, device="cpu", precision="bf16")
    now = accuracy.versions()
    assert {"torch", "imagecodecs", "pillow", "openjpeg", "jpeg"} <= now.keys()
    patched = f"{'.'.join(now['torch'].split('.')[:2])}.99"
    for number, (changed, holds) in enumerate([({"torch": patched}, True), ({"pillow": "1.0"}, False), ({}, True)]):
        check = made_check(images=1000, environment=now | changed, created=f"2026-01-0{number + 1}")
        attach(model, accuracy.KIND, check.model_dump(mode="json"))
        if holds:
            need_check(model, classifier)
        else:
            with pytest.raises(UncheckedError, match="with another pillow"):
                need_check(model, classifier)


def test_what_a_check_had_too_few_images_of_is_decoded_in_full(model: Path, incoming: Path, tmp_path: Path) -> None:
    for name, count, decoded in (("JPEG 2000 1/2", COUNT - 1, "full"), ("HTJ2K 1/2", COUNT, "full"),
                                 ("JPEG 2000 1/2", COUNT, "1/2")):  # fmt: skip
        check = made_check(precision="float32", decode="reduced", smaller={name: count, "JPEG 1/8": COUNT})
        later = check.model_copy(update={"created": f"2026-01-{len(list(tmp_path.iterdir())):02d}"})
        attach(model, accuracy.KIND, later.model_dump(mode="json"))
        out = tmp_path / f"{name[:4]}{count}"
        score_folder(model, incoming, out=out, decode="reduced", device="cpu", workers=1)
        assert list(read_csv(out / "predictions.csv")["decode"]) == [decoded, decoded, "", "full"]
    again = Recomputation.open(tmp_path / f"JPEG{COUNT - 1}", model, device="cpu")
    exact = Classifier.load(model, device="cpu").predict(read_radiograph(incoming / "000.dcm"))
    first = next(case for case in again.worklist.cases if case.path == "000.dcm")
    assert first.probabilities["disc"] == pytest.approx(exact.scores["disc"].probability, abs=1e-6)
    assert again.open_case(first).case == first


def test_a_check_says_what_it_shares_with_the_training_cohort_and_takes_memory_for_a_part_at_a_time(
    model: Path, small_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    score = Classifier.score

    def noted(self: Classifier, pixels: NDArray[np.uint16]) -> Scores:
        sizes.append(len(pixels))
        return score(self, pixels)

    monkeypatch.setattr(Classifier, "score", noted)
    monkeypatch.setattr(accuracy_checks, "_AT_A_TIME", 16)
    found = check_accuracy(model, small_cohort, precision="bf16", options=CPU)
    assert found.check.overlap.startswith("the manifest, 40 patients")
    assert any("the manifest, 40 patients" in line for line in found.lines())
    assert (max(sizes), sum(sizes)) == (16, 2 * found.check.images)


def test_a_failed_check_is_kept_and_ends_with_one(model: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "MOST_PROBABILITY", -1.0)
    done = CliRunner().invoke(group, ["accuracy-check", str(model), str(cohort), *REDUCED, "--device", "cpu"])
    assert done.exit_code == 1, done.output
    assert "FAILED disc: a probability differs" in done.output
    (check,) = read_checks(model, Classifier.load(model, device="cpu").model_id)
    assert check.failures
    with pytest.raises(UncheckedError, match="failed"):
        need_check(model, Classifier.load(model, device="cpu", decode="reduced"))


@pytest.mark.parametrize(("bright", "dark"), [(10, 9), (4, 10), (10, 4)])
def test_too_few_images_are_refused_before_any_is_decoded(
    model: Path, cohort: Path, tmp_path: Path, bright: int, dark: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy_checks, "FEWEST_IMAGES", 20 if bright + dark == 19 else 14)
    head, *rows = cohort.read_text(encoding="utf-8").splitlines()
    chosen = [row for row in rows if row.endswith(",1")][:bright] + [row for row in rows if row.endswith(",0")][:dark]
    path = tmp_path / "few.csv"
    path.write_text("\n".join([head, *chosen]) + "\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="a check takes at least"):
        check_accuracy(model, path, precision="bf16", root=cohort.parent, options=CPU)


def test_images_without_a_smaller_copy_check_nothing(model: Path, small_cohort: Path) -> None:
    with pytest.raises(ManifestError, match=": 0 images are decoded otherwise"):
        check_accuracy(model, small_cohort, decode="reduced", options=CPU)
    assert not (model / "attachments").exists()


def test_what_a_model_does_by_itself_is_not_checked(model: Path, cohort: Path) -> None:
    with pytest.raises(UsageError, match="by itself"):
        check_accuracy(model, cohort, decode="full", options=CPU)


def test_a_run_of_folds_is_checked_as_one_model(
    small_run: Path, cohort: Path, tmp_path: Path, incoming: Path, few: None
) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    found = check_accuracy(run, cohort, decode="reduced", options=CPU)
    assert found.path.parent == run / "attachments"
    assert found.check.failures == ()
    score_folder(run, incoming, out=tmp_path / "scores", decode="reduced", device="cpu", workers=1)


def test_the_app_allows_what_a_check_does() -> None:
    assert recomputing._SAME == accuracy.MOST_PROBABILITY


def test_a_model_refuses_an_image_that_was_decoded_otherwise(model: Path, incoming: Path) -> None:
    usual = Classifier.load(model, device="cpu")
    smaller = Classifier.load(model, device="cpu", decode="reduced")
    path = incoming / "000.dcm"
    assert (usual.shorter_side, smaller.shorter_side) == (None, 256)
    with pytest.raises(UsageError, match="shorter_side"):
        usual.predict(read_radiograph(path, shorter_side=256))
    with pytest.raises(UsageError, match="shorter_side"):
        smaller.explain(read_radiograph(path), label="disc")
    heatmap = smaller.explain(read_radiograph(path, shorter_side=smaller.shorter_side), label="disc").heatmap
    assert heatmap.shape == (520, 516)
    whole = usual.explain(read_radiograph(path), label="disc").heatmap
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == np.unravel_index(whole.argmax(), whole.shape)


@pytest.fixture(scope="module")
def trained_reduced(cohort: Path, tmp_path_factory: pytest.TempPathFactory, medres: Medres) -> Path:
    """A model, its network made, of images that were decoded reduced."""
    model = tmp_path_factory.mktemp("reduced") / "model"
    reduced = "--set=preprocessing.decode=reduced"
    done = medres("train", cohort, "--label", "disc", "--out", model, *TINY, reduced, made="disc")
    assert done.returncode == 0, done.stderr[-3000:]
    return model


def test_a_model_of_smaller_copies_scores_them_without_a_check(
    trained_reduced: Path, incoming: Path, tmp_path: Path
) -> None:
    scores = tmp_path / "scores"
    policy = HeatmapPolicy(enabled=True)
    score_folder(trained_reduced, incoming, out=scores, device="cpu", workers=1, heatmaps=policy)
    table = read_csv(scores / "predictions.csv")
    assert list(table["decode"]) == ["1/2", "1/2", "", "full"]
    (drawn,) = (scores / "heatmaps").glob(f"{table['sha256'][0][:16]}*disc*.png")
    with Image.open(drawn) as picture:
        assert picture.size[0] >= 516 and picture.size[1] >= 520  # all pixels, for a person, and words below
    again = Recomputation.open(scores, trained_reduced, device="cpu")
    model = again.model
    seen = read_radiograph(incoming / "000.dcm", shorter_side=model.shorter_side)
    again = model.predict(seen).scores["disc"].probability
    assert abs(again - float(table["prob_disc"][0])) < 1e-5
    for case in again.worklist.cases:
        again.open_case(case)
    with pytest.raises(UncheckedError, match="--decode full"):
        score_folder(trained_reduced, incoming, out=tmp_path / "no", decode="full", device="cpu")
    assert "decoded reduced" in card_text(model.card)
    assert "decoded reduced" in dict(card_facts(model.card))["Accepts"]


def test_a_new_model_of_smaller_copies_goes_on_over_scores_of_an_old_one(
    trained_reduced: Path, small_model: Path, incoming: Path, tmp_path: Path
) -> None:
    scores = tmp_path / "scores"
    score_folder(small_model, incoming, out=scores, device="cpu", workers=1)
    done = score_folder(trained_reduced, incoming, out=scores, resume=True, device="cpu", workers=1)
    assert done.reused == 0
    assert list(read_csv(scores / "predictions.csv")["decode"]) == ["1/2", "1/2", "", "full"]


def test_a_bundle_of_smaller_copies_decodes_as_the_one_path_does(trained_reduced: Path, incoming: Path) -> None:
    spec = Classifier.load(trained_reduced, device="cpu").preprocessing
    loaded = LoadRadiographd("image", specification=spec.model_dump(mode="json"))({"image": incoming / "000.dcm"})
    expected = prepare(str(incoming / "000.dcm"), spec=spec, gate=GATES["any"], limits=Limits())
    assert expected.decode == "1/2"
    assert np.array_equal(loaded["image"][0].numpy(), as_float(expected.pixels))


def test_one_smaller_copy_under_two_patients_is_found(trained_reduced: Path, cohort: Path, tmp_path: Path) -> None:
    spec = Classifier.load(trained_reduced, device="cpu").preprocessing
    made = dcmread(cohort.parent / "images/000.dcm")
    made.PatientID, made.SOPInstanceUID = "OTHER", "2.25.77"
    made.save_as(tmp_path / "other.dcm")
    rows = [
        ManifestRow(path, patient, "", "", {"disc": 1})
        for path, patient in (
            (cohort.parent / "images/000.dcm", "SECRET-0"),
            (cohort.parent / "images/001.dcm", "SECRET-1"),
            (tmp_path / "other.dcm", "OTHER"),
        )
    ]
    cache = cached_pixels(rows, spec, gate=GATES["any"], limits=Limits(), folder=tmp_path / "cache")
    leaks = [leak for leak in find_leaks(rows, cache.images) if leak.kind == "same image"]
    assert [leak.rows for leak in leaks] == [(0, 2)]


def test_another_file_of_a_sop_instance_uid_goes_to_review(trained_reduced: Path, cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    made = dcmread(cohort.parent / "images/000.dcm")
    made.save_as(tmp_path / "in/a.dcm")
    shutil.copy(tmp_path / "in/a.dcm", tmp_path / "in/b.dcm")
    made.StudyDescription = "sent again"
    made.save_as(tmp_path / "in/c.dcm")
    score_folder(trained_reduced, tmp_path / "in", out=tmp_path / "scores", device="cpu", workers=1)
    table = read_csv(tmp_path / "scores" / "predictions.csv")
    assert list(table["status"]) == ["ok", "duplicate", "review"]
    assert list(table["reason"]) == ["", "DUPLICATE_IDENTICAL", "DUPLICATE_CONFLICT"]
    assert score_folder(
        trained_reduced, tmp_path / "in", out=tmp_path / "scores", device="cpu", resume=True
    ).reused == 3  # fmt: skip
