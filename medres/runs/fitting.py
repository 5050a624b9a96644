"""How a run fits its networks, whichever way its configuration asks for: fine-tuning, or a linear probe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medres.config import Config
from medres.model.weights import BackboneWeights
from medres.runs.cohort import TrainingCohort
from medres.training.checkpoints import Checkpoints
from medres.training.distributed import Processes
from medres.training.engine import fit_network
from medres.training.linear_probe import LinearProbe
from medres.training.state import FitPlan, FittedNetwork
from medres.training.tracking import Tracker


@dataclass(frozen=True, slots=True)
class RunSetup:
    """What all networks of one run share."""

    cohort: TrainingCohort
    config: Config
    weights: BackboneWeights | None  # that they start from; None: a random start
    processes: Processes


class NetworkFitter:
    """Fits one network after another on parts of one cohort.

    Raises:
        TrainingError: the method needs what the configuration does not give.
        UsageError: a tracker is asked for that is not installed.
    """

    def __init__(self, setup: RunSetup) -> None:
        self.setup = setup
        self.data = setup.cohort.data
        self.probe = (
            LinearProbe(self.data, setup.config, setup.weights)
            if setup.config.training.method == "linear-probe"
            else None
        )

    def fit(self, home: Path, plan: FitPlan) -> FittedNetwork:
        """Fit one network; its history lies in `home`, and until `forget` what an interrupted run goes on from.

        Args:
            home: the folder of the model to be.
            plan: which images it learns from.
        """
        first = self.setup.processes.first
        tracker = Tracker(home, self.setup.config, title=plan.title) if first else None
        if self.probe is not None:
            fitted = self.probe.fit(plan, tracker=tracker)
        else:
            fitted = fit_network(
                self.data,
                plan,
                self.setup.config,
                weights=self.setup.weights,
                checkpoints=_checkpoints(home) if first else None,
                tracker=tracker,
                processes=self.setup.processes,
            )
        if tracker:
            tracker.close()
        return fitted

    def forget(self, home: Path) -> None:
        """Delete the checkpoints of a fit whose model is saved."""
        _checkpoints(home).remove()


def _checkpoints(home: Path) -> Checkpoints:
    return Checkpoints(home / "checkpoints")
