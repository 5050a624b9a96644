"""How networks are made, fitted and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from medres.config.reading import Frozen

Architecture = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121"]


class Augmentation(Frozen):
    """Random changes to training images only, drawn for each image of a batch."""

    probability: float = Field(default=0.8, ge=0, le=1, description="Chance that an image is moved at all.")
    rotation: float = Field(default=10.0, ge=0, le=180, description="Largest rotation, degrees.")
    translation: float = Field(default=0.08, ge=0, le=0.5, description="Largest shift, as a part of the side.")
    scaling: float = Field(default=0.1, ge=0, lt=1, description="Largest change of size, as a part of the size.")
    intensity_scale: float = Field(default=0.2, ge=0, lt=1, description="Largest relative change of contrast.")
    intensity_shift: float = Field(default=0.1, ge=0, lt=1, description="Largest change of brightness, of [0, 1].")
    erasing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Chance that a rectangle of 2 to 20 % of the area is blanked.",
    )
    noise: float = Field(default=0.0, ge=0, lt=1, description="Standard deviation of added Gaussian noise, of [0, 1].")
    horizontal_flip: float = Field(
        default=0.0, ge=0, le=1, description="Chance of a mirror image; off by default: the heart lies left."
    )


class Network(Frozen):
    """Which network, and from which weights it starts."""

    architecture: Architecture = Field(default="resnet50", description="Which network, by torchvision's name.")
    weights: Literal["IMAGENET1K_V1", "IMAGENET1K_V2", "file", "none"] = Field(
        default="IMAGENET1K_V2",
        description="torchvision's ImageNet weights; `file`: any checkpoint of the architecture, in weights_file; "
        "or `none`: a random start. Every log, card and report says which.",
    )
    weights_file: Path | None = Field(
        default=None, description="The weights as a local file; else the torch hub cache is searched."
    )
    weights_sha256: str = Field(
        default="",
        pattern="^[0-9a-f]{0,64}$",
        description="What the SHA-256 of weights_file must start with, for `weights: file`.",
    )
    input_range: tuple[float, float] | None = Field(
        default=None,
        description="The values that were black and white where weights_file was trained, e.g. [-1024, 1024]; "
        "empty: ImageNet's normalisation for a first layer of three channels, else mean 0.5 and deviation 0.25.",
    )
    allow_download: bool = Field(
        default=False, description="Fetch the named weights when they are not on this machine."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the last layer.")

    @field_validator("input_range")
    @classmethod
    def _two_values(cls, values: tuple[float, float] | None) -> tuple[float, float] | None:
        if values is not None and values[0] == values[1]:
            raise ValueError("black and white must be two different values")
        return values


class Stage(Frozen):
    """A run of epochs at one image size (progressive resizing: small and cheap first)."""

    epochs: int = Field(ge=1, description="Epochs in this stage.")
    size: int | None = Field(
        default=None,
        ge=32,
        le=2048,
        description="Side of the training images, pixels; empty: preprocessing.size.",
    )


class Training(Frozen):
    """How the network is fitted."""

    method: Literal["fine-tune", "linear-probe"] = Field(
        default="fine-tune",
        description="`fine-tune`: all weights learn; `linear-probe`: the pretrained backbone rests, its features are "
        "computed once, and logistic regression is the head: the cheapest baseline.",
    )
    stages: tuple[Stage, ...] = Field(
        default=(Stage(epochs=20),), min_length=1, description="Epochs and image sizes, in order."
    )
    batch_size: int = Field(default=32, ge=2, description="Images per step.")
    micro_batch_size: int = Field(
        default=0,
        ge=0,
        description="Most images in memory at once, in each process: a step is done in such parts, whose gradients are "
        "added; batch norms take their statistics from each part. 0: all. Where a GPU's memory runs out, one process "
        "makes and halves parts without being asked for.",
    )
    compile: bool = Field(
        default=False, description="Compile the network with torch.compile: minutes at first, faster epochs after."
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Peak learning rate of AdamW for the backbone.")
    head_learning_rate_factor: float = Field(
        default=10.0, gt=0, description="The head's learning rate, as a multiple of the backbone's."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's weight decay (not on biases and norms).")
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Each block of layers learns this much slower than the one after it; 1: all alike. Early layers of "
        "a pretrained network fit radiographs already.",
    )
    frozen_epochs: int = Field(
        default=0, ge=0, description="First epochs in which only the head learns (the backbone and its norms rest)."
    )
    clip_norm: float = Field(
        default=0.0, ge=0, description="Longest gradient (its norm over all weights) that a step follows; 0: any."
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay per step of the running average of weights that is judged and kept; 0: no average.",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="How far targets move towards 0.5.")
    focusing: float = Field(default=0.0, ge=0, description="Gamma of the focal loss; 0: cross-entropy.")
    negative_focusing: float | None = Field(
        default=None,
        ge=0,
        description="Gamma of negative targets where it is another (asymmetric loss); empty: focusing.",
    )
    negative_margin: float = Field(
        default=0.0, ge=0, lt=0.5, description="Negatives with a probability below this cost nothing (asymmetric loss)."
    )
    balance: Literal["none", "positives"] = Field(
        default="none",
        description="`positives`: positive targets weigh as much as all negatives; calibration undoes it.",
    )
    sampler: Literal["shuffle", "balanced"] = Field(
        default="shuffle",
        description="`shuffle`: every image once an epoch; `balanced`: images of rare classes are drawn more often, "
        "with replacement; calibration undoes it.",
    )
    uncertain: Literal["ignore", "ones", "zeros", "soft"] = Field(
        default="ignore", description="What an uncertain target (−1) is in training: unknown, 1, 0, or 0.5."
    )
    warmup: float = Field(default=0.08, ge=0, lt=1, description="Part of all steps in which the rate rises linearly.")
    keep: Literal["best", "last"] = Field(
        default="best",
        description="The epoch that becomes the model. `best`: highest validation AUROC; `last`: of a schedule that is "
        "always gone through to its end, so that few validation images choose nothing but calibration and thresholds.",
    )
    patience: int = Field(
        default=4, ge=1, description="Epochs without a better validation AUROC after which training stops."
    )
    saturation: float = Field(
        default=0.99,
        gt=0.5,
        le=1,
        description="Validation AUROC at which a stage ends, if the loss is low too: nothing is left to gain.",
    )
    validation_fraction: float = Field(
        default=0.15,
        gt=0,
        lt=0.5,
        description="Part of the training patients kept for epoch, calibration, thresholds.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="`auto`: bf16 where the device computes it natively, else fp16 on a GPU and fp32 on a CPU. fp16, "
        "with a scaled loss, is for GPUs alone.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto`: a GPU when there is one.")


class Tracking(Frozen):
    """What is written about a training besides `history.jsonl` and `history.csv`."""

    tensorboard: bool = Field(
        default=False, description="Event files for TensorBoard in the model's folder (needs medres[tensorboard])."
    )
    mlflow: str = Field(
        default="",
        description="Where MLflow keeps runs, e.g. http://server:5000 or sqlite:///mlflow.db (needs medres[mlflow]); "
        "empty: nowhere. One run a fit, in the experiment `medres`; labels and paths of images are not sent.",
    )


class CrossValidation(Frozen):
    """How the cohort is divided."""

    folds: int = Field(default=5, ge=2, le=50, description="Number of folds.")
    folds_at_once: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        default=1,
        description="How many folds are fitted side by side, in processes that share the processors or a GPU, or take "
        "a GPU each; `auto`: several where a trial shows that it is faster. Another number of threads gives other last "
        "digits.",
    )


class Evaluation(Frozen):
    """How results are judged."""

    replicates: int = Field(default=2000, ge=100, description="Bootstrap replicates of an interval.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence level of intervals.")
    operating_point: Literal["youden", "sensitivity", "specificity"] = Field(
        default="youden", description="The rule that chooses the threshold on the inner validation split."
    )
    operating_target: float = Field(
        default=0.95, gt=0, lt=1, description="The sensitivity or specificity that the rule must reach."
    )
    outlier_quantile: float = Field(
        default=0.99,
        gt=0.5,
        lt=1,
        description="Validation quantile of the feature distance beyond which a row is `review`.",
    )
    subgroups: tuple[str, ...] = Field(
        default=(),
        description="Columns of the manifest that divide the cohort besides sex, age, view, manufacturer and site.",
    )
    shortcuts: bool = Field(
        default=True,
        description="Score held-out images again with parts of them hidden: does the score need the anatomy?",
    )
