"""Where training runs and how exactly: a GPU when there is one, bf16 where it is native, else fp16 on a GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from monai.inferers import SimpleInferer
from monai.utils import set_determinism
from torch import Tensor

from medres.config import Training
from medres.errors import TrainingError
from medres.model.device import choose_device, float32_as, full_precision, in_parts

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
    precision: Literal["fp32", "tf32", "bf16", "fp16"]

    @property
    def bytes_per_value(self) -> int:
        """Of what a forward pass keeps for its backward pass."""
        return 2 if self.precision in ("bf16", "fp16") else 4

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision in ("bf16", "fp16"))

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps fp16's small gradients from becoming 0; does nothing in another precision."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def float32(self) -> AbstractContextManager[None]:
        """The context of a fit: what is not computed in bf16 or fp16 is in IEEE's float32 unless TF32 was chosen."""
        return float32_as("tf32" if self.precision == "tf32" else "ieee")

    def generators(self) -> dict[str, Tensor]:
        """The states of this process's generators, which dropout and noise draw from."""
        on_gpu = self.device.type == "cuda"
        return {"cpu": torch.get_rng_state()} | ({"cuda": torch.cuda.get_rng_state(self.device)} if on_gpu else {})

    def set_generators(self, states: Mapping[str, Tensor]) -> None:
        """Go on with what `generators` found."""
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)

    def __str__(self) -> str:
        """What a log line and a card say of it."""
        threads = torch.get_num_threads()
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"cpu, {threads} thread{'s' if threads > 1 else ''}"
        )
        return f"{name}, {self.precision}"


@contextmanager
def seeded(seed: int, *, deterministic: bool) -> Iterator[None]:
    """Inside, what is random follows a seed; afterwards the process's switches are what they were.

    Args:
        seed: of torch, NumPy and Python.
        deterministic: cuDNN uses its deterministic algorithms; else it tries which are fastest. A CPU's always are.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    set_determinism(seed=seed)
    cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
    try:
        yield
    finally:
        set_determinism(seed=None)
        cudnn.deterministic, cudnn.benchmark = before


def choose_compute(training: Training) -> Compute:
    """The device and precision that `training` asks for, or the best there is; a linear probe computes in fp32.

    Raises:
        UsageError: a GPU was asked for that is not there.
        TrainingError: fp16 or tf32 was asked for on a CPU.
    """
    device = choose_device(training.device)
    if training.method == "linear-probe":
        return Compute(device, "fp32")
    if training.precision != "auto":
        if training.precision in ("fp16", "tf32") and device.type == "cpu":
            why = {"fp16": "which is many times slower than fp32 on a CPU", "tf32": "which only GPUs compute"}
            raise TrainingError(
                f"training.precision is {training.precision}, {why[training.precision]}: choose auto, fp32 or bf16"
            )
        if training.precision in ("bf16", "tf32") and device.type == "cuda" and not _computes_bf16(device):
            raise TrainingError(
                f"training.precision is {training.precision}, which {torch.cuda.get_device_name(device)} does not "
                "compute: choose auto, fp16 or fp32"
            )
        return Compute(device, training.precision)
    if device.type == "cuda":
        return Compute(device, "bf16" if _computes_bf16(device) else "fp16")
    return Compute(device, "bf16" if _cpu_has_bf16() else "fp32")


def _computes_bf16(device: torch.device) -> bool:
    """Whether a GPU multiplies bf16, and TF32, natively."""
    with nullcontext() if device.index == torch.cuda.current_device() else torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively; without, bf16 is many times slower than fp32."""
    capabilities: Mapping[str, bool | int | str] = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


class EvaluationInferer(SimpleInferer):
    """A forward pass of a network that does not learn: in IEEE's float32, and in parts where a batch does not fit."""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The logits of a batch."""
        with full_precision():
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
