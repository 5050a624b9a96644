from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medres import Division, cross_validate
from medres.cohort.cache import cached_pixels
from medres.cohort.given_folds import folds_from_column
from medres.cohort.manifest import read_manifest
from medres.cohort.splits import (
    REPEAT_SEEDS,
    SplitsParent,
    choose_repeat,
    make_folds,
    make_inner_split,
    read_splits,
    splits_document,
    write_splits,
)
from medres.cohort.tasks import Task
from medres.config import GATES, Config, Limits, Preprocessing
from medres.errors import ManifestError, UsageError
from medres.records import Fold, ManifestRow
from tests.conftest import SHARED, TINY, Medres, needs_shared
from tests.support import recipes
from tests.support.made import made_networks
from tests.support.phantoms import write_cohort
from tests.test_cli import refusal


def brief() -> Config:
    return recipes.made(*(option.removeprefix("--set=") for option in recipes.TOKEN))


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
@given(
    st.integers(40, 120),
    st.integers(2, 6),
    st.integers(1, 3),
    st.integers(0, 1000),
    st.sampled_from([("a",), ("a", "b")]),
)
def test_no_patient_has_two_roles_and_everybody_is_held_out_once_per_repeat(
    patients: int, folds: int, repeats: int, seed: int, labels: tuple[str, ...]
) -> None:
    cohort = rows(patients, seed=seed, labels=labels)
    for label in labels:  # fewer than two patients of a class per fold are refused: a test below
        for value in (0, 1):
            assume(len({row.patient_id for row in cohort if row.targets[label] == value}) >= 2 * folds)
    everybody = {row.patient_id for row in cohort}
    options = {"folds": folds, "repeats": repeats, "validation_fraction": 0.15, "seed": seed}
    made = make_folds(cohort, labels, **options)
    assert [fold.index for fold in made] == list(range(folds * repeats))
    for fold in made:
        roles = [set(fold.training), set(fold.validation), set(fold.held_out)]
        assert sum(map(len, roles)) == len(set.union(*roles)) == len(everybody)
        assert all(roles)
    for repeat in range(repeats):
        own = [name for fold in made if fold.repeat == repeat for name in fold.held_out]
        assert sorted(own) == sorted(everybody)
    assert made == make_folds(cohort, labels, **options)
    mixed = [cohort[place] for place in np.random.default_rng(seed).permutation(len(cohort))]
    assert made == make_folds(mixed, labels, **options)


def test_repeats_and_seeds_divide_patients_differently() -> None:
    cohort = rows(100)
    made = make_folds(cohort, ["a"], folds=2, repeats=3, validation_fraction=0.2, seed=0)
    other = make_folds(cohort, ["a"], folds=2, validation_fraction=0.2, seed=1)
    parts = {frozenset((frozenset(one.held_out), frozenset(two.held_out))) for one, two in
             [made[0:2], made[2:4], made[4:6], other]}  # fmt: skip
    assert len(parts) == 4


def multilabel(seed: int, patients: int = 300, prevalences: tuple[float, ...] = (0.3, 0.1, 0.04)) -> list[ManifestRow]:
    """Findings that one patient tends to have on many images, and some patients with very many images."""
    rng = np.random.default_rng(seed)
    made = []
    for patient in range(patients):
        tendency = rng.normal(0, 1.5, len(prevalences)) + np.log(np.divide(prevalences, np.subtract(1, prevalences)))
        for number in range(int(rng.geometric(0.35))):
            drawn = rng.random(len(prevalences)) < 1 / (1 + np.exp(-tendency))
            targets = {f"l{column}": int(value) for column, value in enumerate(drawn)}
            made.append(ManifestRow(Path(f"{patient}-{number}"), f"P{patient:03d}", "", f"{patient}.{number}", targets))
    return made


def spread(cohort: list[ManifestRow], parts: list[set[str]], label: str) -> float:
    """Standard deviation of the share of positive images over folds."""
    return float(np.std([np.mean([row.targets[label] for row in cohort if row.patient_id in part]) for part in parts]))


