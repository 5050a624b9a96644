"""Grades and classes: from a column of the manifest to labels, losses, probabilities and figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit, softmax
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    mean_absolute_error,
    roc_auc_score,
)
from torch.nn import functional

from medres.cohort.manifest import read_manifest
from medres.cohort.tasks import Task, read_tasks, true_answers
from medres.config import Evaluation
from medres.errors import ManifestError, ModelError
from medres.evaluation.tasks import summarise_task
from medres.model.calibration import fit_temperatures, probabilities
from medres.model.classifier import Classifier
from medres.report.metric_rows import task_rows
from medres.statistics.intervals import exact_bounds
from medres.tables import read_csv
from medres.training.losses import MaskedLoss, chance_loss
from tests.conftest import TINY, Medres
from tests.support.documents import written
from tests.support.phantoms import blob, write_cohort, write_radiograph

GRADE = Task("kl_grade", "ordinal", ("0", "1", "2", "3"))
VIEW = Task("view", "multiclass", ("AP", "LL", "PA"))
MASS = Task("mass")


def manifest(folder: Path, grades: list[str], views: list[str] | None = None) -> Path:
    table = pd.DataFrame({"path": [f"{n}.dcm" for n in range(len(grades))], "PatientID": range(len(grades))})
    table["kl_grade"], table["view"] = grades, views or ["AP", "PA"] * (len(grades) // 2)
    for path in table["path"]:
        (folder / path).touch()
    table.to_csv(folder / "m.csv", index=False)
    return folder / "m.csv"


def test_a_grade_is_every_at_least_and_a_class_is_each_is(tmp_path: Path) -> None:
    path = manifest(tmp_path, ["0", "2", "1.0", "", "-1", "2"])
    found = read_manifest(path, [Task("kl_grade", "ordinal"), Task("view", "multiclass")])
    assert found.labels == ("kl_grade_ge_1", "kl_grade_ge_2", "view_is_AP", "view_is_PA")
    targets = [tuple(row.targets.values()) for row in found.rows]
    assert targets[:3] == [(0, 0, 1, 0), (1, 1, 0, 1), (1, 0, 1, 0)]
    assert targets[3][:2] == targets[4][:2] == (None, None)


def test_another_cohort_may_lack_grades_that_a_model_knows(tmp_path: Path) -> None:
    found = read_manifest(manifest(tmp_path, ["0", "1", "1", "0"]), [GRADE])
    assert found.tasks == (GRADE,)
    assert [row.targets["kl_grade_ge_3"] for row in found.rows] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (Task("kl_grade", "ordinal"), r"kl_grade holds '1\.5'; grades are whole numbers"),
        (Task("missing", "ordinal"), "no column missing for the ordinal task"),
        (Task("one", "multiclass"), "one holds 1 different values"),
        (Task("view", "multiclass", ("AP", "LL")), "view holds 'PA'; the model knows AP, LL"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_column_that_is_no_grade_or_class_is_refused_by_name(tmp_path: Path, task: Task, complaint: str) -> None:
    path = manifest(tmp_path, ["0", "1.5", "1", "0"])
    table = read_csv(path)
    table["one"] = "x"
    table.to_csv(path, index=False)
    with pytest.raises(ManifestError, match=complaint):
        read_manifest(path, [task])


def test_tasks_survive_json() -> None:
    from dataclasses import asdict

    tasks = (MASS, GRADE, VIEW)
    assert read_tasks(json.loads(json.dumps([asdict(task) for task in tasks]))) == tasks


LOGITS = arrays.arrays(np.float64, (6, 7), elements=st.floats(-8, 8))


@given(LOGITS, st.floats(0.3, 4))
def test_probabilities_are_sigmoid_softmax_and_never_say_a_higher_grade_is_likelier(
    logits: np.ndarray, temperature: float
) -> None:
    tasks = (MASS, GRADE, VIEW)
    labels = [label for task in tasks for label in task.labels]
    found = probabilities(logits, tasks, dict.fromkeys(labels, temperature))
    assert np.allclose(found[:, 0], expit(logits[:, 0] / temperature))
    assert np.allclose(found[:, 4:], softmax(logits[:, 4:] / temperature, axis=1))
    assert (np.diff(found[:, 1:4], axis=1) <= 0).all()
    coherent = (np.diff(logits[:, 1:4], axis=1) <= 0).all(axis=1)
    assert np.allclose(found[coherent, 1:4], expit(logits[coherent, 1:4] / temperature))


def test_a_card_whose_labels_are_not_those_of_its_tasks_is_refused(small_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small_model, folder)
    card = json.loads((folder / "medres.json").read_text())
    (folder / "medres.json").write_text(json.dumps({**card, "labels": ["other"]}))
    with pytest.raises(ModelError):
        Classifier.load(folder)


def test_the_temperature_of_classes_is_that_of_the_softmax() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (4000, 3))
    truth = [rng.choice(3, p=row) for row in softmax(honest, axis=1)]
    targets = np.eye(3, dtype=np.float32)[truth]
    found = fit_temperatures([VIEW], targets, honest * 3)
    assert set(found) == set(VIEW.labels)
    assert all(value == pytest.approx(3, rel=0.1) for value in found.values())


@given(LOGITS, st.lists(st.sampled_from([0, 1, 2, None]), min_size=6, max_size=6))
def test_the_loss_of_classes_is_torch_s_cross_entropy_over_images_whose_class_is_known(
    logits: np.ndarray, classes: list[int | None]
) -> None:
    values = torch.tensor(logits[:, :3])
    targets = torch.full((6, 3), torch.nan, dtype=torch.float64)
    for row, one in enumerate(classes):
        if one is not None:
            targets[row] = functional.one_hot(torch.tensor(one), 3)
    known = [row for row, one in enumerate(classes) if one is not None]
    expected = functional.cross_entropy(values[known], targets[known].argmax(1)) if known else torch.tensor(0.0)
    assert float(MaskedLoss((slice(0, 3),))(values, targets)) == pytest.approx(float(expected), abs=1e-9)


def test_a_finding_and_a_class_share_one_loss_by_the_number_of_known_targets() -> None:
    logits = torch.zeros(2, 4)
    targets = torch.tensor([[1.0, 1, 0, 0], [torch.nan, 0, 1, 0]])
    expected = (np.log(2) + 2 * np.log(3)) / 3
    assert float(MaskedLoss((slice(1, 4),))(logits, targets)) == pytest.approx(expected)


def test_chance_is_the_entropy_of_the_shares() -> None:
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
    shares = np.array([0.25, 0.5, 0.25])
    assert chance_loss(targets, (slice(0, 3),)) == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)


def table(task: Task, truth: np.ndarray, predicted: np.ndarray, patients: np.ndarray) -> pd.DataFrame:
    """An out-of-fold table in which the model is sure of what it predicts."""
    columns: dict[str, object] = {"PatientID": patients}
    for place, label in enumerate(task.labels):
        at = np.equal if task.kind == "multiclass" else np.greater
        columns[f"label_{label}"] = np.where(truth < 0, np.nan, at(truth, place).astype(float))
        columns[f"prob_{label}"] = at(predicted, place).astype(float)
    return pd.DataFrame(columns)


ANSWERS = arrays.arrays(np.int64, 40, elements=st.integers(0, 3))


@given(ANSWERS, ANSWERS)
def test_figures_of_grades_are_scikit_learn_s(truth: np.ndarray, predicted: np.ndarray) -> None:
    found = summarise_task(
        table(GRADE, truth, predicted, np.arange(40) // 2), GRADE, evaluation=Evaluation(replicates=100), seed=0
    )
    values = {name: item.value for name, item in found.metrics.items()}
    assert values["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert values["mean_absolute_error"] == pytest.approx(mean_absolute_error(truth, predicted))
    if len(np.unique(np.concatenate([truth, predicted]))) > 1:
        expected = cohen_kappa_score(truth, predicted, weights="quadratic", labels=range(4))
        assert values["quadratic_weighted_kappa"] == pytest.approx(expected)
    assert np.trace(np.asarray(found.confusion)) == (truth == predicted).sum()


def test_figures_of_classes_are_scikit_learn_s_and_unknown_images_do_not_count() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 3, 90), rng.integers(0, 3, 90)
    unknown = np.concatenate([truth, [-1] * 5]), np.concatenate([predicted, [0] * 5])
    found = summarise_task(
        table(VIEW, *unknown, np.arange(95) // 3), VIEW, evaluation=Evaluation(replicates=200), seed=0
    )
    assert found.n == 90
    metrics = written(found)["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(accuracy_score(truth, predicted))
    assert metrics["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert metrics["accuracy"]["low"] < metrics["accuracy"]["value"] < metrics["accuracy"]["high"]
    assert true_answers(VIEW, np.array([[0, 0, 1.0]])).tolist() == [2]


def test_macro_auroc_is_scikit_learn_s_for_classes_and_the_mean_of_every_at_least_for_grades() -> None:
    rng = np.random.default_rng(2)
    truth, patients = rng.integers(0, 3, 120), np.arange(120) // 3
    likely = softmax(rng.normal(0, 1, (120, 3)) + np.eye(3)[truth], axis=1)
    columns: dict[str, object] = {"PatientID": patients}
    for place, label in enumerate(VIEW.labels):
        columns |= {f"label_{label}": (truth == place) * 1.0, f"prob_{label}": likely[:, place]}
    settings = {"evaluation": Evaluation(replicates=200), "seed": 0}
    found = written(summarise_task(pd.DataFrame(columns), VIEW, **settings))["metrics"]["macro_auroc"]
    assert found["value"] == pytest.approx(roc_auc_score(truth, likely, multi_class="ovr", average="macro"))
    assert found["low"] < found["value"] < found["high"]
    assert (found["n"], found["n_patients"]) == (120, 40)
    grades = table(GRADE, rng.integers(0, 4, 120), rng.integers(0, 4, 120), patients)
    each = [roc_auc_score(grades[f"label_{label}"], grades[f"prob_{label}"]) for label in GRADE.labels]
    assert summarise_task(grades, GRADE, **settings).metrics["macro_auroc"].value == pytest.approx(np.mean(each))
    without = grades.assign(label_kl_grade_ge_3=0.0)
    absent = summarise_task(without, GRADE, **settings).metrics["macro_auroc"]
    assert (absent.value, absent.method) == (None, "undefined: a value has no image")


def test_a_grade_is_held_against_the_best_answer_that_needs_no_image() -> None:
    generator = np.random.default_rng(0)
    truth = generator.choice(4, size=300, p=[0.1, 0.2, 0.6, 0.1])
    told = [(truth[:, None] >= np.arange(1, 4)) * 0.8 + 0.1, np.tile([0.9, 0.8, 0.1], (300, 1))]
    for place, likely in enumerate(told):
        columns = {f"prob_{label}": likely[:, one] for one, label in enumerate(GRADE.labels)}
        columns |= {f"label_{label}": (truth >= one + 1) * 1.0 for one, label in enumerate(GRADE.labels)}
        table = pd.DataFrame({"PatientID": np.arange(300).astype(str), **columns})
        found = summarise_task(table, GRADE, evaluation=Evaluation(replicates=200), seed=0)
        assert found.references["accuracy"].value == pytest.approx((truth == 2).mean())
        middle = min(np.abs(truth - grade).mean() for grade in range(4))
        assert found.references["mean_absolute_error"].value == pytest.approx(middle)
        gain = found.gains["accuracy"]
        assert gain.value == pytest.approx((found.metrics["accuracy"].value or 0) - (truth == 2).mean())
        words = {row.name: row.reference for row in task_rows(found)}
        if place == 0:  # all right
            assert gain.low is not None and gain.low > 0
            assert "this is better by" in words["accuracy"]
            assert words["mean_absolute_error"].count("this is better by") == 1  # fewer errors are better
        else:  # always the commonest: no resample tells the two apart
            assert gain.value == 0
            assert "cannot be told" in words["accuracy"]
        assert words["quadratic_weighted_kappa"] == "chance gives 0"


def test_answers_that_are_all_right_are_not_called_certain() -> None:
    truth = np.arange(40) % 4
    found = summarise_task(
        table(GRADE, truth, truth, np.arange(40)), GRADE, evaluation=Evaluation(replicates=100), seed=0
    ).metrics
    assert (found["accuracy"].low, found["accuracy"].high) == exact_bounds(40, 40)
    for name in ("macro_auroc", "quadratic_weighted_kappa"):
        assert (found[name].value, found[name].low) == (1.0, None)
        assert found[name].method == "no interval: every resample gives the same value"


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of growing brightness are grades 0 to 2; the view says which side is bright."""
    folder = tmp_path_factory.mktemp("graded")
    path = write_cohort(folder, patients=24, images=2)
    found = read_csv(path)
    rng = np.random.default_rng(0)
    grades = rng.integers(0, 3, len(found))
    views = rng.choice(["AP", "PA"], len(found))
    for number, (name, grade, view) in enumerate(zip(found["path"], grades, views, strict=True)):
        pixels = blob(number, bright=False).astype(int) + 500 * grade
        pixels[:, : pixels.shape[1] // 4] += 900 if view == "AP" else 0
        write_radiograph(
            folder / name,
            pixels.clip(0, 4095).astype(np.uint16),
            patient=found["PatientID"][number],
            uid=f"2.25.9{number}",
        )
    found["SOPInstanceUID"] = [f"2.25.9{number}" for number in range(len(found))]
    found["severity"], found["view"] = grades.astype(str), views
    found.to_csv(path, index=False)
    return path


def test_grades_and_classes_go_all_the_way(medres: Medres, graded: Path, tmp_path: Path) -> None:
    asked = ("--ordinal", "severity", "--multiclass", "view")
    run = tmp_path / "run"
    done = medres("crossval", graded, *asked, "--out", run, *TINY, made="disc")
    assert done.returncode == 0, done.stderr
    assert "severity: quadratic weighted kappa" in done.stdout
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["tasks"]) == {"severity", "view"}
    assert sum(map(sum, metrics["tasks"]["severity"]["confusion"])) == len(read_csv(graded))
    oof = read_csv(run / "oof.csv")
    assert set(oof["predicted_severity"]) <= {"0", "1", "2"}
    ordered = oof["prob_severity_ge_1"].astype(float) >= oof["prob_severity_ge_2"].astype(float)
    assert ordered.all()
    assert np.allclose(oof["prob_view_is_AP"].astype(float) + oof["prob_view_is_PA"].astype(float), 1)
    report = (run / "report.html").read_text()
    assert "quadratic weighted kappa" in report.lower()
    out = tmp_path / "scores"
    assert medres("score", run, graded.parent, "--out", out).returncode in (0, 3)
    scored = read_csv(out / "predictions.csv")
    ok = scored[scored["status"].isin(["ok", "review"])]
    assert set(ok["predicted_view"]) <= {"AP", "PA"}
    assert (scored[scored["status"] == "refused"]["predicted_view"] == "").all()
    assert Classifier.load(run).tasks[0] == Task("severity", "ordinal", ("0", "1", "2"))
    shown = medres("inspect", run / "models" / "fold-0").stdout
    assert "severity" in shown


def test_nothing_asked_is_said(medres: Medres, graded: Path, tmp_path: Path) -> None:
    done = medres("crossval", graded, "--out", tmp_path / "x")
    assert done.returncode == 2
    assert "give --label, --ordinal or --multiclass" in done.stderr
