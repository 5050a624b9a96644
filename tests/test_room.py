"""What the room's page is sent: stored scores and maps at once, whether they hold, and what became of a verdict."""

from __future__ import annotations

import io
import json
import shutil
import time
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medres import Classifier, read_radiograph
from medres.config import Limits
from medres.errors import UsageError
from medres.imaging.viewing.presentation import present
from medres.model.heatmaps.licence import UNMEASURED
from medres.model.inspection import read_card
from medres.review.cases import Worklist
from medres.review.check_process import Folders, Question, serve
from medres.review.checks import Checks
from medres.review.feed import picture
from medres.review.heatmaps import shown_maps, stored_heatmaps
from medres.review.room import Reader, judged, keep_draft, kept, points, shown_case
from medres.review.sent import Check, KeptDraft, SaidDraft, SaidVerdict
from medres.review.shares import bounded
from medres.review.store import ReviewStore
from medres.review.stored import Evidence, Geometry
from medres.review.verdicts.backup import url_of
from medres.review.verdicts.record import Mark
from medres.scoring.folder import score_folder
from medres.scoring.heatmaps import HeatmapPolicy
from tests.support.phantoms import blob, write_radiograph

LABEL = "disc"
MARKS = [{"kind": "box", "top": 1, "left": 2, "bottom": 3, "right": 4}, {"kind": "point", "row": 0, "column": 0}]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, format3_run: Path) -> Path:
    """Two images of one patient and one of another, scored with an ensemble, heatmaps and all."""
    home = tmp_path_factory.mktemp("room")
    for number in range(3):
        pixels = blob(900 + number, bright=number != 1)
        path = home / "incoming" / f"{number}.dcm"
        write_radiograph(path, pixels, patient=f"P{number // 2}", uid=f"2.25.{900 + number}")
    score_folder(format3_run, home / "incoming", out=home / "scored", heatmaps=HeatmapPolicy(True), device="cpu")
    return home / "scored"


@pytest.fixture
def worklist(scored: Path, format3_run: Path) -> Worklist:
    return Worklist.open(scored, format3_run)


@pytest.fixture(scope="module")
def classifier(format3_run: Path) -> Classifier:
    return Classifier.load(format3_run, device="cpu")


def test_a_case_is_shown_from_what_was_stored(worklist: Worklist, classifier: Classifier, tmp_path: Path) -> None:
    case = next(case for case in worklist.cases if case.positive[LABEL])
    with ReviewStore.open(url_of(tmp_path / "verdicts.db")) as store:
        found = shown_case(worklist, store, case)
    (shown,) = found.labels.values()
    assert (found.fault, shown.probability, shown.positive) == ("", case.probabilities[LABEL], True)
    folds = worklist.evidence.of(case.sha256).folds[LABEL]
    assert len(shown.folds) == len(folds) == len(classifier.members)
    assert np.mean(folds) == pytest.approx(case.probabilities[LABEL], abs=1e-12)
    assert "their spread, not an interval" in shown.folds_said
    others = [other.key for other in worklist.cases if other.patient_key == case.patient_key and other != case]
    assert [key for key, _ in found.views] == others


def test_a_stored_heatmap_lies_where_the_model_draws_it(worklist: Worklist, classifier: Classifier) -> None:
    case = next(case for case in worklist.cases if case.positive[LABEL])
    path = worklist.folders[0].root / case.path
    explained = classifier.explain(read_radiograph(path), label=LABEL)
    seen = present(
        str(path), gate=classifier.gate, voi="header", percentiles=(0.5, 99.5), limits=Limits(), sha256=case.sha256
    )
    geometry = Geometry(seen.rows, seen.columns, seen.pixel_aspect_ratio, seen.left_limb)
    found = stored_heatmaps(worklist.model, worklist.evidence.of(case.sha256), geometry, case.positive)[LABEL]
    assert found.grid is not None
    assert found.grid.scale == classifier.heatmap_scale(LABEL)
    assert found.grid.strength == pytest.approx(explained.strength, rel=2e-3)  # cells are kept in 16 bits
    cells = np.frombuffer(zlib.decompress(found.grid.cells), np.uint8).reshape(found.grid.rows, found.grid.columns)
    drawn = 255 * np.clip(explained.heatmap / found.grid.scale, 0, 1)
    places = [(np.arange(count) + 0.5) * drawn.shape[axis] / count for axis, count in enumerate(cells.shape)]
    expected = drawn[np.ix_(*(np.floor(place).astype(int) for place in places))]
    assert np.abs(cells - expected).mean() < 3
    assert np.corrcoef(cells.ravel(), expected.ravel())[0, 1] > 0.99
    (sent,) = (shown_maps(LABEL, found) for _ in range(1))
    assert b64decode(sent.mean.cells) == found.grid.cells


