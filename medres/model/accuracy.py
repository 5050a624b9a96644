"""A model computes in another precision, or from smaller copies, only where a recorded check says that it scores alike.

The bounds are constants: no option widens them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError

from medres.config.versions import Versioned
from medres.errors import ModelError, UncheckedError
from medres.model.attachments import read_attachments
from medres.model.classifier import Classifier
from medres.model.saved_json import complaints
from medres.records import Decoding, Precision

KIND = "accuracy-check"
"""The kind of attachment that a check is."""

MOST_AUROC = 0.002
"""Most that a label's AUROC may differ."""

MOST_PROBABILITY = 0.005
"""Most that any calibrated probability may differ."""

MOST_CHANGED = 0.001
"""The share of calls (an image at or above a label's operating point, or below) that may change."""

FEWEST_IMAGES = 100
"""Images that a check takes at least: with a known answer for each label, and decoded otherwise where that is asked."""

FEWEST_OF_A_CLASS = 10
"""Of these at least so many with, and so many without, the label."""


class LabelCheck(Versioned):
    """What was compared for one label."""

    images: int  # with a known target
    positives: int  # of those
    auroc: float  # in float32, decoded as the model was trained
    auroc_asked: float  # as asked
    largest_difference: float  # of two probabilities of one image, labelled or not; 1 where one is no number
    changed_calls: int  # images


class AccuracyCheck(Versioned):
    """The content of an attachment: a model scored the same images in two ways."""

    precision: Precision  # that was asked for
    decode: Decoding  # likewise
    device: str  # "cpu" or "cuda"
    card: str  # of the GPU; "" on a processor
    images: int
    decoded_otherwise: int  # of those: images of which the two ways decoded other pixels
    only_one_way: int  # files that only one of the two could read
    other_reviews: int  # images that are an outlier in one of the two alone; told, not judged
    smaller: Mapping[str, int] = {}  # of the images: how many of each kind of smaller copy, see `records.copy_name`
    overlap: str = ""  # with the training cohort, in words; a check of numerics may take images of it
    labels: Mapping[str, LabelCheck]
    manifest_sha256: str
    environment: Mapping[str, str]  # versions, as `versions` says and others
    created: str  # ISO 8601, UTC

    @property
    def changed_share(self) -> float:
        """The share of calls that changed, over all images and labels."""
        return sum(label.changed_calls for label in self.labels.values()) / (self.images * len(self.labels))

    @property
    def covered(self) -> frozenset[str]:
        """The kinds of smaller copies of which there were enough images."""
        return frozenset(name for name, count in self.smaller.items() if count >= FEWEST_IMAGES)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it does not pass, a sentence each; none where it does."""
        found = []
        for name, label in self.labels.items():
            apart = abs(label.auroc - label.auroc_asked)
            if not apart <= MOST_AUROC:
                found.append(f"{name}: the AUROC differs by {apart:.4f}, more than {MOST_AUROC}")
            if not label.largest_difference <= MOST_PROBABILITY:
                found.append(
                    f"{name}: a probability differs by {label.largest_difference:.4f}, more than {MOST_PROBABILITY}"
                )
            if min(label.positives, label.images - label.positives) < FEWEST_OF_A_CLASS or label.images < FEWEST_IMAGES:
                found.append(f"{name}: {label.positives} of {label.images} images are too few")
        if not self.changed_share <= MOST_CHANGED:
            found.append(f"{self.changed_share:.2%} of the calls changed, more than {MOST_CHANGED:.1%}")
        if self.only_one_way:
            found.append(f"{self.only_one_way} files could be read in one of the two ways alone")
        return tuple(found)


def device_kind(device: torch.device) -> tuple[str, str]:
    """What a check of a device holds for: its type, and of a GPU the name of the card.

    >>> device_kind(torch.device("cpu"))
    ('cpu', '')
    """
    return device.type, torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def is_usual(classifier: Classifier) -> bool:
    """Whether a model computes in float32, from images decoded as it was trained: then there is nothing to check."""
    return classifier.precision == "float32" and classifier.decode == classifier.preprocessing.decode


def need_check(model: Path, classifier: Classifier) -> None:
    """Refuse a model, as it is about to be used, that the last check of that did not find to score alike.

    A model that may take smaller copies takes them only of the kinds that the check had enough images of.

    Args:
        model: its folder, where checks are attached.
        classifier: the model, with precision, decoding and device.

    Raises:
        UncheckedError: there is no such check for exactly this, the last one failed, or it was made with other
            versions of what decodes and computes.
        ModelError: an attachment is damaged.
    """
    if is_usual(classifier):
        return
    asked = (classifier.precision, classifier.decode, *device_kind(classifier.device))
    found = [
        check for check in read_checks(model, classifier.model_id)
        if (check.precision, check.decode, check.device, check.card) == asked
    ]  # fmt: skip
    said = "no recorded check says that it then scores alike"
    if found and not found[-1].failures:
        changed = _changed(found[-1])
        if not changed:
            if classifier.decode == "reduced" != classifier.preprocessing.decode:
                classifier.smaller = found[-1].covered
            return
        said = f"the check of {found[-1].created} was made with another {changed}"
    elif found:
        said = f"the check of {found[-1].created} failed ({found[-1].failures[0]})"
    raise UncheckedError(
        f"{classifier.model_id} is not used in {classifier.precision}, decoding {classifier.decode}, on this "
        f"{asked[3] or 'processor'}: {said}. Check it on labelled images: medres accuracy-check {model} MANIFEST "
        f"--precision {classifier.precision} --decode {classifier.decode}"
    )


def versions() -> dict[str, str]:
    """What decides how a model computes, and what it sees of a compressed image, by name."""
    from PIL import features

    from medres.imaging import decoders

    found = {**decoders.versions(), "torch": torch.__version__}
    for name, library in (("openjpeg", features.version_codec("jpg_2000")), ("jpeg", features.version_codec("jpg"))):
        found[name] = library or ""
    return found


def _changed(check: AccuracyCheck) -> str:
    """What has another version than in a check, in its first two numbers; "" where nothing has."""
    now = versions()
    for name in ("torch", "imagecodecs", "pillow", "openjpeg", "jpeg"):
        before, after = (".".join(said.get(name, "").split(".")[:2]) for said in (check.environment, now))
        if before != after:
            return f"{name} ({before or 'unknown'}, now {after or 'unknown'})"
    return ""


def read_checks(model: Path, model_id: str) -> tuple[AccuracyCheck, ...]:
    """All checks that are attached to a model, oldest first.

    Raises:
        ModelError: names an attachment that is damaged.
    """
    found = []
    for attachment in read_attachments(model, model_id):
        if attachment.kind == KIND:
            try:
                found.append(AccuracyCheck.model_validate(attachment.content))
            except ValidationError as error:
                raise ModelError(f"an accuracy check of {model} is damaged: {complaints(error)}") from None
    return tuple(sorted(found, key=lambda check: check.created))
