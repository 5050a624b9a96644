"""DeLong's intervals and tests are those of R's pROC, and its clustered form is Obuchowski's."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medres.records import Difference, Interval
from medres.statistics.bootstrap import bootstrap, bootstrap_difference
from medres.statistics.delong import delong, delong_difference

Scores = NDArray[np.float64]
Case = tuple[NDArray[np.int64], Scores, Scores]
"""Labels and two models' scores."""


def drawn(n: int, digits: int, seed: int = 0) -> Case:
    """Two models that agree in part; few digits give many ties."""
    generator = np.random.default_rng([seed, n])
    labels = generator.integers(0, 2, n)
    shared = generator.normal(labels * 0.8, 1)
    first, second = (np.round(shared + generator.normal(0, scale, n), digits) for scale in (0.6, 0.9))
    return labels, first, second


def case(labels: list[int], first: list[float], second: list[float]) -> Case:
    return np.array(labels), np.array(first, dtype=float), np.array(second, dtype=float)


CASES = {
    "many ties": drawn(60, 0),
    "some ties": drawn(400, 1),
    "no ties": drawn(3000, 12),
    "rare positives": (np.array([1] * 4 + [0] * 196), drawn(200, 2)[1], drawn(200, 2)[2]),
    "two of each class": case([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], [0.3, 0.2, 0.1, 0.9]),
    "three and two": case([0, 1, 0, 1, 0], [0.1, 0.6, 0.5, 0.5, 0.7], [0.3, 0.2, 0.1, 0.9, 0.2]),
    "one positive": case([0, 0, 0, 1], [0.1, 0.2, 0.6, 0.5], [0.3, 0.2, 0.1, 0.2]),
    "perfect separation": case([0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.9], [0.1, 0.9, 0.3, 0.8, 0.85]),
    "perfectly wrong": case([1, 1, 0, 0, 0], [0.1, 0.2, 0.7, 0.8, 0.9], [0.1, 0.9, 0.3, 0.8, 0.85]),
    "reversed scores": (drawn(150, 1)[0], -drawn(150, 1)[1], -drawn(150, 1)[2]),
    "one model reversed": (drawn(150, 1)[0], -drawn(150, 1)[1], drawn(150, 1)[2]),
    "constant scores": case([0, 1, 0, 1, 0], [0.5] * 5, [0.3, 0.2, 0.1, 0.9, 0.2]),
    "very large and very small": case([0, 1, 0, 1, 1, 0], [1e300, 2e300, -1e300, 5, 1e-300, 0], [1, 2, 3, 4, 5, 6]),
}

PROGRAM = """
suppressMessages(library(pROC))
for (path in commandArgs(TRUE)) {
  d <- read.csv(path, header = FALSE)
  first <- roc(d$V1, d$V2, levels = c(0, 1), direction = "<", quiet = TRUE)
  second <- roc(d$V1, d$V3, levels = c(0, 1), direction = "<", quiet = TRUE)
  interval <- suppressWarnings(ci.auc(first, method = "delong"))
  narrow <- suppressWarnings(ci.auc(first, method = "delong", conf.level = 0.8))
  test <- suppressWarnings(roc.test(second, first, paired = TRUE, method = "delong"))
  cat(sprintf("%.17g", c(interval, narrow[c(1, 3)], test$p.value, test$statistic, test$conf.int)), "\\n")
}
"""


