"""One step of training: forward, backward, update; in parts where a whole batch does not fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medres.errors import TrainingError
from medres.model.device import lacks_memory
from medres.training.distributed import ALONE, Processes
from medres.training.losses import MaskedLoss
from medres.training.optimiser import Copies

log = logging.getLogger(__name__)

_SMALLEST_SCALE = 1e-3  # of fp16's loss; it begins at 65536, and is halved where a gradient overflows


class AccumulatedStep:
    """What MONAI's SupervisedTrainer does with a batch: its gradient, summed over parts of at most `part` images.

    The loss is a mean over known targets, so parts weigh by how many they have. Batch norms take their statistics from
    each part: a network without them has the gradient of the whole batch, one with them has not. When the device runs
    out of memory, the parts are halved and the batch is done again, with the statistics that were before; several
    processes, of which one alone knows of it, end instead.

    Args:
        loss_function: what is minimised.
        part: most images in one forward pass (three, where that leaves no single image); 0: the whole batch.
        processes: those that share the batch; each adds its gradient, and all make the same number of parts.
        batch: images of a whole batch, where processes share it; else as many as there are.
        scaler: scales the loss of fp16, and leaves out steps whose gradient is not finite; without, neither is done.
        graphs: whether the network's passes are CUDA graphs, whose results last until the next pass.
    """

    def __init__(
        self,
        loss_function: MaskedLoss,
        part: int = 0,
        processes: Processes = ALONE,
        *,
        batch: int | None = None,
        scaler: torch.amp.GradScaler | None = None,
        graphs: bool = False,
    ) -> None:
        self.graphs = graphs
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.processes = processes
        self.loss_function = loss_function
        self.part = part
        self.batch = batch
        self._statistics: Copies | None = None
        self.smallest = 0  # images of the smallest part of the last step, in this process

    def __call__(self, engine: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Do one step; returns what handlers find in `engine.state.output`.

        Raises:
            TrainingError: the device runs out of memory even with two images at a time, with several processes, or
                where a batch cannot be divided.
        """
        images, targets = self._prepared(engine, batch)
        engine.network.train()
        statistics = self._statistics_of(engine.network)
        statistics.keep()
        while (found := self._gradients(engine, images, targets)) is None:
            self._make_smaller(images)
            statistics.restore()
            engine.optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
        with _whole("moving the weights"):
            return self._moved(engine, found)

    def _statistics_of(self, network: nn.Module) -> Copies:
        """What batch norms know, which a pass that fails moves."""
        if self._statistics is None:
            buffers = list(network.buffers())
            self._statistics = Copies(buffers, [buffer.detach().clone() for buffer in buffers])
        return self._statistics

    def _prepared(self, engine: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Images and targets, changed for training; what memory keeps of earlier steps can make room for them."""
        try:
            return self._prepare(engine, batch)
        except RuntimeError as error:
            if not lacks_memory(error):
                raise
        engine.optimizer.zero_grad(set_to_none=True)  # outside of the handler, which keeps the failed call's tensors
        torch.cuda.empty_cache()
        with _whole("the images of a batch"):
            return self._prepare(engine, batch)

    def _prepare(self, engine: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        images, targets = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        return images, targets

    def _make_smaller(self, images: Tensor) -> None:
        """Halve the parts.

        Raises:
            TrainingError: they cannot be smaller, or there are several processes.
        """
        part = (self.part or self._largest_share(images)) // 2
        if part < 2:
            raise TrainingError(
                "the device runs out of memory even with two images at a time: choose smaller images "
                "(preprocessing.size) or a smaller network"
            )
        if self.processes.count > 1:  # the others wait for this one's statistics, and cannot be told
            raise TrainingError(
                "a process ran out of memory, and several cannot make their parts smaller within a step: "
                f"start anew (--force) with training.micro_batch_size={part} or less"
            )
        if self.graphs:
            raise TrainingError(
                "the device runs out of memory, and a recorded step cannot be done in parts: start anew (--force) with "
                f"training.compile=true and training.micro_batch_size={part}, or with training.batch_size={part}"
            )
        self.part = part
        log.warning(
            "out of memory: a batch is now done in parts of %d images, from which batch norms take their statistics",
            part,
        )

    def _gradients(self, engine: Any, images: Tensor, targets: Tensor) -> dict[str, Tensor] | None:
        """Every weight's gradient, and what handlers find; None where memory does not suffice for it."""
        try:
            return self._passes(engine, images, targets)
        except RuntimeError as error:
            if not lacks_memory(error):
                raise
        return None  # outside of the handler, which keeps the failed call's tensors

    def _passes(self, engine: Any, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        engine.optimizer.zero_grad(set_to_none=True)
        known = self.processes.sum(self.loss_function.count(targets)).clamp(min=1)
        predictions, total = [], images.new_zeros(())
        largest = self._largest_share(images)
        parts = _parts(len(images), _number_of_parts(largest, self.part or largest, self.batch or len(images)))
        self.smallest = min(stop - start for start, stop in parts)
        shared = isinstance(engine.network, DistributedDataParallel)
        for start, stop in parts:
            part = targets[start:stop]
            last = stop == len(images)  # the processes' gradients are added up while this one's is computed
            with engine.network.no_sync() if shared and not last else nullcontext():
                if self.graphs:
                    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
                logits = engine.inferer(images[start:stop], engine.network)
                loss = self.loss_function(logits, part) * (self.loss_function.count(part) / known)
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            predictions.append(logits.detach().clone() if self.graphs else logits.detach())
            total = total + loss.detach()
        return {"image": images, "label": targets, "pred": torch.cat(predictions), "loss": self.processes.sum(total)}

    def _moved(self, engine: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let the weights follow their gradients, unless those overflowed."""
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
        return found

    def _largest_share(self, images: Tensor) -> int:
        """Images of the process that has most of a batch: what all processes count their parts by."""
        return self.processes.largest_part(self.batch or len(images))


@contextmanager
def _whole(what: str) -> Iterator[None]:
    """Inside, nothing can be done in parts.

    Raises:
        TrainingError: memory does not suffice.
    """
    try:
        yield
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        raise TrainingError(
            f"the device runs out of memory with {what}, which cannot be done in parts: start anew (--force) with a "
            "smaller training.batch_size, preprocessing.size or network, or free the device (`nvidia-smi` shows who "
            "uses it)"
        ) from None


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
