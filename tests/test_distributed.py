"""Several processes as one training: started by torchrun, on the CPU."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from medres.tables import read_csv, read_json
from medres.training.batches import TrainingData
from medres.training.checkpoints import Checkpoints
from medres.training.distributed import joined
from medres.training.engine import fit_network
from medres.training.state import FitPlan
from tests.conftest import Medres
from tests.support import preloaded
from tests.support.made import narrow_networks
from tests.support.phantoms import write_cohort
from tests.support.recipes import fixture_seed, quick
from tests.test_training import pixels

STEADY = (
    "--set=preprocessing.size=128",
    "--set=training.stages=[{epochs: 2, size: 96}, {epochs: 1}]",
    "--set=training.batch_size=12",
    "--set=training.precision=fp32",
    "--set=training.learning_rate=1e-5",  # AdamW's steps amplify the last bits of small gradients
    "--set=training.saturation=1",
    "--set=training.patience=9",
    "--set=training.clip_norm=1",
    "--set=training.frozen_epochs=1",  # then other weights learn
    "--set=augmentation.erasing=0.3",
    "--set=augmentation.rotation=8",
    "--set=crossval.folds=2",
    "--set=evaluation.replicates=100",
)


GRADIENTS = """
import sys, torch
from medres.model.network import build_network
from medres.training.checkpoints import Checkpoints
from medres.training.distributed import adding_up, joined, synchronised
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
    joint = adding_up(network, processes)
    (loss(joint(mine), wanted) * share).backward()
    if processes.first:
        found = {name: parameter.grad for name, parameter in network.named_parameters()}
        torch.save({"gradients": found, "buffers": dict(network.named_buffers())}, sys.argv[1])
"""


def torchrun(*arguments: object, processes: int = 2) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*command, *map(str, arguments)], {**os.environ, "OMP_NUM_THREADS": "1"}


def together(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command, environment = torchrun(*arguments, processes=processes)
    if processes == 1:
        command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    cohort = write_cohort(tmp_path_factory.mktemp("cohort"), patients=24)
    return ("crossval", cohort, "--label", "disc", *STEADY, f"--set=seed={fixture_seed()}")


@pytest.fixture(scope="module")
def both(asked: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("both")
    done = together("-m", "medres.cli", *asked, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("disc: AUROC") == 1  # one process speaks
    assert [path.name for path in folder.iterdir()] == ["run"]
    return folder / "run"


def assert_same_curves(one: Path, other: Path, *, within: float) -> None:
    for fold in ("fold-0", "fold-1"):
        histories = [read_csv(run / "models" / fold / "history.csv") for run in (one, other)]
        for column, most in (("loss", within), ("validation_loss", within), ("validation_auroc", within + 0.15)):
            left, right = (history[column].astype(float) for history in histories)  # last digits order a close pair
            assert np.allclose(left, right, rtol=0, atol=most), (fold, column)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a local store")
def test_two_processes_have_the_loss_curve_of_one_with_the_same_batches(
    medres: Medres, asked: tuple[object, ...], both: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    done = medres(*asked, "--out", alone)
    assert done.returncode == 0, done.stderr
    assert_same_curves(alone, both, within=1e-4)
    for fold in ("fold-0", "fold-1"):
        left, right = (load_file(run / "models" / fold / "models" / "model.safetensors") for run in (alone, both))
        assert all(np.allclose(left[name], right[name], atol=1e-3) for name in left)
    assert len(read_csv(both / "oof.csv")) == 48
    assert read_json(both / "splits.json") == read_json(alone / "splits.json")


@pytest.mark.sweep
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_two_processes_that_were_ended_go_on_to_the_same_end(
    asked: tuple[object, ...], both: Path, tmp_path: Path
) -> None:
    command, environment = torchrun("-m", "medres.cli", *asked, "--out", tmp_path / "run")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stderr is not None
        next(line for line in running.stderr if "fold 1/2 · epoch 2/3" in line)
        running.send_signal(signal.SIGTERM)  # torchrun ends its processes
        running.stderr.read()
        assert running.wait(timeout=120) != 0
    assert not (tmp_path / "run").exists()
    done = together("-m", "medres.cli", *asked, "--out", tmp_path / "run", "--resume")
    assert done.returncode == 0, done.stderr
    assert re.search("fold 1/2 · going on after epoch [23]", done.stderr)  # not only the first, which was kept at once
    assert_same_curves(tmp_path / "run", both, within=1e-6)


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


def _fit_twice(rank: int, count: int, port: int, folder: Path) -> None:
    """One process of a training whose batches of 32 are shared in 11, 11 and 10, in parts of 10 at most.

    Then its second epoch again, from the checkpoint of the first.
    """
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    changes = ("preprocessing.size=32", "training.stages=[{epochs: 2}]", "training.batch_size=32")
    random = ("network.dropout=0.5", "augmentation.noise=0.05")
    config = quick(*changes, *random, "training.micro_batch_size=10", "training.saturation=1")
    images, targets = pixels(48)
    kept, drawn, draw = Checkpoints(folder / "checkpoints", share=1), [], torch.randn_like

    def noted(images: torch.Tensor) -> torch.Tensor:
        drawn.append(draw(images))
        return drawn[-1]

    torch.randn_like = noted  # type: ignore[assignment]
    found = []
    with joined("cpu") as processes, narrow_networks():
        checkpoints = kept if processes.first else None
        for _ in range(2):
            data, plan = TrainingData(images, targets, targets), FitPlan(range(36), range(36, 48), seed=0, title="t")
            fitted = fit_network(data, plan, config, weights=None, checkpoints=checkpoints, processes=processes)
            found.append({"state": fitted.network.state_dict(), "history": list(fitted.history)})
            if checkpoints:
                checkpoints.newest.unlink()
    torch.save({"found": found, "drawn": drawn}, folder / f"{rank}.pt")


@pytest.mark.skipif(preloaded.server() is None, reason="processes are forked")
def test_processes_with_different_shares_make_as_many_parts_draw_for_themselves_and_end_alike(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = preloaded.server()
    assert context is not None
    running = [context.Process(target=_fit_twice, args=(rank, 3, port, tmp_path)) for rank in range(3)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
        ended = process.exitcode
        process.kill()
        assert ended == 0  # None: it hangs
    saved = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(3)]
    whole, resumed = saved[0]["found"]
    assert [entry["smallest_part"] for entry in whole["history"]] == [5, 5]
    for name, value in whole["state"].items():
        assert all(torch.equal(value, other["found"][0]["state"][name]) for other in saved[1:]), name
        assert torch.equal(value, resumed["state"][name]), name
    drawn = [one["drawn"] for one in saved]
    assert [len(noise) for noise in drawn[0]] == [11, 11, 11]
    assert not torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[1][0][:10], drawn[2][0])
    for noise in drawn:
        assert torch.equal(noise[1], noise[2])  # the second epoch, again
