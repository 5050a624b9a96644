"""The runs of a depth study become verdicts and an answer, by the rule of `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from medres.config import Evaluation
from medres.evaluation.comparison import PRIMARY, decide
from medres.evaluation.comparison_results import SpreadOfSeeds
from medres.evaluation.depth import DepthRun, LabelDepth, NetworkCost, cheapest_tie
from medres.evaluation.seeds import DEFAULT_SPREAD, USUAL_SPREAD
from medres.runs.comparable import ComparableRun
from medres.runs.compare import Groups, decided, label_figures


@dataclass(frozen=True, slots=True)
class Judged:
    """What all labels say, and how many differences were tested together."""

    labels: Mapping[str, LabelDepth]
    tested: int


def judge(
    groups: Groups, fits: Sequence[DepthRun], networks: Sequence[NetworkCost], evaluation: Evaluation, *, probe: bool
) -> Judged:
    """Each network against the best one, label by label; all differences are tested together.

    Args:
        groups: the runs of each architecture, by its name.
        fits: the same runs, with what each network reaches where it learnt.
        networks: what each costs.
        evaluation: how runs are judged.
        probe: the runs are linear probes, in which nothing is random: another seed changes nothing.
    """
    labels = next(iter(groups.values()))[0].labels
    ordered = {label: _best_first(label, groups, evaluation) for label in labels}
    spread = 0.0 if probe else DEFAULT_SPREAD
    found = _judged(ordered, fits, networks, evaluation, spread=spread)
    if probe or all(one.seed_spread.degrees for one in found.labels.values()):
        return found
    other = _judged(ordered, fits, networks, evaluation, spread=USUAL_SPREAD[0]).labels
    differing = {
        label: one.model_copy(update={"answer": None, "why": "seeds"})
        for label, one in found.labels.items()
        if not one.seed_spread.degrees and one.answer != other[label].answer
    }
    return Judged({**found.labels, **differing}, found.tested)


def _best_first(label: str, groups: Groups, evaluation: Evaluation) -> dict[str, Sequence[ComparableRun]]:
    """The groups with the one of the highest mean AUROC first; of equal ones the earlier."""
    values = label_figures(label, groups, evaluation, usual=DEFAULT_SPREAD, metrics=[PRIMARY]).values[PRIMARY]
    known = {name: [value for value in found if value is not None] for name, found in values.items()}
    best = max(groups, key=lambda name: fmean(known[name]) if known[name] else -1.0)
    return {best: groups[best], **{name: runs for name, runs in groups.items() if name != best}}


def _judged(
    ordered: Mapping[str, Groups],
    fits: Sequence[DepthRun],
    networks: Sequence[NetworkCost],
    evaluation: Evaluation,
    *,
    spread: float,
) -> Judged:
    figures = {
        label: label_figures(label, groups, evaluation, usual=spread, metrics=[PRIMARY])
        for label, groups in ordered.items()
    }
    several = len(networks) > 1
    drawn = [item for one in figures.values() for item in one.drawn] if several else []
    decisions = decide(drawn, {label: one.spread for label, one in figures.items()}, confidence=evaluation.confidence)
    differences = [decided(item) for item in decisions]
    costs = {one.architecture: one.gflop for one in networks}
    found: dict[str, LabelDepth] = {}
    for label, one in figures.items():
        best = next(iter(ordered[label]))
        own = tuple(item for item in differences if item.label == label)
        answer, why = cheapest_tie(best, one.means[PRIMARY][best], own, costs)
        found[label] = LabelDepth(
            best=best,
            auroc={name: one.means[PRIMARY][name] for name in costs},
            intervals={name: one.intervals[PRIMARY][name] for name in costs},
            training_auroc={name: _mean(fits, name, label, learnt=True) for name in costs},
            held_out_auroc={name: _mean(fits, name, label, learnt=False) for name in costs},
            seed_spread=SpreadOfSeeds(**asdict(one.spread)),
            differences=own,
            answer=answer,
            why=why,
        )
    return Judged(found, sum(item.p is not None for item in differences))


def _mean(fits: Sequence[DepthRun], architecture: str, label: str, *, learnt: bool) -> float | None:
    """The mean AUROC of an architecture's networks where they learnt, or where they did not; None where undefined."""
    runs = [run for run in fits if run.architecture == architecture]
    values = [value for run in runs for value in (run.training_auroc if learnt else run.held_out_auroc)[label]]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
