"""Where networks compute: which device, how exactly, and what is said or done where its memory does not suffice."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medres.errors import DeviceError, UsageError

Result = TypeVar("Result")
Float32 = Literal["ieee", "tf32"]

CPU = torch.device("cpu")

_MEMORY_ERRORS = (
    "out of memory",  # of CUDA itself, of NCCL, and of torch's allocators
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN, where no algorithm's working memory fits
)
_DEVICE_ERRORS = (
    *_MEMORY_ERRORS,
    "busy or unavailable",
    "no CUDA-capable device",
    "CUDA driver",
    "CUDNN_STATUS_NOT_INITIALIZED",  # what a nearly full device says of its handles
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


def choose_device(asked: str) -> torch.device:
    """The device that is asked for; a GPU always with its number.

    Args:
        asked: `cpu`; `cuda:1`, that GPU; `cuda`, the current one; or `auto`, the current GPU where there is one.

    Raises:
        UsageError: there is no such GPU, or it is no device's name.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return CPU
    kind, _, number = asked.partition(":")
    if asked != "auto" and (kind != "cuda" or (number and not number.isdecimal()) or asked.endswith(":")):
        raise UsageError(f"{asked!r} is no device: give auto, cpu, cuda, or a GPU's number such as cuda:1")
    if not torch.cuda.is_available():
        raise UsageError(
            f"{asked} was asked for, but no GPU was found: choose auto or cpu, or look with `medres doctor` and "
            "`nvidia-smi` for the driver and the build of torch"
        )
    count = torch.cuda.device_count()
    if number and int(number) >= count:
        raise UsageError(f"{asked} was asked for, but the GPUs here are cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", int(number) if number else torch.cuda.current_device())


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory does not suffice: libraries on a nearly full one say it in words.

    >>> lacks_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")), lacks_memory(RuntimeError("bad shape"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_ERRORS)


@contextmanager
def said_plainly(device: torch.device) -> Iterator[None]:
    """What goes wrong with a device inside is said in a sentence that names what can be done.

    Raises:
        DeviceError: the device is busy, too full or not usable.
    """
    try:
        yield
    except RuntimeError as error:
        if not lacks_memory(error) and not any(words in str(error) for words in _DEVICE_ERRORS):
            raise
        short = "has too little free memory" if lacks_memory(error) else "cannot be used now"
        found = DeviceError(
            f"{device} {short} ({str(error).splitlines()[0]}): free it (`nvidia-smi` shows who uses it), choose "
            "another with --device cuda:N, or compute on the processor with --device cpu"
        )
        error.__traceback__ = None  # it holds the failed call's tensors
        raise found from None


def in_parts(function: Callable[[Any], Result], images: Tensor | NDArray[np.uint16]) -> list[Result]:
    """What a function says of a batch (N, ...), of halves of it where memory does not suffice, and so on.

    Raises:
        torch.OutOfMemoryError, RuntimeError: not even one image fits.
    """
    try:
        return [function(images)]
    except RuntimeError as error:
        if len(images) < 2 or not lacks_memory(error):
            raise
    torch.cuda.empty_cache()  # outside of the handler, which keeps the failed call's tensors
    half = len(images) // 2
    return [*in_parts(function, images[:half]), *in_parts(function, images[half:])]


def batch_size(device: torch.device, *, processor: int = 16) -> int:
    """How many images a pass takes: a few on a processor, whose caches they fit, at least 128 on a GPU, to fill it."""
    return max(128, processor) if device.type == "cuda" else processor


def device_name(device: torch.device) -> str:
    """The machine in words, as a table says it."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, fp32"
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}, fp32"


def uploaded(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; a GPU fetches it from pinned memory, and nobody waits for that."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def unit_range(stored: Tensor) -> Tensor:
    """The bits of uint16, which a GPU cannot index, as int16 → float32 in [0, 1], the same floats on every device.

    A GPU divides by a number as it multiplies by the number's inverse: 512 of the 65,536 values would differ by one
    unit in the last place. By a tensor it divides.
    """
    values = (stored.to(torch.int32) & 0xFFFF).to(torch.float32)
    return values / torch.full((), 65535.0, device=values.device)


@dataclass(frozen=True, slots=True)
class _Switches:
    """How the process computes in float32 on a GPU: torch's two settings, and the older one, which must agree."""

    convolutions: str
    recurrent: str
    matrices: str
    older: str | None = None  # for matrices; None: it contradicts the newer one, as whoever set that left it
    cudnn: bool | None = None  # the older one for the two others, likewise

    @classmethod
    def now(cls) -> _Switches:
        older = cudnn = None
        with suppress(RuntimeError):
            older = torch.get_float32_matmul_precision()
        with suppress(RuntimeError):
            cudnn = bool(torch.backends.cudnn.allow_tf32)
        return cls(
            torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
            torch.backends.cudnn.rnn.fp32_precision,  # type: ignore[attr-defined]
            torch.backends.cuda.matmul.fp32_precision,
            older,
            cudnn,
        )

    def set(self) -> None:
        torch.set_float32_matmul_precision(self.older or ("high" if self.matrices == "tf32" else "highest"))
        cudnn = self.convolutions == "tf32" if self.cudnn is None else self.cudnn
        torch.backends.cudnn.allow_tf32 = cudnn
        torch.backends.cudnn.conv.fp32_precision = self.convolutions  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn.fp32_precision = self.recurrent  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = self.matrices


_IEEE, _TF32 = _Switches("ieee", "ieee", "ieee"), _Switches("tf32", "tf32", "tf32")


class _Settings:
    """Who needs float32 how, in all threads: IEEE's, as long as anybody does."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.exact = 0  # how many need IEEE's now
        self.behind = _Switches("none", "none", "none")  # what holds where nobody does

    def enter(self, wanted: Float32) -> _Switches:
        """Begin; returns what `leave` puts back."""
        with self.lock:
            if not self.exact:
                self.behind = _Switches.now()
            held = self.behind
            if wanted == "ieee":
                self.exact += 1
                _IEEE.set()
            else:
                self._hold(_TF32)
            return held

    def leave(self, wanted: Float32, held: _Switches) -> None:
        """End."""
        with self.lock:
            if wanted == "ieee":
                self.exact -= 1
                if not self.exact:
                    self.behind.set()
            else:
                self._hold(held)

    def _hold(self, switches: _Switches) -> None:
        self.behind = switches
        if not self.exact:
            switches.set()


_SETTINGS = _Settings()


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside, a GPU convolves and multiplies in float32: cuDNN would else use TF32, whose 10 bits move logits by 0.01.

    The switch is the whole process's: it stays on until the last of several threads that asked for it has left.
    """
    with float32_as("ieee"):
        yield


@contextmanager
def float32_as(wanted: Float32) -> Iterator[None]:
    """Inside, float32 on a GPU is IEEE's, or may be TF32 where nobody asks for IEEE's at the same time."""
    held = _SETTINGS.enter(wanted)
    try:
        yield
    finally:
        _SETTINGS.leave(wanted, held)
