"""What medres does on a GPU: right first, then fast. One command, JSON after every check, in the time that it is given.

    python -m tests.benchmarks.gpu [--small] [--seconds 480] [--only NAME]

The machine needs torch, torchvision, numpy, OpenCV, scikit-learn, pandas, pyarrow, safetensors, psutil and PyYAML. What
else medres imports can be carried along in a folder that PYTHONPATH names (wheels of that machine's Python):

    pip download --only-binary :all: --no-deps --python-version 3.12 --dest wheels monai pytorch-ignite pydicom
    pip download --only-binary :all: --python-version 3.12 --dest wheels pydantic "typing-extensions>=4.16"
    pip download --only-binary :all: --no-deps --python-version 3.12 --dest wheels \\
        imagecodecs platformdirs filelock click
    pip install --only-binary :all: --no-deps --python-version 3.12 --target carried wheels/*

The third line is for the command line alone: without it that check says what is missing, and the others are made.

`--small` is the same on small images and networks, on whatever device there is: the tests run it, so that it still
works when a GPU is at hand. A check that fails is recorded, and the next one made; the last line is the whole result.
The exit code is 1 where something is wrong, or a promised figure is not reached.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from medres.model.device import choose_device
from medres.runs.device_checks import Check, Figures, memory_runs_out, saved_model_agrees, tried, values_are_exact
from tests.benchmarks import gpu_fits, gpu_speed
from tests.benchmarks.timing import versions

Tried = Callable[[], tuple[bool, Figures]]


def checks(device: torch.device, *, small: bool) -> Iterator[tuple[str, float, Tried]]:
    """Every check: its name, the seconds that it is expected to take on a GPU, and how it is made."""
    there, side = device.type == "cuda", 64 if small else 224
    deep = "resnet18" if small else "resnet50"
    yield "every value becomes the same float", 5, partial(values_are_exact, device)
    yield "augmentation agrees", 5, partial(gpu_fits.augmentation_agrees, device)
    yield "fp32 losses agree", 30, partial(gpu_fits.losses_agree, device, small=small)
    modern = not there or torch.cuda.get_device_capability(device) >= (8, 0)
    for precision in ("bf16", "fp16", "tf32") if there and modern else ("fp16",) if there else ("bf16",):
        near = partial(gpu_fits.losses_agree, bound=gpu_fits.ROUGHLY)
        yield f"{precision} losses are near", 10, partial(near, device, precision, small=small)
        yield f"{precision} learns", 15, partial(gpu_fits.learns, device, precision, small=small)
    yield (
        "a saved model scores alike",
        30,
        partial(saved_model_agrees, device, architecture=deep, side=side, sharp=there and not small),
    )
    if there:
        yield "a batch that does not fit is done in parts", 30, partial(memory_runs_out, device)
        yield "validation that does not fit is done in parts", 20, partial(gpu_fits.validation_runs_out, device)
        yield "two sizes are compiled", 90, partial(gpu_fits.compiled, device)
    yield "an fp16 step that overflows is left out", 5, partial(gpu_fits.overflow_is_left_out, device)
    yield "an interrupted training goes on", 20, partial(gpu_fits.interruption_goes_on, device, small=small)
    yield "a linear probe learns", 10, partial(gpu_fits.probe_learns, device, small=small)
    yield "two processes are one", 40, partial(gpu_fits.processes_agree, device)
    yield "waiting for the device", 10, partial(gpu_speed.waits, device, small=small)
    yield "scoring", 40, partial(gpu_speed.scoring, device, tiny=small)
    yield "small steps", 40, partial(gpu_speed.throughput, device, gpu_speed.SMALL, tiny=small)
    if not small:
        yield "folds side by side", 45, partial(gpu_fits.folds_side_by_side, device)
        yield "the command line", 60, partial(gpu_fits.command_line, device)
        yield "large steps", 45, partial(gpu_speed.throughput, device, gpu_speed.LARGE, tiny=False)
        yield "small steps as CUDA graphs", 50, partial(gpu_speed.graphs, device)
        yield "the longest kernels", 15, partial(gpu_speed.longest, device)


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small images and networks, any device")
    parser.add_argument("--seconds", type=float, default=480.0, help="what is not expected to end by then is left out")
    parser.add_argument("--only", help="checks whose name holds this")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    device = choose_device("auto")
    if device.type == "cpu" and not arguments.small:
        raise SystemExit("no GPU is here; --small runs on any device")
    began, done, left_out = time.monotonic(), [], []
    for name, expected, check in checks(device, small=arguments.small):
        if arguments.only and arguments.only not in name:
            continue
        if time.monotonic() - began + expected > arguments.seconds:
            left_out.append(name)
            continue
        done.append(tried(name, check))
        print(json.dumps(dataclasses.asdict(done[-1])), flush=True)
    print(json.dumps(_result(device, done, left_out, time.monotonic() - began)), flush=True)
    sys.exit(0 if all(check.passed for check in done) else 1)


def _result(device: torch.device, done: list[Check], left_out: list[str], seconds: float) -> dict[str, object]:
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "device": card,
        "versions": versions("torch", "torchvision", "monai"),
        "seconds": round(seconds),
        "checks": {check.name: check.passed for check in done},
        "failed": [check.name for check in done if not check.passed],
        "left_out": left_out,
        "complete": not left_out,
        "figures": {check.name: dict(check.figures) for check in done},
    }


if __name__ == "__main__":
    main()
