"""How the folds learned: losses and validation AUROC over epochs, and the epoch that each fold kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.report.page import Content
from medres.report.plots import draw_loss, draw_validation_auroc
from medres.report.run_context import RunContext
from medres.report.svg import PAGE_PALETTE, WIDE, drawing
from medres.report.table_files import Picture, TableFile, table_file


@dataclass(frozen=True, slots=True)
class FittedFold:
    """The training of one fold; None where it is not recorded."""

    name: str
    best_epoch: int | None
    epochs: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TrainingSection(Content):
    """Learning curves, and what each fold kept."""

    pictures: Sequence[Picture]
    folds: Sequence[FittedFold]
    chosen: str  # what validation patients chose besides temperature and thresholds
    last_epoch: bool  # whether the last epoch is kept whatever it gives

    @property
    def files(self) -> list[TableFile]:
        """The table of the learning curves."""
        return [picture.file for picture in self.pictures]


def training_section(context: RunContext) -> TrainingSection | None:
    """The training of this run; None where neither curves nor folds are recorded."""
    pictures = learning_pictures(context)
    folds = [
        FittedFold(context.fold_name(fold.fold), fold.best_epoch, fold.epochs, fold.seconds)
        for fold in context.run.folds
    ]
    if not pictures and not folds:
        return None
    keep = (context.run.config.get("training") or {}).get("keep")
    return TrainingSection(pictures, folds, context.chosen, keep == "last")


def learning_pictures(context: RunContext) -> list[Picture]:
    """Losses, and validation AUROC, over epochs, one line per fold; none without any history.

    A linear probe has candidates instead of epochs: regularisations, the strongest first.
    """
    table = context.learning
    if not len(table):
        return []
    histories = [history for history in context.files.histories.values() if history]
    lines = "one line per fold" if len(histories) > 1 else "one fold"
    probed = all(epoch.strength is not None for history in histories for epoch in history)
    steps = "Inverse regularisation, by its number" if probed else "Epoch"
    over = "over regularisations" if probed else "over epochs"
    with drawing(
        "learning-loss",
        title="Loss while learning",
        description="Training loss (dashed) and validation loss (solid), one line per fold.",
        size=WIDE,
    ) as losses:
        draw_loss(losses.axes, table, steps=steps, palette=PAGE_PALETTE)
    with drawing(
        "learning-auroc",
        title="Validation AUROC while learning",
        description="AUROC of the inner validation patients, one line per fold.",
        size=WIDE,
    ) as values:
        draw_validation_auroc(values.axes, table, steps=steps, palette=PAGE_PALETTE)
    file = table_file("learning", table)
    return [
        Picture(f"Loss {over}; {lines}", losses.svg, file),
        Picture(f"AUROC of the inner validation patients {over}; {lines}", values.svg, file),
    ]
