"""How fast medres trains: beside the bare step, beside a script that decodes in every epoch, and a linear probe.

    python -m tests.benchmarks.train [--part step|probe|cohort] [--rounds 3]

Parity first: both sides show the network the same images. What is compared is run in turn, so that only ratios count;
the first round does not. JSON goes to standard output; the exit code is 1 where a promised ratio is not reached.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import shutil
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, Lambdad, LoadImaged, Resized
from torch.nn import functional
from torchvision.models import resnet18

from medres import cross_validate
from medres.cohort.manifest import read_manifest
from medres.config import Config, load_config
from medres.imaging.preprocessing import as_float, prepare
from medres.model.network import build_network
from medres.model.weights import load_backbone
from medres.records import Refusal
from medres.training.batches import TrainingData
from medres.training.engine import fit_network
from medres.training.linear_probe import LinearProbe
from medres.training.state import FitPlan
from tests.benchmarks.steps import bare_step
from tests.benchmarks.timing import finish, in_turn, medians, ratio, versions
from tests.support.dicom_files import JPEG, LOSSLESS, compress, picture, radiograph, write

FOLDS = 5
WORKERS = 2  # of the script's DataLoader; medres decodes in as many processes as there are processors
PROMISED = {"step": 0.93, "probe": 50.0, "cohort": 10.0}
"""images/s as a part of the bare step's; fine-tuning's seconds, and a decoding script's, as multiples of medres's."""


def main() -> None:
    """Measure, print, and say what was promised and not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PROMISED), help="this comparison alone")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", module="monai")  # its reader says of every radiograph that it has no orientation
    parts = {"step": whole_loop, "probe": probe, "cohort": whole_cohort}
    chosen = [arguments.part] if arguments.part else list(parts)
    found = {name: parts[name](arguments.rounds) for name in chosen}
    result = {"versions": versions("torch", "monai", "medres"), "threads": torch.get_num_threads(), **found}
    finish(result, [name for name in chosen if found[name]["ratio"] < PROMISED[name]])


def whole_loop(rounds: int) -> dict[str, Any]:
    """images/s of medres's whole loop (cache, augmentation, handlers), and of the step alone on a fixed tensor.

    Both after some steps that do not count: medres's are those of its first epoch.
    """
    config = load_config("quick", ["training.stages=[{epochs: 2}]", "training.patience=99", "training.saturation=1"])
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, (416, 128, 128), dtype=np.uint16)
    targets = rng.integers(0, 2, (416, 1)).astype(np.float32)

    plan = FitPlan(range(384), range(384, 416), seed=0, title="benchmark")

    def medres() -> float:
        fitted = fit_network(TrainingData(pixels, targets, targets), plan, config, weights=None)
        return float(fitted.history[1]["images_per_second"])

    runs = {"medres": medres, "bare step": lambda: bare_step(config, side=128, steps=12)}
    speeds = in_turn(runs, rounds=rounds)
    return {"images_per_second": medians(speeds), "ratio": ratio(speeds, "medres", "bare step")}


