from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medres.cohort.splits import make_folds, make_inner_split, read_splits, splits_document, write_splits
from medres.errors import ManifestError
from medres.records import Fold, ManifestRow


def rows(patients: int, *, seed: int = 0, labels: tuple[str, ...] = ("a",)) -> list[ManifestRow]:
    rng = np.random.default_rng(seed)
    made = []
    for patient in range(patients):
        values = {label: int(rng.random() < 0.4) for label in labels}
        made += [
            ManifestRow(Path(f"{patient}-{image}.dcm"), f"P{patient:03d}", "", f"{patient}.{image}", values)
            for image in range(int(rng.integers(1, 5)))
        ]
    return made


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 120), st.integers(2, 6), st.integers(0, 1000), st.sampled_from([("a",), ("a", "b")]))
def test_no_patient_has_two_roles_and_everybody_is_held_out_once(
    patients: int, folds: int, seed: int, labels: tuple[str, ...]
) -> None:
    cohort = rows(patients, seed=seed, labels=labels)
    for label in labels:  # fewer than two patients of a class per fold are refused: the next test but one
        positive = len({row.patient_id for row in cohort if row.targets[label] == 1})
        assume(2 * folds <= positive <= patients - 2 * folds)
    everybody = {row.patient_id for row in cohort}
    made = make_folds(cohort, labels, folds=folds, validation_fraction=0.15, seed=seed)
    for fold in made:
        roles = [set(fold.training), set(fold.validation), set(fold.held_out)]
        assert sum(map(len, roles)) == len(set.union(*roles)) == len(everybody)
        assert all(roles)
    assert sorted(name for fold in made for name in fold.held_out) == sorted(everybody)
    assert made == make_folds(cohort, labels, folds=folds, validation_fraction=0.15, seed=seed)


def test_folds_have_about_the_same_share_of_positives() -> None:
    cohort = rows(300)
    share = np.mean([row.targets["a"] == 1 for row in cohort])
    for fold in make_folds(cohort, ["a"], folds=5, validation_fraction=0.15, seed=3):
        for names in (fold.training, fold.validation, fold.held_out):
            part = [row.targets["a"] == 1 for row in cohort if row.patient_id in set(names)]
            assert abs(np.mean(part) - share) < 0.08


def test_too_few_patients_of_a_class_are_refused() -> None:
    few = [row for row in rows(60) if row.targets["a"] == 0 or row.patient_id < "P009"]
    with pytest.raises(ManifestError, match="positive patients; 5 folds"):
        make_folds(few, ["a"], folds=5, validation_fraction=0.15, seed=0)


def test_a_final_model_holds_nobody_out() -> None:
    split = make_inner_split(rows(80), ["a"], validation_fraction=0.2, seed=1)
    assert split.held_out == ()
    assert not set(split.training) & set(split.validation)
    assert 0.1 < len(split.validation) / 80 < 0.3


def test_a_split_file_is_read_as_written_and_an_altered_one_is_refused(tmp_path: Path) -> None:
    folds = make_folds(rows(60), ["a"], folds=3, validation_fraction=0.2, seed=0)
    path = tmp_path / "splits.json"
    write_splits(path, splits_document(folds, labels=["a"], seed=0, manifest_sha256="00"))
    assert read_splits(path)[0] == folds
    document = json.loads(path.read_text())
    document["folds"][0]["held_out"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(ManifestError, match="altered"):
        read_splits(path)
    path.write_text("{}")
    with pytest.raises(ManifestError, match="not a split file"):
        read_splits(path)


@pytest.mark.parametrize(
    "folds",
    [
        [Fold(0, ("a", "b"), ("c",), ("a",))],
        [Fold(0, ("a", "b"), ("b",), ("c",))],
        [Fold(0, ("a",), ("b",), ("c",)), Fold(1, ("b",), ("a",), ("c",))],
    ],
)
def test_an_overlap_of_patients_is_an_error(folds: list[Fold]) -> None:
    with pytest.raises(ManifestError):
        splits_document(folds, labels=["a"], seed=0, manifest_sha256="")
