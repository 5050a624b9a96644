"""A model is judged elsewhere as it is: nothing is refitted, no file is lost, and its own patients are not external."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from medres.cohort.overlap import TrainingIdentity, find_overlap, training_identity
from medres.cohort.profile import RARE, CohortProfile, describe
from medres.config import Config, Evaluation
from medres.evaluation.performance import pooled
from medres.evaluation.recalibration import recalibrate, recalibration_record
from medres.evaluation.shift import merged_profile, newcombe, shifts
from medres.evaluation.table import JudgedImages
from medres.model.classifier import Classifier, read_card
from medres.records import ManifestRow
from medres.statistics.calibration import fit_calibration_line
from medres.tables import read_json
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph
from tests.test_cli import refusal
from tests.test_report import _Page, bare_figures, visible

QUICK = Evaluation(replicates=200)


def write_elsewhere(folder: Path, *, patients: int = 26) -> Path:
    """Another hospital: its own patients, a darker detector, and a broken, an unlabelled and an excluded file."""
    lines = ["path,status,PatientID,SOPInstanceUID,label_disc"]
    for patient in range(patients):
        name, uid = f"images/{patient:04d}.dcm", f"2.25.{90_000 + patient}"
        pixels = 0.7 * blob(7000 + patient, bright=patient % 2 == 0)
        tags = {"Manufacturer": "Elsewhere", "PatientAge": f"{60 + patient % 9:03d}Y", "ImagerPixelSpacing": [0.2, 0.2]}
        write_radiograph(folder / name, pixels, patient=f"X{patient:04d}", uid=uid, **tags)
        label = int(patient % 2 == 0) if patient else ""
        lines.append(f"{name},{'refused' if patient == 1 else 'ok'},X{patient:04d},{uid},{label}")
    (folder / "images" / "broken.dcm").write_text("not DICOM")
    lines.append("images/broken.dcm,ok,X9999,2.25.99999,1")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_elsewhere(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def evaluated(
    medres: Medres, small_run: Path, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """An external validation of a run as an ensemble, and what it said."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    done = medres("evaluate", small_run, elsewhere, "--out", out)
    assert done.returncode == 3, done.stderr[-3000:]
    return out, done.stdout


def test_every_row_of_the_manifest_is_judged_or_says_why_not(evaluated: tuple[Path, str], elsewhere: Path) -> None:
    out, said = evaluated
    table, refused = (pd.read_csv(out / name, dtype=str, keep_default_na=False) for name in ("oof.csv", "refused.csv"))
    paths = pd.read_csv(elsewhere, dtype=str)["path"]
    assert sorted([*table["path"], *refused["path"]]) == sorted(paths)
    assert refused.set_index("path")["reason"].to_dict() == {
        "images/broken.dcm": "NOT_DICOM", "images/0000.dcm": "UNLABELLED", "images/0001.dcm": "EXCLUDED",
    }  # fmt: skip
    assert read_json(out / "run.json")["flow"]["rows"] == len(paths)
    assert "3 rows of the manifest were not judged" in said


def test_thresholds_temperatures_and_the_outlier_cut_are_the_models_own(
    evaluated: tuple[Path, str], small_run: Path
) -> None:
    table = pd.read_csv(evaluated[0] / "oof.csv")
    model = Classifier.load(small_run)
    frozen = read_json(evaluated[0] / "run.json")["frozen"]
    threshold = model.card.operating_points["disc"].threshold
    assert frozen["thresholds"] == {"disc": threshold}
    assert frozen["temperatures"] == [member.card.temperatures for member in model.members]
    assert (table["positive_disc"] == (table["prob_disc"] >= threshold)).all()
    assert (table["outlier"] == (table["distance"] > 1)).all()