def test_a_map_of_a_label_below_its_point_has_no_licence_of_the_finer_maps(worklist: Worklist) -> None:
    case = next(case for case in worklist.cases if not case.positive[LABEL])
    found = stored_heatmaps(
        worklist.model, worklist.evidence.of(case.sha256), Geometry(64, 64, 1.0, False), case.positive
    )
    assert found[LABEL].kept_back == "below the operating point"
    assert found[LABEL].licence.endswith(UNMEASURED.reasons[0])


def test_without_evidence_a_heatmap_is_told_to_come(worklist: Worklist) -> None:
    case = worklist.cases[0]
    found = stored_heatmaps(worklist.model, Evidence(), Geometry(64, 64, 1.0, False), case.positive)[LABEL]
    assert found.grid is None
    assert "keeps no heatmap" in shown_maps(LABEL, found).mean.note


def test_the_picture_brings_its_heatmaps(worklist: Worklist) -> None:
    case = worklist.cases[0]
    message = picture(worklist, case)
    header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    assert header["maps"][LABEL]["mean"]["rows"] > 0
    assert header["shutter"] is None


def _copy(scored: Path, format3_run: Path, folder: Path) -> Worklist:
    shutil.copytree(scored.parent, folder / "copy")
    run = folder / "copy" / "scored" / "run.json"
    content = json.loads(run.read_text(encoding="utf-8"))
    run.write_text(json.dumps({**content, "input": str(folder / "copy" / "incoming")}), encoding="utf-8")
    return Worklist.open(folder / "copy" / "scored", format3_run)


def test_a_file_that_changed_or_is_gone_is_told_in_one_sentence_instead_of_a_score(
    scored: Path, format3_run: Path, tmp_path: Path
) -> None:
    worklist = _copy(scored, format3_run, tmp_path)
    changed, gone, _ = worklist.cases
    (worklist.folders[0].root / changed.path).write_bytes(b"other")
    (worklist.folders[0].root / gone.path).unlink()
    with ReviewStore.open(url_of(tmp_path / "verdicts.db")) as store:
        for case, said in ((changed, "the file has changed since it was scored"), (gone, "is not there any more")):
            found = shown_case(worklist, store, case)
            assert said in found.fault and found.fault.startswith("This image is not shown. ")
            assert found.labels == {}
    assert worklist.absent() == (gone,)


