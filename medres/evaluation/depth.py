"""Which depth is worth it: the typed content of `depth.json`, and the rule that gives the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from medres.documents import Document
from medres.evaluation.comparison_results import ComparedDifference, SpreadOfSeeds
from medres.records import Interval

CHANCE = 0.5
"""The AUROC of a network that knows nothing."""

Why = Literal["best", "tie", "chance", "no interval", "seeds"]
"""Why an answer is given, or why it cannot be: `best`: all that is cheaper is worse; `tie`: it is the cheapest that
ties with the best; `chance`: the best one's interval holds an AUROC of one half; `no interval`: too few patients tell
the networks apart; `seeds`: it depends on what another seed would change, and that was not measured."""


class NetworkCost(Document):
    """What one network costs, measured on this machine before the runs."""

    architecture: str
    parameters: int
    gflop: float  # of scoring one image; a multiplication and an addition count as two
    training_images_per_second: float | None  # at the largest images of the recipe; None of a linear probe
    scoring_images_per_second: float
    training_memory: int | None  # bytes that a training step took at its peak besides libraries; None of a linear probe
    estimated_seconds: float  # of one cross-validation, at most
    machine: str
    training_device: str


class DepthRun(Document):
    """One cross-validation of the study: what each fold's network reaches where it learnt, and where it did not."""

    name: str  # of its folder
    architecture: str
    seed: int
    seconds: float | None
    oof_sha256: str
    training_auroc: Mapping[str, tuple[float | None, ...]]  # by label, of each fold: on the images that it learnt from
    held_out_auroc: Mapping[str, tuple[float | None, ...]]  # on those that it did not see


class LabelDepth(Document):
    """What the networks reach of one label, and the answer."""

    best: str  # the architecture with the highest mean AUROC
    auroc: Mapping[str, Interval]  # mean over the runs of each architecture, pooled over held-out patients
    intervals: Mapping[str, tuple[Interval, ...]]  # the same of every run
    training_auroc: Mapping[str, float | None]  # mean over runs and folds
    held_out_auroc: Mapping[str, float | None]
    seed_spread: SpreadOfSeeds
    differences: tuple[ComparedDifference, ...]  # each other network minus the best
    answer: str | None  # an architecture; None: it cannot be told
    why: Why

    def gap(self, architecture: str) -> float | None:
        """How much higher the AUROC is on images that were learnt from: overfitting."""
        known, unknown = self.training_auroc[architecture], self.held_out_auroc[architecture]
        return None if known is None or unknown is None else known - unknown

    def difference(self, architecture: str) -> ComparedDifference | None:
        """A network minus the best; None of the best."""
        return next((one for one in self.differences if one.candidate == architecture), None)


class DepthStudy(Document):
    """The content of `depth.json`."""

    labels: tuple[str, ...]
    images: int
    patients: int
    folds: int
    seeds: tuple[int, ...]
    splits_sha256: str
    recipe: str
    side: int  # of the networks' input, pixels
    weights: str  # where the networks started, in words
    probe: bool  # whether only the last layer was fitted
    confidence: float
    tested: int  # differences that were tested together
    correction: str | None
    networks: tuple[NetworkCost, ...]  # the cheapest first
    runs: tuple[DepthRun, ...]
    found: Mapping[str, LabelDepth]  # by label

    def network(self, architecture: str) -> NetworkCost:
        """The cost of one of the networks."""
        return next(one for one in self.networks if one.architecture == architecture)

    def runs_of(self, architecture: str) -> Sequence[DepthRun]:
        """Its runs, one per seed."""
        return [run for run in self.runs if run.architecture == architecture]


def cheapest_tie(
    best: str, reached: Interval, differences: Sequence[ComparedDifference], costs: Mapping[str, float]
) -> tuple[str | None, Why]:
    """The cheapest network that ties with the best, by the verdicts of `comparison.decide`.

    Args:
        best: the network with the highest AUROC.
        reached: its AUROC.
        differences: each other network minus the best, with its verdict.
        costs: what each takes, in any unit.

    >>> one = Interval(0.9, 0.85, 0.94, "", 90, 60)
    >>> cheapest_tie("resnet50", one, [], {"resnet50": 8.2})
    ('resnet50', 'best')
    >>> cheapest_tie("resnet50", Interval(0.55, 0.48, 0.61, "", 90, 60), [], {"resnet50": 8.2})
    (None, 'chance')
    """
    if reached.value is None or reached.low is None:
        return None, "no interval"
    if reached.low <= CHANCE:
        return None, "chance"
    tied = [best, *(one.candidate for one in differences if one.verdict == "tie")]
    chosen = min(tied, key=lambda name: costs[name])
    if any(one.verdict == "undefined" and costs[one.candidate] < costs[chosen] for one in differences):
        return None, "no interval"
    return chosen, "best" if chosen == best else "tie"
