"""Where training runs and in which precision: a GPU when there is one, bf16 where it is native."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

from medres.config import Training
from medres.errors import TrainingError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def gives_memory_back(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, after which memory that it alone used is free, also for other processes on a GPU.

    MONAI's engines refer to themselves, so what they hold would otherwise wait for Python's collector, and then stay
    reserved by torch.
    """

    @wraps(function)
    def freeing(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **options)
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    return freeing


@dataclass(frozen=True, slots=True)
class Compute:
    """Where training runs, and in which precision."""

    device: torch.device
    bf16: bool

    def __str__(self) -> str:
        """What a log line and a card say of it."""
        threads = torch.get_num_threads()
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"cpu, {threads} thread{'s' if threads > 1 else ''}"
        )
        return f"{name}, {'bf16' if self.bf16 else 'fp32'}"


def choose_compute(training: Training) -> Compute:
    """The device and precision that `training` asks for, or the best there is.

    Raises:
        TrainingError: a GPU was asked for and there is none.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "training.device is cuda, but no GPU was found: choose auto or cpu, or look with `medres doctor` and "
            "`nvidia-smi` for the driver and the build of torch"
        )
    device = torch.device("cuda" if training.device != "cpu" and torch.cuda.is_available() else "cpu")
    if training.precision == "auto":
        native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bf16()
    else:
        native = training.precision == "bf16"
    return Compute(device, native)


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively; without, bf16 is many times slower than fp32."""
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


class AutocastInferer(SimpleInferer):
    """A forward pass in bf16 where asked for, on any device; the logits come back as float32."""

    def __init__(self, compute: Compute) -> None:
        super().__init__()
        self.compute = compute

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The logits of a batch."""
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.compute.device.type, dtype=torch.bfloat16, enabled=self.compute.bf16):
            logits = network(inputs, *args, **kwargs)
        return logits.float()
