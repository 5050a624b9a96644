"""The Python API: every public name is typed, documented by an example that runs, and instant to import."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import medres
from medres import Classifier, Run, cross_validate, read_manifest
from medres.config import load_config
from medres.errors import UsageError
from medres.evaluation.table import as_read, read_table
from medres.records import Interval
from medres.tables import read_csv, read_json, write_csv, write_json
from tests.conftest import TINY
from tests.support.phantoms import blob, write_radiograph
from tests.support.runs import write_run

PUBLIC = [name for name in medres.__all__ if name != "__version__"]
PACKAGE = Path(medres.__file__).parent
MOST_ARGUMENTS = 7
SHORT = "training.stages=[{epochs: 1}]"
PREVIOUS = Path(__file__).parent / "fixtures" / "format3"
"""A run of the version before records were typed."""


@pytest.fixture(scope="module", autouse=True)
def no_windows() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg"}):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run.open(write_run(tmp_path_factory.mktemp("api") / "run"))


def test_importing_medres_is_instant() -> None:
    script = "import sys, medres\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "numpy", "pandas", "pydantic", "matplotlib"} & set(done.stdout.split())


def test_a_run_opens_without_torch_and_without_monai(run: Run) -> None:
    script = f"import sys\nfrom medres import Run\nRun.open({str(run.folder)!r}).predictions\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "monai", "matplotlib"} & set(done.stdout.split())


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_typed_and_documented(name: str) -> None:
    found = getattr(medres, name)
    assert inspect.getdoc(found)
    members = [] if inspect.isfunction(found) else [one for key, one in vars(found).items() if not key.startswith("_")]
    bound = [getattr(one, "__func__", getattr(one, "fget", getattr(one, "func", one))) for one in members]
    functions = [one for one in [found, *bound] if inspect.isfunction(one)]
    for function in functions:
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, function
        for parameter in signature.parameters.values():
            untyped = parameter.annotation is inspect.Parameter.empty
            assert parameter.name in {"self", "cls"} or not untyped, (function, parameter)


def examples(name: str) -> list[str]:
    """The code of a public name's docstring: what stands indented after `::`, and what follows `>>>`."""
    text = inspect.getdoc(getattr(medres, name)) or ""
    blocks = [inspect.cleandoc(block) for block in re.findall(r"^::\n\n((?:    .*\n|\n)+)", text + "\n", re.MULTILINE)]
    doctests = re.findall(r"^>>> (.*)$", text, re.MULTILINE)
    return [*blocks, *(["\n".join(doctests)] if doctests else [])]


