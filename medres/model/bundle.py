"""The MONAI side of a saved model: configurations that `monai.bundle run` executes, and the card in words.

None of what lies in the folder holds the model's name, for the name is a hash of the card, and the card covers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import JsonValue

from medres.formatting import DASH, bounds, figure, share_of
from medres.model.card import ModelCard
from medres.records import Interval

_NONE = "none"  # what stands where a figure has no interval
CARD_TEXT = "docs/README.md"
"""Where the card in words lies in a model's folder."""


def metadata(card: ModelCard) -> dict[str, JsonValue]:
    """`configs/metadata.json`, after MONAI's bundle schema."""
    packages = card.provenance.packages
    side = card.preprocessing.size
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": f"written by medres {packages.get('medres', '')}"},
        "monai_version": packages.get("monai", ""),
        "pytorch_version": packages.get("torch", ""),
        "numpy_version": packages.get("numpy", ""),
        "required_packages_version": {
            name: packages[name] for name in ("medres", "safetensors", "torchvision", "pydicom") if name in packages
        },
        "name": bundle_name(card),
        "task": f"Radiograph classification: {', '.join(card.labels)}",
        "description": f"{card.architecture} classifier of DICOM radiographs; start: {card.weights}",
        "authors": "trained with medres",
        "copyright": "see LICENSE",
        "data_source": f"manifest with SHA-256 {card.provenance.manifest_sha256}",
        "data_type": "dicom",
        "image_classes": "single-channel radiograph, [0, 1], higher = brighter",
        "label_classes": "1 present, 0 absent",
        "pred_classes": "calibrated probability of each label",
        "eval_metrics": {
            f"{label}_{name}": interval.value
            for label, metrics in card.metrics.items()
            for name, interval in metrics.items()
            if interval.value is not None
        },
        "intended_use": card.intended_use,
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "X-ray",
                    "num_channels": 1,
                    "spatial_shape": [side, side],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "classes",
                    "num_channels": len(card.labels),
                    "spatial_shape": [1],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {str(place): label for place, label in enumerate(card.labels)},
                }
            },
        },
    }


def bundle_name(card: ModelCard) -> str:
    """What a bundle is called that cannot hold its model's name."""
    return f"medres {card.architecture}: {', '.join(card.labels)}"


def inference(card: ModelCard) -> dict[str, JsonValue]:
    """`configs/inference.json`: a folder of DICOM files in, calibrated probabilities out, all MONAI components.

    Run from the model's folder, or with `--bundle_root MODEL`:
    `python -m monai.bundle run --config_file configs/inference.json --input FOLDER --output predictions.csv`.
    """
    return {
        "imports": [
            "$import torch",
            "$from pathlib import Path",
            "$from safetensors.torch import load_file",
            "$from medres.model.network import full_precision",
        ],
        "bundle_root": ".",
        "input": "",
        "output": "predictions.csv",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "medres.model.network.build_network",
            "architecture": card.architecture,
            "labels": len(card.labels),
            "folded": card.folded,
        },
        "network": "$@network_def.to(@device)",
        "datalist": "$[{'image': str(path)} for path in sorted(Path(@input).rglob('*')) if path.is_file()]",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "medres.training.transforms.LoadRadiographd",
                    "keys": ["image"],
                    "specification": card.preprocessing.model_dump(mode="json"),
                    "gate": card.gate.model_dump(mode="json"),
                }
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 16,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "medres.training.transforms.CalibratedProbabilitiesd",
                    "keys": ["pred"],
                    "temperatures": {**card.temperatures},
                    "tasks": [asdict(task) for task in card.tasks],
                }
            ],
        },
        "handlers": [
            {
                "_target_": "medres.training.handlers.ProbabilityTable",
                "labels": list(card.labels),
                "output": "@output",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": False,
        },
        "initialize": ["$@network.load_state_dict(load_file(@bundle_root + '/models/model.safetensors'))"],
        "run": ["$full_precision()(@evaluator.run)()"],  # as `medres score` computes
    }


def train(card: ModelCard) -> dict[str, JsonValue]:
    """`configs/train.json`: the same recipe on another manifest."""
    return {
        "imports": [
            "$from pathlib import Path",
            "$from medres.config import Config",
            "$from medres.cohort.tasks import read_tasks",
            "$from medres import train",
        ],
        "manifest": "",
        "output": "",
        "tasks": [asdict(task) for task in card.tasks],
        "config": card.provenance.config,
        "run": [
            "$train(Path(@manifest), labels=read_tasks(@tasks), "
            "config=Config.model_validate(@config), out=Path(@output))"
        ],
    }


