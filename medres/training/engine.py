"""Fitting one network: MONAI's SupervisedTrainer and SupervisedEvaluator over the pixel cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.inferers import SimpleInferer
from monai.utils import set_determinism
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medres.config import Config, Stage, Training
from medres.errors import TrainingError
from medres.model.network import ResNetClassifier, build_network
from medres.model.weights import BackboneWeights, fill_backbone
from medres.training.augmentation import BatchAugmentation
from medres.training.handlers import (
    BestWeights,
    ClipGradients,
    FiniteLoss,
    FollowAverage,
    LearningRate,
    ValidationRecord,
    average_of,
    warmup_cosine,
)
from medres.training.losses import MaskedLoss, balancing_weights
from medres.training.transforms import cache_transforms

log = logging.getLogger(__name__)

_EVALUATION_BATCH = 64


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted network, on the CPU in evaluation mode, with the weights of its best epoch."""

    network: ResNetClassifier
    history: tuple[Mapping[str, Any], ...]  # one entry per epoch
    best_epoch: int
    device: str  # what it was trained on, in words


@dataclass(frozen=True, slots=True)
class Compute:
    """Where training runs, and in which precision."""

    device: torch.device
    bf16: bool

    def __str__(self) -> str:
        """What a log line and a card say of it."""
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"cpu, {torch.get_num_threads()} threads"
        )
        return f"{name}, {'bf16' if self.bf16 else 'fp32'}"


def choose_compute(training: Training) -> Compute:
    """The device and precision that `training` asks for, or the best there is.

    Raises:
        TrainingError: a GPU was asked for and there is none.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("training.device is cuda, but no GPU was found")
    device = torch.device("cuda" if training.device != "cpu" and torch.cuda.is_available() else "cpu")
    if training.precision == "auto":
        native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bf16()
    else:
        native = training.precision == "bf16"
    return Compute(device, native)


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively; without, bf16 is many times slower than fp32."""
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