def test_a_damaged_file_of_evidence_is_told_when_the_folder_is_opened(
    scored: Path, format3_run: Path, tmp_path: Path
) -> None:
    worklist = _copy(scored, format3_run, tmp_path)
    (worklist.folders[0].scores / "evidence.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(UsageError, match=r"evidence\.parquet is damaged"):
        Worklist.open(worklist.folders[0].scores, format3_run)


def _said(worklist: Worklist, **changes: object) -> SaidVerdict:
    case = worklist.cases[0]
    facts = {
        "id": "1", "key": case.key, "label": LABEL, "verdict": "agree", "reviewer": "Dr. A", "revision": 0,
        "probability": case.probabilities[LABEL], "checked": True, "seconds_in_view": 3.5, "heatmap_shown": True,
        "marks": MARKS,
    }  # fmt: skip
    return SaidVerdict.model_validate({**facts, **changes})


def test_a_verdict_is_kept_with_all_that_the_page_knows_and_shown_again(worklist: Worklist, tmp_path: Path) -> None:
    with ReviewStore.open(url_of(tmp_path / "verdicts.db")) as store:
        assert not judged(worklist, store, worklist.cases[0])
        answer = kept(worklist, store, _said(worklist, comment="seen"))
        assert (answer.saved, answer.said) == (True, "Saved: ✓ Agree.")
        assert answer.label is not None
        assert (answer.label.revision, answer.label.history[0].comment) == (1, "seen")
        before = shown_case(worklist, store, worklist.cases[0]).labels[LABEL]
        assert answer.label.folds == before.folds and len(before.folds) == 2  # nothing but the verdict is another
        assert judged(worklist, store, worklist.cases[0])
        (saved,) = store.everything()
        assert saved.marks == (Mark("box", 2, 1, 2, 2), Mark("point", 0, 0))
        assert (saved.seconds_in_view, saved.heatmap_shown) == (3.5, True)
        assert saved.probability == worklist.cases[0].probabilities[LABEL]
        blind, seeing = (shown_case(worklist, store, worklist.cases[0], Reader(*who)) for who in (("B",), ("B", False)))
        assert (blind.labels[LABEL].history, blind.labels[LABEL].revision) == ((), 0)
        assert blind.labels[LABEL].hidden == "1 verdict of others is shown once yours is saved."
        assert len(seeing.labels[LABEL].history) == 1
        again = kept(worklist, store, _said(worklist, id="2", verdict="unsure"))  # who saw none of it
        assert not again.saved and again.said.startswith("Dr. A has saved a verdict since this page was opened")
        assert again.label is not None and len(again.label.history) == 1


def test_all_that_the_form_asks_for_is_kept_and_read_back(worklist: Worklist, tmp_path: Path) -> None:
    said = [
        _said(
            worklist, verdict="disagree", corrected_label="fold", confidence=75, heatmap="misled", comment="c", marks=[]
        ),
        _said(worklist, id="2", revision=1, verdict="skipped", skip_reason="not readable", marks=[]),
    ]
    with ReviewStore.open(url_of(tmp_path / "verdicts.db")) as store:
        answers = [kept(worklist, store, one) for one in said]
        assert [one.said for one in answers] == ["Saved: ✗ Disagree.", "Saved: – Skipped: not readable."]
        first, second = store.everything()
        assert (first.corrected_label, first.confidence, first.heatmap) == ("fold", 75, "misled")
        assert (second.verdict, second.skip_reason) == ("skipped", "not readable")
        assert answers[1].label is not None
        told = [(one.said, one.details) for one in answers[1].label.history]
        assert told[1] == ("✗ Disagree", "instead: fold · confidence high · heatmap misled")
        grade = kept(worklist, store, _said(worklist, id="3", revision=2, verdict="own", grade="3"))
        assert not grade.saved and "has no grade" in grade.said  # the finding is yes or no
        assert len(store.everything()) == 2


def test_what_is_begun_is_kept_for_its_reader_alone(worklist: Worklist, tmp_path: Path) -> None:
    case, seen = worklist.cases[0], ""
    with ReviewStore.open(url_of(tmp_path / "verdicts.db")) as store:
        for content in ('{"disc": 1}', '{"disc": 2}'):
            seen = _begin(worklist, store, content, seen=seen).version
        assert not _begin(worklist, store, '{"disc": 3}', reviewer=" ").kept
        found = shown_case(worklist, store, case, Reader("dr. a"))
        assert (found.draft, found.draft_version) == ('{"disc": 2}', seen)
        assert {shown_case(worklist, store, case, who).draft for who in (Reader("B"), Reader())} == {""}
        seen = _begin(worklist, store, f'{{"{LABEL}": 1, "other": 2}}', seen=seen).version
        assert kept(worklist, store, _said(worklist)).saved  # what is said is begun no more
        assert shown_case(worklist, store, case, Reader("Dr. A")).draft == '{"other": 2}'
        seen = shown_case(worklist, store, case, Reader("Dr. A")).draft_version
        assert _begin(worklist, store, "{}", seen=seen).version == ""
        assert shown_case(worklist, store, case, Reader("Dr. A")).draft == ""


def _begin(
    worklist: Worklist, store: ReviewStore, content: str, *, reviewer: str = "Dr. A", seen: str = ""
) -> KeptDraft:
    said = SaidDraft(id="1", key=worklist.cases[0].key, reviewer=reviewer, content=content, seen=seen)
    return keep_draft(worklist, store, said)


def test_a_draft_of_another_tab_is_told_and_not_written_over(worklist: Worklist, tmp_path: Path) -> None:
    with ReviewStore.open(url_of(tmp_path / "verdicts.db")) as store:
        first = _begin(worklist, store, '{"a": {"comment": "x"}, "b": 1}')
        blind = _begin(worklist, store, '{"a": {"comment": "y"}, "b": 1}')  # of a page that was opened before
        assert (blind.kept, json.loads(blind.other), blind.version) == (False, {"a": {"comment": "x"}}, first.version)
        assert _begin(worklist, store, '{"a": {"comment": "x"}, "b": 1, "c": 2}').kept  # which writes over nothing
        seeing = _begin(worklist, store, "{}", seen=first.version)
        assert not seeing.kept and json.loads(seeing.other)["c"] == 2
        assert _begin(worklist, store, "{}", seen=seeing.version).kept
        assert "200000 are kept" in _begin(worklist, store, "x" * 200_001).said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reviewer": "  "}, "Enter your name"),
        ({"key": "none"}, "no such image"),
        ({"label": "none"}, "no such image"),
        ({"reviewer": "<b>"}, "the reviewer's name holds"),
    ],
)
def test_a_verdict_that_cannot_be_kept_says_why(
    worklist: Worklist, changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with ReviewStore.open(url_of(tmp_path / "verdicts.db")) as store:
        answer = kept(worklist, store, _said(worklist, **changes))
        assert not answer.saved and said in answer.said
        assert not judged(worklist, store, worklist.cases[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "maybe"},
        {"heatmap": "pretty"},
        {"confidence": 101},
        {"seconds_in_view": -1},
        {"marks": [{"kind": "line"}]},
        {"more": 1},
        {"revision": -1},
    ],
)
def test_what_no_page_of_ours_sends_is_no_verdict(worklist: Worklist, changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _said(worklist, **changes)


def test_of_an_ensemble_it_is_said_that_its_sensitivity_was_never_measured(worklist: Worklist) -> None:
    point = points(worklist.model.card)[LABEL]
    assert (point.sensitivity, point.specificity) == (None, None)
    assert "never measured of the 2 networks" in point.measured
    assert point.chosen.startswith("The mean of") and "each was chosen for" in point.chosen


def test_of_one_model_the_dial_has_what_its_card_measured(format3_model: Path) -> None:
    card = read_card(format3_model)
    point = points(card)[LABEL]
    assert point.sensitivity is not None
    assert point.sensitivity.value == card.operating_points[LABEL].sensitivity
    assert point.sensitivity.low is not None and "12 images" in point.measured
    assert card.metrics_split in point.measured


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_the_bounds_of_shares_hold_for_the_counts_that_they_came_from(p: int, n: int, data: st.DataObject) -> None:
    found, passed = data.draw(st.integers(0, p)), data.draw(st.integers(0, n))
    for share, count, bounds in zip(
        (found / p, passed / n), (p, n), bounded(found / p, passed / n, p + n), strict=True
    ):
        assert bounds.low is not None and bounds.high is not None
        assert 0 <= bounds.low <= share <= bounds.high <= 1
        assert bounds.high - bounds.low >= min(0.6, 1.9 * (share * (1 - share) / count) ** 0.5)  # no narrower than they


def _until(checks: Checks, key: str) -> Check:
    ends = time.monotonic() + 300
    while (found := checks.state(key)).state == "waiting":
        assert time.monotonic() < ends
        time.sleep(0.05)
    return found


def test_a_process_of_its_own_gives_scores_again_or_says_which_it_does_not(
    scored: Path, format3_run: Path, tmp_path: Path
) -> None:
    worklist = _copy(scored, format3_run, tmp_path)
    table = worklist.folders[0].scores / "predictions.csv"
    first, *others = worklist.cases
    forged = repr(first.probabilities[LABEL])
    table.write_text(table.read_text(encoding="utf-8").replace(forged, "0.123456"), encoding="utf-8")
    checks = Checks(Folders(scores=(str(worklist.folders[0].scores),), model=str(format3_run), device="cpu"))
    try:
        checks.want([first.key, *(case.key for case in others)])
        assert _until(checks, first.key).state == "refused"
        assert "and the model now gives" in checks.state(first.key).text
        same = _until(checks, others[0].key)
        assert same.state == "same" and same.maps[LABEL].spread is not None
        assert checks.refused() == (first.key,)
        other = checks.heatmap(others[0].key, LABEL, "Grad-CAM", seconds=300)
        assert other.maps[LABEL].mean.rows > 0
        process = checks._process
    finally:
        checks.close()
    assert process is not None
    assert process.wait(30) is not None


def test_a_process_that_was_ended_is_started_again(worklist: Worklist, format3_run: Path) -> None:
    checks = Checks(Folders(scores=(str(worklist.folders[0].scores),), model="/no/such/folder", device="cpu"))
    one, two, _ = worklist.cases
    try:
        checks.want([one.key])
        assert _until(checks, one.key).state == "refused"  # of a model that is not there no score holds
        assert checks._process is not None
        checks._process.kill()
        checks.want([two.key])
        assert _until(checks, two.key).state == "refused"
    finally:
        checks.close()


def test_a_model_that_is_damaged_refuses_every_score(scored: Path, format3_run: Path, tmp_path: Path) -> None:
    shutil.copytree(format3_run, tmp_path / "run")
    weights = next((tmp_path / "run" / "models").glob("fold-*/models/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    worklist = Worklist.open(scored, tmp_path / "run")  # its cards are whole
    answers = io.StringIO()
    folders = Folders(scores=(str(scored),), model=str(tmp_path / "run"), device="cpu")
    serve(folders, io.StringIO(Question(key=worklist.cases[0].key).model_dump_json() + "\n"), answers)
    found = Check.model_validate_json(answers.getvalue())
    assert found.state == "refused" and "was altered or damaged" in found.text
