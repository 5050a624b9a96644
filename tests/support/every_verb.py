"""Every verb on a few phantoms, its networks made: `demo` by itself, the others one after the other in one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.made import made_networks
from tests.support.recipes import MADE, TINY, TOKEN
from tests.support.smaller_copies import write_j2k_cohort

_QUICK = (*TINY, *TOKEN, *MADE)
_VERDICTS = Path(__file__).resolve().parents[1] / "fixtures" / "stores" / "v0001.db"
SERVED = {"app", "demo"}
"""The verbs that serve the review app, which a test runs by themselves."""


def commands(demo: Path, out: Path) -> list[list[str]]:
    """A command line for every other verb, in the order in which they need each other.

    Args:
        demo: what `medres demo` wrote.
        out: a folder for what they write.
    """
    images, manifest = demo / "cohort" / "images", out / "manifest.csv"
    checked = write_j2k_cohort(out / "checked", count=100, side=256, label="nodule")
    one = sorted(images.rglob("*.dcm"))[0]
    nodule = ("--label", "nodule")
    lines = [
        ("doctor",),
        ("index", images, "--labels", demo / "cohort" / "labels.csv", "--out", manifest),
        ("check", manifest, "--out", out / "leaks"),
        ("split", manifest, *nodule, "--folds", 2, "--out", out / "splits.json"),
        ("crossval", manifest, *nodule, "--splits", out / "splits.json", "--out", out / "run", *_QUICK),
        (
            "crossval",
            manifest,
            *nodule,
            "--splits",
            out / "splits.json",
            "--out",
            out / "other",
            *_QUICK,
            "--set=seed=1",
        ),
        ("report", out / "run"),
        ("train", manifest, *nodule, "--out", out / "model", *_QUICK),
        ("inspect", out / "model"),
        ("export", out / "model", "--out", out / "travels"),
        ("sign", out / "travels", "--new-key", out / "key.pem"),
        ("evaluate", out / "model", manifest, "--allow-overlap", "--out", out / "external"),
        ("compare", out / "run", out / "other", "--no-timing", "--out", out / "compared"),
        (
            "depth",
            manifest,
            *nodule,
            "--architectures",
            "resnet18,resnet34",
            "--seeds",
            1,
            "--splits",
            out / "splits.json",
            "--out",
            out / "depth",
            *_QUICK,
        ),
        ("heatmap-check", out / "model", "--run", out / "run"),
        ("accuracy-check", out / "model", checked, "--decode", "reduced"),
        ("score", out / "model", images.parent / "images", "--heatmaps", "--out", out / "scored"),
        ("verdicts", "restore", _VERDICTS, "--scores", out / "scored"),
        ("verdicts", "verify", "--scores", out / "scored", "--against", _VERDICTS),
        ("verdicts", "backup", "--scores", out / "scored", "--out", out / "backup.db"),
        ("verdicts", "export", "--store", f"sqlite:///{out / 'backup.db'}", "--out", out / "said"),
        ("render", one, "--out", out / "one.png"),
        ("explain", out / "model", one, *nodule, "--show-anyway", "--out", out / "where.png"),
    ]
    return [[str(word) for word in line] for line in lines]


def main() -> None:
    """`demo …` as `medres demo …`; else two folders, as `commands` takes them: prints verbs and exit codes as JSON."""
    from medres import demo
    from medres.cli import main as run
    from medres.cli import medres
    from medres.config import load_config
    from medres.model import accuracy

    changes = [option.removeprefix("--set=") for option in _QUICK]
    with made_networks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "MOST_PROBABILITY", 0.1)  # a made network is steeper than one that is trained
        patch.setattr(demo, "load_config", lambda name, own: load_config(name, [*own, *changes, "crossval.folds=2"]))
        if sys.argv[1] == "demo":
            run()
        ended: dict[str, int] = {}
        for line in commands(Path(sys.argv[1]), Path(sys.argv[2])):
            try:
                ended[line[0]] = medres.main(line, standalone_mode=False) or 0
            except SystemExit as ending:
                ended[line[0]] = int(ending.code or 0)
        sys.stdout.write("\n" + json.dumps(ended) + "\n")


if __name__ == "__main__":
    main()
