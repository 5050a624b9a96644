"""A cross-validation keeps pictures of its worst mistakes, under pseudonyms, and none that may show a name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medres import Classifier, cross_validate
from medres.cohort.manifest import read_manifest
from medres.cohort.pseudonyms import pseudonym, pseudonym_key
from medres.config import Config
from medres.errors import UsageError
from medres.evaluation.mistakes import FALSE_ALARM, MISSED, worst_mistakes
from medres.evaluation.table import judged_images, read_table
from medres.model.classifier import read_card
from medres.report.run_page import write_report
from medres.report.sections.gallery import exhibit
from medres.runs.cohort import TrainingCohort, load_cohort
from medres.runs.gallery import read_gallery
from medres.runs.mistakes import SIDE, MistakeMap, maps_of_mistakes, write_gallery
from medres.tables import read_csv, read_json, write_csv
from tests.support.phantoms import disc_place
from tests.support.runs import write_gallery_files, write_run


@pytest.fixture(scope="module")
def config(small_run: Path) -> Config:
    return Config.model_validate(read_json(small_run / "run.json")["config"])


@pytest.fixture(scope="module")
def cohort(small_cohort: Path, config: Config) -> TrainingCohort:
    return load_cohort(read_manifest(small_cohort, ["disc"]), config)


def maps(run: Path, table: pd.DataFrame, cohort: TrainingCohort) -> list[MistakeMap]:
    """What every fold's model leaves of its worst mistakes."""
    places = {cohort.oof_columns(place)["path"]: place for place in range(len(cohort.rows))}
    found: list[MistakeMap] = []
    for number, part in table.groupby("fold"):
        model = Classifier.load(run / "models" / f"fold-{number}")
        own = [places[path] for path in part["path"]]
        found += maps_of_mistakes(model, cohort, part.reset_index(drop=True), own)
    return found


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """The run with every decision turned round: all are mistakes, the worst are the surest."""
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    table = read_table(folder / "oof.csv")
    table["positive_disc"] = 1 - table["label_disc"].astype(int)
    write_csv(folder / "oof.csv", table)
    return folder


def test_the_worst_mistakes_are_kept_under_pseudonyms_with_small_pictures(
    run: Path, cohort: TrainingCohort, config: Config
) -> None:
    table = read_table(run / "oof.csv")
    write_gallery(run, table, cohort, maps(run, table, cohort), config=config, allow_burned_in=False)
    kept = read_csv(run / "gallery.csv")
    assert kept["kind"].tolist() == [MISSED] * 6 + [FALSE_ALARM] * 6
    for row in kept.to_dict("records"):
        source = table.iloc[int(row["line"]) - 2]
        assert row["PatientKey"] == pseudonym(source["PatientID"], pseudonym_key())
        assert float(row["probability"]) == source["prob_disc"]
        assert row["withheld"] == ""
        plain = cv2.imread(str(run / "gallery" / row["picture"]), cv2.IMREAD_UNCHANGED)
        assert plain.shape == (SIDE, round(SIDE * 80 / 96))
        assert (row["heatmap"] == "") == (row["kind"] == MISSED)  # a miss is below the operating point
        if not row["heatmap"]:
            continue
        heated = cv2.imread(str(run / "gallery" / row["heatmap"]), cv2.IMREAD_UNCHANGED)
        assert heated.shape == (*plain.shape, 3)
        if float(row["probability"]) > 0.5:
            number = int(Path(source["path"]).stem)
            heat = np.abs(heated.astype(int) - plain[:, :, None]).sum(axis=2)
            place = np.array(disc_place(number)) * SIDE / 96
            smooth = cv2.blur(heat.astype(np.float32), (31, 31))
            assert smooth[tuple(np.rint(place).astype(int))] > smooth.mean()
    assert sum(path.stat().st_size for path in (run / "gallery").iterdir()) < 24 * 200_000
    page = write_report(run).read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 18
    assert page.count("No heatmap: below the operating point.") == 6
    assert "patient " + kept["PatientKey"][0] in page
    names = set(table["PatientID"])
    assert not [name for name in names if f">{name}<" in page or f"patient {name}" in page]


