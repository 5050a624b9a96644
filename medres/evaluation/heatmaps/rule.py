"""The rule that licenses a label's maps: what was measured becomes validated, not validated or failed, with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medres.config.evaluation import HeatmapEvidence
from medres.evaluation.heatmaps.measures import BASELINES, MEASURES, MapMeasure
from medres.evaluation.heatmaps.results import MeasureResults, State, Verdict
from medres.formatting import estimate
from medres.records import Interval


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rule says of a label."""

    state: State
    reasons: tuple[str, ...]
    verdicts: Mapping[str, Verdict]  # by measure


def judge(
    auroc: Interval,
    patients: tuple[int, int],
    measures: Mapping[str, MeasureResults],
    rule: HeatmapEvidence,
) -> Judged:
    """Whether a label's maps have earned to be shown.

    Failed: there is evidence against them. Validated: every measure that can be made passes, the label is told well
    above chance, and there are enough patients. Not validated: all else.

    Args:
        auroc: of the label, on held-out images.
        patients: with and without the finding.
        measures: what was measured, by name.
        rule: its limits.
    """
    verdicts = {one.name: _verdict(one, measures[one.name], rule) for one in MEASURES if one.name in measures}
    against = [_said(one, measures[one.name], rule) for one in MEASURES if one.fails and _is(verdicts, one, "fails")]
    enough = min(patients) >= rule.fewest_patients
    if enough and auroc.low is not None and auroc.low <= 0.5:
        against.insert(0, f"the label itself is not told above chance: AUROC {estimate(auroc)}")
    if against:
        return Judged("failed", tuple(against), verdicts)
    if unsure := [*_unsure(auroc, patients, rule), *_lacking(measures, rule), *_open(measures, verdicts, rule)]:
        return Judged("not validated", tuple(unsure), verdicts)
    passed = [one for one in MEASURES if _is(verdicts, one, "passes")]
    said = [_said(one, measures[one.name], rule) for one in passed]
    return Judged("validated", (f"every measure passes; AUROC {estimate(auroc)}", *said), verdicts)


def _is(verdicts: Mapping[str, Verdict], measure: MapMeasure, verdict: Verdict) -> bool:
    return verdicts.get(measure.name) == verdict


def _unsure(auroc: Interval, patients: tuple[int, int], rule: HeatmapEvidence) -> Sequence[str]:
    """What of the label itself does not suffice."""
    found = []
    for count, word in zip(patients, ("with", "without"), strict=True):
        if count < rule.fewest_patients:
            found.append(f"only {count} patients {word} the finding; the rule asks for {rule.fewest_patients}")
    if auroc.value is None or auroc.low is None:
        found.append(f"the label's AUROC is not known well enough: {auroc.method}")
    elif auroc.value < rule.least_auroc or auroc.low <= 0.5:
        found.append(f"AUROC {estimate(auroc)}; the rule asks for {rule.least_auroc:g}")
    return found


def _lacking(measures: Mapping[str, MeasureResults], rule: HeatmapEvidence) -> Sequence[str]:
    """What was not measured, or on too few patients."""
    missing = [one.title for one in MEASURES if one.judged and one.name not in measures and not one.if_given]
    found = [f"not measured: {', '.join(missing)}"] if missing else []
    few = {
        one.title: measures[one.name].value.n_patients
        for one in MEASURES
        if one.judged and one.name in measures and measures[one.name].value.n_patients < rule.fewest_patients
    }
    if few:
        counts = sorted(set(few.values()))
        said = f"{counts[0]} patients" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} patients"
        found.append(f"measured on {said} only, and the rule asks for {rule.fewest_patients}: {', '.join(few)}")
    return found


def _open(
    measures: Mapping[str, MeasureResults], verdicts: Mapping[str, Verdict], rule: HeatmapEvidence
) -> Sequence[str]:
    """What was measured on enough patients, and does not pass surely."""
    return [
        _said(one, measures[one.name], rule)
        for one in MEASURES
        if (_is(verdicts, one, "fails") or _is(verdicts, one, "open"))
        and measures[one.name].value.n_patients >= rule.fewest_patients
    ]


def _verdict(measure: MapMeasure, found: MeasureResults, rule: HeatmapEvidence) -> Verdict:
    """Whether one measure keeps its limits surely, breaks them, or neither."""
    if not measure.judged:
        return "told"
    value = found.value
    if value.value is None or value.n_patients < rule.fewest_patients:
        return "open"
    if measure.judged == "gain":
        gains = list(found.gains.values())
        if any(gain.value is not None and gain.value <= 0 for gain in gains):
            return "fails"
        return "passes" if gains and all(gain.low is not None and gain.low > 0 for gain in gains) else "open"
    if value.low is None or value.high is None:
        return "open"
    limit = float(getattr(rule, measure.limit))
    below, above = value.high < limit, value.low > limit
    if measure.judged == "at most":
        return "passes" if below else "fails" if above else "open"
    return "passes" if above else "fails" if below else "open"


def _said(measure: MapMeasure, found: MeasureResults, rule: HeatmapEvidence) -> str:
    """A measure with its figures and its limit, as a sentence says it."""
    value = estimate(found.value, digits=measure.digits)
    said = f"{measure.title}: {value}, n = {found.value.n} images of {found.value.n_patients} patients"
    if measure.judged == "gain":
        name, gain = min(found.gains.items(), key=lambda item: item[1].value if item[1].value is not None else 0.0)
        other = estimate(found.baselines[name], digits=measure.digits)
        better = "better" if gain.low is not None and gain.low > 0 else "not surely better"
        better = "no better" if gain.value is not None and gain.value <= 0 else better
        return f"{said}; {better} than {BASELINES[name]} ({other})"
    return f"{said}; {measure.judged} {getattr(rule, measure.limit):g} is asked for"
