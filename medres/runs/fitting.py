"""How a run fits its networks, whichever way its configuration asks for: fine-tuning, or a linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medres.config import Config
from medres.model.weights import BackboneWeights
from medres.runs.cohort import TrainingCohort
from medres.training.checkpoints import Checkpoints
from medres.training.distributed import Processes
from medres.training.engine import fit
from medres.training.fitted import Fitted
from medres.training.linear_probe import LinearProbe
from medres.training.tracking import Tracker


class Fitter:
    """Fits one network after another on parts of one cohort.

    Raises:
        TrainingError: the method needs what the configuration does not give.
        UsageError: a tracker is asked for that is not installed.
    """

    def __init__(
        self, cohort: TrainingCohort, config: Config, weights: BackboneWeights | None, processes: Processes
    ) -> None:
        self.cohort, self.config, self.weights, self.processes = cohort, config, weights, processes
        self.probe = (
            LinearProbe(cohort.cache.pixels, cohort.targets, cohort.learned, cohort.classes, config, weights)
            if config.training.method == "linear-probe"
            else None
        )

    def fit(self, home: Path, training: Sequence[int], validation: Sequence[int], *, seed: int, title: str) -> Fitted:
        """Fit one network; its history lies in `home`, and until `forget` what an interrupted run goes on from.

        Args:
            home: the folder of the model to be.
            training: places of the training images.
            validation: places of the validation images.
            seed: of everything random.
            title: what log lines call this fit.
        """
        tracker = Tracker(home, self.config, title=title) if self.processes.first else None
        fitted = self._fit(home, training, validation, seed=seed, title=title, tracker=tracker)
        if tracker:
            tracker.close()
        return fitted

    def _fit(
        self,
        home: Path,
        training: Sequence[int],
        validation: Sequence[int],
        *,
        seed: int,
        title: str,
        tracker: Tracker | None,
    ) -> Fitted:
        if self.probe is not None:
            return self.probe.fit(training, validation, title=title, tracker=tracker)
        return fit(
            self.cohort.cache.pixels,
            self.cohort.targets,
            training,
            validation,
            self.config,
            classes=self.cohort.classes,
            learned=self.cohort.learned,
            weights=self.weights,
            seed=seed,
            title=title,
            checkpoints=_checkpoints(home) if self.processes.first else None,
            tracker=tracker,
            processes=self.processes,
        )

    def forget(self, home: Path) -> None:
        """Delete the checkpoints of a fit whose model is saved."""
        _checkpoints(home).remove()


def _checkpoints(home: Path) -> Checkpoints:
    return Checkpoints(home / "checkpoints")
