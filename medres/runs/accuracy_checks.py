"""Does a model score alike in another precision, or from smaller copies? Labelled images are scored both ways."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import ne
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medres.cohort.cache import PixelCache, cached_pixels
from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.overlap import find_overlap, training_identity
from medres.config import Limits
from medres.errors import ManifestError, UsageError
from medres.model.accuracy import (
    FEWEST_IMAGES,
    FEWEST_OF_A_CLASS,
    KIND,
    MOST_AUROC,
    MOST_CHANGED,
    MOST_PROBABILITY,
    AccuracyCheck,
    LabelCheck,
    device_kind,
    is_usual,
    versions,
)
from medres.model.attachments import attach
from medres.model.classifier import Classifier
from medres.provenance import environment, now
from medres.records import Decoding, ManifestRow, Precision
from medres.runs.options import DEFAULT, RunOptions
from medres.statistics.kernels import auroc

_AT_A_TIME = 256  # images in memory


@dataclass(frozen=True, slots=True)
class Checked:
    """A check, and where it was attached."""

    check: AccuracyCheck
    path: Path

    def lines(self) -> list[str]:
        """The figures as a table, and the verdict, one line each."""
        check = self.check
        width = max(map(len, ("label", *check.labels)))
        found = [
            f"{check.images} images, {check.decoded_otherwise} of them decoded otherwise; on "
            f"{check.card or 'a processor'}",
            f"{'label':{width}}  {'n':>6}  {'AUROC':>7}  {'asked':>7}  {'largest Δp':>10}  changed calls",
        ]
        for name, label in check.labels.items():
            found.append(
                f"{name:{width}}  {label.images:6}  {label.auroc:7.4f}  {label.auroc_asked:7.4f}  "
                f"{label.largest_difference:10.4f}  {label.changed_calls}"
            )
        found.append(
            f"allowed: ΔAUROC {MOST_AUROC}, Δp {MOST_PROBABILITY}, {MOST_CHANGED:.1%} of the calls (here "
            f"{check.changed_share:.2%}); {check.other_reviews} images are an outlier in one way alone"
        )
        for name, count in check.smaller.items():
            what = "" if name in check.covered else ": too few, so that such images are decoded in full"
            found.append(f"{count} images of {name}{what}")
        if check.overlap:
            found.append(f"the images and those it learned from: {check.overlap}")
        found += [f"FAILED {failure}" for failure in check.failures]
        asked = f"precision {check.precision}, decode {check.decode}"
        verdict = f"is not used with {asked}" if check.failures else f"may score with {asked}"
        return [*found, f"{self.path}: the model {verdict} on this kind of device"]


def check_accuracy(
    model: Path,
    manifest: Path,
    *,
    precision: Precision = "float32",
    decode: Decoding | None = None,
    root: Path | None = None,
    limits: Limits | None = None,
    options: RunOptions = DEFAULT,
) -> Checked:
    """Score the labelled images of a manifest in float32 and as asked, and attach to the model what differs.

    Args:
        model: a model folder, or a cross-validation run whose folds are a model together.
        manifest: images with the model's labels, at best of the place where it is used.
        precision: that is asked for.
        decode: likewise; as the model was trained without.
        root: what the manifest's paths are relative to; its own folder by default.
        limits: budgets for one file.
        options: where the model computes (a check holds for this kind of device alone), and who is told (done, total)
            while images are decoded, once for each way.

    Raises:
        UsageError: nothing else than usual is asked for, or the device does not compute in that precision.
        ManifestError: too few images, of one class too few, or too few that are decoded otherwise.
        ModelError: the model is not what it was.
    """
    asked = Classifier.load(model, device=options.device, precision=precision, decode=decode)
    if is_usual(asked):
        raise UsageError("that is what the model does by itself: give --precision bf16, or another --decode")
    found = read_manifest(manifest, asked.tasks, root=root)
    rows = [row for row in found.rows if any(value is not None for value in row.targets.values())]
    _refuse_few(found, [[row.targets[label] for row in rows] for label in asked.labels])
    usual = Classifier.load(model, device=str(asked.device))
    spec = usual.preprocessing
    caches = [
        cached_pixels(
            rows, spec.model_copy(update={"decode": one.decode}), gate=usual.gate, limits=limits or Limits(),
            progress=options.progress,
        )
        for one in (usual, asked)
    ]  # fmt: skip
    check = _compare(found, rows, _Way(usual, caches[0]), _Way(asked, caches[1]))
    few = check.decoded_otherwise < FEWEST_IMAGES or (asked.decode == "reduced" and not check.covered)
    if asked.decode != spec.decode and few:
        kinds = "".join(f", {count} of them {name}" for name, count in check.smaller.items())
        raise ManifestError(
            f"{manifest}: {check.decoded_otherwise} images are decoded otherwise{kinds}, and a check takes "
            f"{FEWEST_IMAGES} of one kind: what is not JPEG 2000, HTJ2K or baseline JPEG, or is small, has no smaller "
            "copy"
        )
    check = check.model_copy(update={"overlap": _overlap(model, asked, found, rows, caches[0])})
    return Checked(check, attach(model, KIND, check.model_dump(mode="json")))


def _overlap(
    model: Path, classifier: Classifier, manifest: Manifest, rows: list[ManifestRow], cache: PixelCache
) -> str:
    """What the images share with those that the model learned from, in words."""
    known = training_identity(
        model, manifests=[member.card.provenance.manifest_sha256 for member in classifier.members]
    )
    pixels, uids = {image.row: image.pixels_sha256 for image in cache.images}, [row.sop_instance_uid for row in rows]
    for image in cache.images:
        uids[image.row] = image.sop_instance_uid
    hashes = [pixels.get(place) for place in range(len(rows))]
    return str(find_overlap(known, manifest_sha256=manifest.sha256, rows=rows, pixels=hashes, uids=uids))


def _refuse_few(manifest: Manifest, targets: list[list[int | None]]) -> None:
    problems = []
    for label, values in zip(manifest.labels, targets, strict=True):
        known = [value for value in values if value is not None]
        fewer = min(known.count(1), known.count(0))
        if len(known) < FEWEST_IMAGES or fewer < FEWEST_OF_A_CLASS:
            problems.append(f"{label}: {len(known)} images, {known.count(1)} of them positive")
    if problems:
        raise ManifestError(
            f"{manifest.path}: a check takes at least {FEWEST_IMAGES} images of every label, {FEWEST_OF_A_CLASS} with "
            f"and {FEWEST_OF_A_CLASS} without it: {'; '.join(problems)}"
        )


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model says of some images."""

    probabilities: NDArray[np.float64]  # (n, labels), calibrated
    distances: NDArray[np.float64]  # (n,), 1 = the outlier cut


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the two ways of scoring: a model, and what it sees."""

    classifier: Classifier
    cache: PixelCache

    @property
    def places(self) -> dict[int, int]:
        """Where the cache has the images, by their row."""
        return {image.row: place for place, image in enumerate(self.cache.images)}

    def score(self, rows: list[int]) -> _Said:
        """What it says of some rows, some at a time: all at once may be more than memory."""
        places = [self.places[row] for row in rows]
        slices = (places[start : start + _AT_A_TIME] for start in range(0, len(places), _AT_A_TIME))
        scores = [self.classifier.score(np.asarray(self.cache.pixels[some])) for some in slices]
        return _Said(
            np.concatenate([some.probabilities for some in scores]), np.concatenate([some.distances for some in scores])
        )

    def smaller(self, rows: list[int]) -> dict[str, int]:
        """How many of the rows are each kind of smaller copy."""
        places = self.places
        return dict(sorted(Counter(name for row in rows if (name := self.cache.images[places[row]].smaller)).items()))

    def hashes(self, rows: list[int]) -> list[str]:
        """What tells the pixels of some rows from others."""
        places = self.places
        return [self.cache.images[places[row]].pixels_sha256 for row in rows]


def _compare(manifest: Manifest, rows: list[ManifestRow], usual: _Way, asked: _Way) -> AccuracyCheck:
    """What two ways of scoring say of the images that both can read."""
    classifier = asked.classifier
    both = sorted(usual.places.keys() & asked.places.keys())
    if not both:
        raise ManifestError(f"{manifest.path}: none of its images can be read")
    scores = usual.score(both), asked.score(both)
    labels = {
        label: _compare_label(classifier, scores, column, [rows[row].targets[label] for row in both])
        for column, label in enumerate(classifier.labels)
    }
    kind, card = device_kind(classifier.device)
    return AccuracyCheck(
        precision=classifier.precision,
        decode=classifier.decode,
        device=kind,
        card=card,
        images=len(both),
        decoded_otherwise=sum(map(ne, usual.hashes(both), asked.hashes(both))),
        smaller=asked.smaller(both),
        only_one_way=len(usual.places.keys() ^ asked.places.keys()),
        other_reviews=int(((scores[0].distances > 1) != (scores[1].distances > 1)).sum()),
        labels=labels,
        manifest_sha256=manifest.sha256,
        environment={**environment(), **versions()},
        created=now(),
    )


def _compare_label(
    classifier: Classifier, scores: tuple[_Said, _Said], column: int, targets: list[int | None]
) -> LabelCheck:
    usual, asked = (one.probabilities[:, column] for one in scores)
    threshold = classifier.card.operating_points[classifier.labels[column]].threshold
    known = np.array([target is not None for target in targets])
    truth = np.array([target or 0 for target in targets], dtype=np.int64)[known]
    return LabelCheck(
        images=int(known.sum()),
        positives=int(truth.sum()),
        auroc=_auroc(truth, usual[known]),
        auroc_asked=_auroc(truth, asked[known]),
        largest_difference=float(np.nan_to_num(np.abs(usual - asked), nan=1.0).max()),
        changed_calls=int(((usual >= threshold) != (asked >= threshold)).sum()),
    )


def _auroc(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """The AUROC; 0 where a probability is no number, or one class is missing: neither can pass."""
    once = np.ones((1, len(truth)), dtype=np.int64)
    value = float(auroc(truth, probabilities, np.arange(len(truth)))(once)[0])
    return value if np.isfinite(value) and np.isfinite(probabilities).all() else 0.0