def test_the_record_names_the_network_and_the_recipe_that_were_trained(
    evaluated: tuple[Path, str], small_run: Path
) -> None:
    found, trained = (read_json(folder / "run.json") for folder in (evaluated[0], small_run))
    for part in ("network", "training", "preprocessing", "limits", "name"):
        assert found["config"][part] == trained["config"][part], part
    card = read_card(small_run / "models" / "fold-0")
    assert found["network"]["architecture"] == trained["network"]["architecture"]
    assert found["network"]["weights"] == card.weights
    assert found["recipe"] == trained["recipe"]


def test_the_report_states_the_frozen_threshold_its_rule_and_the_temperatures(evaluated: tuple[Path, str]) -> None:
    frozen = read_json(evaluated[0] / "run.json")["frozen"]
    words = visible((evaluated[0] / "report.html").read_text(encoding="utf-8")).replace("&#39;", "'")
    temperatures = sorted({f"{one['disc']:.3f}" for one in frozen["temperatures"]})  # one where both folds found it
    assert f"probability of {frozen['thresholds']['disc']:.3f} or more" in words
    assert f"({frozen['rules']['disc']})" in words
    assert f"{' to '.join(temperatures)} in its 2 networks" in words
    assert "thresholds not recorded" not in words
    for value in frozen["thresholds_by_rule"]["disc"].values():
        assert f"{value:.3f}" in words[words.index("By each of three rules") :]


def test_an_ensemble_is_called_one_and_nothing_is_said_of_it_that_holds_for_a_fold(
    evaluated: tuple[Path, str], small_run: Path
) -> None:
    words = visible((evaluated[0] / "report.html").read_text(encoding="utf-8")).replace("&#39;", "'")
    assert "Ensembles met 2 networks" in words
    assert "an ensemble of 2 ResNet-18 networks" in words
    assert "the validation patients of each fold chose a threshold, where they have both classes" in words
    assert "the ensemble takes the mean of those" in words
    patients = read_json(small_run / "run.json")["manifest"]["patients"]
    assert f"images of {patients} patients, as the cards of the 2 folds together describe them" in words
    assert "set so that 1.0 % of the validation images did" in words
    assert "1.0 % in training" not in words
    assert "Explanations not met" in words


def test_every_figure_of_the_external_page_stands_with_its_interval_or_its_n(evaluated: tuple[Path, str]) -> None:
    bare, seen = bare_figures((evaluated[0] / "report.html").read_text(encoding="utf-8"))
    assert bare == []
    assert seen > 40


def test_the_report_says_what_differs_and_keeps_recalibration_apart(
    medres: Medres, evaluated: tuple[Path, str]
) -> None:
    out, said = evaluated
    page = (out / "report.html").read_text(encoding="utf-8")
    _Page(page)
    words = visible(page).replace("&#39;", "'")
    sentence = read_json(out / "run.json")["shift"]["sentence"]
    assert "Manufacturer" in sentence
    assert "image intensities" in sentence
    assert sentence in said
    assert sentence in words[: words.index("Results")]
    assert "this report does not hold together" not in words.lower()
    apart = words[words.index("If it were recalibrated here") :]
    assert "Not the model's performance" in apart
    lines = pd.read_csv(out / "shift.csv", dtype=str, keep_default_na=False)
    maker = lines[lines["name"] == "Manufacturer"].set_index("value")
    assert maker.loc["Elsewhere", ["training", "here", "differs"]].tolist() == ["0.0", "1.0", "True"]
    done = medres("report", out)
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").read_text(encoding="utf-8") == page


