from __future__ import annotations

import numpy as np

from medres.model.outliers import distances, fit_feature_space


def test_training_like_features_are_near_one_and_foreign_ones_far() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(20, 128))
    like = (rng.normal(size=(400, 20)) @ mixing + 0.1 * rng.normal(size=(400, 128))).astype(np.float32)
    foreign = (rng.normal(size=(50, 128)) * 4).astype(np.float32)
    space = fit_feature_space(like[:300])
    assert 0.7 < np.median(distances(space, like[300:])) < 1.5
    assert distances(space, foreign).min() > np.quantile(distances(space, like[300:]), 0.99)


def test_features_that_never_vary_do_not_divide_by_zero() -> None:
    space = fit_feature_space(np.ones((30, 16), dtype=np.float32))
    assert np.isfinite(distances(space, np.ones((2, 16), dtype=np.float32))).all()