@pytest.fixture(scope="module")
def by_proc(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """For each case: low, AUROC, high, low and high at 80 %, p, z, low and high of the difference."""
    if (
        not shutil.which("Rscript")
        or subprocess.run(["Rscript", "-e", "library(pROC)"], capture_output=True).returncode
    ):
        pytest.skip("R with the package pROC is not installed")
    folder = tmp_path_factory.mktemp("proc")
    paths = []
    for number, columns in enumerate(CASES.values()):
        paths.append(folder / f"{number}.csv")
        np.savetxt(paths[-1], np.stack(columns, axis=1), delimiter=",", fmt="%.17g")
    (folder / "program.R").write_text(PROGRAM, encoding="utf-8")
    command = ["Rscript", str(folder / "program.R"), *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    numbers = [[np.nan if word == "NA" else float(word) for word in line.split()] for line in lines]
    return dict(zip(CASES, numbers, strict=True))


def _numbers(*values: float | None) -> list[float]:
    return [np.nan if value is None else value for value in values]


@pytest.mark.parametrize("name", CASES)
def test_the_interval_is_that_of_proc(name: str, by_proc: dict[str, list[float]]) -> None:
    labels, scores, _ = CASES[name]
    found, narrow = delong(labels, scores), delong(labels, scores, confidence=0.8)
    low, value, high, narrow_low, narrow_high = by_proc[name][:5]
    assert found.value is not None
    if np.isnan(value):  # pROC gives up altogether where one image of a class leaves no variance
        assert _numbers(found.low, found.high) == pytest.approx([np.nan] * 2, nan_ok=True)
        return
    assert _numbers(found.low, found.value, found.high) == pytest.approx([low, value, high], abs=1e-8)
    assert _numbers(narrow.low, narrow.high) == pytest.approx([narrow_low, narrow_high], abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_the_paired_test_is_that_of_proc(name: str, by_proc: dict[str, list[float]]) -> None:
    found = delong_difference(*CASES[name])
    expected = by_proc[name][5:]
    assert _numbers(found.p, found.z, found.low, found.high) == pytest.approx(expected, abs=1e-6, nan_ok=True)
    if found.value is not None and found.low is not None:
        assert found.value == pytest.approx(np.mean(expected[2:]), abs=1e-8)


def test_classes_that_are_separated_are_not_called_certain() -> None:
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.9]
    found = delong(labels, scores)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert "variance is 0, which is not certainty" in found.method
    assert "variance is 0" in delong([0, 1, 0, 1], [0.5] * 4).method
    honest = bootstrap(np.repeat(labels, 3), np.repeat(scores, 3), range(15))
    assert honest.low is not None
    assert honest.low < 0.6


def test_models_that_rank_alike_have_no_test_and_the_reason_is_said() -> None:
    labels, scores, _ = drawn(50, 1)
    for groups in (None, np.arange(50) // 2):
        found = delong_difference(labels, scores, 3 * scores + 1, groups)
        assert (found.value, found.low, found.high, found.z, found.p) == (0.0, None, None, None, None)
        assert found.method.startswith("no interval and no test: paired ")
        assert "variance is 0" in found.method


def test_undefined_is_none_with_its_reason() -> None:
    assert delong([1, 1], [0.2, 0.3]) == Interval(None, None, None, "undefined: only one class", 2, 2)
    assert delong([], []) == Interval(None, None, None, "undefined: no images", 0, 0)
    assert delong([], [], []).method == "undefined: no images"
    assert delong_difference([1], [0.2], [0.3], ["a"]) == Difference(
        None, None, None, None, None, "undefined: only one class", 1, 1
    )
    alone = delong([1, 1, 0, 0], [4, 2, 3, 1], ["a", "a", "b", "c"])
    assert (alone.value, alone.low) == (0.75, None)
    assert (
        alone.method == "no interval: patient-clustered DeLong (Obuchowski 1997), needs two patients with an image"
        " of each class"
    )
    with pytest.raises(ValueError, match="one patient per image"):
        delong([0, 1], [0, 1], ["a"])


@st.composite
def clustered(draw: st.DrawFn) -> tuple[NDArray[np.int64], Scores, Scores, NDArray[np.int64]]:
    """Both classes in two patients at least, tied scores, several images a patient."""
    n = draw(st.integers(4, 40))
    integers = st.lists(st.integers(0, 6), min_size=n, max_size=n)
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    labels[:4] = [0, 0, 1, 1]
    groups = np.array(draw(integers))
    groups[:4] = [0, 1, 0, 1]
    return labels, np.array(draw(integers), dtype=float), np.array(draw(integers), dtype=float), groups


def _by_definition(labels: NDArray[np.int64], models: list[Scores], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Obuchowski's covariance of AUROCs, written as in the paper: every pair of images, then every patient."""
    patients = np.unique(groups)
    kernel = [
        (s[labels == 1][:, None] > s[labels == 0][None]) + 0.5 * (s[labels == 1][:, None] == s[labels == 0][None])
        for s in models
    ]
    m, n = kernel[0].shape
    ill, well = np.zeros((2, len(models), len(patients)))
    for place, patient in enumerate(patients):
        own_ill, own_well = (groups[labels == one] == patient for one in (1, 0))
        for model, psi in enumerate(kernel):
            ill[model, place] = psi.mean(axis=1)[own_ill].sum() - own_ill.sum() * psi.mean()
            well[model, place] = psi.mean(axis=0)[own_well].sum() - own_well.sum() * psi.mean()
    with_ill, with_well = (len(np.unique(groups[labels == one])) for one in (1, 0))
    s10 = with_ill / ((with_ill - 1) * m) * ill @ ill.T
    s01 = with_well / ((with_well - 1) * n) * well @ well.T
    s11 = len(patients) / (len(patients) - 1) * ill @ well.T
    found: NDArray[np.float64] = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
    return found


@given(clustered())
def test_the_clustered_variance_is_that_of_its_definition(
    found: tuple[NDArray[np.int64], Scores, Scores, NDArray[np.int64]],
) -> None:
    labels, first, second, groups = found
    covariance = _by_definition(labels, [first, second], groups)
    interval = delong(labels, first, groups, confidence=0.6827)  # bounds one standard error away, if not cut at 0 or 1
    if interval.low is not None and interval.high is not None and interval.low > 0 and interval.high < 1:
        assert (interval.high - interval.low) / 2 == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-4, abs=1e-12)
    difference = delong_difference(labels, first, second, groups)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if difference.z is not None and difference.value is not None:
        assert difference.value == pytest.approx(difference.z * np.sqrt(variance), abs=1e-7)
    else:
        assert variance == pytest.approx(0, abs=1e-12)


@given(clustered())
def test_one_image_a_patient_makes_the_clustered_form_the_plain_one(
    found: tuple[NDArray[np.int64], Scores, Scores, NDArray[np.int64]],
) -> None:
    labels, first, second, _ = found
    for plain, grouped in (
        (delong(labels, first), delong(labels, first, np.arange(len(labels)))),
        (delong_difference(labels, first, second), delong_difference(labels, first, second, np.arange(len(labels)))),
    ):
        assert _numbers(plain.low, plain.value, plain.high) == pytest.approx(
            _numbers(grouped.low, grouped.value, grouped.high), abs=1e-12, nan_ok=True
        )
        assert plain.method != grouped.method


def test_images_repeated_within_a_patient_do_not_narrow_the_clustered_interval() -> None:
    labels, first, second = drawn(120, 2)
    groups = np.arange(120) // 2
    once, repeated = (
        (delong(*pick[:2], pick[3]), delong_difference(*pick))
        for pick in (
            (labels, first, second, groups),
            tuple(np.repeat(column, 5) for column in (labels, first, second, groups)),
        )
    )
    for one, many in zip(once, repeated, strict=True):
        assert _numbers(one.low, one.high) == pytest.approx(_numbers(many.low, many.high), abs=1e-12)
        assert (many.n, many.n_patients) == (600, 60)


def test_the_clustered_form_agrees_with_the_clustered_bootstrap() -> None:
    generator = np.random.default_rng(5)
    groups = np.repeat(np.arange(400), 4)
    trait = np.repeat(generator.normal(size=400), 4)
    labels = (trait + generator.normal(size=1600) > 0.5).astype(int)
    first, second = (trait + 0.5 * labels + generator.normal(0, scale, 1600) for scale in (1.0, 1.5))
    for fast, slow in (
        (delong(labels, first, groups), bootstrap(labels, first, groups)),
        (delong_difference(labels, first, second, groups), bootstrap_difference(labels, first, second, groups)),
    ):
        assert fast.value == pytest.approx(slow.value, abs=1e-12)
        assert fast.n_patients == slow.n_patients == 400
        width = (slow.high or 0) - (slow.low or 0)
        assert _numbers(fast.low, fast.high) == pytest.approx(_numbers(slow.low, slow.high), abs=0.06 * width)
        assert (delong(labels, first).high or 0) - (delong(labels, first).low or 0) < 0.95 * (
            (delong(labels, first, groups).high or 0) - (delong(labels, first, groups).low or 0)
        )
