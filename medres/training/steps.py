"""One step of training: forward, backward, update; in parts where a whole batch does not fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from monai.engines.utils import IterationEvents
from torch import Tensor

from medres.errors import TrainingError
from medres.training.distributed import ALONE, Processes
from medres.training.losses import MaskedLoss

log = logging.getLogger(__name__)


class AccumulatedStep:
    """What MONAI's SupervisedTrainer does with a batch: its gradient, summed over parts of at most `part` images.

    The loss is a mean over known targets, so parts weigh by how many they have, and the gradient is that of the whole
    batch (batch norm alone sees the parts). When the device runs out of memory, the parts are halved and the batch is
    done again.

    Args:
        loss_function: what is minimised.
        part: most images in one forward pass; 0: the whole batch.
        processes: those that share the batch; each adds its gradient.
    """

    def __init__(self, loss_function: MaskedLoss, part: int = 0, processes: Processes = ALONE) -> None:
        self.processes = processes
        self.loss_function = loss_function
        self.part = part

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Do one step; returns what handlers find in `engine.state.output`.

        Raises:
            TrainingError: the device runs out of memory even with two images at a time.
        """
        images, targets = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        engine.network.train()
        while True:
            try:
                return self._step(engine, images, targets)
            except torch.OutOfMemoryError:
                part = (self.part or len(images)) // 2
                if part < 2:
                    raise TrainingError(
                        "the device runs out of memory even with two images at a time: choose smaller images "
                        "(preprocessing.size) or a smaller network"
                    ) from None
                self.part = part
                log.warning("out of memory: a batch is now done in parts of %d images, with the same gradient", part)
                engine.optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()

    def _step(self, engine: Any, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        engine.optimizer.zero_grad(set_to_none=True)
        known = self.processes.sum(self.loss_function.count(targets)).clamp(min=1)
        predictions, total = [], images.new_zeros(())
        for start, stop in _parts(len(images), self.part or len(images)):
            part = targets[start:stop]
            logits = engine.inferer(images[start:stop], engine.network)
            loss = self.loss_function(logits, part) * (self.loss_function.count(part) / known)
            loss.backward()  # type: ignore[no-untyped-call]
            predictions.append(logits.detach())
            total = total + loss.detach()
        self.processes.sum_gradients(engine.network.parameters())
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {"image": images, "label": targets, "pred": torch.cat(predictions), "loss": self.processes.sum(total)}


def _parts(count: int, size: int) -> list[tuple[int, int]]:
    """Nearly equal parts of at most `size`; none has a single image, which batch norm cannot learn from.

    >>> _parts(9, 4)
    [(0, 3), (3, 6), (6, 9)]
    """
    number = -(-count // max(2, size))
    edges = [round(at * count / number) for at in range(number + 1)]
    return list(pairwise(edges))
