"""How fast medres trains: beside the bare step, beside a script that decodes in every epoch, and a linear probe.

    python -m tests.benchmarks.train [--rounds 3]

Parity first: both sides show the network the same image. What is compared is run in turn, so that only ratios count.
JSON goes to standard output; the exit code is 1 where a promised ratio is not reached.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, Lambdad, LoadImaged, Resized
from torch.nn import functional
from torchvision.models import resnet18

from medres.cohort.manifest import read_manifest
from medres.config import Config, load_config
from medres.imaging.preprocessing import as_float, prepare
from medres.model.network import build_network
from medres.model.weights import load_backbone
from medres.records import Refusal
from medres.training.crossval import cross_validate
from medres.training.engine import fit
from medres.training.probing import LinearProbe
from tests.benchmarks.steps import bare_step
from tests.benchmarks.timing import finish, versions
from tests.dicom_files import JPEG, LOSSLESS, compress, picture, radiograph, write

FOLDS = 5
PROMISED = {"step": 0.90, "cohort": 10.0, "probe": 50.0}
"""images/s as a part of the bare step's; a decoding script's seconds, and fine-tuning's, as multiples of medres's."""


def main() -> None:
    """Measure, print, and say what was promised and not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    logging.disable(logging.WARNING)
    result: dict[str, Any] = {"versions": versions("torch", "monai", "medres"), "threads": torch.get_num_threads()}
    result["step"] = whole_loop(rounds)
    result["probe"] = probe(rounds)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDRES_CACHE"] = str(Path(folder) / "cache")
        result["cohort"] = whole_cohort(Path(folder))
    finish(result, [name for name, least in PROMISED.items() if result[name][f"{name}_ratio"] < least])


def whole_loop(rounds: int) -> dict[str, Any]:
    """images/s of medres's whole loop (cache, augmentation, handlers), and of the step alone on a fixed tensor."""
    config = load_config("quick", ["training.stages=[{epochs: 1}]", "training.patience=99", "training.saturation=1"])
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, (416, 128, 128), dtype=np.uint16)
    targets = rng.integers(0, 2, (416, 1)).astype(np.float32)

    def medres() -> float:
        fitted = fit(pixels, targets, range(384), range(384, 416), config, weights=None, seed=0, title="benchmark")
        return float(fitted.history[0]["images_per_second"])

    speeds: dict[str, list[float]] = {"medres": [], "bare step": []}
    for _ in range(rounds + 1):
        for name, run in (("medres", medres), ("bare step", lambda: bare_step(config, side=128, steps=12))):
            speeds[name].append(run())
    medians = {name: statistics.median(found[1:]) for name, found in speeds.items()}
    return {"images_per_second": medians, "step_ratio": medians["medres"] / medians["bare step"]}


def probe(rounds: int) -> dict[str, Any]:
    """Seconds to fit five folds of 400 cached images: fine-tuning (one epoch, times all), and a linear probe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18.pth"
        torch.save(resnet18(weights=None).state_dict(), path)
        own = ["network.weights=file", f"network.weights_file={path}"]
        config = load_config("quick", own)
        one_epoch = load_config("quick", [*own, "training.stages=[{epochs: 1}]"])
        weights = load_backbone(config.network)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, (400, 128, 128), dtype=np.uint16)
    targets = rng.integers(0, 2, (400, 1)).astype(np.float32)
    epochs = sum(stage.epochs for stage in config.training.stages)

    def tuned() -> float:
        fitted = fit(
            pixels, targets, range(320), range(320, 400), one_epoch, weights=weights, seed=0, title="benchmark"
        )
        return FOLDS * epochs * float(fitted.history[0]["seconds"])

    def probed() -> float:
        started = time.perf_counter()
        fitter = LinearProbe(pixels, targets, targets, (), config, weights)
        for _ in range(FOLDS):
            fitter.fit(range(320), range(320, 400), title="benchmark")
        return time.perf_counter() - started

    seconds: dict[str, list[float]] = {"fine-tuning": [], "linear probe": []}
    for _ in range(rounds):
        seconds["fine-tuning"].append(tuned())
        seconds["linear probe"].append(probed())
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    return {"seconds": medians, "probe_ratio": medians["fine-tuning"] / medians["linear probe"]}


def whole_cohort(folder: Path, *, patients: int = 100, epochs: int = 10) -> dict[str, Any]:
    """Five-fold cross-validation of JPEG 2000 files: medres from file to report, and a script that decodes every epoch.

    The script's seconds are those of one epoch over all files, times epochs and folds: it would take minutes otherwise.
    """
    lines = ["path,PatientID,SOPInstanceUID,label_half"]
    encode = LOSSLESS[f"{JPEG}90"]
    for number in range(patients):
        stored = picture(1500, 1500, seed=number)
        tags: dict[str, Any] = {"PatientID": str(number), "SOPInstanceUID": f"2.25.{number + 1}"}
        tags |= {"WindowCenter": 2048, "WindowWidth": 4096}  # the whole range, as the script takes it
        write(folder / f"{number}.dcm", compress(radiograph(stored, **tags), f"{JPEG}90", encode(stored)))
        lines.append(f"{number}.dcm,{number},2.25.{number + 1},{number % 2}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    changes = ["preprocessing.size=64", f"training.stages=[{{epochs: {epochs}}}]", "training.saturation=1"]
    config = load_config("quick", [*changes, "training.patience=99"])
    agree(manifest, config)
    started = time.perf_counter()
    cross_validate(manifest, labels=["half"], config=config, out=folder / "run")
    ours = time.perf_counter() - started
    theirs = FOLDS * (epochs * 0.8 + 0.2) * decoding_epoch(manifest, config)
    return {"seconds": {"medres": ours, "decoding script": theirs}, "cohort_ratio": theirs / ours}


def script_transforms(size: int) -> Compose:
    """What a straightforward script does with a file: read, scale, resize."""
    return Compose(
        [
            LoadImaged(["image"], reader="PydicomReader", ensure_channel_first=True, image_only=True, swap_ij=False),
            Lambdad(["image"], lambda image: image.squeeze(-1) / 4095),
            Resized(["image"], (size, size), mode="area"),
        ]
    )


def agree(manifest: Path, config: Config) -> None:
    """Refuse to compare speeds of things that do not show the same image, but for the windows the resizes average."""
    row = read_manifest(manifest, ["half"]).rows[0]
    ours = prepare(os.fspath(row.path), spec=config.preprocessing, gate=config.gate, limits=config.limits)
    theirs = np.asarray(script_transforms(config.preprocessing.size)({"image": os.fspath(row.path)})["image"])[0]
    if isinstance(ours, Refusal) or np.abs(as_float(ours.pixels) - theirs).max() > 0.03:
        raise SystemExit("parity: the two ways do not show the same radiograph")


def decoding_epoch(manifest: Path, config: Config) -> float:
    """Seconds of one epoch of a plain loop over MONAI's DataLoader that reads every file."""
    rows = read_manifest(manifest, ["half"]).rows
    items = [{"image": os.fspath(row.path), "label": float(row.targets["half"] or 0)} for row in rows]
    network = build_network("resnet18", labels=1).train()
    optimizer = torch.optim.AdamW(network.parameters())
    files = DataLoader(Dataset(items, script_transforms(config.preprocessing.size)), batch_size=32, shuffle=True)
    started = time.perf_counter()
    for batch in files:
        logits = network(batch["image"])[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logits, batch["label"].float())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