def _smaller_copies(card: ModelCard) -> str:
    side = card.preprocessing.shorter_side()
    return f"; decoded reduced, to {side} pixels or more, where an image holds a smaller copy" if side else ""


def card_text(card: ModelCard) -> str:
    """The model card as Markdown, from the same numbers; without a name before the model has one."""
    origin = card.provenance
    start = card.weights if card.provenance.backbone.sha256 else f"**{card.weights}**"
    lines = [
        f"# {card.model_id or bundle_name(card)}",
        "",
        "**Not for diagnostic use.** " + card.intended_use,
        "",
        f"- Network: {card.architecture}, {card.parameters:,} parameters, input {card.preprocessing.size} × "
        f"{card.preprocessing.size} pixels, one channel{_smaller_copies(card)}",
        f"- Starting weights: {start}",
        *(f"- {task}" for task in card.tasks),
        f"- {card.folds or _trained(card)}",
        f"- Accepts: gate `{card.gate.name}`",
        f"- Manifest SHA-256 `{origin.manifest_sha256}`, splits SHA-256 `{origin.splits_sha256}`"
        + ("" if card.folds else f", seed {origin.seed}"),
        "",
        "## Operating points",
        "",
        *_points(card),
    ]
    lines += ["", f"## Metrics ({card.metrics_split})", "", *_metrics(card.metrics)]
    lines += ["", "## Limits", ""]
    lines += [f"- {limit}" for limit in (*card.limits, *filter(None, [card.whereabouts]))]
    packages = ", ".join(f"{name} {version}" for name, version in origin.packages.items())
    lines += ["", f"Made with {packages}; commit {origin.git_commit or 'not recorded'}; {origin.device}.", ""]
    return "\n".join(lines)


def held_out_text(model_id: str, held_out: Mapping[str, Mapping[str, Any]]) -> str:
    """What the held-out patients of a fold said of its model, as Markdown.

    Args:
        model_id: the fold's model.
        held_out: what `metrics.json` says of the fold, by label.
    """
    title = "## Metrics (the patients whom this fold held out: they chose nothing)"
    return "\n".join([f"# {model_id}", "", title, "", *_held_out(held_out), ""])


def _trained(card: ModelCard) -> str:
    origin = card.provenance
    what = origin.chosen.removesuffix(", ")
    kept = f"{what} {origin.best_epoch} of {origin.epochs}, " if what else f"all {origin.epochs} epochs; "
    return (
        f"Trained {origin.created} on {origin.training_images} images of {origin.training_patients} patients; {kept}"
        f"temperature, thresholds chosen on {origin.validation_images} images of {origin.validation_patients} other "
        "patients"
    )


def _points(card: ModelCard) -> list[str]:
    rows = [("label", "threshold", "rule"), ("---",) * 3]
    rows += [(label, f"{point.threshold:.4f}", point.rule) for label, point in card.operating_points.items()]
    if not card.folds:
        rest = [("sensitivity there", "specificity there", "validation images", "temperature"), ("---",) * 4]
        for label, point in card.operating_points.items():
            reached = figure(point.sensitivity), figure(point.specificity)
            rest.append((*reached, str(point.n), figure(card.temperatures[label])))
        return [f"| {' | '.join((*row, *others))} |" for row, others in zip(rows, rest, strict=True)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _metrics(metrics: Mapping[str, Mapping[str, Interval]]) -> list[str]:
    if not metrics:
        return ["None recorded."]
    lines = [
        "| label | metric | value | interval | n (patients) | method |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for label, values in metrics.items():
        for name, item in values.items():
            interval = bounds(item, between=DASH) or _NONE
            count = f"{item.n} ({item.n_patients})"
            lines.append(
                f"| {label} | {name} | {figure(item.value, minus='-')} | {interval} | {count} | {item.method} |"
            )
    return lines


def _held_out(folds: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "| label | AUROC | interval | sensitivity (of the positives) | specificity (of the negatives) "
        "| n (patients, positive) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for label, fold in folds.items():
        ends = fold.get("auroc_low"), fold.get("auroc_high")
        auroc = Interval(fold["auroc"], *ends, "", fold["n"], fold["n_patients"])
        figures = " | ".join(
            [
                figure(auroc.value),
                bounds(auroc, between=DASH) or _NONE,
                share_of(fold["sensitivity"], fold["n_positive"]),
                share_of(fold["specificity"], fold["n"] - fold["n_positive"]),
            ]
        )
        lines.append(f"| {label} | {figures} | {fold['n']} ({fold['n_patients']}, {fold['n_positive']}) |")
    return lines
