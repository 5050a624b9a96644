"""The rule that licenses maps: evidence against them fails them, all that is measured must pass, the rest is open."""

from __future__ import annotations

import pytest

from medres.config.evaluation import HeatmapEvidence
from medres.evaluation.heatmaps.measures import MEASURES
from medres.evaluation.heatmaps.results import MeasureResults
from medres.evaluation.heatmaps.rule import judge
from medres.records import Interval

RULE = HeatmapEvidence()
GOOD_AUROC = Interval(0.95, 0.9, 0.98, "", 200, 90)
ENOUGH = (40, 50)


def figure(value: float, reach: float = 0.05, patients: int = 40) -> Interval:
    return Interval(value, value - reach, value + reach, "", 2 * patients, patients)


def measures(**changed: MeasureResults) -> dict[str, MeasureResults]:
    """A label's measures, of which all pass but those that are given."""
    found = {}
    for one in MEASURES:
        better = {name: figure(0.3) for name in one.baselines}
        value = {"at most": 0.2, "at least": 0.8}.get(one.judged, 0.6)
        found[one.name] = MeasureResults(value=figure(value), baselines=better, gains=better)
    return found | {name.replace("_", " "): value for name, value in changed.items()}


def gain(value: float, reach: float = 0.05, patients: int = 40) -> MeasureResults:
    one = figure(value, reach, patients)
    return MeasureResults(value=figure(0.5, patients=patients), baselines={"random": one}, gains={"random": one})


def test_maps_that_pass_everything_are_validated_with_every_figure_as_a_reason() -> None:
    found = judge(GOOD_AUROC, ENOUGH, measures(), RULE)
    assert found.state == "validated"
    assert found.reasons[0] == "every measure passes; AUROC 0.950 (0.900 to 0.980)"
    assert len(found.reasons) == 1 + sum(bool(one.judged) for one in MEASURES)
    assert {found.verdicts[one.name] for one in MEASURES if one.judged} == {"passes"}
    assert {found.verdicts[one.name] for one in MEASURES if not one.judged} == {"told"}


def test_without_boxes_and_other_networks_the_rest_suffices() -> None:
    found = {name: value for name, value in measures().items() if not _if_given(name)}
    assert judge(GOOD_AUROC, ENOUGH, found, RULE).state == "validated"
    del found["shift"]
    missing = judge(GOOD_AUROC, ENOUGH, found, RULE)
    assert (missing.state, missing.reasons) == ("not validated", ("not measured: Shifted by a pixel",))
    assert judge(GOOD_AUROC, ENOUGH, {}, RULE).state == "not validated"


def _if_given(name: str) -> bool:
    return next(one.if_given for one in MEASURES if one.name == name)


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ({"deletion": gain(-0.01)}, "Deletion: 0.50 (0.45 to 0.55)"),
        ({"road": gain(0.0)}, "no better than a random order"),
        ({"randomised": MeasureResults(value=figure(0.7))}, "at most 0.5 is asked for"),
        ({"shift": MeasureResults(value=figure(0.3))}, "at least 0.5 is asked for"),
        ({"outside": MeasureResults(value=figure(0.8))}, "Outside of the anatomy: 0.80"),
        ({"pointing": gain(-0.2)}, "Peak on or near a box"),
    ],
)
def test_evidence_against_the_maps_fails_them(against: dict[str, MeasureResults], said: str) -> None:
    found = judge(GOOD_AUROC, ENOUGH, measures(**against), RULE)
    assert found.state == "failed"
    assert len(found.reasons) == 1
    assert said in found.reasons[0]
    assert "n = 80 images of 40 patients" in found.reasons[0]


@pytest.mark.parametrize(
    "unsure",
    [
        {"deletion": gain(0.02)},  # better, and not surely
        {"deletion": gain(-0.3, patients=19)},  # too few to say anything
        {"randomised": MeasureResults(value=figure(0.48))},
        {"outside": MeasureResults(value=figure(0.52))},
        {"insertion": gain(-0.1)},  # prevents, and does not fail
        {"networks": MeasureResults(value=figure(0.1))},
        {"overlap": gain(-0.1)},
    ],
)
def test_what_is_unsure_or_small_is_not_validated(unsure: dict[str, MeasureResults]) -> None:
    found = judge(GOOD_AUROC, ENOUGH, measures(**unsure), RULE)
    assert found.state == "not validated"
    assert len(found.reasons) == 1


def test_the_label_itself_must_be_told_and_seen_often_enough() -> None:
    chance = Interval(0.53, 0.46, 0.6, "", 200, 90)
    failed = judge(chance, ENOUGH, measures(), RULE)
    assert failed.state == "failed"
    assert failed.reasons == ("the label itself is not told above chance: AUROC 0.530 (0.460 to 0.600)",)
    few = judge(chance, (19, 50), measures(), RULE)
    assert few.state == "not validated"
    assert few.reasons[0] == "only 19 patients with the finding; the rule asks for 20"
    poor = judge(Interval(0.65, 0.55, 0.75, "", 200, 90), ENOUGH, measures(), RULE)
    assert poor.reasons == ("AUROC 0.650 (0.550 to 0.750); the rule asks for 0.7",)
    unknown = judge(Interval(None, None, None, "undefined: only one class", 9, 9), (0, 50), measures(), RULE)
    assert unknown.state == "not validated"


def test_the_limits_are_those_of_the_configuration() -> None:
    outside = measures(outside=MeasureResults(value=figure(0.3)))
    assert judge(GOOD_AUROC, ENOUGH, outside, RULE).state == "validated"
    assert judge(GOOD_AUROC, ENOUGH, outside, HeatmapEvidence(most_outside=0.2)).state == "failed"
    assert judge(GOOD_AUROC, ENOUGH, measures(), HeatmapEvidence(fewest_patients=41)).state == "not validated"
