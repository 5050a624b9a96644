"""Tensors drawn from a seed, and the safetensors bytes that hold them: the same on every machine, for ever.

Models of tests/fixtures are committed without their 45 MB of weights; these functions give them back, byte for byte.
They use nothing that may change: raw numbers of PCG64 (which numpy keeps as they are; its distributions may change),
one float32 multiplication a value, and a safetensors writer of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

import numpy as np

_HALF = 32768  # half of the values that 16 bits have


class Layout(TypedDict):
    """What a tensor is, in safetensors' words."""

    dtype: Literal["F32", "I64"]
    shape: Sequence[int]


def drawn_network(layouts: Mapping[str, Layout], *, seed: int, bias: float) -> dict[str, np.ndarray]:
    """Every tensor of a ResNet: uniform convolutions with He's variance, batch norms near the identity.

    Args:
        layouts: by the names of `RadiographNetwork`.
        seed: of everything but the head's bias.
        bias: of the head's one output, so that its logits lie about 0.
    """
    numbers = np.random.PCG64(seed)
    arrays = {name: _drawn(name, layout, numbers) for name, layout in layouts.items()}
    weight = arrays["head.weight"] * np.float32(8)  # of features that hardly differ between images
    return {**arrays, "head.weight": weight, "head.bias": np.array([bias], np.float32)}


def made_space(layouts: Mapping[str, Layout]) -> dict[str, np.ndarray]:
    """A feature space whose directions are the first channels, with round numbers for the rest."""
    directions = np.eye(*layouts["directions"]["shape"], dtype=np.float32)
    rest = {"mean": 1.0, "deviation": 1.0, "residual": 16.0}
    return {
        name: np.full(layouts[name]["shape"], rest[name], np.float32) if name in rest else directions
        for name in layouts
    }


def _drawn(name: str, layout: Layout, numbers: np.random.PCG64) -> np.ndarray:
    shape = tuple(layout["shape"])
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if name in ("mean", "std"):  # of radiographs: the network's first step
        return np.full(shape, {"mean": 0.5, "std": 0.25}[name], np.float32)
    if last in ("weight", "running_var") and len(shape) == 1:  # of a batch norm
        return np.float32(0.625) + _uniform(shape, 0.25, numbers)
    if len(shape) == 1:
        return _uniform(shape, 0.125, numbers)
    return _uniform(shape, math.sqrt(6 / math.prod(shape[1:])), numbers)


def _uniform(shape: tuple[int, ...], bound: float, numbers: np.random.PCG64) -> np.ndarray:
    """Uniform on a grid of 65,536 steps in [-bound, bound)."""
    count = math.prod(shape)
    raw = numbers.random_raw(-(-count // 4)).astype("<u8").view("<u2")[:count]
    return ((raw.astype(np.float32) - np.float32(_HALF)) * np.float32(bound / _HALF)).reshape(shape)


def safetensors_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file: the header's length, the header padded to 8 bytes, the tensors one after another.

    Source: the format's description in the documentation of safetensors.
    """
    kinds = {np.dtype("<f4"): "F32", np.dtype("<i8"): "I64"}
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header, start, parts = {}, 0, []
    for name, array in ordered:
        part = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
        offsets = [start, start + len(part)]
        header[name] = {"dtype": kinds[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        parts.append(part)
        start += len(part)
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
