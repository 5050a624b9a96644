"""What several sections of a run's page share: the run's files, and what is worked out of them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from medres.cohort.tasks import Task
from medres.config import Evaluation, Training
from medres.evaluation.mistakes import Mistake, most_of_a_kind, worst_mistakes
from medres.evaluation.performance import summarise
from medres.evaluation.results import LabelResults, Metrics
from medres.evaluation.table import JudgedImages, judged_images
from medres.formatting import level
from medres.model.card import chosen_besides
from medres.report.checklist import Item, checklist, column_values, facts
from medres.report.checks import KEPT_APART, Check, verify
from medres.report.figure_tables import learning_table
from medres.report.natural_frequencies import Calls, calls_of
from medres.runs.records import RunRecord
from medres.runs.run_files import RunFiles


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run as the sections of its page need it."""

    folder: Path
    files: RunFiles
    recomputed: bool  # the figures are of this version, metrics.json keeps those of an earlier one
    evaluation: Evaluation  # the default one where the run records none
    level_words: str  # "95 % interval", for sentences
    images: Mapping[str, JudgedImages]  # by label
    calls: Mapping[str, Calls]  # by label
    mistakes: Mapping[str, Sequence[Mistake]]  # by label: the worst
    learning: pd.DataFrame  # of figure_tables.learning_table
    checks: Sequence[Check]
    checklist: Sequence[Item]
    n_folds: int  # of the table

    @property
    def run(self) -> RunRecord:
        """The run's record."""
        return self.files.run

    @property
    def labels(self) -> Mapping[str, LabelResults]:
        """The figures of every label."""
        return self.files.metrics.labels

    @property
    def asked(self) -> list[str]:
        """The questions that were asked of every image: tasks, or labels where no task is recorded."""
        return [task.name for task in self.run.tasks] or list(self.labels)

    @property
    def random_start(self) -> bool:
        """Whether the network is known to have started without pretraining."""
        return self.run.network is not None and self.run.network.random_start

    @property
    def kept_apart(self) -> bool | None:
        """Whether patients were kept apart; None where that could not be verified."""
        return next(check.passed for check in self.checks if check.name == KEPT_APART)

    @property
    def pictured(self) -> bool:
        """Whether the run kept a picture of any mistake."""
        return any(kept.picture for kept in self.files.gallery.values())

    @property
    def n_images(self) -> int:
        """How many images were scored."""
        return len(self.files.table)

    @property
    def n_patients(self) -> int:
        """How many patients these images are of."""
        return int(self.files.table["PatientID"].nunique())

    @property
    def synthetic(self) -> bool:
        """Whether every radiograph is known to be a phantom of ours, by the manufacturer that only phantoms have."""
        from medres.imaging.synthesis import MANUFACTURERS

        makers = column_values(self.files.table, "Manufacturer")
        return bool(makers) and set(makers) <= MANUFACTURERS

    @property
    def training(self) -> Training | None:
        """The settings of the training, unchecked: those of an earlier version may lack some. None: not recorded."""
        recorded = self.run.config.get("training")
        return Training.model_construct(**recorded) if recorded else None

    @property
    def chosen(self) -> str:
        """What validation patients chose besides temperature and thresholds; "" where nothing or not recorded."""
        return chosen_besides(self.training).removesuffix(", ") if self.training else ""

    def fold_name(self, number: int) -> str:
        """A fold's number, behind the name that the manifest gave it."""
        named = next((fold.name for fold in self.run.folds if fold.fold == number and fold.name), "")
        return f"{named} (fold {number})" if named else f"fold {number}"


def run_context(folder: Path, files: RunFiles) -> RunContext:
    """Work out what several sections need.

    Raises:
        UsageError: the settings of the evaluation are none.
        ManifestError: `oof.csv` is not that of these figures.
    """
    recorded = files.run.evaluation
    evaluation = recorded or Evaluation()
    images = {label: judged_images(files.table, label) for label in files.metrics.labels}
    checks = verify(folder, files, images)  # of the figures as they were recorded
    earlier = recorded is not None and of_an_earlier_version(files.metrics)
    if earlier:
        asked = files.run.tasks or [Task(label) for label in files.metrics.labels]
        metrics = summarise(files.table, labels=asked, evaluation=evaluation, seed=files.run.seed or 0)
        files = replace(files, metrics=metrics)
    labels = files.metrics.labels
    most = most_of_a_kind(len(labels))
    mistakes = {label: worst_mistakes(images[label], most=most) for label in labels}
    learning = learning_table(files.histories)
    known = facts(
        files,
        kept_apart=next(check.passed for check in checks if check.name == KEPT_APART),
        curves=len(learning) > 0,
        pictures=any(kept.picture for kept in files.gallery.values()),
        mistakes=any(mistakes.values()),
    )
    return RunContext(
        folder=folder,
        files=files,
        recomputed=earlier,
        evaluation=evaluation,
        level_words=f"{level(recorded.confidence)} interval" if recorded else "interval, level not recorded",
        images=images,
        calls={label: calls_of(results, evaluation) for label, results in labels.items()},
        mistakes=mistakes,
        learning=learning,
        checks=checks,
        checklist=checklist(known),
        n_folds=known.folds,
    )


def of_an_earlier_version(metrics: Metrics) -> bool:
    """Whether a run's intervals are not made as today: shares had percentiles, folds had none."""
    return any(
        "percentile" in one.method for results in metrics.labels.values() for one in results.pooled.values()
    ) or any(not fold.intervals for results in metrics.labels.values() for fold in results.folds)


def label_anchor(place: int) -> str:
    """Where the results of the label at this place stand."""
    return f"label-{place}"


def task_anchor(place: int) -> str:
    """Where the results of the grade or class at this place stand."""
    return f"task-{place}"
