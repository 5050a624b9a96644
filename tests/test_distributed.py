"""Several processes as one training: started by torchrun, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from medres.tables import read_csv, read_json
from tests.conftest import Medres
from tests.phantoms import write_cohort

STEADY = (
    "--set=preprocessing.size=128",
    "--set=training.stages=[{epochs: 2, size: 96}, {epochs: 1}]",
    "--set=training.batch_size=12",
    "--set=training.precision=fp32",
    "--set=training.learning_rate=1e-5",  # AdamW's steps amplify the last bits of small gradients
    "--set=training.saturation=1",
    "--set=training.patience=9",
    "--set=training.clip_norm=1",
    "--set=augmentation.erasing=0.3",
    "--set=augmentation.rotation=8",
    "--set=crossval.folds=2",
    "--set=evaluation.replicates=100",
)


GRADIENTS = """
import sys, torch
from medres.model.network import build_network
from medres.training.distributed import joined, synchronised
from medres.training.losses import MaskedLoss

with joined("cpu") as processes:
    torch.manual_seed(0)
    network = build_network("resnet18", labels=2).double()
    network = synchronised(network, processes, torch.device("cpu")).train()
    images, targets = torch.rand(10, 1, 64, 64).double(), torch.randint(0, 2, (10, 2)).double()
    targets[:5, 0] = float("nan")  # the processes have different numbers of known targets
    loss = MaskedLoss()
    mine, wanted = (processes.part(values) for values in (images, targets))
    share = loss.count(wanted) / processes.sum(loss.count(wanted))
    (loss(network(mine), wanted) * share).backward()
    processes.sum_gradients(network.parameters())
    if processes.first:
        found = {name: parameter.grad for name, parameter in network.named_parameters()}
        torch.save({"gradients": found, "buffers": dict(network.named_buffers())}, sys.argv[1])
"""


def together(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += map(str, arguments)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=24)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a local store")
def test_two_processes_have_the_loss_curve_of_one_with_the_same_batches(
    medres: Medres, cohort: Path, tmp_path: Path
) -> None:
    asked = ("crossval", cohort, "--label", "disc", *STEADY)
    alone = medres(*asked, "--out", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    both = together("-m", "medres.cli", *asked, "--out", tmp_path / "both")
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("disc: AUROC") == 1  # one process speaks
    for fold in ("fold-0", "fold-1"):
        one, two = (read_csv(tmp_path / run / "models" / fold / "history.csv") for run in ("alone", "both"))
        for column in ("loss", "validation_loss", "validation_auroc"):
            assert np.allclose(one[column].astype(float), two[column].astype(float), atol=1e-4), (fold, column)
        left, right = (
            load_file(tmp_path / run / "models" / fold / "models" / "model.safetensors") for run in ("alone", "both")
        )
        assert all(np.allclose(left[name], right[name], atol=1e-3) for name in left)
    assert len(read_csv(tmp_path / "both" / "oof.csv")) == 48
    assert read_json(tmp_path / "both" / "splits.json") == read_json(tmp_path / "alone" / "splits.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "both"]


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a local store")
def test_the_gradient_and_the_statistics_of_two_processes_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    found = []
    for processes in (1, 2):
        done = together(script, tmp_path / f"{processes}.pt", processes=processes)
        assert done.returncode == 0, done.stderr
        found.append(torch.load(tmp_path / f"{processes}.pt", weights_only=True))
    for kind in ("gradients", "buffers"):
        for name, value in found[0][kind].items():
            assert torch.allclose(value, found[1][kind][name], rtol=1e-5, atol=1e-6), (kind, name)