def test_pictures_that_may_show_a_name_are_withheld_unless_somebody_looked(
    run: Path, cohort: TrainingCohort, config: Config
) -> None:
    images = tuple(
        replace(image, attributes={**image.attributes, "BurnedInAnnotation": "YES" if place % 2 else ""})
        for place, image in enumerate(cohort.cache.images)
    )
    doubtful = replace(cohort, cache=replace(cohort.cache, images=images))
    table = read_table(run / "oof.csv")
    kept_maps = maps(run, table, cohort)
    write_gallery(run, table, doubtful, kept_maps, config=config, allow_burned_in=False)
    kept = read_csv(run / "gallery.csv")
    said = {f"BurnedInAnnotation is {found}: the pixels may hold a name" for found in ("YES", "absent")}
    assert set(kept["withheld"]) == said
    assert not (run / "gallery").exists()
    page = write_report(run).read_text(encoding="utf-8")
    assert "<img" not in page
    assert page.count("Picture withheld: BurnedInAnnotation is") == len(kept)
    write_gallery(run, table, doubtful, kept_maps, config=config, allow_burned_in=True)
    assert len(list((run / "gallery").iterdir())) == len(kept) + (kept["kind"] == FALSE_ALARM).sum()


def test_a_cross_validation_keeps_its_gallery_and_its_models_say_what_they_reached(small_run: Path) -> None:
    images = judged_images(read_table(small_run / "oof.csv"), "disc")
    kept = read_csv(small_run / "gallery.csv")
    expected = [str(mistake.line) for mistake in worst_mistakes(images, most=6)]
    assert kept["line"].tolist() == expected
    content = read_json(small_run / "metrics.json")["labels"]["disc"]
    for fold in content["folds"]:
        home = small_run / "models" / f"fold-{fold['fold']}"
        texts = [home / "docs" / name for name in ("README.md", "held-out.md")]
        text = "\n".join(path.read_text(encoding="utf-8") for path in texts)
        card = read_card(home)
        validation = card.metrics["disc"]["auroc"]
        assert f"| disc | auroc | {validation.value:.3f} |" in text
        assert "optimistic" in text
        positives = fold["n_positive"]
        for name, n in (("sensitivity", positives), ("specificity", fold["n"] - positives)):
            assert f"| {fold[name]:.3f} ({round(fold[name] * n)} of {n}) |" in text
        assert f"{fold['n']} ({fold['n_patients']}, {fold['n_positive']})" in text
        assert f"| disc | {fold['auroc']:.3f} |" in text
        assert f"| disc | {card.operating_points['disc'].threshold:.4f} |" in text
        assert Classifier.load(home).card == card


def test_a_model_of_another_run_is_announced(run: Path) -> None:
    home = run / "models" / "fold-0" / "medres.json"
    yes = 'The models are those of this run</strong>: <span class="verdict-word">yes'
    assert yes in write_report(run).read_text(encoding="utf-8")
    card = json.loads(home.read_text(encoding="utf-8"))
    card["temperatures"]["disc"] += 0.1
    home.write_text(json.dumps(card), encoding="utf-8")
    assert "that of fold 0 is another, or has another temperature or threshold" in write_report(run).read_text(
        encoding="utf-8"
    )


def test_a_pseudonym_key_that_cannot_be_used_is_refused_before_anything_is_done(
    small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDRES_PSEUDONYM_KEY", "short")
    with pytest.raises(UsageError, match="pseudonym key"):
        cross_validate(small_cohort, labels=["disc"], config=Config(), out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../oof.csv", "absent.png", "large.png", "no.png"])
def test_only_small_pictures_of_the_gallery_are_embedded(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run")
    write_gallery_files(folder, "effusion")
    (folder / "gallery" / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500_000))
    (folder / "gallery" / "no.png").write_bytes(b"<svg onload=alert(1)>")
    kept = read_csv(folder / "gallery.csv")
    kept.loc[0, "picture"] = name
    write_csv(folder / "gallery.csv", kept)
    mistake = worst_mistakes(judged_images(read_table(folder / "oof.csv"), "effusion"), most=6)[0]
    found = exhibit(folder, "effusion", mistake, read_gallery(folder))
    assert found.picture == found.heatmap == ""
    assert found.withheld == "the picture is not in the run's folder"


def test_a_label_whose_heatmaps_have_failed_has_pictures_and_no_map(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_gallery_files(folder, "effusion")
    mistakes = worst_mistakes(judged_images(read_table(folder / "oof.csv"), "effusion"), most=6)
    alarm = next(mistake for mistake in mistakes if mistake.kind == FALSE_ALARM)
    shown = exhibit(folder, "effusion", alarm, read_gallery(folder))
    assert shown.picture and shown.heatmap and not shown.unmapped
    failed = exhibit(folder, "effusion", alarm, read_gallery(folder), failed="they stay when the weights are random.")
    assert failed.picture == shown.picture and failed.heatmap == ""
    assert failed.unmapped == "its heatmaps failed (they stay when the weights are random)"
