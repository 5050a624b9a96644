"""`depth.csv`: one line for each network and label, with what it reaches, what it costs, and the verdict."""

from __future__ import annotations

from statistics import fmean

from medres.evaluation.depth import DepthStudy

Row = dict[str, str | float | None]
"""One row of the table, by column."""


def depth_rows(study: DepthStudy) -> list[Row]:
    """The lines of the table, the cheapest network first."""
    rows: list[Row] = []
    for label, found in study.found.items():
        for network in study.networks:
            name = network.architecture
            reached, compared = found.auroc[name], found.difference(name)
            difference = compared.difference if compared else None
            seconds = [run.seconds for run in study.runs_of(name) if run.seconds is not None]
            rows.append(
                {
                    "label": label,
                    "architecture": name,
                    "runs": len(study.runs_of(name)),
                    "auroc": reached.value,
                    "low": reached.low,
                    "high": reached.high,
                    "best": found.best,
                    "difference": difference.value if difference else 0.0,
                    "difference_low": difference.low if difference else None,
                    "difference_high": difference.high if difference else None,
                    "level": compared.level if compared else None,
                    "p_holm": compared.p_holm if compared else None,
                    "verdict": (compared.verdict or "") if compared else "best",
                    "answer": int(found.answer == name),
                    "training_auroc": found.training_auroc[name],
                    "held_out_auroc": found.held_out_auroc[name],
                    "gap": found.gap(name),
                    "parameters": network.parameters,
                    "gflop": network.gflop,
                    "training_memory": network.training_memory,
                    "training_images_per_second": network.training_images_per_second,
                    "scoring_images_per_second": network.scoring_images_per_second,
                    "training_seconds": fmean(seconds) if seconds else None,
                    "machine": network.machine,
                }
            )
    return rows
