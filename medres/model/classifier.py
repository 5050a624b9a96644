"""The Classifier: what a saved model says of a radiograph, verified before it says anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medres.cohort.tasks import Task
from medres.config import Gate, Preprocessing
from medres.errors import UsageError
from medres.imaging.preprocessing import Placement, preprocess
from medres.model.calibration import probabilities
from medres.model.device import choose_device, in_parts, said_plainly
from medres.model.ensemble import joint_card
from medres.model.forward import Scores, as_images, forward, joined, lower_precision, precision_complaint
from medres.model.heatmaps.fine_maps import Finer, Maps, fine_maps, positive_mean
from medres.model.heatmaps.grid import SHOWN, Stride, grid_of, native_heatmap, scale_at
from medres.model.heatmaps.library import Method, check_library_method, library_maps, unit
from medres.model.heatmaps.licence import HeatmapLicence, LabelLicence, licence_of, read_licence
from medres.model.inspection import model_folders, read_card
from medres.model.loading import Member, load_member, self_check, whole_batch
from medres.model.outliers import distances
from medres.model.plausibility import Expectation
from medres.model.signing import verify_trust
from medres.records import DECODED_FOR, Decoding, Explanation, LabelScore, Precision, Prediction, Radiograph

__all__ = ["Classifier", "Member", "Scores", "read_card"]


class Classifier:
    """One saved model, or the folds of a cross-validation as an ensemble.

    ::

        model = Classifier.load("models/knee")
        model.predict(read_radiograph("0001.dcm")).scores["osteoarthritis"].probability
    """

    def __init__(self, members: tuple[Member, ...], *, device: torch.device) -> None:
        self.members = members
        self.device = device
        self.precision: Precision = "float32"
        self.card = joint_card(tuple(member.card for member in members))
        self.decode: Decoding = self.card.preprocessing.decode
        self.smaller: frozenset[str] | None = None
        """Of which smaller copies it takes images, see `records.copy_name`; None: of any."""
        self.heatmap_licence: HeatmapLicence | None = None
        self.expected = Expectation(tuple(member.card.cohort_profile for member in members))
        self.batch = whole_batch(self.card, device)
        """Images in one pass of the network. Its size may change the last digits, an image's place in it does not."""
        for member in members:
            member.network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        trust: Sequence[str | Path] = (),
        precision: Precision = "float32",
        decode: Decoding | None = None,
    ) -> Classifier:
        """Load and verify a model folder, or all folds of a cross-validation run.

        Reads only `medres.json` and safetensors; nothing is executed and nothing is fetched.

        Args:
            path: the folder.
            device: where it computes: `auto`, a GPU where there is one; `cpu`, `cuda`, or a GPU such as `cuda:1`.
            trust: public keys (PEM files), one of which must have signed the model as it is: see `medres sign`.
            precision: of its convolutions; the self-check is made in float32, whatever follows it. Whether scores hold
                in another precision is for `medres accuracy-check` to say.
            decode: how it wants images decoded, where that is not as it was trained: likewise.

        Raises:
            UsageError: `path` holds no model, there is no such device, or none that computes in this precision.
            ModelError: a hash does not fit, a file is not the model's, no trusted key signed it, or the self-check
                computes something else than at training time.
            DeviceError: the GPU is busy or too full.
        """
        folders = model_folders(Path(path))
        if trust:
            verify_trust(Path(path), [Path(key) for key in trust])
        chosen = choose_device(device)
        if complaint := precision_complaint(precision, chosen):
            raise UsageError(complaint)
        members = tuple(load_member(folder) for folder in folders)
        with said_plainly(chosen):
            classifier = cls(members, device=chosen)
            for member in members:
                self_check(member, chosen)
                lower_precision(member.network, precision)
        classifier.precision, classifier.decode = precision, decode or classifier.decode
        classifier.heatmap_licence = read_licence(Path(path), classifier.model_id)
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
    def shorter_side(self) -> int | None:
        """What `read_radiograph` must know of this model: the pixels that suffice in rows and columns; None: all."""
        return self.preprocessing.shorter_side(self.decode)

    @property
    def gate(self) -> Gate:
        """Which radiographs this model accepts."""
        return self.card.gate

    def heatmap_scale(self, label: str, *, stride: int = SHOWN) -> float:
        """The value of a heatmap that is drawn as full colour, logit units; the same for every image: see `scale_at`.

        Raises:
            UsageError: the model has no such label.
        """
        self._place(label)
        return scale_at(self.card.heatmap_scale[label], stride)

    def licence(self, label: str, *, method: str = "cam", stride: Stride = SHOWN) -> LabelLicence:
        """Whether a label's heatmaps, drawn in this way, were validated on images no network had seen, and why."""
        self._place(label)
        return licence_of(self.heatmap_licence, label, method=method, stride=stride)

    def score(self, pixels: NDArray[np.uint16], *, maps: bool = False, finer: Finer | None = None) -> Scores:
        """Score preprocessed images.

        Args:
            pixels: uint16 (n, size, size).
            maps: whether the class-activation maps of every image and label are wanted, which cost nothing.
            finer: of which images finer ones are wanted as well, for which the last stages are computed again.

        Raises:
            DeviceError: the GPU's memory does not even suffice for one image.
        """
        parts: list[Scores] = []
        with said_plainly(self.device):
            for start in range(0, len(pixels), self.batch):
                wanted = pixels[start : start + self.batch]
                found = in_parts(lambda part: self._score_batch(part, maps, finer), wanted)
                parts += found if len(found) == 1 else [part.marked() for part in found]
        return joined(parts)

    def score_whole_batch(
        self, pixels: NDArray[np.uint16], *, maps: bool = False, finer: Finer | None = None
    ) -> Scores:
        """Score at most `batch` images, in a pass that black ones fill up: a score does not depend on its neighbours.

        What one image gets is then a function of the image, the model and the kind of machine alone.
        """
        count = len(pixels)
        if count > self.batch:
            raise ValueError(f"{count} images are more than the {self.batch} of one pass")
        filled = np.zeros((self.batch, *pixels.shape[1:]), np.uint16)
        filled[:count] = pixels
        found = self.score(filled, maps=maps, finer=finer)
        return found.first(count)

    def _score_batch(self, pixels: NDArray[np.uint16], maps: bool, finer: Finer | None) -> Scores:
        images = as_images(pixels, self.device)
        logits, calibrated, relative, drawn, before = [], [], [], [], []
        for member in self.members:
            found = forward(member.network, images, maps=maps, stages=finer.stages if finer else 0)
            raw = found.logits.double().cpu().numpy()
            logits.append(raw)
            calibrated.append(probabilities(raw, member.card.tasks, member.card.temperatures))
            relative.append(distances(member.space, found.features.cpu().numpy()) / member.card.outliers.cut)
            if found.maps is not None:
                drawn.append(found.maps.cpu().numpy())
            if found.before is not None:
                before.append(found.before)
        probability = np.mean(calibrated, axis=0)
        with np.errstate(divide="ignore"):
            combined = np.log(probability) - np.log1p(-probability)
        return Scores(
            logits=logits[0] if len(logits) == 1 else combined,
            probabilities=probability,
            distances=np.mean(relative, axis=0),
            maps=np.mean(drawn, axis=0, dtype=np.float32) if maps else None,
            members=np.stack(calibrated),
            split=np.zeros(len(pixels), np.bool_),
            fine=self._finer(before, probability, finer) if finer else (),
        )

    def _finer(self, before: Sequence[Tensor], probability: NDArray[np.float64], finer: Finer) -> tuple[Maps, ...]:
        points = [self.card.operating_points[label].threshold for label in self.labels]
        wanted = probability >= points
        if finer.labels is not None:
            wanted[:] = np.isin(np.arange(len(self.labels)), finer.labels)
        return fine_maps([member.network for member in self.members], before, wanted, stages=finer.stages)

    def predict(self, radiograph: Radiograph) -> Prediction:
        """What the model says of one radiograph.

        `status` is `review` where the radiograph asks for it or is unlike the training images (also by its view,
        laterality or polarity), and `refused`
        with NOT_FINITE where the network's output is not a number.

        Raises:
            UsageError: the model wants images decoded otherwise.
        """
        if not isinstance(radiograph, Radiograph):
            raise TypeError(f"predict wants a Radiograph, not a {type(radiograph).__name__}: read_radiograph(path)")
        self._refuse_otherwise_decoded(radiograph)
        pixels = preprocess(radiograph, self.preprocessing).pixels
        review = (*radiograph.review, *self.expected.doubts(radiograph, pixels))
        return self.prediction(radiograph.sop_instance_uid, self.score(pixels[None]), 0, review=review)

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

    def explain(
        self, radiograph: Radiograph, *, label: str, stride: Stride | None = None, method: Method = "cam",
        layer: str | None = None,
    ) -> Explanation:  # fmt: skip
        """Where one label's score comes from, in native pixels and logit units; with its licence, whatever that says.

        Args:
            radiograph: as `read_radiograph` gives it.
            label: which.
            stride: input pixels between cells: 32 is the exact class-activation map; 16, unless said otherwise, and 8
                what cells of earlier stages add to the same logit.
            method: one of the grad-cam library's instead (`medres.model.heatmaps.library`), some without a logit scale.
            layer: a module's name, such as `backbone.layer3`, for these methods; without it the last feature maps.

        Raises:
            UsageError: there is no such label, method or layer, the method knows no strides or no layers, or the model
                wants images decoded otherwise.
        """
        if method == "cam" and layer is None:
            return self.explain_labels(radiograph, (label,), stride=stride)[0]
        place = self._place(label)
        check_library_method(method, stride=stride, layer=layer)
        self._refuse_otherwise_decoded(radiograph)
        prepared = preprocess(radiograph, self.preprocessing)
        networks = [member.network for member in self.members]
        found = library_maps(networks, prepared.pixels, label=place, method=method, layer=layer)
        return self._explanation(radiograph, label, prepared.placement, found, method)

    def explain_labels(
        self, radiograph: Radiograph, labels: Sequence[str], *, stride: Stride | None = None
    ) -> tuple[Explanation, ...]:
        """The class-activation maps of several labels, of one pass: see `explain`."""
        places = [self._place(label) for label in labels]
        self._refuse_otherwise_decoded(radiograph)
        prepared = preprocess(radiograph, self.preprocessing)
        cells = self._cells(prepared.pixels, places, stride or SHOWN)
        return tuple(
            self._explanation(radiograph, label, prepared.placement, cells[place])
            for label, place in zip(labels, places, strict=True)
        )

    def _explanation(
        self, radiograph: Radiograph, label: str, placement: Placement, cells: NDArray[np.float32],
        method: Method = "cam",
    ) -> Explanation:  # fmt: skip
        """An explanation of the networks' maps of one label, (networks, k, k)."""
        mean = positive_mean(cells) if method == "cam" else cells.mean(axis=0)
        spread = self.native_heatmap(placement, cells.std(axis=0)) if len(cells) > 1 else None
        stride = grid_of(self.card.architecture, placement.size, len(mean)).stride
        licence = licence_of(self.heatmap_licence, label, method=method, stride=stride)
        return Explanation(
            radiograph.sop_instance_uid, self.model_id, label, self.native_heatmap(placement, mean), float(mean.max()),
            method, unit(method), stride, licence.state, licence.reasons, spread,
        )  # fmt: skip

    def _cells(self, pixels: NDArray[np.uint16], places: Sequence[int], stride: Stride) -> Maps:
        if stride == 32:
            images = as_images(pixels[None], self.device)
            with said_plainly(self.device):
                drawn = [forward(member.network, images, maps=True).maps for member in self.members]
            cells = np.concatenate([one.cpu().numpy() for one in drawn if one is not None])
            return {place: cells[:, place] for place in places}
        return self.score(pixels[None], finer=Finer(stride, tuple(places))).fine[0]

    def native_heatmap(self, placement: Placement, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map (k, k) in native pixels, each cell where the network's strides centre it."""
        return native_heatmap(self.card.architecture, placement, cells)

    def _refuse_otherwise_decoded(self, radiograph: Radiograph) -> None:
        wanted = str(self.shorter_side or "")
        if radiograph.provenance.get(DECODED_FOR, "") != wanted:
            raise UsageError(
                f"model {self.model_id} takes images that are decoded {self.decode}, and this one was decoded "
                "otherwise: give read_radiograph the model's own shorter_side=model.shorter_side"
            )

    def _place(self, label: str) -> int:
        if label not in self.labels:
            raise UsageError(f"the model has no label {label!r}; it has {', '.join(self.labels)}")
        return self.labels.index(label)
