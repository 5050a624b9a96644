"""Cohorts that are resampled by drawing patients, and never images: images of one patient are not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""(replicates, patients): how often each patient was drawn."""

Kernel = Callable[[Counts], NDArray[np.float64]]
"""Counts to values, one per replicate; NaN where the statistic is undefined."""

CurveKernel = Callable[[Counts], NDArray[np.float64]]
"""Counts to one curve per replicate, (replicates, points); NaN where undefined."""

_CELLS = 400_000  # of the largest temporary matrix: 3 MB, which a processor's cache holds


@dataclass(frozen=True, slots=True)
class Resampling:
    """How cohorts are resampled, and how sure an interval is to be."""

    replicates: int = 2000
    confidence: float = 0.95
    seed: int = 0


def resamples(patients: int, images: int, *, replicates: int, seed: int) -> Iterator[Counts]:
    """Draw as many patients as there are, with replacement; in chunks that keep memory bounded.

    Args:
        patients: number of patients.
        images: number of images, which decides the size of a chunk.
        replicates: number of draws.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // max(patients, images))
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = generator.integers(0, patients, size=(rows, patients))
        places = (drawn + np.arange(rows)[:, None] * patients).ravel()
        yield np.bincount(places, minlength=rows * patients).reshape(rows, patients)
