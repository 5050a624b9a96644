"""Settings of cross-validation and of evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medres.config.reading import Settings


class CrossValidation(Settings):
    """How the cohort is divided."""

    folds: int = Field(
        default=5,
        ge=2,
        le=50,
        description="Number of folds (5: each model learns from four fifths of the patients, at half the cost of 10).",
    )
    folds_at_once: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        default=1,
        description="How many folds are fitted side by side, in processes that share the processors or a GPU, or take "
        "a GPU each; `auto`: several where a trial shows that it is faster. Another number of threads gives other last "
        "digits. (1: needs the least memory, and digits do not depend on a trial.)",
    )


class Evaluation(Settings):
    """How figures, intervals and operating points are computed."""

    replicates: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap replicates of an interval (2000: 50 beyond either end of a 95 % interval; Efron and "
        "Tibshirani ask for 1,000 at least).",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence level of intervals (0.95: custom).")
    operating_point: Literal["youden", "sensitivity", "specificity"] = Field(
        default="youden",
        description="The rule that chooses the threshold on the inner validation split (youden: gives both errors "
        "the same weight until somebody says which is worse).",
    )
    operating_target: float = Field(
        default=0.95,
        gt=0,
        lt=1,
        description="The sensitivity or specificity that the rule must reach (0.95: one error in 20, a usual demand "
        "when ruling out or in).",
    )
    outlier_quantile: float = Field(
        default=0.99,
        gt=0.5,
        lt=1,
        description="Validation quantile of the feature distance beyond which a row is `review` (0.99: of images like "
        "these, a reader looks at one in a hundred).",
    )
    subgroups: tuple[str, ...] = Field(
        default=(),
        description="Columns of the manifest that divide the cohort besides sex, age, view, manufacturer and site "
        "(empty: only the user knows what other columns mean).",
    )
    shortcuts: bool = Field(
        default=True,
        description="Score held-out images again with parts of them hidden: does the score need the anatomy? "
        "(true: networks on radiographs often take shortcuts, and it costs a few scorings.)",
    )
