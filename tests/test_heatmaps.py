"""A cross-validation measures its heatmaps: made networks, whose maps are known to be right, wrong or about nothing."""

from __future__ import annotations

import html
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from medres.cli import medres as group
from medres.cohort.manifest import read_manifest
from medres.config import Config, Evaluation
from medres.documents import read_document, write_document
from medres.errors import ManifestError, UsageError
from medres.evaluation.heatmaps.measures import MEASURES
from medres.evaluation.heatmaps.results import FILE, HeatmapResults, LabelHeatmaps, MeasuredMap
from medres.evaluation.heatmaps.summary import summarise_label
from medres.evaluation.performance import summarise
from medres.evaluation.results import LabelResults
from medres.formatting import figure
from medres.model.calibration import at_bound
from medres.model.classifier import Classifier
from medres.report.run_page import write_report
from medres.runs.crossval import cross_validate
from medres.runs.heatmaps import checks as heatmap_checks
from medres.runs.options import RunOptions
from medres.tables import read_json, write_json
from tests.support.made import made_networks, narrow_networks
from tests.support.models import saved_again
from tests.support.phantoms import disc_place, write_cohort
from tests.support.recipes import Kind, made
from tests.support.runs import write_run
from tests.test_shortcuts import write_site_cohort
from tests.test_summary import out_of_fold

FEW = Evaluation(replicates=200)
QUICK = (
    "evaluation.shortcuts=false",
    "evaluation.replicates=200",
    "evaluation.heatmaps.cost=1000",
    "evaluation.heatmaps.images=20",
    "evaluation.heatmaps.fewest_patients=10",
)


@pytest.fixture
def narrow() -> Iterator[None]:
    """Networks of a sixtieth of the weights, which are enough for those that are made."""
    with narrow_networks():
        yield


def recipe(*changes: str) -> Config:
    return made(*QUICK, *changes)


def validated(
    folder: Path, manifest: Path, config: Config, *, kind: Kind = "disc", boxes: Path | None = None
) -> HeatmapResults:
    """A cross-validation of made networks into `folder / "run"`, and what it measured of its heatmaps."""
    with made_networks(kind):
        cross_validate(
            read_manifest(manifest, ["disc"]), config=config, out=folder / "run", options=RunOptions(boxes=boxes)
        )
    return read_document(folder / "run" / FILE, HeatmapResults)


def first_screen(run: Path) -> str:
    page = write_report(run).read_text(encoding="utf-8")
    return html.unescape(page[: page.index("<nav")])


def disc_boxes(folder: Path, *, images: int, positive: Collection[int]) -> Path:
    """The discs of `write_cohort` as boxes."""
    lines = ["path,label,x,y,width,height"]
    for number in range(images):
        if number // 2 in positive:
            row, column = disc_place(number)
            lines.append(f"images/{number:04d}.dcm,disc,{column - 9},{row - 9},18,18")
    path = folder / "boxes.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.usefixtures("narrow")
