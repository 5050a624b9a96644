"""Agreement of readers: counts and Cohen's kappa as anybody would compute them, with intervals of patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from medres.review.verdicts.agreement import MODEL, Pair, agreement
from medres.review.verdicts.record import Opinion, Verdict, answer


def _verdict(image: int, reader: str, opinion: Opinion, *, revision: int = 1, called: int | None = None) -> Verdict:
    return Verdict(f"1.{image}", "m", "nodule", opinion, reader, revision=revision, called=called)  # type: ignore[arg-type]


def _pair(pairs: tuple[Pair, ...], first: str, second: str) -> Pair:
    (found,) = (pair for pair in pairs if (pair.first, pair.second) == (first, second))
    return found


def test_agree_and_disagree_mean_what_the_model_called() -> None:
    assert [answer(_verdict(1, "A", said, called=1)) for said in ("agree", "disagree", "unsure")] == [1, 0, -1]
    assert [answer(_verdict(1, "A", said, called=0)) for said in ("agree", "disagree", "unsure")] == [0, 1, -1]
    assert [answer(_verdict(1, "A", "disagree"), called) for called in (0, 1, None)] == [1, 0, None]
    assert answer(Verdict("1", "m", "l", "own", "A", grade="0", called=1)) == 0
    assert answer(Verdict("1", "m", "l", "own", "A", grade="moderate", called=1)) is None
    grades = [Verdict("1", "m", "kl_ge_2", "own", "A", grade=grade, called=1) for grade in ("0", "1", "2", "4", "x")]
    assert [answer(one) for one in grades] == [0, 0, 1, 1, None]  # a grade is of the finding, and not of its label
    assert answer(Verdict("1", "m", "l", "skipped", "A", skip_reason="x", called=1)) is None


@given(
    answers=st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from([0, 1]), st.sampled_from([0, 1])), min_size=2)
)
def test_kappa_is_cohens(answers: list[tuple[int, int, int]]) -> None:
    """Readers A and B, and the model, on images of patients of their own."""
    calls = {(f"1.{image}", "nodule"): call for image, (call, _, _) in enumerate(answers)}
    said = [
        _verdict(image, reader, "agree" if one == call else "disagree")
        for image, (call, *ones) in enumerate(answers)
        for reader, one in zip("AB", ones, strict=True)
    ]
    found = agreement(said, calls, {})
    columns = np.array(answers).T
    for first, second, places in (("A", "B", (1, 2)), ("A", MODEL, (1, 0)), ("B", MODEL, (2, 0))):
        one, other = (columns[place] for place in places)
        pair = _pair(found.pairs, first, second)
        assert (pair.images, pair.alike) == (len(answers), int((one == other).sum()))
        if len({*one, *other}) < 2:
            assert pair.kappa.value is None or pair.kappa.value == 0
        else:
            assert pair.kappa.value == pytest.approx(cohen_kappa_score(one, other))


def test_images_of_one_patient_are_resampled_together() -> None:
    """Ten patients with one image each, or the same ten images five times: only the images count more."""
    wide, narrow = [], []
    for images in (1, 5):
        patients, said, calls = {}, [], {}
        for image in range(20 * images):
            patient = image // images
            patients[f"1.{image}"], calls[f"1.{image}", "nodule"] = f"P{patient}", patient % 2
            said.append(_verdict(image, "A", "disagree" if patient in (3, 8) else "agree"))
        for kept, known in ((wide, patients), (narrow, {})):
            kappa = _pair(agreement(said, calls, known).pairs, "A", MODEL).kappa
            assert kappa.low is not None and kappa.high is not None and kappa.value is not None
            assert kappa.low < kappa.value < kappa.high
            kept.append(kappa.high - kappa.low)
    assert wide[1] == pytest.approx(wide[0])
    assert narrow[1] < 0.7 * narrow[0]


def test_unsure_is_counted_and_in_no_kappa_and_the_latest_word_counts() -> None:
    calls = {(f"1.{image}", "nodule"): 1 for image in range(4)}
    said = [
        _verdict(0, "Dr. A", "agree"), _verdict(0, "dr.  a", "disagree", revision=2), _verdict(1, "Dr. A", "unsure"),
        _verdict(0, "B", "disagree"), _verdict(1, "B", "agree"),
    ]  # fmt: skip
    found = agreement(said, calls, {})
    assert [(one.reader, one.images, dict(one.said)) for one in found.counts] == [
        ("B", 2, {"disagree": 1, "agree": 1}),
        ("Dr. A", 2, {"disagree": 1, "unsure": 1}),
    ]
    pair = _pair(found.pairs, "B", "Dr. A")
    assert pair.table == ((1, 0), (0, 0))
    assert pair.kappa.value is None and "one answer" in pair.kappa.method


def test_who_has_no_image_in_common_has_no_kappa() -> None:
    found = agreement([_verdict(0, "A", "agree", called=1), _verdict(1, "B", "agree", called=1)], {}, {})
    pair = _pair(found.pairs, "A", "B")
    assert (pair.images, pair.kappa.value, pair.kappa.n) == (0, None, 0)
