"""The table of metrics in the README, made from the list: `python -m tests.support.metric_table` writes it."""

from __future__ import annotations

import math
import re
from pathlib import Path

from medres.statistics.metric import METRICS, Metric

README = Path(__file__).resolve().parents[2] / "README.md"
_BETWEEN = re.compile(r"(?<=<!-- metrics -->\n).*?(?=<!-- end of metrics -->)", re.DOTALL)
_INTERVALS = {
    "logit": "resampled patients, Student's t on the logit scale",
    "gaps": "resampled gaps of the bins, conservative",
    "sandwich": "clustered sandwich variance",
}


_SCALES = {"logit": "the logit scale", "log": "the logarithmic scale", "fisher": "Fisher's z scale"}


def markdown() -> str:
    """One line per metric, in the order of the list."""
    lines = ["| metric | in `metrics.json` | meaning | better | range | by chance | interval |", "| --- " * 7 + "|"]
    lines += [_line(one) for one in METRICS.values()]
    return "\n".join(lines) + "\n"


def _line(one: Metric) -> str:
    better = f"closer to {one.perfect:g}" if one.better == "closer" else one.better
    low, high = ("−∞" if end == -math.inf else "∞" if end == math.inf else f"{end:g}" for end in one.range)
    chance = "" if one.chance is None else f"{one.chance:g}"
    cells = (one.title, f"`{one.name}`", one.meaning, better, f"{low} to {high}".replace("-", "−"), chance)
    student = f"resampled patients, Student's t on {_SCALES[one.scale]}"
    return f"| {' | '.join(cells)} | {_INTERVALS.get(one.interval, student)} |"


def table_in(text: str) -> str:
    """The table that a README has between its two marks."""
    found = _BETWEEN.search(text)
    assert found, "the README has no marks for the table of metrics"
    return found[0]


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(_BETWEEN.sub(lambda _: markdown(), text), encoding="utf-8")