@pytest.mark.filterwarnings("ignore:The least populated class")  # the peer's view of combinations of labels
def test_every_label_is_spread_more_evenly_than_groups_alone_and_as_one_class_of_combinations() -> None:
    labels, found = ["l0", "l1", "l2"], {"ours": [], "groups": [], "combinations": []}
    for seed in range(6):
        cohort = multilabel(seed)
        patients = np.array([row.patient_id for row in cohort])
        combinations = np.array(["".join(str(row.targets[label]) for label in labels) for row in cohort])
        ours = make_folds(cohort, labels, folds=5, validation_fraction=0.15, seed=seed)
        peers = {
            "groups": GroupKFold(5, shuffle=True, random_state=seed),
            "combinations": StratifiedGroupKFold(5, shuffle=True, random_state=seed),
        }
        parts = {
            name: [set(patients[held]) for _, held in peer.split(patients, combinations, patients)]
            for name, peer in peers.items()
        }
        parts["ours"] = [set(fold.held_out) for fold in ours]
        for name, divided in parts.items():
            found[name].append([spread(cohort, divided, label) for label in labels])
    mean = {name: np.mean(values, axis=0) for name, values in found.items()}
    assert (mean["ours"] < mean["groups"] / 4).all()
    assert (mean["ours"] <= 1.2 * mean["combinations"]).all()


def test_grades_and_classes_are_spread_evenly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,PatientID,grade,view"]
    for patient in range(200):
        (tmp_path / f"{patient}").touch()
        lines.append(f"{patient},P{patient},{rng.choice(4, p=[0.5, 0.3, 0.15, 0.05])},{rng.choice(['AP', 'PA', 'LL'])}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    manifest = read_manifest(path, [Task("grade", "ordinal"), Task("view", "multiclass")])
    for fold in make_folds(manifest.rows, manifest.labels, folds=5, validation_fraction=0.15, seed=0):
        part = manifest.table[manifest.table["PatientID"].isin(fold.held_out)]
        for column in ("grade", "view"):
            expected = manifest.table[column].value_counts() / 5
            assert (part[column].value_counts().reindex(expected.index) - expected).abs().max() <= 2


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


def given_manifest(folder: Path, columns: dict[str, list[str]], *, patients: int = 40) -> Path:
    """Two images a patient, label `a` of every other patient; columns hold one value a patient."""
    lines = [",".join(["path", "PatientID", "label_a", *columns])]
    for patient in range(patients):
        for number in range(2):
            (folder / f"{patient}-{number}").touch()
            cells = (values[patient % len(values)] for values in columns.values())
            lines.append(",".join([f"{patient}-{number}", f"P{patient:02d}", str(patient % 2), *cells]))
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_one_site_is_left_out_at_a_time(tmp_path: Path) -> None:
    sites = ["North", "North", "South", "West", "West"]
    manifest = read_manifest(given_manifest(tmp_path, {"InstitutionName": sites}), ["a"])
    folds, method = folds_from_column(manifest, "InstitutionName", validation_fraction=0.2, seed=0)
    assert "InstitutionName" in method
    assert [(fold.index, fold.name, len(fold.held_out)) for fold in folds] == [
        (0, "North", 16), (1, "South", 8), (2, "West", 16)
    ]  # fmt: skip
    owner = dict(zip(manifest.table["PatientID"], manifest.table["InstitutionName"], strict=True))
    for fold in folds:
        assert {owner[patient] for patient in fold.held_out} == {fold.name}
        assert fold.name not in {owner[patient] for patient in (*fold.training, *fold.validation)}
        for part in (fold.training, fold.validation):
            assert {int(patient[1:]) % 2 for patient in part} == {0, 1}
    document = splits_document(folds, labels=["a"], seed=0, manifest_sha256="", method=method)
    write_splits(tmp_path / "splits.json", document)
    assert read_splits(tmp_path / "splits.json")[0] == folds


@pytest.mark.parametrize(
    ("values", "validation", "held_out"),
    [
        (["train", "train", "train", "test"], None, 10),
        (["Training", "Training", "valid", "valid", "TEST"], 16, 8),
        (["train", "train", "train", "val"], None, 10),
    ],
)
def test_training_and_test_in_a_column_are_one_fold(
    tmp_path: Path, values: list[str], validation: int | None, held_out: int
) -> None:
    manifest = read_manifest(given_manifest(tmp_path, {"part": values}), ["a"])
    (fold,) = folds_from_column(manifest, "part", validation_fraction=0.2, seed=0)[0]
    assert len(fold.held_out) == held_out
    assert len(fold.validation) == (validation or len(fold.validation)) > 0
    assert len({*fold.training, *fold.validation, *fold.held_out}) == 40


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["x"], "has 1 different values"),
        (["x", ""], "is blank in 40 rows"),
        (["even", "odd"], "without 'even': label 'a' has 0 negative patients"),
        (["train", "train", "test", "valid"], "the validation rows of part: label 'a' has 0 negative patients; at"),
        (["train", "test", "valid", "valid"], "the training rows of part: label 'a' has 0 positive patients; at"),
    ],
)
def test_a_column_that_cannot_give_folds_is_refused(tmp_path: Path, values: list[str], message: str) -> None:
    manifest = read_manifest(given_manifest(tmp_path, {"part": values}), ["a"])
    with pytest.raises(ManifestError, match=message):
        folds_from_column(manifest, "part", validation_fraction=0.2, seed=0)
    with pytest.raises(ManifestError, match="no column fold "):
        folds_from_column(manifest, "fold", validation_fraction=0.2, seed=0)