def test_the_training_cohort_is_refused_as_external_and_allowed_only_when_said(
    medres: Medres, small_model: Path, small_cohort: Path, elsewhere: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = refusal(medres("evaluate", small_model, small_cohort, "--out", out), 2)
    assert "the manifest, 40 patients" in line
    assert "--allow-overlap" in line
    assert not out.exists()
    done = medres("evaluate", small_model, small_cohort, "--out", out, "--allow-overlap")
    assert done.returncode == 0, done.stderr
    assert "NOT EXTERNAL" in done.stdout
    words = visible((out / "report.html").read_text(encoding="utf-8"))
    assert "this cohort holds the manifest, 40 patients of the training cohort" in words[: words.index("Results")]


# What can be known of an overlap, without networks.


def row(patient: str, uid: str) -> ManifestRow:
    return ManifestRow(Path(f"{uid}.dcm"), patient, "", uid, {})


def test_overlap_is_found_by_patient_by_image_and_by_pixels_and_what_was_not_looked_for_is_said() -> None:
    rows = [row("1", "2.25.1"), row("new", "2.25.2"), row("renamed", "2.25.9")]
    known = TrainingIdentity(frozenset({"m"}), frozenset({"1"}), frozenset({"2.25.2"}), frozenset({"same"}))
    found = find_overlap(known, manifest_sha256="other", rows=rows, pixels=["x", "y", "same"])
    assert (found.patients, found.images, found.pixels, found.same_manifest) == (1, 1, 1, False)
    assert found.found
    nothing = find_overlap(TrainingIdentity(frozenset({"m"})), manifest_sha256="other", rows=rows)
    assert not nothing.found
    assert str(nothing) == "nothing of the training cohort was found (looked for by SHA-256 of the manifest)"
    assert find_overlap(TrainingIdentity(frozenset({"m"})), manifest_sha256="m", rows=rows).found


def test_a_column_of_the_training_cohort_that_is_not_there_is_left_out(
    small_model: Path,
    elsewhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from medres.runs import external as evaluating

    own = evaluating.own_config

    def asked(classifier: Classifier) -> Config:
        config = own(classifier)
        update = {"subgroups": ("ward", "Manufacturer"), "replicates": 100}
        return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=update)})

    monkeypatch.setattr(evaluating, "own_config", asked)
    evaluating.evaluate_model(small_model, elsewhere, out=tmp_path / "out")
    assert "has no column ward: no figures by it" in caplog.text
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_an_image_is_found_by_its_file_s_uid_where_the_manifest_has_none() -> None:
    rows = [row("new", ""), row("another", "")]
    known = TrainingIdentity(frozenset({"m"}), frozenset({"1"}), frozenset({"2.25.2"}))
    unknown = find_overlap(known, manifest_sha256="other", rows=rows)
    assert (unknown.images, unknown.found) == (None, False)
    assert "SOPInstanceUID" not in str(unknown)
    found = find_overlap(known, manifest_sha256="other", rows=rows, uids=["2.25.1", "2.25.2"])
    assert (found.images, found.found) == (1, True)


def test_an_evaluation_never_takes_the_place_of_its_model(medres: Medres, small_run: Path, elsewhere: Path) -> None:
    fold = small_run / "models" / "fold-0"
    for model, out, why in (
        (small_run, small_run, "holds the input"),
        (fold, small_run, "holds the input"),
        (fold, fold / "external", "inside the input folder"),
    ):
        assert why in refusal(medres("evaluate", model, elsewhere, "--out", out, "--force"), 2)
    assert (fold / "medres.json").is_file()


