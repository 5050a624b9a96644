"""How tests/fixtures/format3 was made: a model and a run of two folds, by the last commit before issue 12.

Run once by the Python of that commit, with OMP_NUM_THREADS set to 1:
`python tests/support/make_format3.py tests/fixtures/format3`. Everything is what that version's `medres train` and
`medres crossval` write, of the cohort of `write_cohort`, but for one thing: after each fit the network's weights and
the feature space are replaced by tensors that `drawn_tensors` gives again, so that they need not be committed. Logits,
temperatures, thresholds, tables and cards are those of the drawn networks; the histories are those of the fits.

It imports modules of that commit; this version has others.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

MADE = {  # folder: seed of the tensors, and the head's bias that brings their logits about 0
    "model": {"seed": 88, "bias": -2.375},
    "run/models/fold-0": {"seed": 78, "bias": -22.25},
    "run/models/fold-1": {"seed": 86, "bias": -11.75},
}
OPTIONS = (
    "--label=disc",
    "--set=preprocessing.size=64",
    "--set=training.stages=[{epochs: 3}]",
    "--set=training.batch_size=8",
    "--set=crossval.folds=2",
    "--set=evaluation.replicates=200",
)
KEPT_OUT = ("*.safetensors", "*.png", "*.html", "tables")
"""What is not committed: drawn again, or made again by `medres report`."""


def main(out: Path) -> None:
    """Write the fixture into `out`, which is replaced."""
    from drawn_tensors import drawn_network, made_space, safetensors_bytes
    from medres.training.fitting import Fitter
    from phantoms import write_cohort

    from medres.model import saving
    from medres.model.outliers import FeatureSpace
    from medres.training import completing

    layouts: dict[str, dict[str, Any]] = {}
    fit = Fitter.fit

    def drawn_fit(self: Fitter, home: Path, *arguments: Any, **options: Any) -> Any:
        fitted = fit(self, home, *arguments, **options)
        import torch

        layouts["network"] = {name: _layout(value) for name, value in fitted.network.state_dict().items()}
        name = f"run/models/{home.name}" if home.name.startswith("fold-") else "model"
        arrays = drawn_network(layouts["network"], **MADE[name])  # type: ignore[arg-type]
        fitted.network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
        return fitted

    def drawn_space(features: Any) -> FeatureSpace:
        channels = features.shape[1]
        layouts["space"] = {
            "mean": {"dtype": "F32", "shape": [channels]},
            "directions": {"dtype": "F32", "shape": [8, channels]},
            "deviation": {"dtype": "F32", "shape": [8]},
            "residual": {"dtype": "F32", "shape": [1]},
        }
        return FeatureSpace(**made_space(layouts["space"]))

    def save(tensors: dict[str, Any], path: Path) -> None:
        arrays = {name: value.numpy() if hasattr(value, "numpy") else value for name, value in tensors.items()}
        Path(path).write_bytes(safetensors_bytes(arrays))

    Fitter.fit, completing.fit_feature_space = drawn_fit, drawn_space  # type: ignore[method-assign]
    saving.save_tensors = saving.save_arrays = save  # type: ignore[attr-defined]
    platform.platform = lambda *, terse: "Linux"  # where it was made is nobody's business
    out = out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(Path(folder))
        os.chdir(folder)
        os.environ["MEDRES_CACHE"] = "cache"
        _medres("train", "manifest.csv", "--out", "model", *OPTIONS)
        _medres("crossval", "manifest.csv", "--out", "run", *OPTIONS)
        shutil.rmtree(out, ignore_errors=True)
        for name in ("model", "run"):
            shutil.copytree(name, out / name, ignore=shutil.ignore_patterns(*KEPT_OUT))
        for path in sorted(out.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
    text = json.dumps({"models": MADE, "layouts": layouts}, indent=None, separators=(",", ":"))
    (out / "tensors.json").write_text(text.replace('},"', '},\n"') + "\n", encoding="utf-8")


def _layout(value: Any) -> dict[str, Any]:
    return {"dtype": "F32" if value.is_floating_point() else "I64", "shape": list(value.shape)}


def _medres(*arguments: str) -> None:
    from medres.cli import main as command

    sys.argv = ["medres", *arguments]
    try:
        command()
    except SystemExit as done:
        if done.code:
            raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
