"""Is this image anything like the training images? A distance in feature space, and a cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_DIRECTIONS = 64


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """Where the training images' features lie: a mean, the main directions, and the spread along and off them."""

    mean: NDArray[np.float32]  # (channels,)
    directions: NDArray[np.float32]  # (k, channels), orthonormal
    deviation: NDArray[np.float32]  # (k,) standard deviation along each
    residual: NDArray[np.float32]  # (1,) root mean square distance off them


def fit_feature_space(features: NDArray[np.float32]) -> FeatureSpace:
    """Principal directions of training features (images, channels)."""
    mean = features.mean(axis=0)
    centred = features.astype(np.float64) - mean
    k = max(1, min(_MOST_DIRECTIONS, len(features) // 5, features.shape[1] - 1))
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    off = np.sqrt((singular[k:] ** 2).sum() / len(features))
    return FeatureSpace(
        mean=mean.astype(np.float32),
        directions=directions[:k].astype(np.float32),
        deviation=np.maximum(singular[:k] / np.sqrt(len(features)), 1e-6).astype(np.float32),
        residual=np.array([max(off, 1e-6)], dtype=np.float32),
    )


def distances(space: FeatureSpace, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far each row of features (images, channels) lies from the training images; about 1 for those.

    The root of the mean of squared standard scores along the main directions and off them (the
    Mahalanobis distance under a probabilistic PCA, Tipping and Bishop 1999, divided by the directions' number).
    """
    centred = features.astype(np.float64) - space.mean
    along = centred @ space.directions.T.astype(np.float64)
    off = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
    scores = (along / space.deviation) ** 2
    total = scores.sum(axis=1) + off / float(space.residual[0]) ** 2
    return np.sqrt(total / (len(space.deviation) + 1))  # type: ignore[no-any-return]  # numpy loses the dtype