class AutocastInferer(SimpleInferer):
    """A forward pass in bf16 where asked for, on any device; the logits come back as float32."""

    def __init__(self, compute: Compute) -> None:
        super().__init__()
        self.compute = compute

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The logits of a batch."""
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.compute.device.type, dtype=torch.bfloat16, enabled=self.compute.bf16):
            logits = network(inputs, *args, **kwargs)
        return logits.float()


def fit(
    pixels: NDArray[np.uint16],
    targets: NDArray[np.float32],
    training: Sequence[int],
    validation: Sequence[int],
    config: Config,
    *,
    learned: NDArray[np.float32] | None = None,
    weights: BackboneWeights | None,
    seed: int,
    title: str,
) -> Fitted:
    """Fit one network, and keep the epoch that is best on the validation images.

    Args:
        pixels: the cache, uint16 (images, size, size).
        targets: float32 (images, labels): 1, 0, or NaN where unknown.
        training: places of the training images.
        validation: places of the validation images; no patient of theirs is among the training images.
        config: the whole configuration.
        learned: targets of the training images, where they are not `targets`: see `losses.training_targets`.
        weights: verified ImageNet weights, or None for a random start.
        seed: of weights, order and augmentation; the same seed gives the same network on the same CPU.
        title: what log lines call this fit ("fold 1/5").

    Raises:
        TrainingError: the loss is not finite, or there are fewer images than one batch of two.
    """
    if len(training) < 2:
        raise TrainingError(f"{title}: {len(training)} training images are too few")
    compute = choose_compute(config.training)
    set_determinism(seed=seed)
    network = build_network(
        config.network.architecture,
        labels=targets.shape[1],
        rgb=weights is not None and weights.rgb,
        dropout=config.network.dropout,
    )
    if weights is not None:
        fill_backbone(network, weights)
    learned = targets if learned is None else learned
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    fitting = _Fitting(
        pixels,
        targets,
        learned,
        config,
        compute,
        network,
        average=average_of(network, config.training.ema_decay),
        loss=MaskedLoss(
            config.training.label_smoothing,
            config.training.focusing,
            balancing_weights(learned[list(training)]) if config.training.balance == "positives" else (),
        ),
        optimizer=_optimizer(network, config.training),
        best=BestWeights(patience=config.training.patience, saturation=config.training.saturation),
        title=title,
    )
    batches = max(1, len(training) // config.training.batch_size)
    factor = warmup_cosine(batches * sum(stage.epochs for stage in config.training.stages), config.training.warmup)
    planned = 0  # epochs of the stages before
    for number, stage in enumerate(config.training.stages):
        schedule = LearningRate(fitting.optimizer, factor, first_step=planned * batches)
        last = number == len(config.training.stages) - 1
        fitting.run(stage, training, validation, schedule=schedule, seed=seed + number, last=last)
        planned += stage.epochs
        fitting.best.next_stage()
    set_determinism(seed=None)
    if fitting.best.state is None:
        raise TrainingError(f"{title}: no epoch was completed")
    network.cpu().load_state_dict(fitting.best.state)
    return Fitted(network.eval(), tuple(fitting.history), fitting.best.epoch, str(compute))


def _optimizer(network: ResNetClassifier, training: Training) -> torch.optim.AdamW:
    """AdamW; the head learns faster, biases and norms are not decayed."""
    groups = []
    for module, factor in ((network.backbone, 1.0), (network.head, training.head_learning_rate_factor)):
        for decayed in (True, False):
            chosen = [parameter for parameter in module.parameters() if (parameter.ndim > 1) is decayed]
            groups.append(
                {
                    "params": chosen,
                    "peak": training.learning_rate * factor,
                    "lr": training.learning_rate * factor,
                    "weight_decay": training.weight_decay if decayed else 0.0,
                }
            )
    return torch.optim.AdamW(groups, fused=True)


@dataclass(slots=True)
class _Fitting:
    """One fit from its first step to its last: what its stages share."""

    pixels: NDArray[np.uint16]
    targets: NDArray[np.float32]
    learned: NDArray[np.float32]
    config: Config
    compute: Compute
    network: ResNetClassifier
    average: AveragedModel | None
    loss: MaskedLoss
    optimizer: torch.optim.Optimizer
    best: BestWeights
    title: str
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def judged(self) -> nn.Module:
        """The network that validation sees and that is kept: the running average where there is one."""
        return self.network if self.average is None else self.average.module

    def run(
        self,
        stage: Stage,
        training: Sequence[int],
        validation: Sequence[int],
        *,
        schedule: LearningRate,
        seed: int,
        last: bool,
    ) -> None:
        size = stage.size or self.config.preprocessing.size
        inferer = AutocastInferer(self.compute)
        record, loss = ValidationRecord(), FiniteLoss()
        cached = cache_transforms(self.pixels, size=size)
        evaluator = SupervisedEvaluator(
            device=self.compute.device,
            val_data_loader=self._loader(validation, self.targets, cached, seed=None),
            network=self.judged,
            inferer=SimpleInferer(),
            prepare_batch=_prepare_batch,
            val_handlers=[record],
            decollate=False,
        )
        augment = BatchAugmentation(self.config.augmentation, seed=seed)

        def prepare_training_batch(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
            images, targets = _prepare_batch(*arguments, **options)
            return augment(images), targets

        trainer = SupervisedTrainer(
            device=self.compute.device,
            max_epochs=stage.epochs,
            train_data_loader=self._loader(training, self.learned, cached, seed=seed),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=self.loss,
            inferer=inferer,
            prepare_batch=prepare_training_batch,
            train_handlers=[*self._step_handlers(), schedule, loss, ValidationHandler(interval=1, validator=evaluator)],
            decollate=False,
            optim_set_to_none=True,
        )

        def finish_epoch(engine: Engine) -> None:
            epoch = len(self.history) + 1
            value, validation_loss = record.mean_auroc(), record.loss()
            entry = {
                "epoch": epoch,
                "size": size,
                "loss": loss.mean,
                "validation_loss": validation_loss,
                "validation_auroc": value,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "images_per_second": loss.images / loss.seconds,
                "seconds": loss.seconds,
            }
            self.history.append(entry)
            shown = "undefined" if value is None else f"{value:.3f}"
            log.info(
                "%s · epoch %d · %d px · loss %.3f · validation loss %.3f, AUROC %s · %.0f images/s",
                self.title, epoch, size, loss.mean, validation_loss, shown, entry["images_per_second"],
            )  # fmt: skip
            if self.best.judge(self.judged, epoch=epoch, value=value, loss=validation_loss, last_stage=last):
                engine.terminate()

        trainer.add_event_handler(Events.EPOCH_COMPLETED, finish_epoch)
        trainer.run()

    def _step_handlers(self) -> list[Any]:
        """What is done at each step besides the step."""
        handlers: list[Any] = []
        if self.config.training.clip_norm:
            handlers.append(ClipGradients(self.network, self.config.training.clip_norm))
        if self.average is not None:
            handlers.append(FollowAverage(self.average, self.network))
        return handlers

    def _loader(
        self, places: Sequence[int], targets: NDArray[np.float32], transform: Any, *, seed: int | None
    ) -> DataLoader:
        items = [{"image": int(place), "label": targets[place]} for place in places]
        shuffled = seed is not None
        batch = min(self.config.training.batch_size, len(items)) if shuffled else _EVALUATION_BATCH
        generator = torch.Generator().manual_seed(seed) if seed is not None else None
        return DataLoader(
            Dataset(items, transform),
            batch_size=batch,
            shuffle=shuffled,
            drop_last=shuffled,
            num_workers=0,
            generator=generator,
        )


def _prepare_batch(
    batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor]:
    images = torch.as_tensor(batch["image"]).to(device, non_blocking=non_blocking)
    return images, torch.as_tensor(batch["label"]).to(device, non_blocking=non_blocking)
