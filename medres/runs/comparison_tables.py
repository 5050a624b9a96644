"""The tables of a comparison: `comparison.csv` with every difference, `costs.csv` with every candidate's cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medres.evaluation.comparison_results import Comparison

Row = dict[str, str | float | None]
"""One row of a table, by column."""


def cost_rows(content: Comparison) -> list[Row]:
    """The lines of `costs.csv`: each candidate, and for each label the gain that the picture shows against its cost."""
    deciding = {(item.label, item.candidate): item for item in content.deciding()}
    rows: list[Row] = []
    for candidate in content.candidates:
        costs = candidate.cost
        for label in content.labels:
            item = deciding.get((label, candidate.name))
            gain = item.difference if item else None
            rows.append(
                {
                    "candidate": candidate.name,
                    "architecture": candidate.architecture,
                    "side": candidate.side,
                    "parameters": costs.parameters,
                    "gflop": costs.gflop,
                    "relative_gflop": costs.relative_gflop,
                    "images_per_second": costs.images_per_second,
                    "relative_time": costs.relative_time,
                    "machine": costs.machine,
                    "training_seconds": costs.training_seconds,
                    "training_device": "; ".join(costs.training_device),
                    "label": label,
                    "auroc_gain": 0.0 if candidate.name == content.reference else gain.value if gain else None,
                    "low": gain.low if gain else None,
                    "high": gain.high if gain else None,
                    "seed_bar": item.seed_bar if item else None,
                }
            )
    return rows


def comparison_rows(content: Comparison) -> list[Row]:
    """The lines of `comparison.csv`."""
    rows: list[Row] = []
    for item in content.comparisons:
        values = content.values[item.label][item.metric]
        difference = item.difference
        rows.append(
            {
                "label": item.label,
                "metric": item.metric,
                "reference": item.reference,
                "candidate": item.candidate,
                "reference_value": _mean(values[item.reference]),
                "candidate_value": _mean(values[item.candidate]),
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "level": item.level,
                "p": item.p,
                "p_holm": item.p_holm,
                "seed_bar": item.seed_bar,
                "verdict": item.verdict or "",
                "n": difference.n,
                "n_patients": difference.n_patients,
                "method": difference.method,
            }
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