def probe(rounds: int) -> dict[str, Any]:
    """Seconds to fit five folds of 400 cached images: fine-tuning and a linear probe.

    Fine-tuning's are those of one epoch of each stage of the recipe, times the stage's epochs and the folds: no stage
    ends early, and validation is not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet18.pth"
        torch.save(resnet18(weights=None).state_dict(), path)
        own = ["network.weights=file", f"network.weights_file={path}"]
        config = load_config("quick", own)
        weights = load_backbone(config.network)
    stages = config.training.stages
    once = ", ".join(f"{{epochs: 1, size: {stage.size or config.preprocessing.size}}}" for stage in stages)
    short = load_config("quick", [*own, f"training.stages=[{once}]"])
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, (400, 128, 128), dtype=np.uint16)
    targets = rng.integers(0, 2, (400, 1)).astype(np.float32)

    data, plan = TrainingData(pixels, targets, targets), FitPlan(range(320), range(320, 400), 0, "benchmark")

    def tuned() -> float:
        fitted = fit_network(data, plan, short, weights=weights)
        pairs = zip(stages, fitted.history, strict=True)
        return FOLDS * sum(stage.epochs * float(epoch["seconds"]) for stage, epoch in pairs)

    def probed() -> float:
        started = time.perf_counter()
        fitter = LinearProbe(data, config, weights)
        for _ in range(FOLDS):
            fitter.fit(plan)
        return time.perf_counter() - started

    seconds = in_turn({"fine-tuning": tuned, "linear probe": probed}, rounds=rounds)
    return {"seconds": medians(seconds), "ratio": ratio(seconds, "fine-tuning", "linear probe")}


def whole_cohort(rounds: int, *, patients: int = 100, epochs: int = 10) -> dict[str, Any]:
    """Five-fold cross-validation of JPEG 2000 files: medres from file to report, and a script that decodes every epoch.

    The script's seconds are those of one epoch over all files, times epochs and folds: it would take minutes otherwise.
    It judges each fold in one pass, and has neither intervals nor a report.
    """
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        manifest = jpeg_2000_cohort(folder, patients=patients)
        changes = ["preprocessing.size=64", f"training.stages=[{{epochs: {epochs}}}]", "training.saturation=1"]
        config = load_config("quick", [*changes, "training.patience=99"])
        agree(manifest, config)

        def medres() -> float:
            os.environ["MEDRES_CACHE"] = str(folder / "cache")
            started = time.perf_counter()
            cross_validate(manifest, labels=["half"], config=config, out=folder / "run")
            seconds = time.perf_counter() - started
            shutil.rmtree(folder / "cache")  # the next round decodes again
            shutil.rmtree(folder / "run")
            return seconds

        passes = FOLDS * (epochs * (1 - 1 / FOLDS) + 1 / FOLDS)
        runs = {"medres": medres, "decoding script": lambda: passes * decoding_epoch(manifest, config)}
        seconds = in_turn(runs, rounds=max(1, rounds - 1))  # the longest part
    return {"seconds": medians(seconds), "ratio": ratio(seconds, "decoding script", "medres")}


def jpeg_2000_cohort(folder: Path, *, patients: int) -> Path:
    """One image of 1500 × 1500 pixels a patient; returns the manifest."""
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(partial(_write_jpeg_2000, folder), range(patients))
    lines = [f"{number}.dcm,{number},2.25.{number + 1},{number % 2}" for number in range(patients)]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(["path,PatientID,SOPInstanceUID,label_half", *lines]) + "\n")
    return manifest


def _write_jpeg_2000(folder: Path, number: int) -> None:
    stored = picture(1500, 1500, seed=number)
    tags: dict[str, Any] = {"PatientID": str(number), "SOPInstanceUID": f"2.25.{number + 1}"}
    tags |= {"WindowCenter": 2048, "WindowWidth": 4096}  # the whole range, as the script takes it
    encoded = LOSSLESS[f"{JPEG}90"](stored)
    write(folder / f"{number}.dcm", compress(radiograph(stored, **tags), f"{JPEG}90", encoded))


def script_transforms(size: int) -> Compose:
    """What a straightforward script does with a file: read, scale, resize."""
    return Compose(
        [
            LoadImaged(["image"], reader="PydicomReader", ensure_channel_first=True, image_only=True, swap_ij=False),
            Lambdad(["image"], lambda image: image.squeeze(-1) / 4095),
            Resized(["image"], (size, size), mode="area"),
        ]
    )


def agree(manifest: Path, config: Config, *, images: int = 5) -> None:
    """Refuse to compare speeds of things that do not show the same images, but for the windows the resizes average."""
    script = script_transforms(config.preprocessing.size)
    for row in read_manifest(manifest, ["half"]).rows[:images]:
        ours = prepare(os.fspath(row.path), spec=config.preprocessing, gate=config.gate, limits=config.limits)
        theirs = np.asarray(script({"image": os.fspath(row.path)})["image"])[0]
        if isinstance(ours, Refusal) or np.abs(as_float(ours.pixels) - theirs).max() > 0.03:
            raise SystemExit("parity: the two ways do not show the same radiograph")


def decoding_epoch(manifest: Path, config: Config) -> float:
    """Seconds of one epoch of a plain loop over MONAI's DataLoader whose workers read every file."""
    rows = read_manifest(manifest, ["half"]).rows
    items = [{"image": os.fspath(row.path), "label": float(row.targets["half"] or 0)} for row in rows]
    network = build_network("resnet18", labels=1).train()
    optimizer = torch.optim.AdamW(network.parameters())
    dataset = Dataset(items, script_transforms(config.preprocessing.size))
    files = DataLoader(dataset, batch_size=32, shuffle=True, num_workers=WORKERS)
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
