"""What `import medres` offers to notebooks and scripts: the verbs as functions, and a finished run as an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.tasks import Task
from medres.config import Config, Evaluation, load_config
from medres.errors import UsageError
from medres.evaluation.table import JudgedImages
from medres.runs.division import NO_DIVISION, Division
from medres.runs.options import RunOptions
from medres.runs.run import OpenRun

if TYPE_CHECKING:  # torch, MONAI and matplotlib are imported when they are needed
    from matplotlib.axes import Axes

    from medres.evaluation.comparison_results import Comparison
    from medres.model.card import ModelCard
    from medres.report.plots import (
        CalibrationDisplay,
        DecisionCurveDisplay,
        PrecisionRecallDisplay,
        RocDisplay,
        ScoreDisplay,
    )
    from medres.scoring.folder import Summary


class Run(OpenRun):
    """A finished cross-validation, or a model that was judged on another cohort.

    ::

        run = Run.open("runs/knee")
        run.metrics["osteoarthritis"].auroc  # Interval(value, low, high, method, n, n_patients)
        run.predictions["prob_osteoarthritis"].hist()  # oof.csv as a DataFrame
        run.images("osteoarthritis").truth.mean()

    Plots are drawn as scikit-learn draws its displays: on the axes that are given, or on a new figure. What was drawn
    can be read from the object that comes back.

    ::

        run = Run.open("runs/knee")
        figure, (left, right) = plt.subplots(1, 2)
        display = run.plot_roc("osteoarthritis", ax=left)
        display.sensitivity.max(), display.auroc
        run.plot_calibration("osteoarthritis", ax=right)
    """

    def plot_roc(self, label: str, ax: Axes | None = None, *, name: str = "") -> RocDisplay:
        """Draw a label's ROC curve, with the interval of the sensitivity at each rate and the operating point.

        Args:
            label: which.
            ax: where; a new figure without.
            name: what a legend calls the curve.

        Raises:
            UsageError: the run has no such label, or a class is missing.
        """
        from medres.report.figure_tables import roc_table
        from medres.report.plots import RocDisplay, draw_roc

        table, pooled = self._table(label, roc_table), self.metrics[label].pooled
        specificity, sensitivity = pooled["specificity"].value, pooled["sensitivity"].value
        point = None if specificity is None or sensitivity is None else (1 - specificity, sensitivity)
        ax = draw_roc(_axes(ax), table, point=point, name=name)
        return RocDisplay(
            false_positive_rate=_column(table, "false_positive_rate"),
            sensitivity=_column(table, "sensitivity"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            auroc=pooled["auroc"],
            operating_point=point,
            ax=ax,
        )

    def plot_precision_recall(self, label: str, ax: Axes | None = None, *, name: str = "") -> PrecisionRecallDisplay:
        """Draw a label's precision-recall curve. Arguments and errors as for `plot_roc`."""
        from medres.report.figure_tables import precision_recall_table
        from medres.report.plots import PrecisionRecallDisplay, draw_precision_recall

        table, pooled = self._table(label, precision_recall_table), self.metrics[label].pooled
        recall, precision = pooled["sensitivity"].value, pooled["ppv"].value
        point = None if recall is None or precision is None else (recall, precision)
        prevalence = float(self.images(label).truth.mean())
        ax = draw_precision_recall(_axes(ax), table, point=point, prevalence=prevalence, name=name)
        return PrecisionRecallDisplay(
            recall=_column(table, "recall"),
            precision=_column(table, "precision"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            average_precision=pooled["average_precision"],
            operating_point=point,
            prevalence=prevalence,
            ax=ax,
        )

    def plot_calibration(self, label: str, ax: Axes | None = None, *, name: str = "") -> CalibrationDisplay:
        """Draw the observed share of positives against the predicted probability. Arguments as for `plot_roc`."""
        from medres.report.figure_tables import calibration_table
        from medres.report.plots import CalibrationDisplay, draw_calibration

        table = self._table(label, calibration_table)
        ax = draw_calibration(_axes(ax), table, name=name)
        return CalibrationDisplay(
            predicted=_column(table, "predicted"),
            observed=_column(table, "observed"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            images=table["images"].to_numpy(),
            calibration_error=self.metrics[label].pooled["expected_calibration_error"],
            ax=ax,
        )

    def plot_decision_curve(self, label: str, ax: Axes | None = None, *, name: str = "model") -> DecisionCurveDisplay:
        """Draw the net benefit of acting on a label's probability. Arguments as for `plot_roc`."""
        from medres.report.figure_tables import decision_table
        from medres.report.plots import DecisionCurveDisplay, draw_decision_curve

        table = self._table(label, decision_table)
        ax = draw_decision_curve(_axes(ax), table, name=name)
        return DecisionCurveDisplay(
            threshold=_column(table, "threshold"),
            net_benefit=_column(table, "net_benefit"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            treat_all=_column(table, "treat_all"),
            ax=ax,
        )

    def plot_scores(self, label: str, ax: Axes | None = None) -> ScoreDisplay:
        """Draw a histogram of a label's scores, positives upwards, negatives downwards. Arguments as for `plot_roc`."""
        from medres.report.figure_tables import score_table
        from medres.report.plots import ScoreDisplay, draw_scores

        table, thresholds = score_table(self.images(label)), self.record.thresholds(label)
        ax = draw_scores(_axes(ax), table, thresholds=thresholds)
        edges = np.append(_column(table, "from"), _column(table, "to")[-1])
        return ScoreDisplay(edges, table["negative"].to_numpy(), table["positive"].to_numpy(), tuple(thresholds), ax)

    def _table(self, label: str, make: Callable[[JudgedImages, Evaluation, int], pd.DataFrame | None]) -> pd.DataFrame:
        """The table of a curve, with intervals as the run's own figures have them."""
        evaluation, seed = self.record.evaluation or Evaluation(), self.record.seed or 0
        table = make(self.images(label), evaluation, seed)
        if table is None:
            raise UsageError(f"label {label!r} of {self.folder}: one of its classes has no image, so there is no curve")
        return table


def train(
    manifest: str | Path | Manifest,
    *,
    labels: Sequence[str | Task] = (),
    out: str | Path,
    config: str | Path | Config = "quick",
    force: bool = False,
    resume: bool = False,
) -> ModelCard:
    """Train one model on a whole cohort, as `medres train` does; its card says what was chosen and reached.

    ::

        card = train("manifest.csv", labels=["osteoarthritis"], config="quick", out="models/new")
        model = Classifier.load("models/new")

    Args:
        manifest: the cohort: a CSV of `medres index`, or what `read_manifest` gave.
        labels: names of its `label_` columns, or tasks; of a manifest that was read, those it was read with.
        out: the new model folder.
        config: a recipe by name or file, or a configuration.
        force: replace `out`.
        resume: go on with what an interrupted training left.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    from medres.runs.train import train_model

    options = RunOptions(force=force, resume=resume)
    return train_model(_read(manifest, labels), config=_config(config), out=Path(out), options=options)


def cross_validate(
    manifest: str | Path | Manifest,
    *,
    labels: Sequence[str | Task] = (),
    out: str | Path,
    config: str | Path | Config = "quick",
    division: Division = NO_DIVISION,
    force: bool = False,
    resume: bool = False,
) -> Run:
    """Cross-validate a recipe with patients kept apart, as `medres crossval` does, and open the run.

    ::

        run = cross_validate("manifest.csv", labels=["osteoarthritis"], config="quick", out="runs/new")
        run.metrics["osteoarthritis"].auroc
        write_report(run)

    Args:
        manifest: the cohort: a CSV of `medres index`, or what `read_manifest` gave.
        labels: names of its `label_` columns, or tasks; of a manifest that was read, those it was read with.
        out: the new run folder.
        config: a recipe by name or file, or a configuration.
        division: who is held out when; dealt out as the recipe says without.
        force: replace `out`.
        resume: go on with what an interrupted run left.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    from medres.runs import crossval

    options = RunOptions(force=force, resume=resume)
    crossval.cross_validate(
        _read(manifest, labels), config=_config(config), out=Path(out), division=division, options=options
    )
    return Run.open(out)


def evaluate(
    model: str | Path,
    manifest: str | Path,
    *,
    out: str | Path,
    root: str | Path | None = None,
    allow_overlap: bool = False,
    force: bool = False,
) -> Run:
    """Judge a saved model on another labelled cohort, all it learnt frozen, as `medres evaluate` does; open the result.

    ::

        found = evaluate("models/knee", "elsewhere.csv", out="runs/elsewhere")
        found.metrics["osteoarthritis"].auroc, found.record.shift.sentence

    Args:
        model: a model folder, or a cross-validation run whose folds answer as an ensemble.
        manifest: the other cohort, with the model's labels.
        out: the new folder.
        root: what the manifest's paths are relative to; its own folder by default.
        allow_overlap: go on although patients or images of the training cohort are in it.
        force: replace `out`.

    Raises:
        UsageError, ManifestError, ModelError: see `medres.errors`.
    """
    from medres.runs.external import evaluate_model

    base = None if root is None else Path(root)
    evaluate_model(Path(model), Path(manifest), out=Path(out), root=base, allow_overlap=allow_overlap, force=force)
    return Run.open(out)


def compare(
    runs: Sequence[str | Path | OpenRun],
    *,
    out: str | Path,
    seed_spread: float | None = None,
    timing: bool = True,
    force: bool = False,
) -> Comparison:
    """Compare cross-validations on the same splits, paired by patient, as `medres compare` does.

    ::

        found = compare(["runs/knee", "runs/larger"], out="compared", timing=False)
        [(one.candidate, one.difference, one.verdict) for one in found.deciding()]

    Args:
        runs: folders of runs, or opened ones; the first is the reference, and those that differ in the seed or the
            repeat alone count as one recipe.
        out: the new folder.
        seed_spread: the AUROC that another seed is taken to change where that was not measured.
        timing: measure the speed of scoring on this machine.
        force: replace `out`.

    Raises:
        UsageError: a folder is no such run, or runs differ in splits, images, patients or labels.
    """
    from medres.runs.comparable import read_runs
    from medres.runs.compare import compare_runs

    found = read_runs([run.folder if isinstance(run, OpenRun) else Path(run) for run in runs])
    return compare_runs(found, out=Path(out), spread=seed_spread, timing=timing, force=force)


def score_folder(
    model: str | Path,
    folder: str | Path,
    *,
    out: str | Path,
    heatmaps: bool = False,
    force: bool = False,
    resume: bool = False,
) -> Summary:
    """Score every file below a folder with a saved model, as `medres score` does: one row per file, always.

    ::

        summary = score_folder("models/knee", "incoming", out="scored")
        print(*summary.lines(), sep="\n")
        pd.read_csv("scored/predictions.csv", dtype=str)

    Args:
        model: a model folder, or a cross-validation run whose folds score as an ensemble.
        folder: what to score; never written to.
        out: where results go.
        heatmaps: write a picture for every label at or above its operating point.
        force: replace results that lie there.
        resume: keep rows of unchanged files scored by the same model.

    Raises:
        UsageError, OutputExists, ModelError: see `medres.errors`.
    """
    from medres.scoring import folder as scoring
    from medres.scoring.heatmaps import HeatmapPolicy

    policy = HeatmapPolicy(enabled=heatmaps)
    return scoring.score_folder(Path(model), Path(folder), out=Path(out), heatmaps=policy, force=force, resume=resume)


def write_report(run: str | Path | OpenRun, *, force: bool = True) -> Path:
    """Write `report.html` of a run, one file, no script, no network; returns where it lies.

    ::

        write_report("runs/knee")

    Args:
        run: its folder, or the opened run.
        force: replace a report that is already there.

    Raises:
        UsageError: the folder is no run, or a file is not what it must be.
        OutputExists: there is a report, and `force` is False.
    """
    from medres.report import run_page

    return run_page.write_report(run.folder if isinstance(run, OpenRun) else Path(run), force=force)


def _read(manifest: str | Path | Manifest, labels: Sequence[str | Task]) -> Manifest:
    if not isinstance(manifest, Manifest):
        found = read_manifest(Path(manifest), labels)
    elif labels:
        raise UsageError("give labels to read_manifest, or a path as manifest: what is asked would be said twice")
    else:
        found = manifest
    if not found.labels:
        raise UsageError(
            'nothing is asked of the images: give labels=["osteoarthritis"], a column label_osteoarthritis'
        )
    return found


def _config(config: str | Path | Config) -> Config:
    return config if isinstance(config, Config) else load_config(config)


def _axes(ax: Axes | None) -> Axes:
    """The axes that were given, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots()[1]


def _column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return table[name].to_numpy(dtype=np.float64)
