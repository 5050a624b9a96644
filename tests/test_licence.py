"""What is known of a label's heatmaps decides whether they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from medres.errors import ModelError, UsageError
from medres.imaging.reading import read_radiograph
from medres.model.attachments import attach
from medres.model.classifier import Classifier
from medres.model.heatmaps.licence import (
    KIND,
    UNMEASURED,
    HeatmapLicence,
    LabelLicence,
    State,
    attach_licence,
    in_words,
    withheld,
)
from tests.support.format3 import linked_copy
from tests.support.phantoms import blob, write_radiograph


@pytest.fixture
def model(format3_model: Path, tmp_path: Path) -> Path:
    return linked_copy(format3_model, tmp_path / "model")


def licence(state: State, label: str, *, created: str = "2026-11-28T00:00:00Z", stride: int = 16) -> HeatmapLicence:
    given = LabelLicence(state=state, reasons=("the peak lies in the box in 8 of 10 images",), figures={"hits": 0.8})
    return HeatmapLicence(
        stride=stride, measured_on="held-out images", images=10, labels={label: given}, created=created
    )


def test_a_model_that_nobody_measured_is_not_validated(model: Path) -> None:
    classifier = Classifier.load(model, device="cpu")
    assert classifier.licence(classifier.labels[0]) == UNMEASURED
    with pytest.raises(UsageError, match="no label"):
        classifier.licence("another")


def test_the_newest_licence_counts_and_stands_beside_the_map(model: Path, tmp_path: Path) -> None:
    label = Classifier.load(model, device="cpu").labels[0]
    attach_licence(model, licence("validated", label, created="2026-11-28T00:00:02Z"))
    attach_licence(model, licence("failed", label, created="2026-11-28T00:00:01Z"))
    classifier = Classifier.load(model, device="cpu")
    write_radiograph(tmp_path / "1.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    seen = read_radiograph(tmp_path / "1.dcm")
    found = classifier.explain(seen, label=label)
    assert found.licence == "validated"
    assert found.licence_reasons == ("the peak lies in the box in 8 of 10 images",)
    assert classifier.explain(seen, label=label, stride=32).licence == "not validated"
    assert classifier.explain(seen, label=label, method="eigencam").licence == "not validated"


def test_what_failed_is_failed_however_it_is_drawn(model: Path) -> None:
    label = Classifier.load(model, device="cpu").labels[0]
    attach_licence(model, licence("failed", label))
    classifier = Classifier.load(model, device="cpu")
    for stride in (32, 16, 8):
        assert classifier.licence(label, stride=stride).state == "failed"
    assert classifier.licence(label, method="eigencam").state == "failed"


@pytest.mark.parametrize(("state", "positive", "why"), [
    ("validated", True, ""), ("not validated", True, ""), ("failed", True, "heatmap failed: the peak lies"),
    ("validated", False, "below the operating point"), ("failed", False, "heatmap failed: the peak lies"),
])  # fmt: skip
def test_a_map_is_withheld_below_the_operating_point_or_where_its_label_failed(
    state: State, positive: bool, why: str
) -> None:
    given = licence(state, "a").labels["a"]
    found = withheld(given, positive=positive)
    assert found.startswith(why) and bool(found) == bool(why)
    assert in_words(given) == f"heatmap {state}: the peak lies in the box in 8 of 10 images"


def test_a_damaged_licence_is_named(model: Path) -> None:
    attach(model, KIND, {"stride": 16})
    with pytest.raises(ModelError, match="heatmap licence"):
        Classifier.load(model, device="cpu")
