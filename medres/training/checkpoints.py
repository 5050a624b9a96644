"""The state of a training run on disk: written as often as is cheap, verified when read, the one before it kept."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from medres.errors import TrainingError

log = logging.getLogger(__name__)

TrainingCheckpoint = dict[str, Any]
"""What `torch.load` gives of a checkpoint: tensors, numbers and texts by name, see `state.TrainingState.save`."""

_DIGEST = 32  # bytes of SHA-256 before the content
_SHARE = 0.05  # of a training's time that writing may take


class Checkpoints:
    """Two files in a folder of their own, the newer and the one before it; a damaged one is never used.

    Args:
        folder: of one fit.
        share: of the time that writing may take: a state that took half a second to write is followed by the next one
            after ten seconds. With 1 there is always time.
    """

    def __init__(self, folder: Path, *, share: float = _SHARE) -> None:
        self.newest = folder / "checkpoint.pt"
        self.previous = folder / "checkpoint.previous.pt"
        self.damaged = folder / "checkpoint.damaged.pt"
        self.share = share
        self._next = -math.inf  # the first state is always welcome

    @property
    def due(self) -> bool:
        """Whether so much time has passed since the last state that another one costs little."""
        return time.monotonic() >= self._next

    def save(self, state: TrainingCheckpoint) -> None:
        """Write a state of tensors, numbers and texts; what was newest becomes previous."""
        started = time.monotonic()
        buffer = BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        self.newest.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.newest.with_suffix(".partial")
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if self.newest.exists():
            self.newest.replace(self.previous)
        temporary.replace(self.newest)
        ended = time.monotonic()
        self._next = ended + (ended - started) * (1 / self.share - 1)

    def load(self) -> TrainingCheckpoint | None:
        """The newest sound state; None where nothing was saved. A damaged file is said aloud and passed over.

        Raises:
            TrainingError: there are files, and none is sound.
        """
        there = [path for path in (self.newest, self.previous) if path.is_file()]
        for path in there:
            data = path.read_bytes()
            digest, content = data[:_DIGEST], data[_DIGEST:]
            if hashlib.sha256(content).digest() == digest:
                state: TrainingCheckpoint = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
                if path == self.previous and self.newest.is_file():  # damaged: it must not take the place of this one
                    self.newest.replace(self.damaged)
                return state
            log.warning("%s is damaged (its SHA-256 is wrong)", path)
        if there:
            raise TrainingError(
                f"no sound checkpoint is left in {self.newest.parent}: delete that folder to begin this training again "
                "with --resume, or give --force to begin the whole run again"
            )
        return None

    def remove(self) -> None:
        """Delete the folder: the training is over."""
        shutil.rmtree(self.newest.parent, ignore_errors=True)
