"""What a clinician is shown is what was scored, or is refused; nobody is named; numbers explain themselves."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres import Classifier, read_radiograph
from medres.errors import Refused, UsageError
from medres.review.about import card_facts
from medres.review.cases import Case, Worklist
from medres.review.encode import encode_heatmap
from medres.review.recomputing import Recomputation
from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.scored import read_scored
from medres.review.wording import percentages
from medres.tables import read_csv, write_csv, write_json
from tests.support.licences import REASONS, licensed
from tests.support.reviewing import NAME, SCRIPT, score_incoming, score_shared_uid

LABEL = "disc"


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    return score_incoming(small_model, tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="module")
def model(small_model: Path) -> Classifier:
    return Classifier.load(small_model)


@pytest.fixture
def worklist(scores: Path, small_model: Path) -> Worklist:
    return Worklist.open(scores, small_model)


@pytest.fixture
def again(worklist: Worklist, model: Classifier) -> Recomputation:
    return Recomputation(worklist, model)


@pytest.fixture
def altered(scores: Path, tmp_path: Path, worklist: Worklist, model: Classifier) -> Callable[..., Recomputation]:
    """The same folder and table, copied, with cells of its first scored row, or its record, changed."""

    def alter(*, record: dict[str, object] | None = None, **cells: str) -> Recomputation:
        shutil.copytree(scores.parent, tmp_path / "copy")
        folder = tmp_path / "copy" / "scored"
        table = read_csv(folder / "predictions.csv")
        row = table.index[table["status"].isin(["ok", "review"])][0]
        for name, value in cells.items():
            table.loc[row, name] = value
        write_csv(folder / "predictions.csv", table)
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        write_json(folder / "run.json", {**run, "input": str(tmp_path / "copy" / "incoming"), **(record or {})})
        return Recomputation(Worklist(folder, worklist.model), model)

    return alter


def _code(again: Recomputation, case: Case) -> str:
    with pytest.raises(Refused) as refusal:
        again.open_case(case)
    return refusal.value.code


def test_a_worklist_opens_from_two_folders(scores: Path, small_model: Path) -> None:
    assert len(Worklist.open(scores, small_model).cases) == 8


def test_cases_are_sorted_by_probability(worklist: Worklist) -> None:
    found = [case.probabilities[LABEL] for case in worklist.sorted_by(LABEL)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) > 1


def test_calls_agree_with_the_operating_point(worklist: Worklist) -> None:
    threshold = worklist.threshold(LABEL)
    assert {case.positive[LABEL] for case in worklist.cases} == {True, False}
    assert all(case.positive[LABEL] == (case.probabilities[LABEL] >= threshold) for case in worklist.cases)


def test_nothing_shown_names_a_patient_or_a_file(worklist: Worklist) -> None:
    for case in worklist.cases:
        shown = " ".join([case.key, case.patient_key, case.view_position, *case.review, *case.warnings])
        assert NAME not in shown
        assert SCRIPT not in case.patient_key
        assert not any(f"P{number}" in shown for number in range(10))
    assert all(".dcm" not in item.reason and NAME not in item.reason for item in worklist.unscored)


def test_images_of_one_patient_can_be_told_apart(worklist: Worklist) -> None:
    shown = {(case.patient_key, case.image) for case in worklist.cases}
    assert len(shown) == len(worklist.cases)
    assert sorted(case.images for case in worklist.cases) == [1, 1, 2, 2, 2, 2, 2, 2]


def test_every_file_is_a_case_or_listed_apart_with_its_reason_in_words(worklist: Worklist, scores: Path) -> None:
    table = read_csv(scores / "predictions.csv")
    assert len(worklist.cases) + len(worklist.unscored) == len(table) == 11
    reasons = {(item.status, item.reason) for item in worklist.unscored}
    twin = table.index[table["path"] == "burned.dcm"][0] + 2
    assert ("duplicate", f"The same image as row {twin}, which is scored.") in reasons
    assert ("refused", "The file is not DICOM, or is empty.") in reasons
    assert {table["status"][item.row - 2] for item in worklist.unscored} == {"refused", "duplicate"}


def test_images_that_share_a_uid_have_verdicts_of_their_own(
    worklist: Worklist, small_model: Path, tmp_path: Path
) -> None:
    assert all(case.verdict_key == case.sop_instance_uid for case in worklist.cases)
    shared = Worklist(score_shared_uid(small_model, tmp_path), worklist.model)
    assert [case.path for case in shared.cases] == ["a.dcm", "b.dcm"]
    for opened in (worklist, shared):  # what is known without a model has the same names
        known = read_scored(opened.folders[0].scores)
        assert set(known.images) == {case.verdict_key for case in opened.cases}
        for case in opened.cases:
            image = known.images[case.verdict_key]
            assert (image.path, image.sha256, image.patient_key) == (case.path, case.sha256, case.patient_key)
            assert image.called == {label: int(called) for label, called in case.positive.items()}
    with ReviewStore.open(f"sqlite:///{tmp_path.as_posix()}/reviews.db") as store:
        first, second = (Verdict(case.verdict_key, "m", LABEL, "agree", "A") for case in shared.cases)
        store.save(first, expected_revision=0)
        assert store.history(second.sop_instance_uid, "m", LABEL) == ()
        assert store.save(second, expected_revision=0).revision == 1
    (copy,) = shared.unscored
    assert copy.reason == "The same image as row 2, which is scored."  # a.dcm's


def test_warnings_are_sentences(worklist: Worklist) -> None:
    (burned,) = (case for case in worklist.cases if case.sop_instance_uid == "2.25.801")
    assert "BurnedInAnnotation is YES: the pixels may identify the patient." in burned.warnings


def test_an_opened_case_shows_what_was_scored(worklist: Worklist, again: Recomputation, model: Classifier) -> None:
    case = worklist.sorted_by(LABEL)[0]
    opened = again.open_case(case)
    radiograph = read_radiograph(worklist.folders[0].root / case.path)
    explained = model.explain(radiograph, label=LABEL)
    grid, shown = opened.heatmaps[LABEL].grid, opened.heatmaps[LABEL]
    assert grid is not None
    assert shown.licence.startswith("heatmap not validated: ")
    assert (shown.kept_back, shown.spread) == ("", None)
    assert grid.strength == pytest.approx(explained.strength, abs=1e-5)
    assert grid.scale == model.heatmap_scale(LABEL)
    assert again.open_case(case) is opened  # encoded once


def test_a_heatmap_that_has_not_earned_it_is_kept_back_in_words(
    worklist: Worklist, again: Recomputation, small_model: Path, tmp_path: Path
) -> None:
    below = next(case for case in worklist.cases if not case.positive[LABEL])
    assert again.open_case(below).heatmaps[LABEL].kept_back == "below the operating point"
    failed = licensed(small_model, tmp_path / "model", {LABEL: "failed"})
    shown = Recomputation.open(worklist.folders[0].scores, failed, device="cpu")
    case = shown.worklist.sorted_by(LABEL)[0]
    for found in (shown.open_case(case).heatmaps[LABEL], shown.explain_otherwise(case, LABEL, "Grad-CAM")):
        assert (found.grid, found.spread) == (None, None)  # not even its cells are sent
        assert found.kept_back == f"heatmap failed: {REASONS['failed']}"


@pytest.mark.parametrize("name", ["Grad-CAM", "EigenCAM"])
def test_another_method_is_computed_for_a_case_and_is_never_validated(
    worklist: Worklist, small_model: Path, tmp_path: Path, name: str
) -> None:
    model = licensed(small_model, tmp_path / "model", {LABEL: "validated"})
    shown = Recomputation.open(worklist.folders[0].scores, model, device="cpu")
    case = shown.worklist.sorted_by(LABEL)[0]
    assert shown.open_case(case).heatmaps[LABEL].licence.startswith("heatmap validated")
    found = shown.explain_otherwise(case, LABEL, name)
    assert found.licence.startswith("heatmap not validated: only cam at a stride of 16 was measured")
    assert found.grid is not None
    assert (found.grid.unit, found.grid.scale == found.grid.strength) == (
        ("logit", False) if name == "Grad-CAM" else ("", True)
    )
    assert shown.explain_otherwise(case, LABEL, name) is found  # computed once


def test_where_the_networks_of_a_run_disagree_can_be_shown(small_run: Path, tmp_path: Path) -> None:
    shown = Recomputation.open(score_incoming(small_run, tmp_path), small_run, device="cpu")
    case = shown.worklist.sorted_by(LABEL)[0]
    found = shown.open_case(case).heatmaps[LABEL]
    assert found.grid is not None
    assert found.spread is not None
    assert found.spread.scale == found.grid.scale
    spread = shown.model.explain(read_radiograph(shown.worklist.folders[0].root / case.path), label=LABEL).spread
    assert spread is not None
    assert found.spread.strength == pytest.approx(float(spread.max()), abs=1e-5)


def test_only_so_many_opened_cases_are_kept(
    worklist: Worklist, again: Recomputation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medres.review.recomputing._KEPT_CASES", 2)
    for case in worklist.cases[:4]:
        again.open_case(case)
    assert list(again._opened) == [case.key for case in worklist.cases[2:4]]


@pytest.mark.parametrize("path", ["../outside.dcm", "/etc/hostname", "x/../../outside.dcm"])
def test_a_table_cannot_lead_out_of_the_scored_folder(altered: Callable[..., Recomputation], path: str) -> None:
    again = altered(path=path)
    (again.worklist.folders[0].root.parent / "outside.dcm").write_bytes(b"secret")
    assert _code(again, again.worklist.cases[0]) == "OUTSIDE_ROOT"


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
def test_a_link_cannot_lead_out_of_the_scored_folder(altered: Callable[..., Recomputation], tmp_path: Path) -> None:
    again = altered(path="link.dcm")
    (tmp_path / "outside.dcm").write_bytes(b"secret")
    (again.worklist.folders[0].root / "link.dcm").symlink_to(tmp_path / "outside.dcm")
    assert _code(again, again.worklist.cases[0]) == "OUTSIDE_ROOT"


def test_a_file_that_changed_since_it_was_scored_is_refused_even_if_it_was_open(
    altered: Callable[..., Recomputation],
) -> None:
    again = altered()
    case, other = again.worklist.cases[:2]
    again.open_case(case)
    shutil.copy(again.worklist.folders[0].root / other.path, again.worklist.folders[0].root / case.path)
    assert _code(again, case) == "CHANGED"


def test_a_table_that_names_another_image_is_refused(altered: Callable[..., Recomputation]) -> None:
    again = altered(SOPInstanceUID="2.25.1")
    assert _code(again, again.worklist.cases[0]) == "CHANGED"


def test_a_file_that_is_gone_is_refused(altered: Callable[..., Recomputation]) -> None:
    again = altered()
    (again.worklist.folders[0].root / again.worklist.cases[0].path).unlink()
    assert _code(again, again.worklist.cases[0]) == "UNREADABLE"
    shutil.rmtree(again.worklist.folders[0].root)
    assert _code(again, again.worklist.cases[1]) == "UNREADABLE"


def test_a_score_that_the_model_does_not_give_again_is_refused(altered: Callable[..., Recomputation]) -> None:
    again = altered(prob_disc="0.123456")
    assert _code(again, again.worklist.cases[0]) == "NOT_REPRODUCED"


@pytest.mark.parametrize("cell", ["", "nan", "1.5", "high"])
def test_a_table_whose_probability_is_none_is_refused(altered: Callable[..., Recomputation], cell: str) -> None:
    with pytest.raises(UsageError, match=r"row \d+ of predictions.csv"):
        altered(prob_disc=cell)


def test_scores_of_another_model_are_refused(altered: Callable[..., Recomputation]) -> None:
    with pytest.raises(UsageError, match="was scored by model another"):
        altered(record={"model_id": "another"})


@pytest.mark.parametrize("name", ["run.json", "predictions.csv"])
def test_a_folder_without_scores_is_a_usage_error(scores: Path, tmp_path: Path, worklist: Worklist, name: str) -> None:
    for kept in {"run.json", "predictions.csv"} - {name}:
        shutil.copy(scores / kept, tmp_path / kept)
    with pytest.raises(UsageError, match=name):
        Worklist(tmp_path, worklist.model)


def test_the_card_is_told_in_words(model: Classifier) -> None:
    told = dict(card_facts(model.card))
    assert told["Intended use"].startswith("Not for diagnostic use")
    assert told["Model"] == model.model_id
    assert "random start" in told["Starting weights"]
    assert "patients" in told["Trained on"]
    assert "interval" in told[f"AUROC, {LABEL}"]
    assert "Youden" in told[f"Operating point, {LABEL}"]


def test_a_heatmap_keeps_its_absolute_scale() -> None:
    weak = np.full((50, 40), 0.5, dtype=np.float32)
    cells = [
        np.frombuffer(zlib.decompress(encode_heatmap(part * weak, scale=2.0, strength=1.0).cells), np.uint8)
        for part in (1, 2, 8)
    ]
    assert [int(values.max()) for values in cells] == [64, 128, 255]


def test_a_contour_is_sent_as_parts_of_the_picture() -> None:
    heatmap = np.zeros((100, 50), np.float32)
    heatmap[20:41, 10:21] = 1.0
    (line,) = encode_heatmap(heatmap, scale=1.0, strength=1.0).lines
    across, down = np.array(line[::2]) * 50 - 0.5, np.array(line[1::2]) * 100 - 0.5
    assert (across.min(), across.max(), down.min(), down.max()) == pytest.approx((9.5, 20.5, 19.5, 40.5), abs=0.2)


@given(st.floats(0, 1), st.floats(0, 1))
def test_two_percentages_never_contradict_the_call(probability: float, threshold: float) -> None:
    shown, point = percentages(probability, threshold)
    assert not {"0 %", "100 %"} & {shown, point}
    values = [float(text.strip("<> %")) for text in (shown, point)]
    if not {">", "<"} & {shown[0], point[0]} and abs(probability - threshold) > 1e-6:
        assert (values[0] > values[1]) == (probability > threshold)
