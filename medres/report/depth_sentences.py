"""A study of depth in one plain answer per label, for its page and for a terminal."""

from __future__ import annotations

from medres.evaluation.depth import DepthStudy, LabelDepth
from medres.evaluation.seeds import DEFAULT_SPREAD, USUAL_SPREAD
from medres.formatting import DASH, bounds, estimate, figure, network_name, percent, signed


def answers(study: DepthStudy) -> list[str]:
    """Which network is worth its cost, one sentence or two for each label."""
    many = len(study.labels) > 1
    return [f"{label}: {_answer(study, label)}" if many else _answer(study, label) for label in study.labels]


def _answer(study: DepthStudy, label: str) -> str:
    found = study.found[label]
    best = f"{network_name(found.best)}, AUROC {estimate(found.auroc[found.best], between=DASH)}"
    if found.answer is None:
        return f"it cannot be told which depth is worth it: {_why_not(found, best)}."
    if found.why == "best":
        cheapest = study.networks[0].architecture == found.best
        rest = "nothing deeper is better" if cheapest else "all that is cheaper is worse"
        return f"the cheapest network that ties with the best is the best itself, {best}: {rest}."
    return (
        f"the cheapest network that ties with the best ({best}) is {network_name(found.answer)}: "
        f"{_loss(found, found.answer)}. It needs {_share(study, found.answer, found.best)} of the best's arithmetic "
        "per image."
    )


def _loss(found: LabelDepth, architecture: str) -> str:
    compared = found.difference(architecture)
    assert compared is not None
    item = compared.difference
    if item.low is None:
        return f"AUROC {signed(item.value)}, alike in every resample"
    most = f"so that {figure(-item.low)} at most is lost" if item.low < 0 else "so that nothing is lost"
    return f"AUROC {signed(item.value)} ({bounds(item)}), {most}"


def _share(study: DepthStudy, one: str, other: str) -> str:
    return f"{percent(study.network(one).gflop / study.network(other).gflop)} %"


def _why_not(found: LabelDepth, best: str) -> str:
    if found.why == "chance":
        return f"the best network, {best}, is not surely better than chance"
    if found.why == "seeds":
        low, high = USUAL_SPREAD
        assert high == DEFAULT_SPREAD
        return (
            f"the verdicts are others where another seed is assumed to change {low:g} than where it changes {high:g}, "
            "and one seed of each network does not measure that: --seeds 3 does"
        )
    reasons = [found.auroc[found.best].method, *(item.difference.method for item in found.differences)]
    reason = next((text for text in reasons if text.startswith("no interval")), "a difference has no interval")
    return f"{reason}"
