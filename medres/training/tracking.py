"""What a training did, epoch by epoch, while it goes on: JSON lines and CSV, TensorBoard and MLflow when asked for."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Required, TypedDict

from medres.config import Config
from medres.errors import UsageError
from medres.files import make_folder
from medres.tables import write_csv, write_text

log = logging.getLogger(__name__)


class Epoch(TypedDict, total=False):
    """One line of a fit's history; what fine-tuning or a linear probe alone have need not be there."""

    epoch: Required[int]  # from 1; of a linear probe: the number of a strength
    size: int  # of the images, pixels
    strength: float  # of a linear probe: scikit-learn's C
    loss: float  # mean over the training images
    validation_loss: Required[float]
    validation_auroc: Required[float | None]  # mean over labels; None where it is defined for none
    learning_rate: float
    smallest_part: int  # images of the smallest part of a step
    images_per_second: float
    seconds: Required[float]  # of training, without validation


HISTORY = "history.jsonl"
_RUN = "mlflow-run.txt"  # the run that an interrupted fit goes on with
_EXPERIMENT = "medres"
_PLOTTED = ("loss", "validation_loss", "validation_auroc", "learning_rate", "images_per_second")
_LONGEST_VALUE = 500  # characters of a parameter that every MLflow server takes


class Tracker:
    """Writes `history.jsonl` and `history.csv` into a folder after every epoch.

    Args:
        folder: of one fit; made with the first epoch.
        config: `tracking` says what else is written; all of it is what MLflow calls the run's parameters.
        title: what MLflow calls the run.

    Raises:
        UsageError: TensorBoard or MLflow is asked for and not installed.
    """

    def __init__(self, folder: Path, config: Config, *, title: str) -> None:
        self.folder, self.config, self.title = folder, config, title
        for package, asked in (("tensorboard", config.tracking.tensorboard), ("mlflow", config.tracking.mlflow)):
            if asked and find_spec(package) is None:
                raise UsageError(f"tracking.{package} needs the package {package}: pip install 'medres[{package}]'")
        self.shown = 0  # epochs that TensorBoard has; a fit that goes on after an interruption sets it

    def write(self, history: Sequence[Epoch]) -> None:
        """Write all epochs so far; those after `shown` are new."""
        make_folder(self.folder)
        import pandas as pd

        lines = (json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in history)
        write_text(self.folder / HISTORY, "".join(f"{line}\n" for line in lines))
        write_csv(self.folder / "history.csv", pd.DataFrame([dict(entry) for entry in history]))
        if self.config.tracking.tensorboard:
            self._plot(history)
        if self.config.tracking.mlflow:
            try:
                self._send(history)
            except Exception as error:  # noqa: BLE001  whatever a server does, the training goes on
                log.warning("MLflow did not take epoch %d (it stands in %s): %s", len(history), HISTORY, error)
        self.shown = len(history)

    def _plot(self, history: Sequence[Epoch]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        new = history[self.shown :]
        # what an interrupted run wrote of these epochs and later ones, whose state it did not keep, is hidden
        with SummaryWriter(self.folder / "tensorboard", purge_step=new[0]["epoch"] if new else None) as writer:
            for entry in new:
                for name, value in _values(entry):
                    writer.add_scalar(name, value, entry["epoch"])

    def _send(self, history: Sequence[Epoch]) -> None:
        """Send the epochs that the MLflow run does not have."""
        client = self._client()
        from mlflow.entities import Metric

        kept = self.folder / _RUN
        run = kept.read_text(encoding="utf-8").strip() if kept.is_file() else self._begin(client)
        known = {metric.step: metric.value for metric in client.get_metric_history(run, "validation_loss")}
        if any(known.get(entry["epoch"], entry["validation_loss"]) != entry["validation_loss"] for entry in history):
            client.set_terminated(run, "KILLED")  # its epochs after the newest checkpoint were done again, and differ
            run, known = self._begin(client), {}
        now = round(time.time() * 1000)
        new = [
            Metric(name, value, now, entry["epoch"])
            for entry in history
            if entry["epoch"] not in known
            for name, value in _values(entry)
        ]
        client.log_batch(run, metrics=new)

    def _client(self) -> Any:
        """MLflow, which sends its makers no word of who uses it."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # else a server that is gone costs minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it is asked when MLflow is imported
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.config.tracking.mlflow)

    def _begin(self, client: Any) -> str:
        """A new MLflow run, with the configuration as its parameters."""
        experiment = client.get_experiment_by_name(_EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(_EXPERIMENT)
        run = client.create_run(number, run_name=f"{self.config.name} {self.title}").info.run_id
        for part, values in self.config.model_dump(mode="json").items():
            for name, value in values.items() if isinstance(values, dict) else [("", values)]:
                client.log_param(run, f"{part}.{name}".rstrip("."), str(value)[:_LONGEST_VALUE])
        write_text(self.folder / _RUN, f"{run}\n")
        return str(run)

    def close(self) -> None:
        """Say that the fit is complete."""
        kept = self.folder / _RUN
        if not self.config.tracking.mlflow or not kept.is_file():
            return
        try:
            self._client().set_terminated(kept.read_text().strip())
        except Exception as error:  # noqa: BLE001  as above
            log.warning("MLflow did not take the end of the training: %s", error)


def time_left(config: Config, stage: int, done: int, seconds: float) -> str:
    """How long the epochs to come will take if they are like the last one, by the area of their images.

    Args:
        config: of the fit.
        stage: the one that is trained.
        done: its epochs so far.
        seconds: that the last one took.
    """
    stages, full = config.training.stages, config.preprocessing.size
    areas = [(each.size or full) ** 2 for each in stages]
    left = areas[stage] * (stages[stage].epochs - done)
    left += sum(area * each.epochs for area, each in zip(areas[stage + 1 :], stages[stage + 1 :], strict=True))
    return str(timedelta(seconds=round(seconds * left / areas[stage])))


def _values(entry: Epoch) -> list[tuple[str, float]]:
    return [(name, value) for name, value in entry.items() if name in _PLOTTED and isinstance(value, float)]
