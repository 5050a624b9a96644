"""Several processes as one training (torchrun): each sees a part of every batch, and they add up its gradient.

What every process must do alike it draws from the same seeds; what must be decided once, the first process decides. The
loss curve is that of one process with the same batches: batch norm's statistics are those of the whole batch. Dropout
and noise alone are others, because each process draws its own.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from medres.errors import TrainingError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one training, and which of them this is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process decides, writes and speaks."""
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's share of the items: every `count`th.

        >>> Processes(1, 2).part([10, 11, 12])
        [11]
        """
        return items[self.rank :: self.count]

    def largest_part(self, count: int) -> int:
        """How many of so many items the process has that has most of them.

        >>> Processes(1, 2).largest_part(3)
        2
        """
        return -(-count // self.count)

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, without a gradient."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total

    def any(self, said: bool) -> bool:
        """Whether any process says so; all of them then know. They ask each other on the CPU."""
        return said if self.count == 1 else bool(self.sum(torch.tensor(float(said))) > 0)

    def decide(self, value: Item) -> Item:
        """The first process's value, for all of them."""
        if self.count == 1:
            return value
        shared = [value]
        distributed.broadcast_object_list(shared)
        return shared[0]

    def gather(self, value: Item) -> list[Item]:
        """Every process's value, in their order."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, value)
        return found

    @contextmanager
    def folder(self, output: AbstractContextManager[Path]) -> Iterator[Path]:
        """The output for the first process; a folder that is thrown away for the others."""
        with output if self.first else TemporaryDirectory() as folder:
            yield Path(folder)


ALONE = Processes()
_LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
_PATIENCE = timedelta(hours=12)  # for the first process: it decodes the whole cohort while the others wait


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone where it did not.

    Values and decisions go through the CPU, so that no GPU spins while the first process decodes; gradients go from GPU
    to GPU. A process that fails leaves at once, without the others, which may wait for it: torchrun then ends them.

    Args:
        device: `cpu`, or anything else for a GPU where there is one; each process takes one of its own.

    Raises:
        TrainingError: more processes than GPUs on this machine, two on one GPU, or nobody says which is whose.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if ":" in device:
        raise TrainingError(f"training.device is {device}, but every process takes a GPU of its own: give cuda")
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    if gpus:
        torch.cuda.set_device(own_gpu(os.environ, gpus))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_PATIENCE)
    processes = Processes(distributed.get_rank(), distributed.get_world_size())
    if gpus:
        taken = processes.gather(
            (platform.node(), str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid))
        )
        if len(set(taken)) < len(taken):
            raise TrainingError("two processes have the same GPU: start one process for each GPU")
    yield processes
    distributed.destroy_process_group()


def own_gpu(environment: Mapping[str, str], count: int) -> int:
    """The number of this process's GPU among those that it sees.

    Args:
        environment: where torchrun, SLURM or MPI say which process of this machine this is.
        count: how many GPUs it sees; where it sees one of its own (CUDA_VISIBLE_DEVICES), that is it.

    Raises:
        TrainingError: more processes than GPUs, or nobody says which process this is.

    >>> own_gpu({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"}, 8), own_gpu({"SLURM_LOCALID": "1"}, 2)
    (3, 1)
    >>> own_gpu({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8", "CUDA_VISIBLE_DEVICES": "3"}, 1)
    0
    """
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if len(visible) == 1 and count == 1:
        return 0
    said = next((environment[name] for name in _LOCAL_RANKS if name in environment), None)
    if said is None:
        raise TrainingError(
            "which process of this machine this is, nobody says (LOCAL_RANK is not set): start with torchrun, or give "
            "each process one GPU by CUDA_VISIBLE_DEVICES"
        )
    if int(said) >= count:
        here = environment.get("LOCAL_WORLD_SIZE", f"at least {int(said) + 1}")
        raise TrainingError(f"{here} processes, but {count} GPU{'s' if count > 1 else ''}: start one for each")
    return int(said)


def adding_up(network: nn.Module, processes: Processes) -> nn.Module:
    """The network whose gradients are those of all processes' images, added up while they are computed.

    Itself for one process. Only weights that learn when this is called are included.
    """
    if processes.count == 1:
        return network
    own: dict[str, Any] = {"forward_sync_buffers": False}  # batch norms see to it that buffers are equal
    if next(iter(own)) not in signature(DistributedDataParallel.__init__).parameters:
        own = {"broadcast_buffers": False}  # what torch called it before
    # else it would change the order of its exchanges after a first step, also after the first that follows an
    # interruption, and of three processes' numbers the sum depends on the order
    own["find_unused_parameters"] = True
    found = DistributedDataParallel(network, **own)
    found.register_comm_hook(None, lambda _, bucket: _sum_of_all(bucket))
    return found


def _sum_of_all(bucket: Any) -> torch.futures.Future[Tensor]:
    """The sum of some gradients; DistributedDataParallel's own hook divides it by the number of processes."""
    work = distributed.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])


def synchronised(network: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """The network with batch norms whose statistics are those of all processes' images; itself for one process."""
    if processes.count == 1:
        return network
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return, no-untyped-call]
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _GlobalBatchNorm2d.like(child))
    return network


class _Sum(torch.autograd.Function):
    """A sum over all processes: what any of them does with it, each of them has a part in."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _summed(value: Tensor) -> Tensor:
    found: Tensor = _Sum.apply(value)
    return found


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, on a CPU (torch's SyncBatchNorm is for GPUs)."""

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> _GlobalBatchNorm2d:
        """The same norm, sharing weights and statistics."""
        made = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        made.__dict__.update(norm.__dict__)
        return made

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        if not self.training:
            return super().forward(images)
        values, axes = images.to(self.weight.dtype), (0, 2, 3)  # full precision, also under autocast
        count = values.new_tensor(float(values.numel() / values.shape[1]))
        distributed.all_reduce(count)
        mean = _summed(values.sum(axes)) / count
        centered = values - mean[:, None, None]
        variance = _summed((centered**2).sum(axes)) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            momentum = self.momentum or 0.1
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        found: Tensor = centered * scale[:, None, None] + self.bias[:, None, None]
        return found.to(images.dtype)