def test_a_renamed_training_image_is_found_by_its_pixels(
    small_run: Path, small_cohort: Path, elsewhere: Path, tmp_path: Path
) -> None:
    from medres.errors import ManifestError
    from medres.runs.external import evaluate_model

    manifest = Path(shutil.copytree(elsewhere.parent, tmp_path / "mixed")) / "manifest.csv"
    write_radiograph(manifest.parent / "images/0003.dcm", blob(0, bright=True), patient="X0003", uid="2.25.90003")
    with pytest.raises(ManifestError, match=r"1 images with the same pixels .* 0003\.dcm for one"):
        evaluate_model(small_run, manifest, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_fold_knows_its_own_patients_and_a_run_all_of_them(
    small_run: Path, small_model: Path, tmp_path: Path
) -> None:
    run, fold = training_identity(small_run, manifests=[]), training_identity(small_run / "models/fold-0", manifests=[])
    held_out = set(read_json(small_run / "splits.json")["folds"][0]["held_out"])
    assert run.patients is not None
    assert fold.patients == run.patients - held_out
    assert run.images is not None
    assert run.pixels is not None
    assert fold.images is not None
    assert fold.images < run.images
    alone = training_identity(small_model, manifests=[])
    assert alone.patients == run.patients
    assert alone.images is None
    exported = tmp_path / "model"
    exported.mkdir()
    assert training_identity(exported, manifests=["m"]) == TrainingIdentity(frozenset({"m"}))


# The profile that travels with a model, and what is compared with it.


def profile(makers: list[str], *, ages: float = 50, brightness: int = 20_000, seed: int = 0) -> CohortProfile:
    generator = np.random.default_rng(seed)
    n = len(makers)
    pixels = np.clip(generator.normal(brightness, 4000, (n, 8, 8)), 0, 65535).astype(np.uint16)
    records = [
        {"Manufacturer": maker, "PatientAge": f"{int(age):03d}Y", "BitsStored": "12"}
        for maker, age in zip(makers, generator.normal(ages, 8, n), strict=True)
    ]
    return describe(records, [f"p{place}" for place in range(n)], pixels, range(n))


def test_a_profile_tells_no_group_of_fewer_than_twenty_patients() -> None:
    found = profile(["A"] * 60 + ["B"] * 19 + ["C"] * 3)
    assert set(found.categories["Manufacturer"]) == {"A", RARE}
    assert found.categories["Manufacturer"][RARE].patients == 22
    assert profile(["A"] * 19).numbers == {}
    assert found.numbers["age"].patients == 82
    one_patient = describe([{"Manufacturer": "A"}] * 50, ["p"] * 50, np.ones((50, 8, 8), np.uint16), range(50))
    assert set(one_patient.categories["Manufacturer"]) == {RARE}
    assert one_patient.intensities == {}


def test_the_parts_of_a_run_describe_its_whole_cohort() -> None:
    """Three folds, each without the site that it held out: shares and means of all three together."""
    makers = np.repeat(["A", "B", "C"], 60)
    pixels = np.random.default_rng(0).integers(0, 65535, (180, 8, 8)).astype(np.uint16)
    ages = [f"{30 + place % 50:03d}Y" for place in range(180)]

    def part(chosen: NDArray[np.intp]) -> CohortProfile:
        records = [{"Manufacturer": str(makers[at]), "PatientAge": ages[at], "BitsStored": "12"} for at in chosen]
        return describe(records, [f"p{at}" for at in chosen], pixels, chosen.tolist())

    whole = part(np.arange(180))
    merged = merged_profile([part(np.flatnonzero(makers != site)) for site in "ABC"])
    assert (merged.images, merged.patients) == (180, 180)
    assert merged.categories == whole.categories
    for found, expected in ((merged.numbers["age"], whole.numbers["age"]),
                            (merged.intensities["mean"], whole.intensities["mean"])):  # fmt: skip
        assert (found.images, found.patients) == (expected.images, expected.patients)
        assert (found.mean, found.deviation) == (pytest.approx(expected.mean), pytest.approx(expected.deviation))
    assert merged_profile([whole]) == whole


def test_what_was_changed_differs_and_what_was_not_does_not() -> None:
    training = profile(["A"] * 80 + ["B"] * 80, seed=1)
    lines = shifts(training, profile(["A"] * 30 + ["C"] * 70, ages=65, brightness=26_000, seed=2))
    differing = {(line.name, line.value) for line in lines if line.differs}
    assert {("Manufacturer", "B"), ("Manufacturer", "C"), ("PatientAge, years", "")} <= differing
    assert ("intensity of the image: mean", "") in differing
    assert ("BitsStored", "12") not in differing
    same = shifts(training, profile(["A"] * 80 + ["B"] * 80, seed=3))
    assert [line.name for line in same if line.differs and line.group == "tags"] == []
    hidden = shifts(training, profile(["A"] * 90 + ["B"] * 10, seed=4))
    (rare,) = [line for line in hidden if line.value == "B"]
    assert rare.here is None
    assert rare.difference is None
    assert rare.differs  # 10 % at most, where it was 50 %


def test_an_interval_of_shares_holds_the_difference_and_reaches_its_published_value() -> None:
    assert newcombe(48 / 80, 80, 56 / 70, 70) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    for first, second in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.3)):
        low, high = newcombe(first, 30, second, 40)
        assert -1 <= low <= second - first <= high <= 1


