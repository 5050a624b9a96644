"""What a training did, epoch by epoch, on disk while it goes on: JSON lines and CSV, TensorBoard when asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medres.errors import UsageError
from medres.tables import write_csv, write_text

HISTORY = "history.jsonl"
_PLOTTED = ("loss", "validation_loss", "validation_auroc", "learning_rate", "images_per_second")


class Tracker:
    """Writes `history.jsonl` and `history.csv` into a folder after every epoch.

    Args:
        folder: of one fit; made with the first epoch.
        tensorboard: write event files into `tensorboard/` as well.

    Raises:
        UsageError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        if tensorboard and find_spec("tensorboard") is None:
            raise UsageError("tracking.tensorboard needs the package tensorboard: pip install 'medres[tensorboard]'")
        self.folder = folder
        self.tensorboard = tensorboard
        self._shown = 0

    def write(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write all epochs so far, the last of them new (after an interruption: all that were kept)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        import pandas as pd

        lines = (json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in history)
        write_text(self.folder / HISTORY, "".join(f"{line}\n" for line in lines))
        write_csv(self.folder / "history.csv", pd.DataFrame(list(history)))
        if self.tensorboard:
            self._plot(history)

    def _plot(self, history: Sequence[Mapping[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(self.folder / "tensorboard") as writer:
            for entry in history[self._shown :]:
                for name in _PLOTTED:
                    if entry.get(name) is not None:
                        writer.add_scalar(name, entry[name], entry["epoch"])
        self._shown = len(history)
