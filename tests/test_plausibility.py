"""An image unlike its cohort by view, laterality or polarity is for a human; what cannot be told is not said."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medres import Classifier, read_radiograph
from medres.cohort.layout import Layout, describe_layout, negative
from medres.cohort.profile import CohortProfile, Count, Occurring, describe
from medres.config import Gate, Limits, Preprocessing
from medres.imaging.phantoms import phantom
from medres.imaging.preprocessing import preprocess
from medres.imaging.reading import decode_radiograph, read_dataset
from medres.model.card import ModelCard, TrainedFacts
from medres.model.inspection import read_card
from medres.model.loading import load_member
from medres.model.plausibility import Expectation, never_occurred
from medres.model.saving import save_model
from medres.records import Radiograph
from medres.scoring.folder import score_folder
from medres.tables import read_csv
from tests.conftest import SHARED, needs_shared
from tests.support.phantoms import write_radiograph

COUNT = 120


def chest(seed: int) -> NDArray[np.uint16]:
    """A preprocessed phantom."""
    drawn = phantom(np.random.default_rng(seed), rows=64, columns=56, view=("PA", "AP")[seed % 2], sex="MF"[seed % 2])
    shown = (drawn.stored - (drawn.window_center - drawn.window_width / 2)) / drawn.window_width
    return (np.clip(shown, 0, 1) * 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def chests() -> list[NDArray[np.uint16]]:
    return [chest(seed) for seed in range(COUNT + 40)]


@pytest.fixture(scope="module")
def layout(chests: list[NDArray[np.uint16]]) -> Layout:
    found = describe_layout(chests[:COUNT], [str(number) for number in range(COUNT)])
    assert found is not None
    return found


def test_a_negative_is_told_from_a_positive_on_phantoms_that_were_not_described(
    layout: Layout, chests: list[NDArray[np.uint16]]
) -> None:
    assert not any(layout.is_negative(one) for one in chests[COUNT:])
    assert all(layout.is_negative(negative(one)) for one in chests[COUNT:])


@given(gain=st.floats(0.1, 1), offset=st.floats(0, 0.5), seed=st.integers(0, 39))
def test_neither_brightness_nor_contrast_makes_a_negative(
    layout: Layout, chests: list[NDArray[np.uint16]], gain: float, offset: float, seed: int
) -> None:
    other = (chests[COUNT + seed] * (gain / 2) + offset * 65535).astype(np.uint16)
    assert not layout.is_negative(other)


def test_a_cohort_that_is_small_or_looks_like_nothing_tells_no_polarity() -> None:
    noise = [np.random.default_rng(seed).integers(0, 65535, (64, 64)).astype(np.uint16) for seed in range(COUNT)]
    names = [str(number) for number in range(COUNT)]
    assert describe_layout(noise, names) is None
    assert describe_layout([chest(seed) for seed in range(10)], names[:10]) is None
    same = [chest(1)] * COUNT  # one patient: there is nobody else to compare with
    assert describe_layout(same, ["one"] * COUNT) is None


def test_what_shows_nothing_is_no_negative(layout: Layout) -> None:
    assert not layout.is_negative(np.zeros((64, 64), np.uint16))
    assert not layout.is_negative(np.full((64, 64), 65535, np.uint16))


@needs_shared("knee")
@needs_shared("chest64")
@pytest.mark.parametrize("name", ["knee", "chest64"])
def test_real_radiographs_are_positives_and_their_negatives_are_not(name: str) -> None:
    """Of patients that were not described: at most one false alarm in a hundred, at least nine in ten negatives."""
    with (SHARED / name / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:400]
    spec = Preprocessing(size=64)
    shown, turned = [], []
    for row in rows:
        reading = read_dataset(str(SHARED / name / row["path"]), gate=Gate(name="any"), limits=Limits())
        found, _ = decode_radiograph(reading, voi=spec.voi, percentiles=spec.percentiles, limits=Limits())
        shown.append(preprocess(found, spec).pixels)
        turned.append(preprocess(replace(found, pixels=1 - found.pixels), spec).pixels)
    patients = [row["PatientID"] for row in rows]
    described = set(sorted(set(patients))[::2])
    first = [place for place, patient in enumerate(patients) if patient in described]
    others = [place for place, patient in enumerate(patients) if patient not in described]
    layout = describe_layout([shown[place] for place in first], [patients[place] for place in first])
    assert layout is not None
    assert sum(layout.is_negative(shown[place]) for place in others) <= 0.01 * len(others)
    assert sum(layout.is_negative(turned[place]) for place in others) >= 0.9 * len(others)


def profile(views: Sequence[str], sides: Sequence[str] = ()) -> CohortProfile:
    records = [
        {"ViewPosition": view, "ImageLaterality": side} for view, side in zip(views, sides or views, strict=True)
    ]
    pixels = np.zeros((len(views), 8, 8), np.uint16)
    return describe(records, [str(place) for place in range(len(views))], pixels, range(len(views)))


def test_a_view_is_unseen_only_where_no_image_had_it() -> None:
    known = profile(["PA"] * 60 + ["AP"] * 40)
    assert never_occurred(known, "ViewPosition", "LL")
    assert not never_occurred(known, "ViewPosition", "ap")
    assert not never_occurred(known, "ViewPosition", "")
    assert not never_occurred(profile(["PA"] * 99 + ["LL"]), "ViewPosition", "LL")
    assert never_occurred(profile(["PA"] * 99 + ["LL"]), "ViewPosition", "AP")


def test_a_profile_is_silent_where_a_value_may_be_among_those_it_does_not_tell() -> None:
    assert not never_occurred(profile(["PA"] * 90 + [""] * 10), "ViewPosition", "LL")
    odd = profile(["PA"] * 99 + ["WARD 7"])
    assert odd.occurring["ViewPosition"] == Occurring(values=("PA",), others=True, recorded=1.0)
    assert not never_occurred(odd, "ViewPosition", "WARD 7")
    assert not never_occurred(odd, "ViewPosition", "WARD 8")
    assert never_occurred(odd, "ViewPosition", "LL")


def test_a_cohort_with_words_of_its_own_tells_of_no_view() -> None:
    for own in (["FRONTAL"] * 100, ["FRONTAL"] * 60 + ["PA"] * 40, ["FRONTAL"] * 10, ["LL"] * 60 + ["FRONTAL"] * 15):
        for view in ("PA", "AP", "FRONTAL"):
            assert not never_occurred(profile(own), "ViewPosition", view)


@pytest.mark.parametrize(("one", "other"), [("LATERAL", "LL"), ("LAT", "RL"), ("LAT", "LATERAL"), ("OBLIQUE", "RAO")])
def test_a_view_is_not_unseen_because_it_goes_by_a_broader_name(one: str, other: str) -> None:
    for cohort, asked in ((one, other), (other, one)):
        assert not never_occurred(profile(["PA"] * 50 + [cohort] * 50), "ViewPosition", asked)
        assert never_occurred(profile(["PA"] * 50 + [cohort] * 50), "ViewPosition", "LLD")


def test_left_and_right_are_two_views() -> None:
    assert never_occurred(profile(["LL"] * 100), "ViewPosition", "RL")


def test_a_side_is_unseen_only_where_the_cohort_records_sides() -> None:
    left = profile(["PA"] * 100, ["L"] * 100)
    assert never_occurred(left, "ImageLaterality", "R")
    assert not never_occurred(left, "ImageLaterality", "L")
    assert not never_occurred(left, "ImageLaterality", "U")
    assert not never_occurred(profile(["PA"] * 100, [""] * 100), "ImageLaterality", "R")


def test_a_profile_of_an_earlier_format_says_what_its_counts_say() -> None:
    def counted(**counts: int) -> CohortProfile:
        found = {name.replace("_", " "): Count(images=count, patients=count) for name, count in counts.items()}
        return CohortProfile(
            images=sum(counts.values()), patients=1, categories={"ViewPosition": found}, numbers={}, intensities={}
        )

    assert never_occurred(counted(PA=60, AP=40), "ViewPosition", "LL")
    assert not never_occurred(counted(PA=60, of_fewer_than_20_patients_each=4), "ViewPosition", "LL")
    assert not never_occurred(counted(PA=60, not_recorded=40), "ViewPosition", "LL")
    assert not never_occurred(counted(PA=60), "ImageLaterality", "R")


def test_an_ensemble_doubts_what_all_of_its_members_do() -> None:
    seen, unseen = profile(["PA"] * 50 + ["LL"] * 50), profile(["PA"] * 100)
    image = Radiograph(np.zeros((8, 8), np.float32), "1.2", "", "", view_position="LL", laterality="")
    pixels = np.zeros((8, 8), np.uint16)
    assert Expectation((unseen, unseen)).doubts(image, pixels) == ("VIEW_UNSEEN",)
    assert Expectation((unseen, seen)).doubts(image, pixels) == ()
    assert Expectation(()).doubts(image, pixels) == ()


def with_profile(model: Path, folder: Path, changed: CohortProfile) -> ModelCard:
    """A model whose card tells of another cohort."""
    member = load_member(model)
    facts = {name: getattr(member.card, name) for name in TrainedFacts.model_fields}
    return save_model(
        folder,
        network=member.network.eval(),
        space=member.space,
        outlier_cut=1e9,
        outlier_quantile=member.card.outliers.quantile,
        facts=TrainedFacts(**{**facts, "cohort_profile": changed}),
    )


def test_predict_and_score_doubt_the_same_images_for_the_same_reasons(
    format3_model: Path, layout: Layout, tmp_path: Path
) -> None:
    described = profile(["PA"] * COUNT, ["U"] * (COUNT - 1) + ["L"]).model_copy(update={"layout": layout})
    with_profile(format3_model, tmp_path / "model", described)
    model = Classifier.load(tmp_path / "model", device="cpu")
    assert read_card(tmp_path / "model").cohort_profile == described
    stored = (chest(500) >> 4).astype(np.uint16)
    images = {
        "kind.dcm": (stored, {}, ""),
        "side.dcm": (stored, {"ViewPosition": "PA", "ImageLaterality": "R"}, "LATERALITY_UNSEEN"),
        "turned.dcm": (4095 - stored, {"ViewPosition": "LL"}, "VIEW_UNSEEN POLARITY_UNLIKELY"),
        "view.dcm": (stored, {"ViewPosition": "LL"}, "VIEW_UNSEEN"),
    }
    for number, (name, (pixels, tags, _)) in enumerate(images.items(), start=1):
        write_radiograph(tmp_path / "in" / name, pixels, patient=name, uid=f"2.25.{number}", **tags)
    score_folder(tmp_path / "model", tmp_path / "in", out=tmp_path / "out", workers=1)
    table = read_csv(tmp_path / "out" / "predictions.csv").set_index("path")
    for name, (_, _, doubts) in images.items():
        predicted = model.predict(read_radiograph(tmp_path / "in" / name))
        assert table.loc[name, "warnings"] == doubts
        assert (predicted.status, predicted.reason) == (table.loc[name, "status"], table.loc[name, "reason"])
        assert predicted.status == ("review" if doubts else "ok")