def test_a_card_describes_the_images_that_its_model_learned_and_chose_from(small_model: Path) -> None:
    card = read_card(small_model)
    assert card.cohort_profile.patients == card.provenance.training_patients + card.provenance.validation_patients


# Recalibration.


def miscalibrated(patients: int = 300, seed: int = 0) -> tuple[JudgedImages, NDArray[np.float64]]:
    """Images whose probabilities are too extreme and too high, and the true ones."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), 2)
    odds = generator.normal(-0.5, 1.2, len(owners))
    truth = (generator.random(len(owners)) < expit(odds)).astype(np.int64)
    said = expit(2.0 * odds + 1.0)
    zeros = np.zeros(len(owners), dtype=np.int64)
    names = np.array([f"{owner:04d}" for owner in owners])
    images = JudgedImages(truth, said, (said >= 0.5).astype(np.int64), names, zeros, np.arange(len(owners)), 0, 0)
    return images, np.asarray(expit(odds))


def test_recalibration_mends_slope_and_intercept_and_leaves_every_patient_to_others() -> None:
    images, true = miscalibrated()
    record, found = recalibration_record(images, evaluation=QUICK, seed=0)
    assert found.images is not None
    assert np.abs(found.images.probabilities - true).mean() < 0.05 < np.abs(images.probabilities - true).mean()
    frozen = pooled(images, QUICK, 0)
    assert record.metrics is not None
    assert tuple(record.metrics) == (
        "brier", "expected_calibration_error", "calibration_slope", "calibration_intercept",
        "calibration_in_the_large", "observed_expected", "sensitivity", "specificity",
    )  # fmt: skip
    assert record.metrics["brier"].value < (frozen["brier"].value or 0) - 0.01
    assert record.metrics["calibration_slope"].value == pytest.approx(1, abs=0.15)
    assert record.metrics["calibration_intercept"].value == pytest.approx(0, abs=0.15)
    assert abs((frozen["calibration_intercept"].value or 0) - 0) > 0.3
    parts = pd.DataFrame({"patient": found.images.patients, "part": found.images.folds})
    assert (parts.groupby("patient")["part"].nunique() == 1).all()


def test_each_part_gets_one_line_that_other_patients_fitted() -> None:
    images, _ = miscalibrated(60)
    found = recalibrate(images, evaluation=QUICK, seed=0).images
    assert found is not None
    lines = []
    for part in np.unique(found.folds):
        chosen = found.folds == part
        before, after = logit(images.probabilities[chosen]), logit(found.probabilities[chosen])
        lines.append(np.polyfit(before, after, 1))
        np.testing.assert_allclose(np.polyval(lines[-1], before), after, atol=1e-6)
        others = fit_calibration_line(images.truth[~chosen], images.probabilities[~chosen])
        assert others is not None
        assert lines[-1] == pytest.approx([others.slope, others.intercept])
    assert len(lines) == 5


def test_recalibration_that_cannot_be_judged_is_none_with_its_reason() -> None:
    images, _ = miscalibrated(200)
    few = images.part(np.isin(images.patients, np.unique(images.patients)[:12]))
    assert "too few to fit on" in recalibrate(few, evaluation=QUICK, seed=0).reason
    reversed_ = JudgedImages(1 - images.truth, *(getattr(images, name) for name in (
        "probabilities", "positive", "patients", "folds", "rows", "uncertain", "unknown")))  # fmt: skip
    assert "no recalibration mends that" in recalibrate(reversed_, evaluation=QUICK, seed=0).reason
    perfect = JudgedImages(
        images.truth, images.truth * 0.8 + 0.1, images.truth, images.patients, images.folds, images.rows, 0, 0
    )
    assert "separate the classes" in recalibrate(perfect, evaluation=QUICK, seed=0).reason
