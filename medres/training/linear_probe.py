"""Linear probes: the backbone rests, its features are computed once, and only the last layer is fitted."""

from __future__ import annotations

import logging
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medres.config import Config
from medres.errors import TrainingError
from medres.model.device import said_plainly
from medres.model.forward import forward_batches
from medres.model.network import RadiographNetwork, build_network
from medres.model.weights import BackboneWeights, fill_backbone
from medres.training.batches import TrainingData
from medres.training.device import choose_compute
from medres.training.state import FitPlan, FittedNetwork
from medres.training.tracking import Epoch, Tracker
from medres.training.validation import ValidationRecord

log = logging.getLogger(__name__)

STRENGTHS = tuple(float(value) for value in np.logspace(-4, 1, 6))
"""Inverse regularisations (scikit-learn's C) of which validation patients choose one."""

_BATCH = 64


class LinearProbe:
    """Logistic regression on the pooled features of a pretrained backbone, as the head of an ordinary network.

    What comes out is a network like any other: calibrated, explained and saved the same way. Features are computed for
    the whole cohort once; all folds share them.

    Args:
        data: images and targets of the cohort.
        config: the whole configuration.
        weights: the backbone.

    Raises:
        TrainingError: there are no pretrained weights to probe.
    """

    def __init__(self, data: TrainingData, config: Config, weights: BackboneWeights | None) -> None:
        if weights is None:
            raise TrainingError(
                "training.method is linear-probe, but network.weights is none: random features say little; "
                "name pretrained weights (--weights PATH), or fine-tune"
            )
        self.data, self.config, self.weights = data, config, weights
        self.compute = choose_compute(config.training)
        self._features: NDArray[np.float64] | None = None

    def features(self) -> NDArray[np.float64]:
        """The pooled features of every image, (images, channels)."""
        if self._features is None:
            started = time.monotonic()
            network, device, every = self._network().eval(), self.compute.device, range(len(self.data.pixels))
            with said_plainly(device):
                network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
                batches = forward_batches(network, self.data.pixels, every, device=device, batch=_BATCH)
                self._features = torch.cat([batch.features.double().cpu() for batch in batches]).numpy()
            rate = len(self.data.pixels) / (time.monotonic() - started)
            log.info("features of %d images computed once, %.0f images/s", len(self.data.pixels), rate)
        return self._features

    def fit(self, plan: FitPlan, *, tracker: Tracker | None = None) -> FittedNetwork:
        """Fit heads of all STRENGTHS and keep the one with the lowest validation loss.

        Args:
            plan: which images it learns from and is validated by; nothing is random.
            tracker: writes the history, one entry per strength.
        """
        features = self.features()
        center = features[list(plan.training)].mean(axis=0)
        spread = features[list(plan.training)].std(axis=0) + 1e-9
        known, judged = ((features[list(places)] - center) / spread for places in (plan.training, plan.validation))
        record = ValidationRecord(self.data.classes)
        record.targets = [torch.from_numpy(self.data.targets[list(plan.validation)]).double()]
        history: list[Epoch] = []
        best: tuple[float, Tensor, Tensor] | None = None
        for number, strength in enumerate(STRENGTHS, start=1):
            started = time.monotonic()
            weight, bias = self._regression(known, self.data.learned[list(plan.training)], strength)
            record.logits = [torch.from_numpy(judged @ weight.T + bias)]
            loss, auroc = record.loss(), record.mean_auroc()
            history.append(
                {
                    "epoch": number,
                    "strength": strength,
                    "validation_loss": loss,
                    "validation_auroc": auroc,
                    "seconds": time.monotonic() - started,
                }
            )
            if best is None or loss < best[0]:
                best = (loss, *_in_pixels_of_features(weight, bias, center, spread))
                chosen = number
        assert best is not None
        network = self._network().eval()
        with torch.no_grad():
            network.head.weight.copy_(best[1])
            network.head.bias.copy_(best[2])
        if tracker:
            tracker.write(history)
        log.info("%s · linear probe · C %g · validation loss %.3f", plan.title, STRENGTHS[chosen - 1], best[0])
        return FittedNetwork(network, tuple(history), chosen, str(self.compute))

    def _network(self) -> RadiographNetwork:
        architecture, labels = self.config.network.architecture, self.data.labels
        network = build_network(architecture, labels=labels, folded=self.weights.folded)
        fill_backbone(network, self.weights)
        return network

    def _regression(
        self, features: NDArray[np.float64], targets: NDArray[np.float32], strength: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (labels, channels) and biases (labels,): each label alone, the classes of one question together."""
        labels = targets.shape[1]
        weight, bias = np.zeros((labels, features.shape[1])), np.zeros(labels)
        together = {place for columns in self.data.classes for place in range(labels)[columns]}
        for place in range(labels):
            if place not in together:
                sure = ~np.isnan(targets[:, place])
                asked = targets[sure, place].astype(np.float64)
                found = _fit_regression(features[sure], np.stack([1 - asked, asked], 1), strength)
                weight[place], bias[place] = found[0][1] - found[0][0], found[1][1] - found[1][0]
        for columns in self.data.classes:
            rows = ~np.isnan(targets[:, columns]).any(axis=1)
            weight[columns], bias[columns] = _fit_regression(
                features[rows], targets[rows, columns].astype(np.float64), strength
            )
        return weight, bias


def _fit_regression(
    features: NDArray[np.float64], shares: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Softmax regression on shares of classes (n, K): weights (K, channels) and biases (K,).

    A share between 0 and 1 (a soft target) counts in part for each class. Where only one class occurs, the weights are
    zero and the bias is its log odds, counting one image of every other class.
    """
    from sklearn.linear_model import LogisticRegression

    count = shares.shape[1]
    weight, bias = np.zeros((count, features.shape[1])), np.log(shares.sum(axis=0) + 1)
    rows, kinds = np.nonzero(shares > 0)
    present = np.unique(kinds)
    if len(present) > 1:
        model = LogisticRegression(C=strength, max_iter=500)
        model.fit(features[rows], kinds, sample_weight=shares[rows, kinds])
        if len(present) == 2:  # scikit-learn then has one line, of the second against the first
            weight[present] = np.stack([-model.coef_[0] / 2, model.coef_[0] / 2])
            bias[present] = [-model.intercept_[0] / 2, model.intercept_[0] / 2]
        else:
            weight[present], bias[present] = model.coef_, model.intercept_
    return weight, bias


def _in_pixels_of_features(
    weight: NDArray[np.float64], bias: NDArray[np.float64], center: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """The head that gives on features what a regression gives on standardised ones."""
    scaled = weight / spread
    return torch.from_numpy(scaled).float(), torch.from_numpy(bias - scaled @ center).float()
