"""The Classifier: what a saved model says of a radiograph, verified before it says anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from medres.cohort.tasks import Task
from medres.config import Gate, Preprocessing
from medres.errors import ModelError, UsageError
from medres.imaging.preprocessing import Placement, as_float, preprocess, specification_hash
from medres.imaging.synthesis import reference_radiograph
from medres.model.calibration import RULES, OperatingPoint, probabilities
from medres.model.card import FORMAT, ModelCard
from medres.model.explain import evidence, native_heatmap
from medres.model.network import RadiographNetwork, build_network, full_precision
from medres.model.outliers import FeatureSpace, distances
from medres.records import Explanation, LabelScore, Prediction, Radiograph
from medres.tables import sha256_file, sha256_json

CARD_FILE = "medres.json"
WEIGHTS_FILE = "models/model.safetensors"
OUTLIERS_FILE = "models/outliers.safetensors"
BATCH = 16


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model computes for a batch of images."""

    logits: NDArray[np.float64]  # (n, labels); of an ensemble: the log odds of the mean probability
    probabilities: NDArray[np.float64]  # (n, labels), calibrated
    distances: NDArray[np.float64]  # (n,), 1 = the outlier cut
    maps: NDArray[np.float32] | None  # (n, labels, k, k) class-activation maps, logit units


@dataclass(frozen=True, slots=True)
class Member:
    """One network with its card and feature space."""

    network: RadiographNetwork
    card: ModelCard
    space: FeatureSpace


