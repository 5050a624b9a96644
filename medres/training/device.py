"""Where training runs and in which precision: a GPU when there is one, bf16 where it is native, else fp16 on a GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

from medres.config import Training
from medres.errors import TrainingError
from medres.model.forward import in_parts

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
    precision: Literal["fp32", "bf16", "fp16"]

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps fp16's small gradients from becoming 0; does nothing in another precision."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def generators(self) -> dict[str, Tensor]:
        """The states of this process's generators, which dropout and noise draw from."""
        on_gpu = self.device.type == "cuda"
        return {"cpu": torch.get_rng_state()} | ({"cuda": torch.cuda.get_rng_state()} if on_gpu else {})

    def set_generators(self, states: Mapping[str, Tensor]) -> None:
        """Go on with what `generators` found."""
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"])

    def __str__(self) -> str:
        """What a log line and a card say of it."""
        threads = torch.get_num_threads()
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"cpu, {threads} thread{'s' if threads > 1 else ''}"
        )
        return f"{name}, {self.precision}"


def choose_compute(training: Training) -> Compute:
    """The device and precision that `training` asks for, or the best there is; a linear probe computes in fp32.

    Raises:
        TrainingError: a GPU was asked for and there is none; fp16 was asked for on a CPU.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "training.device is cuda, but no GPU was found: choose auto or cpu, or look with `medres doctor` and "
            "`nvidia-smi` for the driver and the build of torch"
        )
    device = torch.device("cuda" if training.device != "cpu" and torch.cuda.is_available() else "cpu")
    if training.method == "linear-probe":
        return Compute(device, "fp32")
    if training.precision != "auto":
        if training.precision == "fp16" and device.type == "cpu":
            raise TrainingError(
                "training.precision is fp16, which is many times slower than fp32 on a CPU: choose auto, fp32 or bf16"
            )
        return Compute(device, training.precision)
    if device.type == "cuda":
        return Compute(device, "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16")
    return Compute(device, "bf16" if _cpu_has_bf16() else "fp32")


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively; without, bf16 is many times slower than fp32."""
    capabilities: Mapping[str, bool | int | str] = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


class EvaluationInferer(SimpleInferer):
    """A forward pass of a network that does not learn: in float32, and in parts where a batch does not fit."""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The logits of a batch."""
        return torch.cat(in_parts(lambda images: network(images, *args, **kwargs), inputs))


class AutocastInferer(SimpleInferer):
    """A forward pass in the precision of training; the logits come back as float32."""

    def __init__(self, compute: Compute) -> None:
        super().__init__()
        self.compute = compute

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The logits of a batch."""
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with self.compute.autocast():
            logits = network(inputs, *args, **kwargs)
        return logits.float()
