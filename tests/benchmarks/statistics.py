"""How fast medres resamples patients and computes DeLong's variance, beside how both are usually written.

    python -m tests.benchmarks.statistics [--rounds 5]

The bootstrap's peer is a loop over scikit-learn's `roc_auc_score`, one call per resample of patients. It draws the same
patients and repeats their images by one `numpy.repeat`, which is faster than joining lists of images; the number of
resamples is the same on both sides, and medres's side is the whole of `bootstrap.bootstrap`, checks included. DeLong's
peer compares every positive with every negative in numpy, in blocks of 256 rows: faster than the matrix as a whole, and
far faster than a loop over pairs. Before anything is timed, both sides must return the same
values. JSON goes to standard output; the exit code is 1 where a ratio that the project promises is not reached.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from medres.statistics.bootstrap import Sample, bootstrap, replicate
from medres.statistics.delong import delong
from tests.benchmarks.timing import finish, interleaved, versions

BOOTSTRAPS = {1_000: (2000, 40.0), 20_000: (200, 8.0)}
"""Images: resamples, and the peer's processor seconds as a multiple of medres's that the project promises at least."""
SMALL = {200: (100, 0.0)}
PAIRS, FASTER_PAIRS = 20_000, 100.0
IMAGES_PER_PATIENT, PREVALENCE = 2, 0.2
_BLOCK = 256  # rows of the matrix of pairs
_CALLS = 20  # of DeLong in medres's turn: one takes two milliseconds, too few for a clock

Cohort = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.str_]]
"""Labels, scores, and the name of each image's patient."""


def cohort(images: int, *, prevalence: float) -> Cohort:
    """Images of patients with two each, scores without ties."""
    generator = np.random.default_rng(images)
    labels = (generator.random(images) < prevalence).astype(np.int64)
    return (
        labels,
        generator.normal(labels, 1.0),
        np.array([f"P{number // IMAGES_PER_PATIENT:06d}" for number in range(images)]),
    )


def by_scikit_learn(cohort: Cohort, *, replicates: int, seed: int = 0) -> NDArray[np.float64]:
    """AUROC of every resample: patients drawn with replacement, their images repeated, one call each."""
    labels, scores, names = cohort
    patient = np.unique(names, return_inverse=True)[1]
    generator, patients, images = np.random.default_rng(seed), int(patient.max()) + 1, np.arange(len(labels))
    values = np.empty(replicates)
    for number in range(replicates):
        counts = np.bincount(generator.integers(0, patients, size=patients), minlength=patients)
        places = np.repeat(images, counts[patient])
        values[number] = roc_auc_score(labels[places], scores[places])
    return values


def interval_by_scikit_learn(cohort: Cohort, *, replicates: int) -> NDArray[np.float64]:
    """Bounds on the logit scale, with Student's t of the patients of the rarer class."""
    labels, scores, names = cohort
    spread, value = by_scikit_learn(cohort, replicates=replicates).std(), roc_auc_score(labels, scores)
    patients = min(len(np.unique(names[labels == one])) for one in (0, 1))
    error = spread * np.sqrt(patients / (patients - 1)) / (value * (1 - value))
    bounds: NDArray[np.float64] = expit(logit(value) + student.ppf([0.025, 0.975], patients - 1) * error)
    return bounds


def delong_by_pairs(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[float, float, float]:
    """Low, AUROC, high from every pair of a positive and a negative, a block of positives at a time."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    above, below = np.empty(len(positives)), np.zeros(len(negatives))
    for start in range(0, len(positives), _BLOCK):
        block = positives[start : start + _BLOCK, None]
        kernel = (block > negatives) + 0.5 * (block == negatives)
        above[start : start + _BLOCK] = kernel.mean(axis=1)
        below += kernel.sum(axis=0)
    below /= len(positives)
    value = float(above.mean())
    reach = float(norm.isf(0.025) * np.sqrt(above.var(ddof=1) / len(positives) + below.var(ddof=1) / len(negatives)))
    return value - reach, value, value + reach


def resampling(images: int, replicates: int, rounds: int) -> dict[str, Any]:
    """Parity, then times of the clustered bootstrap of one cohort."""
    made = cohort(images, prevalence=PREVALENCE)
    drawn = replicate([Sample(*made)], replicates=replicates)[1][0]
    assert np.allclose(drawn, by_scikit_learn(made, replicates=replicates), rtol=0, atol=1e-12), "resamples differ"
    found = bootstrap(*made, replicates=replicates)
    assert np.allclose((found.low, found.high), interval_by_scikit_learn(made, replicates=replicates), atol=1e-12)
    return _compared(
        medres=partial(bootstrap, *made, replicates=replicates),
        peer=partial(interval_by_scikit_learn, made, replicates=replicates),
        rounds=rounds,
    )


def pairs(images: int, rounds: int) -> dict[str, Any]:
    """Parity, then times of DeLong's interval of one cohort, half of it positive."""
    labels, scores, _ = cohort(images, prevalence=0.5)
    found = delong(labels, scores)
    assert np.allclose((found.low, found.value, found.high), delong_by_pairs(labels, scores), rtol=0, atol=1e-12)
    return _compared(
        medres=partial(delong, labels, scores),
        peer=partial(delong_by_pairs, labels, scores),
        rounds=rounds,
        calls=_CALLS,
    )


def _compared(*, medres: partial[Any], peer: partial[Any], rounds: int, calls: int = 1) -> dict[str, Any]:
    """Seconds of one call of each; medres has `calls` of them in its turn."""

    def often() -> None:
        for _ in range(calls):
            medres()

    times = interleaved({"medres": often, "peer": peer}, rounds=rounds)
    times["medres"] = {kind: seconds / calls for kind, seconds in times["medres"].items()}
    ratio = {kind: times["peer"][kind] / times["medres"][kind] for kind in ("wall_s", "processor_s")}
    return {**times, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description="Bootstrap and DeLong, beside how they are usually written.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="small cohorts, nothing promised: do the checks run?")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "versions": versions("medres", "numpy", "scipy", "scikit-learn"),
        "processors": os.cpu_count(),
        "cohort": f"{IMAGES_PER_PATIENT} images a patient, prevalence {PREVALENCE}; DeLong: 0.5",
        "bootstrap": {},
    }
    unmet = []
    for images, (replicates, promised) in (SMALL if options.small else BOOTSTRAPS).items():
        found = resampling(images, replicates, options.rounds)
        result["bootstrap"][images] = {**found, "replicates": replicates, "promised": promised}
        if found["ratio"]["processor_s"] < promised:
            unmet.append(f"bootstrap of {images} images: {found['ratio']['processor_s']:.1f} × of {promised:g} ×")
    images, promised = (500, 0.0) if options.small else (PAIRS, FASTER_PAIRS)
    result["delong"] = {**pairs(images, options.rounds), "images": images, "promised": promised}
    if result["delong"]["ratio"]["processor_s"] < promised:
        unmet.append(f"DeLong of {images} images: {result['delong']['ratio']['processor_s']:.1f} × of {promised:g} ×")
    finish(result, unmet)


if __name__ == "__main__":
    main()
