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


class HeatmapEvidence(Settings):
    """Whether heatmaps are measured on held-out images, how much that may cost, and what a label's maps must show."""

    measured: bool = Field(
        default=True,
        description="Measure the heatmaps of called held-out images (true: a map that nobody measured is shown with "
        "these words, and people follow maps all the same).",
    )
    cost: float = Field(
        default=0.1,
        ge=0,
        le=1000,
        description="Most that measuring may cost, in passes of images through a network, as a share of the training's "
        "(0.1: nobody should have a reason to switch it off). As many images are drawn as that allows; `heatmaps.json` "
        "says how many, and in how many seconds.",
    )
    images: int = Field(
        default=200,
        ge=1,
        description="Most images of a label that are measured (200: an interval of a share is then 14 points wide or "
        "less, and more would hardly narrow it).",
    )
    fewest_patients: int = Field(
        default=20,
        ge=5,
        description="Patients with and without the finding, and patients whose maps were measured, below which maps "
        "neither pass nor fail (20: an interval of a share is then 44 points wide at most).",
    )
    least_auroc: float = Field(
        default=0.7,
        ge=0.5,
        lt=1,
        description="AUROC below which a label's maps are not validated (0.7: below it discrimination is called poor; "
        "Hosmer and Lemeshow). Where the interval holds one half they fail: a score that knows nothing has no reasons.",
    )
    most_left: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Rank correlation with the trained network's map that one of shuffled weights may keep (0.5: half "
        "of what a map that ignores the weights has; Adebayo 2018 ask that it falls, and name no number).",
    )
    least_alike: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Structural similarity that maps of one image must have when it is shifted by a pixel, and when "
        "another fold's network draws it (0.5: the bound of Arun 2021).",
    )
    most_outside: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of a map's evidence that may lie outside of the anatomy (0.5: beyond it, most of what is "
        "shown is no anatomy).",
    )
    contour: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of a map's highest value at which it is cut when its overlap with boxes is measured (0.5: "
        "half of the peak, as a width is read; frozen before any box is seen).",
    )
    near: int = Field(
        default=16,
        ge=0,
        description="Pixels of the network's input from a box within which a peak counts as on it (16: one cell of the "
        "maps that are shown).",
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
    patient_rule: Literal["any", "mean", "worst"] = Field(
        default="any",
        description="How images of a patient are judged together, chosen before any result: `any` image called calls "
        "the patient, `mean` where half of the images are called, `worst` as the image of the highest probability was. "
        "(any: one finding on one image is a finding.)",
    )
    shortcuts: bool = Field(
        default=True,
        description="Score held-out images again with parts of them hidden: does the score need the anatomy? "
        "(true: networks on radiographs often take shortcuts, and it costs a few scorings.)",
    )
    heatmaps: HeatmapEvidence = Field(
        default=HeatmapEvidence(), description="What is measured of heatmaps, and what licenses them."
    )
