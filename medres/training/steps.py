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

_SMALLEST_SCALE = 1e-3  # of fp16's loss; it begins at 65536, and is halved where a gradient overflows


class AccumulatedStep:
    """What MONAI's SupervisedTrainer does with a batch: its gradient, summed over parts of at most `part` images.

    The loss is a mean over known targets, so parts weigh by how many they have. Batch norms take their statistics from
    each part: a network without them has the gradient of the whole batch, one with them has not. When the device runs
    out of memory, the parts are halved and the batch is done again; several processes, of which one alone knows of it,
    end instead.

    Args:
        loss_function: what is minimised.
        part: most images in one forward pass (three, where that leaves no single image); 0: the whole batch.
        processes: those that share the batch; each adds its gradient, and all make the same number of parts.
        batch: images of a whole batch, where processes share it; else as many as there are.
        scaler: scales the loss of fp16, and leaves out steps whose gradient is not finite; without, neither is done.
    """

    def __init__(
        self,
        loss_function: MaskedLoss,
        part: int = 0,
        processes: Processes = ALONE,
        *,
        batch: int | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.processes = processes
        self.loss_function = loss_function
        self.part = part
        self.batch = batch
        self.smallest = 0  # images of the smallest part of the last step, in this process

    def __call__(self, engine: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Do one step; returns what handlers find in `engine.state.output`.

        Raises:
            TrainingError: the device runs out of memory, even with two images at a time or with several processes.
        """
        images, targets = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        engine.network.train()
        while True:
            try:
                return self._step(engine, images, targets)
            except torch.OutOfMemoryError:
                part = (self.part or self._largest_share(images)) // 2
                if part < 2:
                    raise TrainingError(
                        "the device runs out of memory even with two images at a time: choose smaller images "
                        "(preprocessing.size) or a smaller network"
                    ) from None
                if self.processes.count > 1:  # the others wait for this one's statistics, and cannot be told
                    raise TrainingError(
                        "a process ran out of memory, and several cannot make their parts smaller within a step: "
                        f"start anew (--force) with training.micro_batch_size={part} or less"
                    ) from None
                self.part = part
                log.warning(
                    "out of memory: a batch is now done in parts of %d images, from which batch norms take their "
                    "statistics",
                    part,
                )
                engine.optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()

    def _step(self, engine: Any, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        engine.optimizer.zero_grad(set_to_none=True)
        known = self.processes.sum(self.loss_function.count(targets)).clamp(min=1)
        predictions, total = [], images.new_zeros(())
        largest = self._largest_share(images)
        parts = _parts(len(images), _number_of_parts(largest, self.part or largest, self.batch or len(images)))
        self.smallest = min(stop - start for start, stop in parts)
        for start, stop in parts:
            part = targets[start:stop]
            logits = engine.inferer(images[start:stop], engine.network)
            loss = self.loss_function(logits, part) * (self.loss_function.count(part) / known)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            predictions.append(logits.detach())
            total = total + loss.detach()
        self.processes.sum_gradients(engine.network.parameters())
        self.scaler.unscale_(engine.optimizer)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        scale = self.scaler.get_scale()
        self.scaler.step(engine.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # else the step was left out
            engine.fire_event(IterationEvents.MODEL_COMPLETED)
        elif scale < _SMALLEST_SCALE:
            raise TrainingError(
                "gradients overflow in fp16 however small the loss is made: start anew (--force) with "
                "training.precision=fp32"
            )
        return {"image": images, "label": targets, "pred": torch.cat(predictions), "loss": self.processes.sum(total)}

    def _largest_share(self, images: Tensor) -> int:
        """Images of the process that has most of a batch: what all processes count their parts by."""
        return self.processes.largest_part(self.batch or len(images))


def _number_of_parts(largest: int, size: int, batch: int) -> int:
    """How many parts every process makes, so that none has more than `size` images.

    No part is a single image over all processes, which batch norm cannot learn from.

    Args:
        largest: images of the process that has most.
        size: most images in a part.
        batch: images of all processes.

    >>> _number_of_parts(9, 4, 9), _number_of_parts(3, 2, 3), _number_of_parts(11, 10, 32)
    (3, 1, 2)
    """
    return max(1, min(-(-largest // max(2, size)), batch // 2))


def _parts(count: int, number: int) -> list[tuple[int, int]]:
    """Nearly equal parts.

    >>> _parts(10, 3)
    [(0, 3), (3, 7), (7, 10)]
    """
    edges = [round(at * count / number) for at in range(number + 1)]
    return list(pairwise(edges))
