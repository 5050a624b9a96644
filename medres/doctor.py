"""What this installation can do, found by trying it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import groupby
from pathlib import Path


def missing_packages() -> list[str]:
    """Requirements of medres itself (no extras) that are not installed."""
    missing = []
    for requirement in requires("medres") or []:
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(requirement.split(";")[0].strip())
    return missing


def decoding() -> Iterator[tuple[str, bool]]:
    """One line per transfer syntax, and whether every sample of it was decoded: see `medres.imaging.samples`."""
    from medres.imaging.samples import try_samples

    for syntax, trials in groupby(try_samples(), key=lambda trial: trial.sample.transfer_syntax):
        tried = list(trials)
        bits = " ".join(str(trial.sample.bits) for trial in tried if not trial.problem)
        decoders = ", ".join(dict.fromkeys(trial.decoder for trial in tried if trial.decoder))
        failed = [f"{trial.sample.bits} bit: {trial.problem}" for trial in tried if trial.problem]
        name = tried[0].sample.name
        found = "; ".join([*([f"{bits} bit by {decoders}"] if bits else []), *failed])
        remedy = "; reinstall with `pip install --force-reinstall imagecodecs`" if failed else ""
        yield f"{'decodes' if not failed else 'FAILS'} {name} ({syntax}): {found}{remedy}", not failed


def findings() -> Iterator[str]:
    """One line per finding: versions, device, weights, folders."""
    import torch

    from medres.cohort.cache import cache_folder
    from medres.config import Network, Training
    from medres.model.weights import named_source
    from medres.provenance import environment
    from medres.training.device import choose_compute

    for name, found in environment().items():
        yield f"{name:24} {found}"
    compute = choose_compute(Training())
    yield f"{'device':24} {compute}" + ("" if compute.device.type == "cuda" else " (no GPU found)")
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    for architecture in ("resnet50", "resnet101"):
        source = named_source(Network(architecture=architecture))
        place = "found" if (hub / source.filename).is_file() else f"not here: put {source.filename} into {hub}"
        yield f"{'weights ' + architecture:24} {source.name.split()[-1]}, {place}"
    yield f"{'decoding processes':24} {_confinement()}"
    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    yield f"{'pixel cache':24} {folder}, {size / 2**20:.0f} MiB (MEDRES_CACHE moves it; it may be deleted)"


def _confinement() -> str:
    """What the processes that decode files may not do on this machine, found by trying it in one of them."""
    from medres.imaging.isolation import Workers
    from medres.imaging.sandbox.confinement import what_holds
    from medres.records import Refusal

    with Workers(1) as workers:
        ((_, held),) = workers.map(what_holds, [""])
    if isinstance(held, Refusal):
        return f"{held.code}: {held.detail}"
    return f"each {', '.join(held)}" if held else "can be ended; nothing else is taken from them on this system"


def on_the_gpu() -> Iterator[tuple[str, bool]]:
    """One line per check of the GPU, and whether it passed.

    Raises:
        UsageError: there is no GPU.
    """
    from medres.model.device import choose_device
    from medres.runs.device_checks import core_checks

    device = choose_device("cuda")
    for check in core_checks(device):
        figures = ", ".join(f"{name} {value:.3g}" for name, value in check.figures.items())
        found = check.error or figures
        yield (
            f"{'passes' if check.passed else 'FAILS'} on {device}: {check.name} ({found}; {check.seconds:.0f} s)",
            check.passed,
        )