def test_maps_of_a_network_that_sees_discs_point_at_their_boxes_and_its_licence_is_attached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_cohort(tmp_path)
    boxes = disc_boxes(tmp_path, images=80, positive=range(0, 40, 2))
    found = validated(tmp_path, manifest, recipe("preprocessing.size=128"), boxes=boxes)
    disc = found.labels["disc"]
    pointing = disc.measures["pointing"]
    assert disc.boxed == 20
    assert disc.mapped == disc.altered == pointing.value.n == disc.boxed  # every called image has a disc
    assert pointing.value.value > 0.9
    assert pointing.baselines["mean map"].value < 0.6
    assert {disc.measures[name].verdict for name in ("pointing", "deletion", "insertion", "road")} == {"passes"}
    assert disc.measures["outside"].verdict == "passes"
    assert len(found.boxes_sha256) == 64
    model = Classifier.load(tmp_path / "run", device="cpu")
    ends = [at_bound(member.card.temperatures["disc"]) for member in model.members]
    assert caplog.text.count("is an end of its search: its probabilities are not calibrated") == sum(ends)
    given = model.licence("disc")
    assert (given.state, given.reasons) == (disc.state, disc.reasons)
    assert given.figures["pointing"] == pointing.value.value
    assert given.figures["pointing gain over centre low"] == pointing.gains["centre"].low
    assert model.licence("disc", stride=32).state != "validated"
    assert "Heatmaps: " in first_screen(tmp_path / "run")
    page = html.unescape((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    for words in ('id="heatmaps"', "Peak on or near a box", "a random order of the same cells", *disc.reasons):
        assert words in page


@pytest.mark.usefixtures("narrow")
def test_a_model_of_permuted_labels_fails_on_the_first_screen(tmp_path: Path) -> None:
    wrong = [*range(0, 40, 4), *range(1, 40, 4)]  # half of those with a disc, and half of those without
    found = validated(tmp_path, write_cohort(tmp_path, mislabelled=wrong), recipe())
    disc = found.labels["disc"]
    assert disc.state == "failed"
    assert disc.reasons[0].startswith("the label itself is not told above chance: AUROC 0.")
    assert Classifier.load(tmp_path / "run", device="cpu").licence("disc").state == "failed"
    seen = first_screen(tmp_path / "run")
    assert "Its heatmaps failed; they are not shown." in seen
    assert disc.reasons[0] in seen


@pytest.mark.usefixtures("narrow")
def test_a_planted_corner_marker_is_exposed_by_evidence_outside_of_the_anatomy(tmp_path: Path) -> None:
    manifest = write_site_cohort(tmp_path, planted=True, patients=40)
    found = validated(tmp_path, manifest, recipe("preprocessing.size=128"), kind="marker")
    disc = found.labels["disc"]
    assert disc.auroc.low > 0.5  # by its scores alone it looks as if it knew something
    outside = disc.measures["outside"]
    assert outside.verdict == "fails"
    assert outside.value.low > 0.5
    assert disc.state == "failed"
    assert any(reason.startswith("Outside of the anatomy") for reason in disc.reasons)


def test_measuring_costs_a_tenth_of_the_training_or_is_sampled_and_can_be_switched_off(
    small_run: Path, tmp_path: Path
) -> None:
    found = read_document(small_run / FILE, HeatmapResults)
    assert found.share is not None and found.share <= 0.11
    assert found.sampled
    disc = found.labels["disc"]
    assert disc.mapped < disc.called
    assert disc.state == "not validated"
    with pytest.raises(UsageError, match=r"evaluation\.heatmaps\.measured is false"):
        validated(
            tmp_path, write_cohort(tmp_path, patients=8), recipe("evaluation.heatmaps.measured=false"),
            boxes=tmp_path / "boxes.csv",
        )  # fmt: skip


def check(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["heatmap-check", *map(str, arguments)])


def test_a_run_of_before_is_measured_anew_each_image_by_the_network_that_had_held_it_out(
    small_run: Path, small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heatmap_checks, "own_config", lambda _: recipe())  # fewer images
    run = shutil.copytree(small_run, tmp_path / "run")
    shutil.rmtree(run / "attachments")
    (run / FILE).unlink()
    done = check(run, small_cohort, "--device", "cpu")
    assert done.exit_code in (0, 1), done.output
    again, before = (read_document(home / FILE, HeatmapResults) for home in (run, small_run))
    disc = again.labels["disc"]
    assert disc.called == before.labels["disc"].called
    assert disc.mapped == disc.altered == 20
    assert disc.auroc.value == pytest.approx(before.labels["disc"].auroc.value)
    assert again.share is None
    given = Classifier.load(run, device="cpu").licence("disc")
    assert given.state == disc.state
    assert f"disc: {disc.state}" in done.output
    assert done.exit_code == (disc.state == "failed")


def test_a_model_is_measured_on_images_that_it_did_not_learn_from_and_on_no_others(
    small_model: Path, small_cohort: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(small_model, tmp_path / "model")
    refused = check(model, small_cohort)
    assert isinstance(refused.exception, ManifestError)
    assert "no external cohort" in str(refused.exception)
    assert Classifier.load(model, device="cpu").heatmap_licence is None


def test_a_model_takes_over_what_a_cross_validation_of_its_recipe_has_measured(
    small_model: Path, small_run: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(small_model, tmp_path / "model")
    assert Classifier.load(model, device="cpu").licence("disc").state == "not validated"
    done = check(model, "--run", small_run)
    assert done.exit_code == 0, done.output
    licence = Classifier.load(model, device="cpu").heatmap_licence
    assert licence is not None
    assert "of this model's recipe, in the cross-validation" in licence.measured_on
    own = Classifier.load(small_run, device="cpu").licence("disc")
    assert licence.labels["disc"] == own
    renamed = tmp_path / "renamed"
    saved_again(small_model, renamed, rename=("disc", "other"))
    refused = check(renamed, "--run", small_run)
    assert isinstance(refused.exception, UsageError)
    assert "they differ in labels (disc and other)" in str(refused.exception)


@pytest.mark.parametrize("arguments", [(), ("--run", "run", "manifest.csv"), ("--run", "run", "--boxes", "b.csv")])
def test_a_check_takes_a_manifest_or_a_run(small_model: Path, arguments: tuple[str, ...]) -> None:
    assert isinstance(check(small_model, *arguments).exception, UsageError)


def results(label: str = "effusion") -> LabelResults:
    """The figures of a label that is told well, by 120 patients."""
    return summarise(out_of_fold(label=label, patients=120), labels=[label], evaluation=FEW, seed=0).labels[label]


def maps(count: int, **means: float) -> list[MeasuredMap]:
    """Measured maps of two images a patient, around given means."""
    rng = np.random.default_rng(0)
    return [
        MeasuredMap("effusion", f"{number // 2:03d}", {
            name.replace("_", " "): mean + rng.normal(0, 0.03) for name, mean in means.items()
        })
        for number in range(count)
    ]  # fmt: skip


def test_figures_are_means_of_images_with_gains_that_are_paired_and_signed_towards_the_better() -> None:
    measured = maps(60, deletion=0.2, deletion_of_random=0.6, insertion=0.7, insertion_of_random=0.4, outside=0.1)
    found = summarise_label(measured, results(), called=80, evaluation=FEW, seed=0)
    assert (found.called, found.mapped, found.altered, found.boxed) == (80, 60, 60, 0)
    deletion, insertion = found.measures["deletion"], found.measures["insertion"]
    assert deletion.gains["random"].value == pytest.approx(0.4, abs=0.02)  # lower is better
    assert insertion.gains["random"].value == pytest.approx(0.3, abs=0.02)
    assert (deletion.value.n, deletion.value.n_patients) == (60, 30)
    assert deletion.verdict == insertion.verdict == found.measures["outside"].verdict == "passes"
    assert found.state == "not validated"  # ROAD and others were not measured
    assert found.reasons[0].startswith("not measured: ROAD")
    few = summarise_label(maps(10, deletion=0.2, deletion_of_random=0.6), results(), called=9, evaluation=FEW, seed=0)
    assert "measured on 5 patients only, and the rule asks for 20: Deletion" in few.reasons
    assert few.measures["deletion"].verdict == "open"


def test_what_has_no_value_is_left_out_of_a_mean_and_counted_so() -> None:
    measured = [*maps(50, outside=0.1), MeasuredMap("effusion", "900", {"outside": float("nan")})]
    found = summarise_label(measured, results(), called=60, evaluation=FEW, seed=0)
    assert found.mapped == 51
    assert found.measures["outside"].value.n == 50
    nothing = summarise_label([], results(), called=0, evaluation=FEW, seed=0)
    assert (nothing.state, nothing.measures) == ("not validated", {})


def write_heatmaps(run: Path, measured: Sequence[MeasuredMap]) -> LabelHeatmaps:
    """`heatmaps.json` of a run of `tests.support.runs.write_run`."""
    found = summarise_label(measured, results(), called=80, evaluation=FEW, seed=0)
    rule = FEW.heatmaps
    content = HeatmapResults(
        format=1, method="cam", stride=16, measured_on="held-out images", images=len(measured), passes=900, share=0.09,
        sampled=True, seconds=70, limits={"fewest_patients": 20, "most_left": rule.most_left,
        "least_alike": rule.least_alike, "most_outside": rule.most_outside}, labels={"effusion": found},
        created="2026-11-28T00:00:00+00:00",
    )  # fmt: skip
    write_document(run / FILE, content)
    return found


def test_the_report_has_every_measure_with_its_interval_and_names_failed_labels_first(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert "Heatmaps" not in first_screen(run)
    measured = maps(60, deletion=0.2, deletion_of_random=0.6, outside=0.1, shift=0.9, pointing=0.8,
                    pointing_of_centre=0.1, pointing_of_mean_map=0.2, pointing_of_chance=0.15)  # fmt: skip
    found = write_heatmaps(run, measured)
    assert "Heatmaps: not validated, none failed" in first_screen(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="heatmaps">') :]
    section = section[: section.index("</section>")]
    for name, one in found.measures.items():
        assert figure(one.value.value, next(each.digits for each in MEASURES if each.name == name)) in section
        assert all(figure(gain.low) in section for gain in one.gains.values())
    for words in ("effusion: not validated", "1 min 10 s", "about 9 %", "60 maps of 80 called images", *found.reasons):
        assert words in section
    failed = write_heatmaps(run, maps(60, outside=0.9))
    assert failed.state == "failed"
    seen = first_screen(run)
    assert "Its heatmaps failed; they are not shown." in seen
    assert failed.reasons[0] in seen


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_heatmaps(run, maps(60, outside=0.1))
    content = read_json(run / FILE)
    del content["limits"]["most_left"]
    write_json(run / FILE, content)
    with pytest.raises(UsageError, match=r"heatmaps\.json: limits\.most_left is missing"):
        write_report(run)
    write_json(run / FILE, {**content, "strange": 1})
    with pytest.raises(UsageError, match="strange is not known to medres"):
        write_report(run)
