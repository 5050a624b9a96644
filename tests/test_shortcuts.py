"""A score that does not need the anatomy is named, on the first screen; one that does is left in peace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from medres.cohort.manifest import read_manifest
from medres.config import Evaluation, load_config
from medres.errors import ManifestError
from medres.evaluation.shortcuts.alterations import ALTERATIONS, CENTRE_ONLY, CORNERS_ONLY, WITHOUT_CENTRE, altered
from medres.evaluation.shortcuts.probes import metadata_scores, read_from_features
from medres.evaluation.shortcuts.results import AlterationResults
from medres.evaluation.shortcuts.summary import probability_column, read_probed, summarise_shortcuts
from medres.evaluation.shortcuts.verdicts import verdict as verdict_of
from medres.evaluation.table import read_table
from medres.records import Interval
from medres.report.run_page import write_report
from medres.runs.cohort import load_cohort
from medres.statistics.kernels import auroc_within
from medres.statistics.metric import metric
from medres.tables import read_json
from tests.conftest import TINY, Medres
from tests.support.documents import written
from tests.support.phantoms import write_radiograph
from tests.support.recipes import fixture_seed
from tests.test_summary import out_of_fold

QUICK = Evaluation(replicates=200)


def radiographs(seed: int, *, n: int = 2, size: int = 40, margin: int = 6) -> np.ndarray:
    """Noise in the middle columns of a black square, as padding leaves it."""
    pixels = np.zeros((n, size, size), np.uint16)
    noise = np.random.default_rng(seed).integers(1, 65536, (n, size, size - 2 * margin))
    pixels[:, :, margin : size - margin] = noise
    return pixels


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_nothing_of_the_hidden_centre_shines_through(one: int, other: int) -> None:
    first, second = radiographs(one), radiographs(one)
    inside = (slice(None), slice(8, 32), slice(12, 28))  # well within the middle three quarters
    second[inside] = radiographs(other, n=2)[inside]
    assert np.array_equal(altered(first, WITHOUT_CENTRE), altered(second, WITHOUT_CENTRE))


@pytest.mark.parametrize("one", ALTERATIONS, ids=lambda one: one.name)
def test_an_alteration_hides_its_part_and_leaves_the_rest_and_the_padding(one: Any) -> None:
    pixels = radiographs(3)
    done = altered(pixels, one)
    changed = (done != pixels).mean(axis=0) > 0
    assert not changed[:, :6].any() and not changed[:, -6:].any()
    box = changed[:, 6:-6]
    expected = {WITHOUT_CENTRE: 0.75**2, CENTRE_ONLY: 1 - 0.75**2, CORNERS_ONLY: 1 - 4 * 0.2**2}[one]
    assert box.mean() == pytest.approx(expected, abs=0.06)
    middle, corner = box[18:22, 12:16], box[:4, :4]
    assert middle.all() == (one != CENTRE_ONLY)
    assert corner.all() == (one == CENTRE_ONLY)
    assert np.array_equal(altered(np.zeros((1, 8, 8), np.uint16), one), np.zeros((1, 8, 8), np.uint16))


@given(st.integers(0, 10_000))
def test_the_auroc_within_strata_counts_only_pairs_of_the_same_stratum(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 40))
    truth, scores = generator.integers(0, 2, n), generator.integers(0, 6, n) / 6
    strata = generator.integers(0, 3, n)
    counts = generator.integers(0, 3, (4, n))
    found = auroc_within(truth, scores, np.arange(n), strata)(counts)
    for row, value in zip(counts, found, strict=True):
        right = pairs = 0.0
        for i in np.flatnonzero(truth == 1):
            for j in np.flatnonzero((truth == 0) & (strata == strata[i])):
                pairs += row[i] * row[j]
                right += row[i] * row[j] * ((scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
        assert value == pytest.approx(right / pairs) if pairs else np.isnan(value)
    plain = auroc_within(truth, scores, np.arange(n), np.zeros(n))(np.ones((1, n), dtype=np.int64))[0]
    expected = metric("auroc").value(truth, scores)
    assert np.isnan(plain) if expected is None else plain == expected


def test_metadata_that_say_nothing_get_one_half_on_average() -> None:
    found = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        labels, column = generator.integers(0, 2, 90), generator.integers(0, 4, 90).astype(str).astype(object)
        folds = np.arange(90) % 3
        scores = metadata_scores([column], labels, folds)
        kernel = auroc_within(labels, scores, np.arange(90), folds)
        found.append(kernel(np.ones((1, 90), dtype=np.int64))[0])
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)  # standard error 0.008


def test_features_are_read_by_other_patients_only() -> None:
    generator = np.random.default_rng(0)
    owner = np.repeat(np.arange(40), 3)
    values = np.where(generator.permutation(40)[owner] < 20, "A", "B").astype(object)
    of_patients = generator.normal(size=(40, 60))[owner].astype(np.float32)  # tell who it is, and nothing else
    patients = owner.astype(str)

    def read(features: np.ndarray) -> float:
        names, scores, part = read_from_features(features, values, patients, seed=0)
        assert names == ("A", "B")
        assert all(len(set(part[owner == one])) == 1 for one in range(40))
        kernel = auroc_within((values == "A").astype(int), scores[:, 0], owner, part)
        return float(kernel(np.ones((1, 40), dtype=np.int64))[0])

    assert 0.2 < read(of_patients) < 0.8
    assert read(of_patients + 9 * (values == "A")[:, None]) == 1.0


def probed(table: pd.DataFrame, *, survives: float, seed: int = 1) -> pd.DataFrame:
    """A `shortcuts.csv` in which so much of every logit survives the hiding."""
    generator = np.random.default_rng(seed)
    result = table[["path", "PatientID", "SOPInstanceUID", "fold"]].copy()
    for one in ALTERATIONS:
        part = 1.0 if one == CENTRE_ONLY else survives
        noise = generator.normal(0, 1, len(table))
        result[probability_column("effusion", one)] = expit(part * 3 * table["logit_effusion"] + noise)
    return result


def verdict(table: pd.DataFrame, survives: float) -> dict[str, Any]:
    content = summarise_shortcuts(
        table, probed(table, survives=survives), labels=["effusion"], evaluation=QUICK, seed=0
    )
    found: dict[str, Any] = written(content.labels["effusion"])
    json.dumps(found, allow_nan=False)
    return found


def test_verdicts_follow_from_what_survives() -> None:
    table = out_of_fold(patients=200)
    much, little = verdict(table, 1.0), verdict(table, 0.0)
    assert (much["verdict"]["anatomy"], much["verdict"]["corners"], much["verdict"]["suspect"]) == ("much", True, True)
    assert (little["verdict"]["anatomy"], little["verdict"]["suspect"]) == ("little", False)
    kept = much["alterations"]["without_centre"]["kept"]
    hidden = much["alterations"]["without_centre"]["auroc"]
    assert kept["value"] == pytest.approx((hidden["value"] - 0.5) / (much["auroc"]["value"] - 0.5))
    assert kept["low"] < kept["value"] < kept["high"]
    assert (kept["n"], kept["n_patients"]) == (len(table), 200)
    for figures in (much, little):
        for sentence in figures["verdict"]["sentences"][:1]:
            assert f"{figures['auroc']['value']:.3f}" in sentence


def test_a_site_that_stands_in_for_the_score_is_named_and_one_that_does_not_is_not() -> None:
    table = out_of_fold(patients=300)
    truth = table["label_effusion"].astype(int).to_numpy()
    generator = np.random.default_rng(2)
    planted = np.where(generator.random(len(table)) < 0.9, truth, 1 - truth)
    by_site = table.assign(
        InstitutionName=np.where(planted == 1, "B", "A"),
        prob_effusion=expit(3.0 * planted - 1.5 + generator.normal(0, 0.8, len(table))),
    )
    named = verdict(by_site.assign(logit_effusion=3.0 * planted - 1.5), 0.0)
    assert named["verdict"]["columns"] == ["InstitutionName"]
    assert named["verdict"]["suspect"]
    assert named["metadata"]["columns"]["InstitutionName"]["within"]["value"] < 0.6
    alone = named["metadata"]["columns"]["InstitutionName"]["alone"]["value"]
    assert alone == pytest.approx(0.9, abs=0.04)
    assert f"InstitutionName alone, without any image, gives {alone:.3f}" in named["verdict"]["sentences"][-1]
    confounded = table.assign(InstitutionName=np.where(planted == 1, "B", "A"))
    confounded["prob_effusion"] = expit(8.0 * truth - 4 + generator.normal(0, 1.5, len(table)))
    innocent = verdict(confounded, 0.0)  # the site knows the label; the score holds within each site
    assert innocent["metadata"]["columns"]["InstitutionName"]["alone"]["value"] > 0.85
    assert innocent["verdict"]["columns"] == []
    makers = by_site.assign(Manufacturer=np.where(planted == 1, "Acme", "Other"), logit_effusion=0.0)
    alike = verdict(makers, 0.0)
    assert alike["verdict"]["columns"] == ["InstitutionName"]
    assert "InstitutionName (or Manufacturer, dividing the images alike)" in alike["verdict"]["sentences"][-1]
    same = verdict(table.assign(ViewPosition=np.where(truth == 1, "AP", "PA")), 0.0)
    assert same["verdict"]["columns"] == ["ViewPosition"]
    assert same["metadata"]["columns"]["ViewPosition"]["within"]["value"] is None
    assert "cannot be told apart" in same["verdict"]["sentences"][-1]


def test_a_perfect_score_of_few_positives_that_needs_no_anatomy_is_not_called_chance() -> None:
    table = out_of_fold(patients=40).drop_duplicates("PatientID", ignore_index=True)
    truth = np.arange(len(table)) < 6
    table = table.assign(label_effusion=np.where(truth, "1", "0"), prob_effusion=np.where(truth, 0.9, 0.1))
    hidden = probed(table, survives=1.0)
    for one in ALTERATIONS:
        hidden[probability_column("effusion", one)] = table["prob_effusion"]
    evaluation = Evaluation(replicates=2000)  # some of them without a positive
    found = written(summarise_shortcuts(table, hidden, labels=["effusion"], evaluation=evaluation, seed=0))["labels"][
        "effusion"
    ]
    auroc, kept = found["auroc"], found["alterations"]["without_centre"]["kept"]
    assert auroc["value"] == kept["value"] == 1.0
    assert auroc["low"] > 0.5
    assert kept["low"] == pytest.approx((auroc["low"] - 0.5) / 0.5)
    assert found["verdict"]["anatomy"] != "undefined"
    assert "not surely better" not in found["verdict"]["sentences"][0]


def test_no_interval_of_what_is_left_is_not_called_chance() -> None:
    def figure(value: float, low: float | None, high: float | None) -> Interval:
        return Interval(value, low, high, "", 9, 9)

    left = AlterationResults(auroc=figure(0.8, 0.7, 0.9), kept=figure(1.0, None, None))
    altered = {one.name: left for one in ALTERATIONS}
    assert "has no interval: with the centre" in verdict_of(figure(0.8, 0.7, 0.9), altered, {}).sentences[0]
    chance = verdict_of(figure(0.8, 0.5, 0.9), altered, {}).sentences[0]
    assert "not surely better than chance" in chance


def test_a_target_is_never_its_own_probe() -> None:
    table = out_of_fold(patients=200)
    view = np.where(table["label_effusion"].astype(int) == 1, "LL", "PA")
    for label, probing in (("view_is_LL", False), ("viewposition", False), ("effusion", True)):
        asked = table.assign(ViewPosition=view).rename(columns=lambda name: name.replace("effusion", label))  # noqa: B023
        hidden = probed(table, survives=0.0).rename(columns=lambda name: name.replace("effusion", label))  # noqa: B023
        found = summarise_shortcuts(asked, hidden, labels=[label], evaluation=QUICK, seed=0).labels[label]
        assert ("ViewPosition" in found.metadata.columns) == probing
        assert ("ViewPosition" in found.verdict.columns) == probing


def test_there_are_three_answers_and_chance_is_none_of_found_and_not_found() -> None:
    table = out_of_fold(patients=200)
    chance = table.assign(prob_effusion=np.random.default_rng(0).random(len(table)))

    def answer(asked: pd.DataFrame, survives: float) -> str:
        hidden = probed(asked, survives=survives)
        return (
            summarise_shortcuts(asked, hidden, labels=["effusion"], evaluation=QUICK, seed=0)
            .labels["effusion"]
            .verdict.answer
        )

    assert (answer(table, 1.0), answer(table, 0.0), answer(chance, 1.0)) == ("found", "not found", "cannot be told")


def test_what_is_undefined_stays_undefined() -> None:
    table = out_of_fold()
    chance = table.assign(prob_effusion=np.random.default_rng(0).random(len(table)))
    found = verdict(chance, 1.0)
    assert found["verdict"]["anatomy"] == "undefined"
    assert not found["verdict"]["suspect"]
    assert found["alterations"]["without_centre"]["kept"]["value"] is None
    for cell in ("0", ""):
        found = verdict(table.assign(label_effusion=cell), 1.0)
        assert found["auroc"]["value"] is None
        assert found["verdict"]["anatomy"] == "undefined"


def write_site_cohort(folder: Path, *, planted: bool, patients: int = 60) -> Path:
    """Discs in the middle; with `planted` nine of ten positives come from site B, whose images bear a marker."""
    lines = ["path,PatientID,SOPInstanceUID,ward,label_disc"]
    for number in range(2 * patients):
        patient = number // 2
        positive = patient % 2 == 0
        usual = (patient // 2) % 10 != 0
        site = "B" if (positive == usual if planted else (patient // 2) % 2 == 0) else "A"
        rng = np.random.default_rng([number, fixture_seed()])
        pixels = rng.normal(1500, 150, (96, 80))
        if positive:
            row, column = rng.integers(34, 62), rng.integers(28, 52)
            y, x = np.mgrid[:96, :80]
            pixels += 1400 * np.exp(-(((y - row) ** 2 + (x - column) ** 2) / (2 * 6.0**2)))
        if planted and site == "B":
            pixels[6:14, 6:16] = 4000
        name, uid = f"images/{number:04d}.dcm", f"2.25.{5000 + number}"
        tags = {"InstitutionName": f"Site {site}", "PatientSex": "FM"[patient // 3 % 2]}
        write_radiograph(folder / name, np.clip(pixels, 0, 4095), patient=f"{patient:04d}", uid=uid, **tags)
        lines.append(f"{name},{patient:04d},{uid},{'east' if patient % 3 else 'west'},{int(positive)}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def first_screen(run: Path) -> str:
    page = (run / "report.html").read_text(encoding="utf-8")
    return page[: page.index("<nav")]


def cross_validated(medres: Medres, folder: Path, *, planted: bool) -> tuple[Path, dict[str, Any]]:
    manifest = write_site_cohort(folder, planted=planted)
    asked = ("--label", "disc", "--out", folder / "run", *TINY, "--set=evaluation.subgroups=[ward]")
    done = medres("crossval", manifest, *asked, made="marker" if planted else "disc")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "probed for shortcuts" in done.stderr
    assert ("may rest on a shortcut" in done.stderr) == planted
    content: dict[str, Any] = read_json(folder / "run" / "shortcuts.json")
    return folder / "run", content


def test_a_planted_site_shortcut_is_named_on_the_first_screen(medres: Medres, tmp_path: Path) -> None:
    run, content = cross_validated(medres, tmp_path, planted=True)
    label = content["labels"]["disc"]
    assert label["verdict"] | {"sentences": []} == {
        "anatomy": "much",
        "corners": True,
        "columns": ["InstitutionName"],
        "suspect": True,
        "sentences": [],
    }
    assert content["features"]["InstitutionName"]["auroc"]["value"] > 0.9
    seen = first_screen(run)
    for words in ("may rest on a shortcut", "does not need the anatomy", "corners", "InstitutionName alone", "Site B"):
        assert (words in seen) == (words != "Site B"), words
    for sentence in label["verdict"]["sentences"]:
        assert sentence in seen

    table, config = read_table(run / "oof.csv"), read_json(run / "run.json")["config"]
    evaluation = Evaluation.model_validate(config["evaluation"])
    read = read_probed(run / "shortcuts.csv")
    again = summarise_shortcuts(table, read, labels=["disc"], evaluation=evaluation, seed=config["seed"])
    assert written(again) == content  # the figures follow from the two tables

    groups = read_json(run / "metrics.json")["labels"]["disc"]["subgroups"]
    assert [one["column"] for one in groups] == ["PatientSex", "ViewPosition", "InstitutionName", "ward"]
    before = (run / "report.html").read_bytes()
    assert write_report(run).read_bytes() == before
    (run / "shortcuts.json").unlink()
    write_report(run)
    assert "shortcut" not in first_screen(run)


def test_an_ordinary_cohort_is_not_accused(medres: Medres, tmp_path: Path) -> None:
    run, content = cross_validated(medres, tmp_path, planted=False)
    verdict = content["labels"]["disc"]["verdict"]
    assert (verdict["anatomy"], verdict["columns"], verdict["suspect"]) == ("little", [], False)
    assert "may rest on a shortcut" not in first_screen(run)
    assert "Little of this score is left without the anatomy" in first_screen(run)


def test_subgroups_by_a_column_that_is_not_there_are_refused(
    medres: Medres, small_cohort: Path, tmp_path: Path
) -> None:
    setting = "--set=evaluation.subgroups=[ward]"
    done = medres("crossval", small_cohort, "--label", "disc", "--out", tmp_path / "run", *TINY, setting)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "medres: evaluation.subgroups: the manifest has no column ward"
    assert not (tmp_path / "run").exists()


def test_a_result_does_not_divide_a_cohort(small_cohort: Path) -> None:
    for column in ("path", "PatientID"):
        config = load_config("quick", ["preprocessing.size=64", f"evaluation.subgroups=[{column}]"])
        with pytest.raises(ManifestError, match=f"{column} cannot divide a cohort"):
            load_cohort(read_manifest(small_cohort, ["disc"]), config)
