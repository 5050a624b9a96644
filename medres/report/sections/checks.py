"""What was verified of the run, and how its figures must not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.report.checks import Check
from medres.report.page import Content
from medres.report.run_context import RunContext


@dataclass(frozen=True, slots=True)
class ChecksSection(Content):
    """Every check with its outcome, and the limits of the figures."""

    checks: Sequence[Check]
    limits: Sequence[str]


def checks_section(context: RunContext) -> ChecksSection:
    """The checks of this run."""
    return ChecksSection(context.checks, limits(context))


def limits(context: RunContext) -> list[str]:
    """How the figures must not be read."""
    found = [
        "Intervals show how the figures vary if other patients are judged by the same networks. Training anew, on "
        "other patients or with another seed, is not in them.",
        "PPV and NPV hold at the prevalence of this cohort, and change with it.",
        "Uncertain and unknown labels were left out; figures say nothing of such images.",
    ]
    if context.run.members > 1:
        found.append(f"Figures are those of {context.run.members} networks together, not of one of them.")
    if not context.run.external and context.n_folds > 1:
        found.append(
            "Pooled figures mix the scores of several networks, one per fold; they estimate the recipe, "
            "not one network, and not the final model trained on all patients."
        )
    if context.random_start:
        found.append(
            "The network started from random weights: no ImageNet pretraining. "
            "Pretrained weights usually give better results on small cohorts."
        )
    return found