@pytest.fixture(scope="module")
def workplace(small_run: Path, small_model: Path, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples know it: a cohort and another one, a model, two runs, and files to score."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(small_cohort.parent, folder, dirs_exist_ok=True)
    shutil.copytree(small_model, folder / "models" / "knee")
    for name in ("knee", "larger"):
        shutil.copytree(small_run, folder / "runs" / name)
    table = read_csv(small_run / "oof.csv")
    write_csv(folder / "runs" / "larger" / "oof.csv", table.assign(prob_disc=table["prob_disc"].astype(float) * 0.9))
    record = read_json(small_run / "run.json")
    record["config"]["training"]["learning_rate"] = 0.5
    write_json(folder / "runs" / "larger" / "run.json", record)
    lines = ["path,PatientID,label_disc"]
    for number in range(12):
        path = f"incoming/{number}.dcm"
        pixels = blob(900 + number, bright=number % 2 == 0)
        write_radiograph(folder / path, pixels, patient=f"new-{number}", uid=f"2.25.777{number}")
        lines.append(f"{path},new-{number},{1 - number % 2}")
    (folder / "elsewhere.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy(folder / "incoming" / "0.dcm", folder / "0001.dcm")
    tiny = load_config("quick", [option.removeprefix("--set=") for option in (*TINY, SHORT)])
    (folder / "tiny.yaml").write_text(json.dumps(tiny.model_dump(mode="json")), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_public_name_runs(name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    monkeypatch.chdir(workplace)
    found = examples(name)
    assert found
    for code in found:
        names = {"pd": pd, "plt": pyplot, **{public: getattr(medres, public) for public in PUBLIC}}
        exec(code.replace("osteoarthritis", "disc").replace('config="quick"', 'config="tiny.yaml"'), names)
    pyplot.close("all")


def test_no_function_of_runs_and_training_takes_more_than_seven_arguments() -> None:
    long = []
    for path in sorted(path for room in ("runs", "training") for path in (PACKAGE / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(one.arg not in {"self", "cls"} for one in given)
                if count > MOST_ARGUMENTS:
                    long.append((path.name, node.name, count))
    assert not long


def test_a_run_opens_typed(run: Run) -> None:
    assert run.labels == ("effusion",)
    assert isinstance(run.metrics["effusion"].auroc, Interval)
    assert run.record.recipe == "quick"
    assert [fold.fold for fold in run.folds] == [0, 1, 2]
    assert run.predictions is run.predictions
    assert len(run.images("effusion").truth) == run.metrics["effusion"].n
    with pytest.raises(UsageError, match="has no label 'edema'; it has effusion"):
        run.images("edema")


def test_a_run_of_the_previous_version_opens(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PREVIOUS / "run", tmp_path / "run"))
    found = Run.open(folder)
    (label,) = found.labels
    assert found.metrics[label].auroc.n == int(found.predictions[f"label_{label}"].isin([0, 1]).sum())
    assert [fold.fold for fold in found.folds] == sorted(set(found.predictions["fold"]))


def test_a_plot_draws_on_the_axes_that_it_is_given_and_on_no_others(run: Run) -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    axes = Figure().subplots(1, 5)
    displays = [
        run.plot_roc("effusion", ax=axes[0]),
        run.plot_precision_recall("effusion", ax=axes[1]),
        run.plot_calibration("effusion", ax=axes[2]),
        run.plot_decision_curve("effusion", ax=axes[3]),
        run.plot_scores("effusion", ax=axes[4]),
    ]
    for display, one in zip(displays, axes, strict=True):
        assert display.ax is one
        assert one.has_data()
        assert one.get_xlabel()
    assert pyplot.get_fignums() == before
    own = run.plot_roc("effusion")
    assert own.ax.figure.number not in before
    pyplot.close(own.ax.figure)


def test_what_was_drawn_can_be_read_and_is_what_the_run_recorded(run: Run) -> None:
    axes = Figure().subplots()
    roc, figures = run.plot_roc("effusion", ax=axes, name="a run"), run.metrics["effusion"].pooled
    line = next(line for line in axes.get_lines() if line.get_label() == "a run")
    np.testing.assert_array_equal(line.get_xydata(), np.stack([roc.false_positive_rate, roc.sensitivity], axis=1))
    assert roc.auroc == figures["auroc"]
    assert np.trapezoid(roc.sensitivity, roc.false_positive_rate) == pytest.approx(figures["auroc"].value, abs=1e-3)
    assert roc.operating_point == (1 - figures["specificity"].value, figures["sensitivity"].value)
    known = np.isfinite(roc.low)
    assert (roc.low[known] <= roc.high[known]).all()
    calibration = run.plot_calibration("effusion", ax=axes)
    assert calibration.images.sum() == figures["auroc"].n
    scores = run.plot_scores("effusion", ax=axes)
    assert scores.negative.sum() + scores.positive.sum() == figures["auroc"].n


def test_two_curves_on_one_axes_have_names_and_colours(run: Run) -> None:
    axes = Figure().subplots()
    run.plot_roc("effusion", ax=axes, name="one")
    run.plot_roc("effusion", ax=axes, name="two", color="C1")
    curves = {line.get_label(): line for line in axes.get_lines() if len(line.get_xydata()) > 2}
    assert set(curves) == {"one", "two"}
    assert curves["two"].get_color() == "C1" != curves["one"].get_color()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no run.json"),
        ({"run.json": {"kind": "comparison"}}, "is a comparison, not a run"),
        ({"run.json": {}}, "holds no metrics.json"),
        ({"run.json": {}, "medres.json": {}}, "Classifier.load"),
        ({"run.json": {"labels": 3}, "metrics.json": {}}, "labels"),
        ({"run.json": {}, "metrics.json": {}}, "metrics.json: labels is missing"),
        ({"run.json": {"invented": 1}, "metrics.json": {}}, "a newer version may have written it"),
    ],
    ids=["nothing", "comparison", "no figures", "model", "damaged record", "damaged figures", "newer"],
)
def test_what_is_no_run_is_refused_in_one_sentence(tmp_path: Path, files: dict[str, object], said: str) -> None:
    for name, content in files.items():
        write_json(tmp_path / name, content)
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        Run.open(tmp_path)
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_curve_of_one_class_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    table = pd.read_csv(folder / "oof.csv", dtype=str, keep_default_na=False)
    table[table["label_effusion"] != "1"].to_csv(folder / "oof.csv", index=False)
    with pytest.raises(UsageError, match="one of its classes has no image"):
        Run.open(folder).plot_roc("effusion")


def test_the_table_in_memory_is_the_one_that_was_written(tmp_path: Path) -> None:
    rows = [
        {"path": "./=a.dcm", "PatientID": "007", "fold": 0, "label_x": 1, "logit_x": 0.1 + 0.2, "prob_x": 1 / 3,
         "positive_x": 1, "predicted_grade": "2", "Manufacturer": "-a \"b\",\r'c", "distance": 1e-7, "outlier": 0},
        {"path": "b.dcm", "PatientID": "=1", "fold": 1, "label_x": "", "logit_x": -1e300, "prob_x": 1e-300,
         "positive_x": 0, "predicted_grade": "", "Manufacturer": "Röntgen\n", "distance": 2.5, "outlier": 1},
        {"path": "c.dcm", "PatientID": "NA", "fold": 1, "label_x": -1, "logit_x": 0.0, "prob_x": 0.5,
         "positive_x": 1, "predicted_grade": "0", "Manufacturer": "", "distance": 0.1, "outlier": 0},
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    write_csv(tmp_path / "oof.csv", table)
    pd.testing.assert_frame_equal(as_read(table), read_table(tmp_path / "oof.csv"))


@pytest.mark.parametrize("wrong", ["0001.dcm", np.zeros((8, 8), np.float32)], ids=["path", "array"])
def test_a_classifier_says_what_it_wants(small_model: Path, wrong: object) -> None:
    with pytest.raises(TypeError, match=r"read_radiograph\(path\)"):
        Classifier.load(small_model).predict(wrong)


def test_what_is_asked_is_said_once_and_not_never(small_cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is asked"):
        cross_validate(small_cohort, out=tmp_path / "run")
    with pytest.raises(UsageError, match="said twice"):
        cross_validate(read_manifest(small_cohort, ["disc"]), labels=["disc"], out=tmp_path / "run")
    assert not list(tmp_path.iterdir())