@needs_shared("chest64")
@pytest.mark.parametrize("verb", ["split", "crossval"])
def test_a_given_split_in_which_patients_leak_is_refused_and_names_all_thirty(
    medres: Medres, tmp_path: Path, verb: str
) -> None:
    source = SHARED / "chest64" / "manifest.csv"
    out = tmp_path / "out"
    done = medres(verb, source, "--label", "abnormal", "--folds-column", "given_split", "--out", out)
    assert done.returncode == 2
    assert not out.exists()
    table = pd.read_csv(source, dtype=str)
    shared = table.groupby("PatientID")["given_split"].nunique()
    leaking = set(shared[shared > 1].index)
    assert len(leaking) == 30
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("medres:")]
    assert "30 patients" in line
    assert set(re.findall(r"CHEST-\w+", line)) == leaking


def test_a_run_goes_through_one_repeat_of_a_split_file(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits.json"
    done = medres("split", small_cohort, "--label", "disc", "--folds", 2, "--repeats", 3, "--out", splits)
    assert done.returncode == 0, done.stderr
    assert "fold 5 of repeat 2: " in done.stdout
    command = ("crossval", small_cohort, "--label", "disc", "--splits", splits, *TINY)
    done = medres(*command, *recipes.TOKEN, "--repeat", 1, "--out", tmp_path / "run", made="disc")
    assert done.returncode == 0, done.stderr
    whole = [fold for fold in read_splits(splits)[0] if fold.repeat == 1]
    mine, document = read_splits(tmp_path / "run" / "splits.json")
    assert [fold.held_out for fold in mine] == [fold.held_out for fold in whole]
    assert [fold.index for fold in mine] == [0, 1]
    assert "repeat 1 of split file" in document.method
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["splits"]["method"] == document.method
    assert run["splits"]["parent"] == {"sha256": read_splits(splits)[1].sha256, "repeat": 1}
    assert document.parent == SplitsParent(**run["splits"]["parent"])
    for fold in mine:  # every repeat starts from seeds of its own
        card = json.loads((tmp_path / "run" / "models" / f"fold-{fold.index}" / "medres.json").read_text())
        assert card["provenance"]["seed"] == recipes.fixture_seed() + REPEAT_SEEDS + fold.index


def test_a_split_file_keeps_as_many_patients_for_validation_as_asked(medres: Medres, tmp_path: Path) -> None:
    manifest = given_manifest(tmp_path, {"site": ["North", "North", "South", "South"]}, patients=80)
    sizes = []
    for asked in (["--folds", 4], ["--folds", 4, "--validation-fraction", 0.4], ["--folds-column", "site"],
                  ["--folds-column", "site", "--validation-fraction", 0.4]):  # fmt: skip
        out = tmp_path / f"{len(sizes)}.json"
        done = medres("split", manifest, "--label", "a", *asked, "--out", out)
        assert done.returncode == 0, done.stderr
        parts = [len(fold.validation) / (len(fold.training) + len(fold.validation)) for fold in read_splits(out)[0]]
        sizes.append(np.mean(parts))
    assert sizes == pytest.approx([1 / 7, 1 / 2, 1 / 7, 1 / 2], abs=0.03)  # of parts of equal size


def test_only_one_repeat_can_be_chosen() -> None:
    made = make_folds(rows(60), ["a"], folds=2, repeats=2, validation_fraction=0.2, seed=0)
    with pytest.raises(UsageError, match="holds 2 repeats"):
        choose_repeat(made, None)
    with pytest.raises(UsageError, match="no repeat 2; it has 0, 1"):
        choose_repeat(made, 2)
    with pytest.raises(ManifestError, match="held out in two folds"):
        splits_document(
            [*made[:2], made[2].__class__(5, (), (), made[0].held_out)], labels=[], seed=0, manifest_sha256=""
        )


def test_a_run_on_given_training_and_test_patients_judges_the_test_patients_alone(
    medres: Medres, tmp_path: Path
) -> None:
    manifest = write_cohort(tmp_path / "c", patients=20)
    table = pd.read_csv(manifest, dtype=str)
    table["part"] = ["test" if int(patient) >= 14 else "train" for patient in table["PatientID"]]
    table.to_csv(manifest, index=False)
    done = medres(
        "crossval", manifest, "--label", "disc", "--folds-column", "part", "--out", tmp_path / "run", *TINY,
        *recipes.TOKEN, made="disc",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    oof = pd.read_csv(tmp_path / "run" / "oof.csv", dtype=str)
    assert sorted(set(oof["PatientID"])) == [f"{patient:04d}" for patient in range(14, 20)]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["flow"] == {"rows": 40, "used": 12, "refused": {"never held out": 28}}
    assert run["splits"]["method"] == "given by the column part: one fold, patient-grouped"


def test_a_fold_whose_images_are_all_refused_is_said_before_anything_is_trained(medres: Medres, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "c", patients=12, images=1)
    table = pd.read_csv(manifest, dtype=str)
    table["site"] = ["North", "North", "South", "South"] * 3
    table.to_csv(manifest, index=False)
    for path in table["path"][table["site"] == "South"]:
        (manifest.parent / path).write_text("not DICOM")
    asked = ("crossval", manifest, "--label", "disc", "--out", tmp_path / "run", *TINY)
    line = refusal(medres(*asked, "--folds-column", "site"), 2)
    assert "(South): none of its 6 held-out patients has a usable image" in line or "(North): none of its" in line
    assert "6 files of the cohort were refused" in line
    assert not (tmp_path / "run").exists()


def test_a_patient_without_any_known_label_is_no_obstacle_to_given_folds(medres: Medres, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "c", patients=13, images=1)
    table = pd.read_csv(manifest, dtype=str)
    table["site"] = ["North", "North", "South", "South"] * 3 + ["South"]
    table.loc[table["PatientID"] == "0012", "label_disc"] = ""
    table.to_csv(manifest, index=False)
    splits = tmp_path / "splits.json"
    done = medres("split", manifest, "--label", "disc", "--folds", 2, "--out", splits)
    assert done.returncode == 0, done.stderr
    for name, chosen in (("file", Division(splits=splits)), ("column", Division(column="site"))):
        with made_networks():
            cross_validate(manifest, labels=["disc"], config=brief(), out=tmp_path / name, division=chosen)
        oof = pd.read_csv(tmp_path / name / "oof.csv", dtype=str)
        assert sorted(oof["PatientID"]) == [f"{patient:04d}" for patient in range(12)]
        cards = [json.loads(card.read_text()) for card in (tmp_path / name).glob("models/fold-*/medres.json")]
        assert len(cards) == 2
        for card in cards:  # the held-out figures stand beside it, here of another site than the training data
            assert "sites other than those of its manifest" in card["limits"][0]
            assert not any("training data" in limit for limit in card["limits"])
    table.loc[table["PatientID"] == "0012", "label_disc"] = "1"  # whom the file does not know
    table.to_csv(manifest, index=False)
    with pytest.raises(ManifestError, match="1 patients with a known label are in no fold"):
        cross_validate(
            manifest, labels=["disc"], config=brief(), out=tmp_path / "other", division=Division(splits=splits)
        )


@pytest.mark.slow
def test_a_run_counts_the_patients_whose_images_it_used(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "c", patients=14, images=1)
    for place in (4, 9):
        (manifest.parent / pd.read_csv(manifest, dtype=str)["path"][place]).write_bytes(b"no DICOM")
    with made_networks():
        cross_validate(manifest, labels=["disc"], config=brief(), out=tmp_path / "run")
    folds = json.loads((tmp_path / "run" / "run.json").read_text())["folds"]
    assert sum(fold["held_out_patients"] for fold in folds) == 12
    for fold in folds:  # one image a patient
        for part in ("training", "validation", "held_out"):
            assert fold[f"{part}_patients"] == fold[f"{part}_images"]


def test_patients_with_uncertain_labels_alone_are_learnt_from_and_change_nothing_else(tmp_path: Path) -> None:
    path = given_manifest(tmp_path, {"site": ["North", "North", "South", "South"], "part": ["train", "train", "test"]})
    table = pd.read_csv(path, dtype=str)
    known, unsure = read_manifest(path, ["a"]).rows, table["PatientID"].isin(["P00", "P01", "P02"])
    known = [row for row in known if row.patient_id not in ("P00", "P01", "P02")]
    table.loc[unsure, "label_a"] = "-1"  # of North, North and South; of training, training and test
    table.to_csv(path, index=False)
    manifest = read_manifest(path, ["a"])
    options = {"validation_fraction": 0.2, "seed": 0}
    for fold, without in zip(
        make_folds(manifest.rows, ["a"], folds=3, repeats=2, **options),
        make_folds(known, ["a"], folds=3, repeats=2, **options),
        strict=True,
    ):
        assert fold == replace(without, training=(*without.training, "P00", "P01", "P02"))
    for column, expected in (("site", [{"P02"}, {"P00", "P01"}]), ("part", [{"P00", "P01"}])):
        folds = folds_from_column(manifest, column, **options)[0]
        assert [{"P00", "P01", "P02"} & set(fold.training) for fold in folds] == expected
        assert all({"P00", "P01", "P02"}.isdisjoint((*fold.validation, *fold.held_out)) for fold in folds)


def test_a_value_of_the_column_that_no_known_label_has_holds_nobody_out(tmp_path: Path) -> None:
    path = given_manifest(tmp_path, {"site": ["North", "North", "South", "South"]})
    table = pd.read_csv(path, dtype=str)
    table.loc[table["PatientID"] == "P39", ["site", "label_a"]] = ["West", ""]
    table.to_csv(path, index=False)
    folds = folds_from_column(read_manifest(path, ["a"]), "site", validation_fraction=0.2, seed=0)[0]
    assert [fold.name for fold in folds] == ["North", "South"]


def gradients(image: np.ndarray, *, cell: int = 8, bins: int = 9) -> np.ndarray:
    """Histograms of oriented gradients of 8 × 8 cells, blocks of 2 × 2 cells normalised (Dalal and Triggs 2005)."""
    down, across = np.gradient(image.astype(np.float64))
    angle = np.floor(np.arctan2(down, across) % np.pi / np.pi * bins).astype(int) % bins
    weight = np.hypot(down, across)[:, :, None] * (angle[:, :, None] == np.arange(bins))
    side = len(image) // cell
    cells = weight.reshape(side, cell, side, cell, bins).sum(axis=(1, 3))
    blocks = np.concatenate([cells[:-1, :-1], cells[1:, :-1], cells[:-1, 1:], cells[1:, 1:]], axis=2)
    return (blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-9)).ravel()


@needs_shared("chest64")
def test_kept_apart_patients_are_why_a_noisy_label_looks_as_hard_as_it_is() -> None:
    """`label_abnormal` of chest64: HOG features know the patient, who is in both parts where images are divided."""
    manifest = read_manifest(SHARED / "chest64" / "manifest.csv", ["abnormal"])
    spec = Preprocessing(size=64)
    cache = cached_pixels(manifest.rows, spec, gate=GATES["any"], limits=Limits())
    features = np.stack([gradients(image) for image in cache.pixels])
    truth = np.array([row.targets["abnormal"] for row in manifest.rows])

    def pooled(cohort: list[ManifestRow], seed: int) -> float:
        scores = np.empty(len(truth))
        patients = np.array([row.patient_id for row in cohort])
        for fold in make_folds(cohort, ["abnormal"], folds=5, validation_fraction=0.15, seed=seed):
            held_out = np.isin(patients, fold.held_out)
            model = make_pipeline(StandardScaler(), PCA(100, random_state=0), LogisticRegression())
            scores[held_out] = model.fit(features[~held_out], truth[~held_out]).decision_function(features[held_out])
        return float(roc_auc_score(truth, scores))

    alone = [replace(row, patient_id=str(number)) for number, row in enumerate(manifest.rows)]
    grouped = [pooled(list(manifest.rows), seed) for seed in range(2)]
    ungrouped = [pooled(alone, seed) for seed in range(2)]
    assert 0.50 < np.mean(grouped) < 0.60
    assert np.mean(ungrouped) > 0.62
    assert max(grouped) < min(ungrouped)
