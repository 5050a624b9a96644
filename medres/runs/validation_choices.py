"""From a fitted network to a saved model: all that validation patients choose, and the card."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medres.config import Config
from medres.formatting import figure
from medres.model.calibration import at_bound, choose_operating_points, fit_temperatures, probabilities
from medres.model.card import ModelCard, Provenance, TrainedFacts, chosen_besides
from medres.model.device import choose_device, said_plainly
from medres.model.forward import forward_batches
from medres.model.network import RadiographNetwork
from medres.model.outliers import distances, fit_feature_space
from medres.model.saving import save_model
from medres.model.weights import BackboneWeights
from medres.provenance import environment, git_commit, now
from medres.runs.fitting import RunSetup
from medres.runs.recording import origin
from medres.statistics.bootstrap import bootstrap
from medres.training.base_rates import restored
from medres.training.state import FitPlan, FittedNetwork

log = logging.getLogger(__name__)

_BATCH = 64
_MOST_FEATURES = 1000  # training images that describe the feature space
_SCALE_PERCENTILE = 95.0  # of the validation maps' maxima: what is drawn as full colour


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network computes for some images, float32 on the CPU or a GPU."""

    logits: NDArray[np.float64]  # (n, labels)
    features: NDArray[np.float32]  # (n, channels)
    map_maxima: NDArray[np.float32]  # (n, labels)


def outputs(
    network: RadiographNetwork, pixels: NDArray[np.uint16], places: Sequence[int], *, device: torch.device
) -> Outputs:
    """Logits, pooled features and map maxima of cached images."""
    with said_plainly(device):
        network.to(device)
    logits, features, maxima = [], [], []
    for found in forward_batches(network, pixels, places, device=device, batch=_BATCH, maps=True):
        assert found.maps is not None
        logits.append(found.logits.double().cpu().numpy())
        features.append(found.features.cpu().numpy())
        maxima.append(found.maps.amax(dim=(2, 3)).cpu().numpy())
    network.cpu()
    return Outputs(np.concatenate(logits), np.concatenate(features), np.concatenate(maxima))


def finish_model(
    folder: Path, fitted: FittedNetwork, plan: FitPlan, setup: RunSetup, *, splits_sha256: str, fold: int | None = None
) -> ModelCard:
    """Choose everything that travels with the network on the validation images, and save the model.

    Args:
        folder: where the model goes.
        fitted: the network; where training changed base rates, its head's bias is corrected.
        plan: the images that it was fitted on (they describe the feature space), and the validation images.
        setup: cohort, configuration and starting weights of the run.
        splits_sha256: the hash of the division into training, validation and held-out patients.
        fold: the fold of a cross-validation, None for a final model.
    """
    cohort, config, weights = setup.cohort, setup.config, setup.weights
    training, validation, seed = plan.training, plan.validation, plan.seed
    device = choose_device(config.training.device)
    labels = cohort.manifest.labels
    chosen = outputs(fitted.network, cohort.cache.pixels, validation, device=device)
    some = np.random.default_rng(seed).permutation(np.asarray(training))[:_MOST_FEATURES]
    space = fit_feature_space(outputs(fitted.network, cohort.cache.pixels, some.tolist(), device=device).features)
    quantile = config.evaluation.outlier_quantile
    cut = float(np.quantile(distances(space, chosen.features), quantile))
    targets, tasks = cohort.targets[list(validation)], cohort.manifest.tasks
    learned = cohort.learned[list(training)]
    shifts = restored(tasks, config.training, learned=learned, targets=targets, logits=chosen.logits)
    if shifts.any():
        _shift(fitted.network, shifts)
    logits = chosen.logits + shifts
    temperatures = fit_temperatures(tasks, targets, logits)
    for label in filter(lambda one: at_bound(temperatures[one]), labels):
        log.warning(
            "%s: temperature %s is an end of its search: its probabilities are not calibrated (%d validation images)",
            label,
            figure(temperatures[label]),
            len(validation),
        )
    calibrated = probabilities(logits, tasks, temperatures)
    by_rule, metrics, scale = {}, {}, {}
    patients = np.array([cohort.rows[place].patient_id for place in validation])
    for place, label in enumerate(labels):
        known = ~np.isnan(targets[:, place])
        truth, likely = targets[known, place].astype(np.int64), calibrated[known, place]
        by_rule[label] = choose_operating_points(truth, likely, config.evaluation)
        interval = bootstrap(
            truth,
            likely,
            patients[known],
            statistic="auroc",
            replicates=config.evaluation.replicates,
            confidence=config.evaluation.confidence,
            seed=seed,
        )
        metrics[label] = {"auroc": interval}
        scale[label] = max(float(np.percentile(chosen.map_maxima[:, place], _SCALE_PERCENTILE)), 1e-6)
    return save_model(
        folder,
        network=fitted.network,
        space=space,
        outlier_cut=cut,
        outlier_quantile=quantile,
        facts=TrainedFacts(
            architecture=config.network.architecture,
            folded=weights is not None and weights.folded,
            tasks=tasks,
            labels=labels,
            preprocessing=config.preprocessing,
            gate=config.gate,
            temperatures=temperatures,
            operating_points={label: found[config.evaluation.operating_point] for label, found in by_rule.items()},
            points_by_rule=by_rule,
            heatmap_scale=scale,
            provenance=Provenance(
                created=now(),
                recipe=config.name,
                config=config.model_dump(mode="json"),
                seed=seed,
                manifest_sha256=cohort.manifest.sha256,
                splits_sha256=splits_sha256,
                fold=fold,
                training_images=len(training),
                training_patients=cohort.patients(training),
                validation_images=len(validation),
                validation_patients=len(set(patients.tolist())),
                epochs=len(fitted.history),
                best_epoch=fitted.best_epoch,
                device=fitted.device,
                backbone=origin(weights),
                packages=environment(),
                git_commit=git_commit(),
            ),
            metrics=metrics,
            metrics_split=f"inner validation patients, who also chose {chosen_besides(config.training)}temperature "
            "and thresholds: optimistic",
            limits=_limits(config, weights),
            cohort_profile=cohort.profile([*training, *validation]),
        ),
    )


@torch.no_grad()
def _shift(network: RadiographNetwork, shifts: NDArray[np.float64]) -> None:
    """Add to the logits what the head's bias can: class-activation maps stay as they are."""
    network.head.bias = torch.nn.Parameter(network.head.bias + torch.from_numpy(shifts).float())


def _limits(config: Config, weights: BackboneWeights | None) -> tuple[str, ...]:
    found = [
        "When it was made, not validated on images of sites other than those of its manifest.",
        "Heatmaps show where the network's evidence lies, not where disease is; no reader has validated them.",
    ]
    if weights is None:
        found.append(
            "The network started from random weights; pretrained weights usually give better results on small cohorts."
        )
    elif weights.doubt:
        found.append(f"Starting weights: {weights.doubt}.")
    gate = config.gate
    restricted = {"modality": gate.modality, "body part": gate.body_part, "view": gate.view}
    if not all(restricted.values()):
        free = " or ".join(name for name, values in restricted.items() if not values)
        found.append(f"The gate admits any {free}: there the outlier cut alone tells foreign images apart.")
    return tuple(found)
