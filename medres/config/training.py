"""How networks are made and fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from medres.config.reading import Settings

Architecture = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "densenet121",
]


class Network(Settings):
    """Which network, and from which weights it starts."""

    architecture: Architecture = Field(
        default="resnet50",
        description="Which network, by torchvision's name (resnet50: the most used of its kind, so results compare).",
    )
    weights: Literal["IMAGENET1K_V1", "IMAGENET1K_V2", "file", "none"] = Field(
        default="IMAGENET1K_V2",
        description="torchvision's ImageNet weights; `file`: any checkpoint of the architecture, in weights_file; "
        "or `none`: a random start. Every log, card and report says which. A ResNet's file is taken to have "
        "torchvision's strides; MONAI's differ unless made with conv1_t_stride=2. "
        "(IMAGENET1K_V2: torchvision's better ones, 80.9 % top-1 on ImageNet against 76.1 % for resnet50.)",
    )
    weights_file: Path | None = Field(
        default=None,
        description="The weights as a local file (empty: the torch hub cache, where torchvision puts them).",
    )
    weights_sha256: str = Field(
        default="",
        pattern="^[0-9a-f]{0,64}$",
        description="What the SHA-256 of weights_file must start with, for `weights: file` (empty: any, for the file "
        "was named by hand, and log and card state its hash).",
    )
    input_range: tuple[float, float] | None = Field(
        default=None,
        description="The values that black and white had in the input of the network in weights_file, e.g. "
        "[-1024, 1024] for TorchXRayVision; another network of one channel than medres's needs it. "
        "(empty: ImageNet's normalisation for a first layer of three channels, a medres model's own.)",
    )
    allow_download: bool = Field(
        default=False,
        description="Fetch the named weights when they are not on this machine (false: nothing goes out unasked).",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout before the last layer (0: weight decay and augmentation restrain it already).",
    )

    @field_validator("input_range")
    @classmethod
    def _two_values(cls, values: tuple[float, float] | None) -> tuple[float, float] | None:
        if values is not None and values[0] == values[1]:
            raise ValueError("black and white must be two different values")
        return values


class Stage(Settings):
    """A run of epochs at one image size (progressive resizing: small and cheap first)."""

    epochs: int = Field(ge=1, description="Epochs in this stage.")
    size: int | None = Field(
        default=None,
        ge=32,
        le=2048,
        description="Side of the training images, pixels, at most preprocessing.size, which the last stage must have "
        "(empty: that size, for it is the one the model is used at).",
    )


class Training(Settings):
    """How the network is fitted."""

    method: Literal["fine-tune", "linear-probe"] = Field(
        default="fine-tune",
        description="`fine-tune`: all weights learn; `linear-probe`: the pretrained backbone rests, its features are "
        "computed once, in fp32, and logistic regression is the head: the cheapest baseline. "
        "(fine-tune: radiographs are unlike what backbones were pretrained on.)",
    )
    stages: tuple[Stage, ...] = Field(
        default=(Stage(epochs=20),),
        min_length=1,
        description="Epochs and image sizes, in order (20 epochs at full size: patience ends earlier what needs less).",
    )
    batch_size: int = Field(
        default=32,
        ge=2,
        description="Images per step (32: enough for batch norms, and a small cohort still gives many steps).",
    )
    micro_batch_size: int = Field(
        default=0,
        ge=0,
        description="Most images in memory at once, in each process: a step is done in such parts, whose gradients are "
        "added; batch norms take their statistics from each part. 0: all. (0: where a GPU runs out of memory, one "
        "process makes and halves parts without being asked for.)",
    )
    compile: bool | Literal["reduce-overhead"] = Field(
        default=False,
        description="Compile the network with torch.compile: minutes at first, faster epochs after; `reduce-overhead` "
        "records a step's kernels as CUDA graphs, which small images and networks on a GPU gain most by. (false: a "
        "short training does not win the minutes back.)",
    )
    deterministic: bool = Field(
        default=False,
        description="cuDNN's deterministic algorithms on a GPU, 5 to 15 % slower: two trainings on one card and "
        "version then differ less, which is not promised to be nothing (false: a CPU's always are).",
    )
    learning_rate: float = Field(
        default=1e-4,
        gt=0,
        description="Peak learning rate of AdamW for the backbone (1e-4: usual for fine-tuning; far higher ones "
        "unlearn what pretraining taught).",
    )
    head_learning_rate_factor: float = Field(
        default=10.0,
        gt=0,
        description="The head's learning rate, as a multiple of the backbone's (10: it alone starts from nothing).",
    )
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        description="AdamW's weight decay, not on biases and norms (0.01: torch's default).",
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Each block of layers learns this much slower than the one after it; 1: all at one rate. "
        "Early layers of a pretrained network fit radiographs already. "
        "(1: one setting less until a comparison shows a gain.)",
    )
    frozen_epochs: int = Field(
        default=0,
        ge=0,
        description="First epochs in which only the head learns; the backbone and its norms rest (0: warmup and the "
        "head's faster rate spare the backbone).",
    )
    clip_norm: float = Field(
        default=0.0,
        ge=0,
        description="Longest gradient, its norm over all weights, that a step follows; 0: any. (0: AdamW's steps do "
        "not grow with the gradient, and batch norms keep it tame.)",
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay per step of the running average of weights that is judged and kept; 0: no average. (0: the "
        "right decay depends on the number of steps, which the cohort sets.)",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="How far targets move towards 0.5 (0: it pulls probabilities to the middle).",
    )
    focusing: float = Field(
        default=0.0,
        ge=0,
        description="Gamma of the focal loss; 0: cross-entropy. (0: a proper score, least at the true probability.)",
    )
    negative_focusing: float | None = Field(
        default=None,
        ge=0,
        description="Gamma of negative targets where it is another: the asymmetric loss (empty: as focusing).",
    )
    negative_margin: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Negatives with a probability below this cost nothing: the asymmetric loss (0: every one counts).",
    )
    balance: Literal["none", "positives"] = Field(
        default="none",
        description="`positives`: positive targets weigh as much as all negatives. This, the balanced sampler and the "
        "focal and asymmetric losses distort base rates: a shift of the logits, fitted on validation images, gives "
        "them back; with fewer than 10 of a class it is computed from balance and sampler alone, and the log says so. "
        "(none: AUROC gains little, and probabilities start at the cohort's prevalence.)",
    )
    sampler: Literal["shuffle", "balanced"] = Field(
        default="shuffle",
        description="`shuffle`: every image once an epoch; `balanced`: images of rare classes are drawn more often, "
        "with replacement, and base rates are given back as for `balance`. (shuffle: no image is learnt by heart for "
        "being rare.)",
    )
    uncertain: Literal["ignore", "ones", "zeros", "soft"] = Field(
        default="ignore",
        description="What an uncertain target, −1, is in training: unknown, 1, 0, or 0.5; nothing is judged by it, and "
        "probabilities follow: with `ones` they are those of positive or uncertain. (ignore: it says "
        "nothing that nobody said.)",
    )
    warmup: float = Field(
        default=0.08,
        ge=0,
        lt=1,
        description="Part of all steps in which the rate rises linearly (0.08: the first 1 or 2 of 20 epochs, while "
        "AdamW's averages and the new head settle).",
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="The epoch that becomes the model. `best`: highest validation AUROC; `last`: of a schedule that is "
        "always gone through to its end, so that few validation images choose nothing but calibration and thresholds. "
        "(best: nobody knows beforehand how many epochs a cohort needs.)",
    )
    patience: int = Field(
        default=4,
        ge=1,
        description="Epochs without a better validation AUROC after which training stops (4: a fifth of 20 epochs; "
        "fewer would stop at the chance ups and downs of a small validation split).",
    )
    saturation: float = Field(
        default=0.99,
        gt=0.5,
        le=1,
        description="Validation AUROC at which a stage ends, if the loss is low too (0.99: nothing is left to gain).",
    )
    validation_fraction: float = Field(
        default=0.15,
        gt=0,
        lt=0.5,
        description="Part of the training patients kept for epoch, calibration, thresholds (0.15: some dozens of "
        "patients of a few hundred, and most are learnt from).",
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        default="auto",
        description="fp32 is IEEE's float32; tf32, which multiplies with 10 bits, and fp16, with a scaled loss, are "
        "for GPUs alone. Scores and validation are always in fp32. (auto: bf16 where the device computes it natively, "
        "else fp16 on a GPU and fp32 on a CPU: each the fastest there.)",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="`auto`: a GPU when there is one; `cpu`; `cuda`; or a GPU's number, e.g. cuda:1 (auto: a GPU is "
        "many times faster).",
    )

    @model_validator(mode="after")
    def _graphs_have_one_shape(self) -> Training:
        if self.compile == "reduce-overhead" and self.micro_batch_size:
            raise ValueError(
                "compile=reduce-overhead records whole steps and cannot do them in parts: leave out micro_batch_size, "
                "or set compile=true"
            )
        return self

    @model_validator(mode="after")
    def _probes_know_one_loss(self) -> Training:
        if self.method != "linear-probe":
            return self
        names = ("label_smoothing", "focusing", "negative_focusing", "negative_margin", "balance", "sampler")
        changed = [name for name in names if getattr(self, name) != Training.model_fields[name].default]
        if changed:
            raise ValueError(
                f"a linear probe is plain logistic regression and has no {', '.join(changed)}: "
                "leave that out, or set method=fine-tune"
            )
        if self.precision not in ("auto", "fp32"):
            raise ValueError(f"a linear probe computes in fp32: leave out precision={self.precision}")
        return self


class Tracking(Settings):
    """What is written about a training besides `history.jsonl` and `history.csv`."""

    tensorboard: bool = Field(
        default=False, description="Event files for TensorBoard in the model's folder (needs medres[tensorboard])."
    )
    mlflow: str = Field(
        default="",
        description="Where MLflow keeps runs, e.g. http://server:5000 or sqlite:///mlflow.db (needs medres[mlflow]); "
        "empty: nowhere. One run a fit, in the experiment `medres`; labels and paths of images are not sent.",
    )
