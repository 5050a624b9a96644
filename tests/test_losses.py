from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from medres.training.losses import MaskedLoss, UncertainPolicy, balancing_weights, training_targets

NAN = math.nan
LOGITS = torch.tensor([[0.3, -1.2], [2.0, 0.1], [-0.7, 1.5]])
TARGETS = torch.tensor([[1.0, NAN], [0.0, 1.0], [NAN, 0.0]])
KNOWN = ~torch.isnan(TARGETS)


def test_the_loss_is_the_mean_over_known_targets() -> None:
    expected = functional.binary_cross_entropy_with_logits(LOGITS[KNOWN], TARGETS[KNOWN])
    assert torch.allclose(MaskedLoss()(LOGITS, TARGETS), expected)


@given(st.floats(-30, 30))
def test_the_logit_of_an_unknown_target_changes_nothing(logit: float) -> None:
    changed = LOGITS.clone()
    changed[0, 1] = logit
    assert torch.equal(MaskedLoss(smoothing=0.1)(changed, TARGETS), MaskedLoss(smoothing=0.1)(LOGITS, TARGETS))


def test_a_wrong_sign_of_a_target_costs_its_logit() -> None:
    right, wrong = (MaskedLoss()(torch.tensor([[3.0]]), torch.tensor([[value]])) for value in (1.0, 0.0))
    assert float(wrong - right) == pytest.approx(3.0)


def test_nothing_known_is_a_loss_of_zero_with_a_gradient_of_zero() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = MaskedLoss()(logits, torch.full_like(TARGETS, NAN))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_smoothing_is_cross_entropy_against_moved_targets() -> None:
    expected = functional.binary_cross_entropy_with_logits(LOGITS[KNOWN], TARGETS[KNOWN] * 0.9 + 0.05)
    assert torch.allclose(MaskedLoss(smoothing=0.1)(LOGITS, TARGETS), expected)


def test_the_focal_loss_is_torchvisions() -> None:
    expected = sigmoid_focal_loss(LOGITS[KNOWN], TARGETS[KNOWN], alpha=-1, gamma=2, reduction="mean")
    assert torch.allclose(MaskedLoss(focusing=2.0)(LOGITS, TARGETS), expected)


@given(st.floats(-150, 150), st.floats(0.1, 3), st.sampled_from([None, 0.5, 2.0]))
def test_what_is_known_for_certain_has_a_gradient_that_is_a_number(
    logit: float, focusing: float, negative: float | None
) -> None:
    loss = MaskedLoss((slice(1, 4),), focusing=focusing, negative_focusing=negative)
    for targets in ([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]):
        logits = torch.tensor([[logit, logit, 0.0, 0.0]], requires_grad=True)
        loss(logits, torch.tensor([targets])).backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


@given(st.floats(-20, 20), st.booleans(), st.floats(0, 4), st.floats(0, 4), st.floats(0, 0.4))
def test_the_asymmetric_loss_is_the_papers(
    logit: float, positive: bool, gamma: float, other: float, margin: float
) -> None:
    found = MaskedLoss(focusing=gamma, negative_focusing=other, negative_margin=margin)(
        torch.tensor([[logit]], dtype=torch.float64), torch.tensor([[float(positive)]], dtype=torch.float64)
    )
    chance = 1 / (1 + math.exp(-logit))
    lowered = max(chance - margin, 0.0)
    expected = -((1 - chance) ** gamma) * math.log(chance) if positive else -(lowered**other) * math.log1p(-lowered)
    assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_a_negative_below_the_margin_teaches_nothing() -> None:
    logits = torch.tensor([[-3.0], [0.5]], requires_grad=True)
    MaskedLoss(negative_margin=0.1)(logits, torch.zeros(2, 1)).backward()
    assert logits.grad is not None
    assert logits.grad[0] == 0
    assert logits.grad[1] > 0


def test_positive_weights_count_positives_more() -> None:
    weights = torch.tensor([3.0, 0.5])
    each = functional.binary_cross_entropy_with_logits(
        LOGITS, torch.nan_to_num(TARGETS), pos_weight=weights, reduction="none"
    )
    assert torch.allclose(MaskedLoss(positive_weights=(3.0, 0.5))(LOGITS, TARGETS), each[KNOWN].mean())


@pytest.mark.parametrize(("policy", "expected"), [("ignore", NAN), ("ones", 1.0), ("zeros", 0.0), ("soft", 0.5)])
def test_an_uncertain_target_becomes_what_the_policy_says_and_an_unknown_one_never_does(
    policy: UncertainPolicy, expected: float
) -> None:
    targets = np.array([[1, NAN, NAN]], dtype=np.float32)
    found = training_targets(targets, np.array([[False, True, False]]), policy)
    np.testing.assert_array_equal(found, np.array([[1, expected, NAN]], dtype=np.float32))


def test_treating_uncertain_as_positive_changes_the_loss_by_its_own_cross_entropy() -> None:
    targets, uncertain = TARGETS.numpy(), np.zeros((3, 2), dtype=bool)
    uncertain[0, 1] = True
    ignored, positive = (
        MaskedLoss()(LOGITS, torch.from_numpy(training_targets(targets, uncertain, policy)))
        for policy in ("ignore", "ones")
    )
    own = functional.softplus(-LOGITS[0, 1])
    assert torch.allclose(positive, (ignored * 4 + own) / 5)


def test_balancing_weights_make_both_classes_weigh_the_same() -> None:
    targets = (np.random.default_rng(0).random((500, 3)) < (0.1, 0.5, 0.9)).astype(np.float32)
    weights = balancing_weights(targets)
    np.testing.assert_allclose(targets.sum(axis=0) * weights, (1 - targets).sum(axis=0), rtol=1e-6)
