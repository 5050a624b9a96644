"""The verbs of the command line as functions: paths or what was read of them in, typed results out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medres.api.run import Run
from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.tasks import Task
from medres.config import Config, load_config
from medres.errors import UsageError
from medres.records import Decoding, Precision
from medres.runs.division import NO_DIVISION, Division
from medres.runs.options import RunOptions
from medres.runs.run import OpenRun

if TYPE_CHECKING:  # torch and MONAI are imported when they are needed
    from medres.evaluation.comparison_results import Comparison
    from medres.model.card import ModelCard
    from medres.scoring.folder import Summary
    from medres.scoring.studies import Rule


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
    boxes: str | Path | None = None,
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
        boxes: where readers saw findings, by which heatmaps are measured: a CSV table or a COCO file.
        force: replace `out`.
        resume: go on with what an interrupted run left.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    from medres.runs import crossval

    options = RunOptions(force=force, resume=resume, boxes=None if boxes is None else Path(boxes))
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
    options = RunOptions(force=force)
    evaluate_model(Path(model), Path(manifest), out=Path(out), root=base, allow_overlap=allow_overlap, options=options)
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
    deidentify: bool = False,
    studies: Rule | None = None,
    files: Sequence[str] | None = None,
    trust: Sequence[str | Path] = (),
    device: str = "auto",
    precision: Precision = "float32",
    decode: Decoding | None = None,
) -> Summary:
    """Score every file below a folder with a saved model, as `medres score` does: one row per file, always.

    ::

        summary = score_folder("models/knee", "incoming", out="scored")
        for line in summary.lines():
            print(line)
        pd.read_csv("scored/predictions.csv", dtype=str)

    Args:
        model: a model folder, or a cross-validation run whose folds score as an ensemble.
        folder: what to score; never written to.
        out: where results go.
        heatmaps: write a picture for every label at or above its operating point whose heatmaps have not failed.
        force: replace results that lie there.
        resume: keep rows of unchanged files scored by the same model.
        deidentify: also write a table with keyed UIDs and paths.
        studies: also write `studies.csv`, one row for each study: `max`, `mean`, or `frontal-first`, the mean of its
            frontal images (AP or PA), or of all where it has none. It is not calibrated at that level.
        files: look only at these, relative to the folder or absolute in it; with `resume`, all other rows stay.
        trust: public keys (PEM files), one of which must have signed the model.
        device: where the network computes: `auto`, `cpu`, `cuda` or `cuda:1`.
        precision: `float32`, `bf16` or `fp16`: the latter two need a passed `medres accuracy-check`.
        decode: `full`, or `reduced` where compressed images hold smaller copies; as the model was trained by default,
            else it needs such a check as well.

    Raises:
        UsageError, UncheckedError, OutputExists, ModelError: see `medres.errors`.
    """
    from medres.scoring import folder as scoring
    from medres.scoring.heatmaps import HeatmapPolicy

    policy = HeatmapPolicy(enabled=heatmaps)
    return scoring.score_folder(
        Path(model), Path(folder), out=Path(out), heatmaps=policy, force=force, resume=resume, device=device,
        deidentify=deidentify, studies=studies, names=files, trust=[Path(key) for key in trust], precision=precision,
        decode=decode,
    )  # fmt: skip


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
