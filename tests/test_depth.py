"""A study of depth: its verdicts are those of `compare`, its answer follows them, and a kill changes nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from medres.cli import medres as command_line
from medres.cohort.manifest import read_manifest
from medres.config import Config, Evaluation, load_config
from medres.documents import read_document, write_document
from medres.errors import ManifestError, UsageError, WeightsError
from medres.evaluation.comparison import PRIMARY
from medres.evaluation.comparison_results import ComparedDifference
from medres.evaluation.depth import DepthRun, DepthStudy, NetworkCost, cheapest_tie
from medres.records import Interval
from medres.report.depth_page import write_depth
from medres.report.depth_sentences import answers
from medres.runs.comparable import read_comparable
from medres.runs.compare import compare_runs
from medres.runs.depth import memory, trials
from medres.runs.depth import study as studies
from medres.runs.depth.judging import judge
from medres.runs.depth.study import DepthPlan, study_depth
from medres.runs.folds import Folds
from medres.runs.options import RunOptions
from medres.runs.run import OpenRun
from medres.tables import write_csv
from tests.support.browsing import MEDRES
from tests.support.made import made_networks
from tests.support.recipes import TOKEN, made
from tests.test_comparison import run_of, tables
from tests.test_report import bare_figures, visible

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101")
NOISE = 0.95
"""Of the scores of the worse networks: see the test of the assumed spread."""

COSTS = {name: float(place + 1) for place, name in enumerate(NAMES)}


def difference(name: str, verdict: str, *, low: float | None = -0.02) -> ComparedDifference:
    found = Interval(-0.01, low, None if low is None else 0.005, "no interval" if low is None else "", 90, 60)
    return ComparedDifference(
        label="", metric=PRIMARY, reference="x", candidate=name, difference=found, level=0.95, p=None, p_holm=None,
        seed_bar=None, excludes_zero=None, verdict=verdict,
    )  # fmt: skip


REACHED = Interval(0.9, 0.85, 0.94, "", 90, 60)


@given(st.sampled_from(NAMES), st.lists(st.sampled_from(["tie", "worse", "undefined"]), min_size=4, max_size=4))
def test_the_answer_ties_with_the_best_and_nothing_cheaper_may(best: str, verdicts: Sequence[str]) -> None:
    others = {name: verdict for name, verdict in zip(NAMES, verdicts, strict=True) if name != best}
    answer, why = cheapest_tie(best, REACHED, [difference(*one) for one in others.items()], COSTS)
    if answer is None:
        assert why == "no interval"
        assert "undefined" in others.values()
        return
    assert answer == best or others[answer] == "tie"
    assert why == ("best" if answer == best else "tie")
    assert {others[name] for name in others if COSTS[name] < COSTS[answer]} <= {"worse"}


def test_a_network_that_may_know_nothing_is_no_answer() -> None:
    for reached in (Interval(0.6, 0.5, 0.7, "", 9, 9), Interval(0.9, None, None, "no interval", 9, 9)):
        assert cheapest_tie("resnet18", reached, [], COSTS)[0] is None


def cost_of(name: str) -> NetworkCost:
    return NetworkCost(
        architecture=name, parameters=10**7, gflop=COSTS[name], training_images_per_second=100.0,
        scoring_images_per_second=300.0, training_memory=10**9, estimated_seconds=60.0, machine="a processor",
        training_device="cpu, fp32",
    )  # fmt: skip


def write_runs(folder: Path, *, seeds: int, noise: float = 1.6) -> dict[str, list[Path]]:
    """A good ResNet-34, and a noisier ResNet-18 and ResNet-50, some runs each."""
    found: dict[str, list[Path]] = {}
    for place, name in enumerate(("resnet18", "resnet34", "resnet50")):
        for seed in range(seeds):
            table = tables(1, noise)[0].copy()
            generator = np.random.default_rng([place, seed])
            spread = 0.01 if name == "resnet34" else noise
            logits = table["logit_effusion"] + generator.normal(0, spread, len(table))
            table["logit_effusion"], table["prob_effusion"] = logits, 1 / (1 + np.exp(-logits))
            path = folder / f"{name}-seed{seed}"
            found.setdefault(name, []).append(run_of(path, table, architecture=name, seed=seed))
    return found


def fit_of(folder: Path, name: str, seed: int) -> DepthRun:
    own = {"effusion": (0.9, 0.92)}
    return DepthRun(
        name=folder.name, architecture=name, seed=seed, seconds=9.0, oof_sha256="ab", training_auroc={
            "effusion": (1.0, 0.98)}, held_out_auroc=own,
    )  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 3])
def test_verdicts_are_those_that_compare_gives_the_best_one_first(tmp_path: Path, seeds: int) -> None:
    folders = write_runs(tmp_path, seeds=seeds, noise=3.0)
    groups = {name: [read_comparable(one) for one in own] for name, own in folders.items()}
    fits = [fit_of(one, name, seed) for name, own in folders.items() for seed, one in enumerate(own)]
    evaluation = groups["resnet18"][0].evaluation
    found = judge(groups, fits, [cost_of(name) for name in folders], evaluation, probe=False)
    judged = found.labels["effusion"]
    assert judged.best == "resnet34"
    ordered = [*groups["resnet34"], *groups["resnet18"], *groups["resnet50"]]
    compared = compare_runs(ordered, out=tmp_path / "compared", timing=False)
    expected = {one.candidate.lower().replace("-", ""): one for one in compared.deciding("effusion")}
    assert {one.candidate for one in judged.differences} == set(expected)
    for one in judged.differences:
        other = expected[one.candidate]
        assert (one.verdict, one.difference, one.p_holm) == (other.verdict, other.difference, other.p_holm)
    assert (judged.answer, judged.why) == ("resnet34", "best")
    assert judged.gap("resnet18") == pytest.approx(0.08)


def test_with_one_seed_an_answer_that_hangs_on_the_assumed_spread_is_none(tmp_path: Path) -> None:
    """Differences that seeds which change 0.017 may give, and seeds which change 0.004 may not."""
    folders = write_runs(tmp_path, seeds=1, noise=NOISE)
    groups = {name: [read_comparable(one) for one in own] for name, own in folders.items()}
    fits = [fit_of(own[0], name, 0) for name, own in folders.items()]
    for probe, why in ((False, "seeds"), (True, "best")):  # nothing is random in a probe
        found = judge(groups, fits, [cost_of(name) for name in folders], Evaluation(), probe=probe).labels["effusion"]
        assert found.why == why
        assert (found.answer is None) is not probe


def study_of(tmp_path: Path, **changes: object) -> DepthStudy:
    """A study of constructed runs."""
    folders = write_runs(tmp_path / "runs", seeds=3, noise=3.0)
    groups = {name: [read_comparable(one) for one in own] for name, own in folders.items()}
    fits = [fit_of(one, name, seed) for name, own in folders.items() for seed, one in enumerate(own)]
    costs = [cost_of(name) for name in folders]
    found = judge(groups, fits, costs, Evaluation(replicates=200), probe=False)
    table = groups["resnet18"][0].table
    study = DepthStudy(
        labels=("effusion",), images=len(table), patients=int(table["PatientID"].nunique()), folds=3, seeds=(0, 1, 2),
        splits_sha256="ab", recipe="quick", side=64, weights="none", probe=False, confidence=0.95, tested=2,
        correction="Holm 1979", networks=tuple(costs), runs=tuple(fits), found=found.labels,
    )  # fmt: skip
    return study.model_copy(update=changes)


def test_the_page_says_the_answer_and_every_figure_has_its_interval_or_its_n(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    write_document(tmp_path / "depth.json", study)
    assert read_document(tmp_path / "depth.json", DepthStudy) == study
    write_csv(tmp_path / "depth.csv", pd.DataFrame(studies.depth_rows(study)))
    studies.write_run_record(tmp_path, studies.depth_record())
    page = write_depth(tmp_path).read_text(encoding="utf-8")
    bare, seen = bare_figures(page)
    assert bare == []
    assert seen >= 3 * 4 + 9
    (said,) = answers(study)
    assert said.startswith("the cheapest network that ties with the best is the best itself, ResNet-34, AUROC 0.")
    assert said.endswith("all that is cheaper is worse.")
    assert said[1:].partition("(")[0] in visible(page)
    assert page.count("<svg") == 2
    assert "<script" not in page
    rows = pd.read_csv(tmp_path / "depth.csv")
    assert rows["architecture"].tolist() == ["resnet18", "resnet34", "resnet50"]
    assert rows["verdict"].tolist() == ["worse", "best", "worse"]
    assert rows["answer"].tolist() == [0, 1, 0]
    with pytest.raises(UsageError, match="study of depth"):
        OpenRun.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answer": "resnet18", "why": "tie"}, "is ResNet-18: AUROC −"),
        ({"answer": None, "why": "chance"}, "cannot be told which depth is worth it: the best network, ResNet-34"),
        ({"answer": None, "why": "seeds"}, "--seeds 3 does"),
        ({"answer": None, "why": "no interval"}, "no interval"),
    ],
)
def test_every_kind_of_answer_is_a_sentence(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    study = study_of(tmp_path)
    label = study.found["effusion"].model_copy(update=changes)
    (said,) = answers(study.model_copy(update={"found": {"effusion": label}}))
    assert words in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    ("names", "seeds", "words"),
    [
        (["resnet18", "resnet20"], 3, "no architecture resnet20; it knows resnet18"),
        (["resnet18", "resnet18", "resnet34"], 3, "resnet18 twice"),
        ([], 3, "no architecture is named"),
        (["resnet50"], 3, "two networks or more"),
        (["resnet18", "resnet50"], 0, "--seeds must be 1"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_words(names: list[str], seeds: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        DepthPlan.of(names, seeds=seeds)


def test_few_seeds_are_allowed_and_it_is_said_what_they_cannot_tell() -> None:
    two = ["resnet34", "resnet18"]
    assert DepthPlan.of(two, seeds=3).advice() == ""
    assert "with 1 seed of each network" in DepthPlan.of(two, seeds=1).advice()
    assert "--seeds 3" in DepthPlan.of(two, seeds=2).advice()
    probe = DepthPlan.of(two, seeds=3, probe=True)
    assert (probe.seeds, probe.advice(), probe.architectures) == (1, "", ("resnet18", "resnet34"))


def refused(manifest: Path, out: Path, *changes: str, probe: bool = False) -> str:
    """Why a study is refused before it writes anything."""
    plan = DepthPlan.of(["resnet18", "resnet34"], seeds=1, probe=probe)
    own = [option.removeprefix("--set=") for option in TOKEN]
    config = load_config("quick", [*own, "training.stages=[{epochs: 1}]", *changes])
    with pytest.raises((UsageError, ManifestError, WeightsError)) as error:
        study_depth(read_manifest(manifest, ["disc"]), plan, config=config, out=out)
    assert not list(out.parent.iterdir())
    return str(error.value)


def test_what_cannot_end_is_refused_before_anything_is_decoded(
    small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "depth"
    out.parent.mkdir()
    assert "choose fewer folds" in refused(small_cohort, out, "crossval.folds=15")
    assert "pretrained features" in refused(small_cohort, out, probe=True)
    missing = refused(small_cohort, out, "network.weights=IMAGENET1K_V1", probe=True)
    assert "resnet18 IMAGENET1K_V1 are not on this machine" in missing
    assert "the same holds for resnet34" in missing
    assert "one weights file fits one architecture" in refused(
        small_cohort, out, "network.weights=file", "network.weights_file=x.pth"
    )
    monkeypatch.setattr(trials, "free_memory", lambda device: 400_000_000)
    few = refused(small_cohort, out)
    assert "a training step of resnet34 with 32 images of 32 pixels" in few
    assert "--architectures resnet18" in few
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "in one process" in refused(small_cohort, out)


def small_study(manifest: Path, out: Path, *, resume: bool = False) -> DepthStudy:
    """Two networks, made, one seed."""
    own = [option.removeprefix("--set=") for option in TOKEN]
    config: Config = made(*own, "preprocessing.size=32")
    plan = DepthPlan.of(["resnet18", "resnet34"], seeds=1)
    options = RunOptions(resume=resume)
    with made_networks():
        found = study_depth(read_manifest(manifest, ["disc"]), plan, config=config, out=out, options=options)
    assert found is not None
    return found


UNTIMED = ["label", "architecture", "auroc", "low", "high", "difference", "verdict", "answer", "training_auroc", "gap"]


@pytest.mark.slow
def test_a_study_that_was_killed_twice_ends_in_the_table_of_one_that_was_not(
    small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "measure_costs", lambda *_, **__: (cost_of("resnet18"), cost_of("resnet34")))
    whole = small_study(small_cohort, tmp_path / "whole")
    fit, fitted = Folds.fit, [0]

    def failing(self: Folds, fold: object) -> None:
        fitted[0] += 1
        if fitted[0] in (2, 4):  # in the first run, and in the second
            raise KeyboardInterrupt
        fit(self, fold)  # type: ignore[arg-type]

    monkeypatch.setattr(Folds, "fit", failing)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            small_study(small_cohort, tmp_path / "killed", resume=True)
        assert not (tmp_path / "killed").exists()
    resumed = small_study(small_cohort, tmp_path / "killed", resume=True)
    assert fitted[0] == 6  # four fits, two of them begun twice
    one, other = (pd.read_csv(tmp_path / name / "depth.csv")[UNTIMED] for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(one, other)
    assert resumed.found == whole.found
    assert {run.name for run in resumed.runs} == {"resnet18-seed0", "resnet34-seed0"}
    for run in resumed.runs:
        assert OpenRun.open(tmp_path / "killed" / "runs" / run.name).record.seed == 0
        assert all(value is not None for value in run.training_auroc["disc"])
    for name in ("whole", "killed"):
        assert not list(tmp_path.glob(f"{name}.unfinished"))


@pytest.mark.sweep
@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_the_command_that_was_killed_twice_ends_in_the_table_of_one_that_was_not(
    small_cohort: Path, tmp_path: Path
) -> None:
    """With real processes, real networks and SIGKILL, once between two fits and once within one."""

    def command(name: str) -> list[str]:
        words = "--label disc --seeds 2 --architectures resnet18,resnet34 --set crossval.folds=2 --resume --out"
        changes = [*TOKEN, "--set=training.stages=[{epochs: 2}]"]
        return [MEDRES, "depth", str(small_cohort), *changes, *words.split(), str(tmp_path / name)]

    def killed_after(fits: int, moment: float) -> None:
        folder = tmp_path / "killed.unfinished" / "fits"
        with subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            while len(list(folder.glob("*.json"))) < fits:
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(moment)
            process.kill()
        assert not (tmp_path / "killed").exists()

    subprocess.run(command("whole"), check=True, capture_output=True)
    killed_after(1, 0.0)
    killed_after(2, 1.5)
    subprocess.run(command("killed"), check=True, capture_output=True)
    one, other = (pd.read_csv(tmp_path / name / "depth.csv")[UNTIMED] for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(one, other)
    assert not (tmp_path / "killed.unfinished").exists()


def test_costs_are_measured_on_noise_and_add_up_to_an_estimate() -> None:
    config = load_config("quick", ["preprocessing.size=32", "training.batch_size=2", "training.stages=[{epochs: 3}]"])
    work = trials.Workload(learnt=1000, scored=500)
    one, other = trials.measure_costs(config, ("resnet18", "resnet34"), labels=1, work=work)
    assert one.parameters < other.parameters
    assert one.gflop < other.gflop
    for found in (one, other):
        assert found.training_images_per_second
        assert found.training_memory is not None
        expected = 3000 / found.training_images_per_second + 500 / found.scoring_images_per_second
        assert found.estimated_seconds == pytest.approx(expected, rel=0.05)
    lines = trials.estimate_lines([one, other], seeds=3, names={"resnet18": "a", "resnet34": "b"})
    assert lines[0].startswith("a: 11.2 million parameters")
    assert len(lines) == 3


@pytest.mark.parametrize("kept", [True, False], ids=["kept by the system", "looked at"])
def test_memory_of_a_block_is_seen_at_its_peak(kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kept:
        monkeypatch.setattr(memory, "_FORGET", tmp_path / "no such place" / "file")
    waste = [torch.ones(2_000_000) for _ in range(20)]
    del waste  # freed, and a part of it still held by the process
    with memory.peak_memory(torch.device("cpu")) as peak:
        held = torch.ones(40_000_000)
        time.sleep(0.2)
    del held
    assert 150_000_000 < peak.taken < 400_000_000
    with memory.peak_memory(torch.device("cpu")) as peak:
        pass
    assert peak.taken < 20_000_000


def test_the_command_names_what_it_does_not_know_before_anything_else(small_cohort: Path, tmp_path: Path) -> None:
    words = [
        "depth",
        str(small_cohort),
        "--label",
        "disc",
        "--out",
        str(tmp_path / "out"),
        "--architectures",
        "vgg16,x",
    ]
    done = CliRunner().invoke(command_line, words)
    assert isinstance(done.exception, UsageError)
    assert "no architecture vgg16, x; it knows resnet18" in str(done.exception)
