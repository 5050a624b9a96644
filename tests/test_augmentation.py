from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import Affine

from medres.config import Augmentation
from medres.training.augmentation import BatchAugmentation, affine_matrices, moved_images

STILL = Augmentation(
    probability=1,
    rotation=0,
    translation=0,
    scaling=0,
    intensity_scale=0,
    intensity_shift=0,
    noise=0,
    horizontal_flip=0,
)


def pictures(count: int = 4, size: int = 40) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


@given(st.floats(-0.7, 0.7), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(0.8, 1.2))
def test_an_image_is_moved_as_monai_moves_it(angle: float, down: float, across: float, scale: float) -> None:
    image = pictures(1)
    side = image.shape[-1]
    monai = Affine(
        rotate_params=angle,
        translate_params=(down * side, across * side),
        scale_params=(scale, scale),
        padding_mode="border",
        image_only=True,
    )
    matrices = affine_matrices(torch.tensor([angle]), torch.tensor([[down, across]]), torch.tensor([scale]))
    assert np.allclose(moved_images(image, matrices)[0].numpy(), monai(image[0]).numpy(), atol=2e-4)


def test_nothing_asked_for_changes_nothing() -> None:
    assert torch.allclose(BatchAugmentation(STILL, seed=1)(pictures()), pictures(), atol=1e-5)


def test_a_certain_flip_mirrors_left_and_right() -> None:
    flipped = BatchAugmentation(STILL.model_copy(update={"horizontal_flip": 1.0}), seed=1)(pictures())
    assert torch.allclose(flipped, pictures().flip(-1), atol=1e-5)


def test_one_seed_gives_the_same_changes_and_another_gives_others() -> None:
    made = [BatchAugmentation(Augmentation(), seed=seed)(pictures()) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2], atol=1e-3)


def test_images_of_one_batch_are_changed_differently() -> None:
    same = pictures(1).expand(8, -1, -1, -1)
    made = BatchAugmentation(Augmentation(), seed=0)(same)
    assert len({image.numpy().tobytes() for image in made}) == 8


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_the_asked_part_of_the_images_is_moved(probability: float) -> None:
    asked = STILL.model_copy(update={"probability": probability, "rotation": 20.0})
    images = pictures(1, 16).expand(400, -1, -1, -1)
    moved = (BatchAugmentation(asked, seed=3)(images) - images).abs().amax((1, 2, 3)) > 1e-3
    assert moved.float().mean().item() == pytest.approx(probability, abs=3 * math.sqrt(0.25 * 0.75 / 400))


def test_contrast_and_brightness_stay_within_what_was_asked() -> None:
    asked = STILL.model_copy(update={"intensity_scale": 0.2, "intensity_shift": 0.1})
    flat = torch.full((200, 1, 4, 4), 0.5)
    values = BatchAugmentation(asked, seed=0)(flat)
    assert values.min() >= 0.5 * 0.8 - 0.1 - 1e-6
    assert values.max() <= 0.5 * 1.2 + 0.1 + 1e-6
    assert values.amax((1, 2, 3)).std() > 0.05


@given(st.integers(0, 2**31))
def test_a_mere_shift_moves_by_whole_pixels_and_does_not_blur(seed: int) -> None:
    images = pictures()
    shifted = BatchAugmentation(STILL.model_copy(update={"translation": 0.1}), seed=seed)(images)
    for before, after in zip(images[:, 0], shifted[:, 0], strict=True):
        inner = after[4:-4, 4:-4]
        windows = before.unfold(0, 32, 1).unfold(1, 32, 1)  # every place it may have come from, at most 4 pixels away
        assert torch.isclose(windows, inner, atol=1e-4).all(dim=(2, 3)).any()


@given(st.integers(0, 2**31))
def test_erasing_blanks_one_rectangle_of_some_size_and_nothing_else(seed: int) -> None:
    images = pictures(size=60) + 1
    erased = BatchAugmentation(STILL.model_copy(update={"erasing": 1.0}), seed=seed)(images)
    for before, after in zip(images[:, 0], erased[:, 0], strict=True):
        changed = (before - after).abs() > 1e-4
        rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert 0.005 < height * width / 60**2 < 0.25
        assert torch.isclose(after[changed], before.mean(), atol=1e-4).all()
        assert changed.float().mean() > 0.9 * height * width / 60**2