class Classifier:
    """One saved model, or the folds of a cross-validation as an ensemble.

    ::

        model = Classifier.load("models/knee")
        model.predict(read_radiograph("0001.dcm")).scores["osteoarthritis"].probability
    """

    def __init__(self, members: tuple[Member, ...], *, device: torch.device) -> None:
        self.members = members
        self.device = device
        self.card = members[0].card if len(members) == 1 else _ensemble_card([member.card for member in members])
        for member in members:
            member.network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: str | Path, *, device: Literal["auto", "cpu", "cuda"] = "auto") -> Classifier:
        """Load and verify a model folder, or all folds of a cross-validation run.

        Reads only `medres.json` and safetensors; nothing is executed and nothing is fetched.

        Raises:
            UsageError: `path` holds no model.
            ModelError: a hash does not fit, or the self-check computes something else than at training time.
        """
        path = Path(path)
        folders = [path] if (path / CARD_FILE).is_file() else sorted((path / "models").glob(f"fold-*/{CARD_FILE}"))
        if not folders:
            raise UsageError(f"{path} holds no model (no {CARD_FILE}) and no cross-validation run (no models/fold-*)")
        chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        members = tuple(_load_member(folder if folder.is_dir() else folder.parent) for folder in folders)
        classifier = cls(members, device=chosen)
        for member in members:
            _self_check(member, chosen)
        return classifier

    @property
    def model_id(self) -> str:
        """The identifier that every prediction carries."""
        return self.card.model_id

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the network's order."""
        return self.card.labels

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is asked of an image; every task is answered by some of the labels."""
        return self.card.tasks

    @property
    def preprocessing(self) -> Preprocessing:
        """How a radiograph becomes this model's input."""
        return self.card.preprocessing

    @property
    def gate(self) -> Gate:
        """Which radiographs this model accepts."""
        return self.card.gate

    def heatmap_scale(self, label: str) -> float:
        """The value of a heatmap that is drawn as full colour, logit units; the same for every image.

        Raises:
            UsageError: the model has no such label.
        """
        self._place(label)
        return self.card.heatmap_scale[label]

    def score(self, pixels: NDArray[np.uint16], *, maps: bool = False) -> Scores:
        """Score preprocessed images, uint16 (n, size, size); with `maps`, their class-activation maps as well."""
        parts = [self._score_batch(pixels[start : start + BATCH], maps) for start in range(0, len(pixels), BATCH)]
        return Scores(
            logits=np.concatenate([part.logits for part in parts]),
            probabilities=np.concatenate([part.probabilities for part in parts]),
            distances=np.concatenate([part.distances for part in parts]),
            maps=np.concatenate([part.maps for part in parts if part.maps is not None]) if maps else None,
        )

    @torch.inference_mode()
    @full_precision()
    def _score_batch(self, pixels: NDArray[np.uint16], maps: bool) -> Scores:
        images = torch.from_numpy(as_float(pixels)[:, None]).to(self.device, memory_format=torch.channels_last)
        logits, calibrated, relative, drawn = [], [], [], []
        for member in self.members:
            features = member.network.feature_maps(images)
            pooled = features.mean(dim=(2, 3))
            raw = member.network.head(pooled).double().cpu().numpy()
            logits.append(raw)
            calibrated.append(probabilities(raw, member.card.tasks, member.card.temperatures))
            relative.append(distances(member.space, pooled.float().cpu().numpy()) / member.card.outliers.cut)
            if maps:
                drawn.append(evidence(member.network, features).float().cpu().numpy())
        probability = np.mean(calibrated, axis=0)
        with np.errstate(divide="ignore"):
            combined = np.log(probability) - np.log1p(-probability)
        return Scores(
            logits=logits[0] if len(logits) == 1 else combined,
            probabilities=probability,
            distances=np.mean(relative, axis=0),
            maps=np.mean(drawn, axis=0, dtype=np.float32) if maps else None,
        )

    def predict(self, radiograph: Radiograph) -> Prediction:
        """What the model says of one radiograph.

        `status` is `review` where the radiograph asks for it or is unlike the training images, and `refused`
        with NOT_FINITE where the network's output is not a number.
        """
        if not isinstance(radiograph, Radiograph):
            raise TypeError(f"predict wants a Radiograph, not a {type(radiograph).__name__}: read_radiograph(path)")
        scores = self.score(preprocess(radiograph, self.preprocessing).pixels[None])
        return self.prediction(radiograph.sop_instance_uid, scores, 0, review=radiograph.review)

    def prediction(self, sop_instance_uid: str, scores: Scores, place: int, *, review: tuple[str, ...]) -> Prediction:
        """The Prediction of image `place` of a scored batch."""
        if not np.isfinite(scores.probabilities[place]).all():
            return Prediction(sop_instance_uid, self.model_id, {}, "refused", "NOT_FINITE")
        reasons = (*review, *(("OUTLIER",) if scores.distances[place] > 1 else ()))
        values = {
            label: self._label_score(label, float(probability))
            for label, probability in zip(self.labels, scores.probabilities[place], strict=True)
        }
        status: Literal["review", "ok"] = "review" if reasons else "ok"
        return Prediction(sop_instance_uid, self.model_id, values, status, reasons[0] if reasons else "")

    def _label_score(self, label: str, probability: float) -> LabelScore:
        threshold = self.card.operating_points[label].threshold
        return LabelScore(probability, threshold, probability >= threshold)

    def explain(self, radiograph: Radiograph, *, label: str) -> Explanation:
        """The class-activation map of one label, in native pixels and logit units.

        Raises:
            UsageError: the model has no such label.
        """
        place = self._place(label)
        prepared = preprocess(radiograph, self.preprocessing)
        maps = self.score(prepared.pixels[None], maps=True).maps
        assert maps is not None
        heatmap = self.native_heatmap(prepared.placement, maps[0, place])
        return Explanation(radiograph.sop_instance_uid, self.model_id, label, heatmap, float(maps[0, place].max()))

    def native_heatmap(self, placement: Placement, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """A class-activation map (k, k) in native pixels, each cell where the network's strides centre it."""
        return native_heatmap(self.card.architecture, placement, cells)

    def _place(self, label: str) -> int:
        if label not in self.labels:
            raise UsageError(f"the model has no label {label!r}; it has {', '.join(self.labels)}")
        return self.labels.index(label)


def read_card(folder: Path) -> ModelCard:
    """Read and verify a model's card.

    Raises:
        UsageError: the folder holds no card.
        ModelError: the card is damaged, altered, or of a format this version does not know.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise UsageError(f"{folder} holds no model (no {CARD_FILE})")
    try:
        card = ModelCard.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is damaged or of another version: {str(error).splitlines()[0]}") from None
    if card.format != FORMAT:
        raise ModelError(f"{path} has format {card.format}; this version reads format {FORMAT}")
    if card.identifier() != card.model_id:
        raise ModelError(f"{path} was altered: its content no longer gives model_id {card.model_id}")
    if specification_hash(card.preprocessing) != card.preprocessing_sha256:
        raise ModelError(
            f"{path}: this version of medres preprocesses images differently than the one that trained the model"
        )
    return card


def _load_member(folder: Path) -> Member:
    card = read_card(folder)
    for name, expected in ((WEIGHTS_FILE, card.weights_sha256), (OUTLIERS_FILE, card.outliers.sha256)):
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing")
        if sha256_file(folder / name) != expected:
            raise ModelError(f"{folder / name} was altered or damaged: its SHA-256 is not the one in {CARD_FILE}")
    network = build_network(card.architecture, labels=len(card.labels), folded=card.folded)
    try:
        network.load_state_dict(load_tensors(folder / WEIGHTS_FILE))
        space = FeatureSpace(**load_arrays(folder / OUTLIERS_FILE))
    except (RuntimeError, SafetensorError, TypeError) as error:
        raise ModelError(f"{folder}: the tensors do not fit the card: {str(error).splitlines()[0]}") from None
    return Member(network, card, space)


def reference_logits(network: RadiographNetwork, spec: Preprocessing, device: torch.device) -> NDArray[np.float64]:
    """Logits (labels,) of the reference radiograph: what the self-check compares."""
    pixels = preprocess(reference_radiograph(), spec).pixels
    images = torch.from_numpy(as_float(pixels)[None, None]).to(device, memory_format=torch.channels_last)
    with torch.inference_mode(), full_precision():
        return network(images)[0].double().cpu().numpy()  # type: ignore[no-any-return]


def _self_check(member: Member, device: torch.device) -> None:
    found = reference_logits(member.network, member.card.preprocessing, device)
    for label, value in zip(member.card.labels, found, strict=True):
        expected = member.card.self_check.logits[label]
        if not abs(value - expected) <= member.card.self_check.tolerance:
            raise ModelError(
                f"model {member.card.model_id} fails its self-check: label {label!r} of the reference radiograph "
                f"gives logit {value:.6f}, at training time {expected:.6f}"
            )


def _ensemble_card(cards: list[ModelCard]) -> ModelCard:
    first = cards[0]
    for card in cards[1:]:
        if (card.tasks, card.preprocessing_sha256, card.gate) != (
            first.tasks,
            first.preprocessing_sha256,
            first.gate,
        ):
            raise ModelError("the folds of this run differ in labels, preprocessing or gate; they are not one model")
    points = {label: _mean_point([card.operating_points[label] for card in cards]) for label in first.labels}
    by_rule = {
        label: {rule: _mean_point([card.points_by_rule[label][rule] for card in cards]) for rule in RULES}
        for label in first.labels
    }
    scale: Mapping[str, float] = {
        label: float(np.mean([card.heatmap_scale[label] for card in cards])) for label in first.labels
    }
    identity = sha256_json([card.model_id for card in cards])[:12]
    return first.model_copy(
        update={
            "model_id": f"{first.architecture}-ensemble{len(cards)}-{identity}",
            "operating_points": points,
            "points_by_rule": by_rule,
            "heatmap_scale": dict(scale),
            "metrics": {},
            "metrics_split": "none: the out-of-fold figures of the run are not the ensemble's",
            "members": len(cards),
        }
    )


def _mean_point(points: Sequence[OperatingPoint]) -> OperatingPoint:
    """The ensemble's threshold: the mean of those that its members chose; what it reaches was not measured."""
    chosen = [point for point in points if point.sensitivity is not None]
    if not chosen:  # a class is missing in every validation: all have the same placeholder
        return points[0]
    count = f"{len(chosen)} of {len(points)}" if len(chosen) < len(points) else str(len(points))
    rules = "; or ".join(dict.fromkeys(point.rule for point in chosen))
    return chosen[0].model_copy(
        update={
            "threshold": float(np.mean([point.threshold for point in chosen])),
            "rule": f"mean of {count} folds' thresholds, each: {rules}",
            "sensitivity": None,
            "specificity": None,
        }
    )
