"""Random changes to a batch of training images, made where the batch lies: on the CPU or in the GPU's memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from medres.config import Augmentation
from medres.model.device import uploaded
from medres.training.distributed import ALONE, Processes


class BatchAugmentation:
    """MONAI's RandAffine, RandFlip, RandScaleIntensity, RandShiftIntensity, RandGaussianNoise and random erasing, for a
    whole batch.

    Each image gets changes of its own. A transform that is called image by image costs more than a small network's
    step; a batched one costs a few per cent of it. The numbers are drawn on the CPU from one generator, so that a seed
    gives the same changes on any device; noise alone is drawn where the images lie.

    Args:
        augmentation: what is changed how much.
        seed: of all changes.
        batch: images of a whole batch, where processes share it; else as many as there are.
        processes: those that share a batch.
    """

    def __init__(
        self, augmentation: Augmentation, *, seed: int, batch: int | None = None, processes: Processes = ALONE
    ) -> None:
        self.augmentation = augmentation
        self.batch = batch
        self.processes = processes
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, images: Tensor) -> Tensor:
        """Images float32 (N, 1, S, S), changed."""
        wanted = self.augmentation
        # every number is drawn whether it is used or not: switching one change off leaves the others as they were
        moved, turn, down, across, size, flip, contrast, brightness = self._draw(8, len(images)).unbind()
        apply = (moved < wanted.probability).float()
        theta = affine_matrices(
            _spread(turn) * math.radians(wanted.rotation) * apply,
            self._shifts(torch.stack([_spread(down), _spread(across)], 1), images.shape[-1]) * apply[:, None],
            1 + _spread(size) * wanted.scaling * apply,
        )
        theta[:, :, 0] *= torch.where(flip < wanted.horizontal_flip, -1.0, 1.0)[:, None]
        factor, shift = 1 + _spread(contrast) * wanted.intensity_scale, _spread(brightness) * wanted.intensity_shift
        # all this is computed on the CPU, exactly, and goes to a GPU in one piece
        numbers = uploaded(torch.cat([theta.flatten(1), factor[:, None], shift[:, None]], 1), images.device)
        images = moved_images(images, numbers[:, :6].view(-1, 2, 3))
        images = images * numbers[:, 6, None, None, None]
        images = images + numbers[:, 7, None, None, None]
        images = images + torch.randn_like(images) * wanted.noise if wanted.noise else images
        return self._erased(images) if wanted.erasing else images

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Inside, what fails (memory that runs out) takes no numbers: done again, it makes the same changes."""
        state = self.generator.get_state()
        try:
            yield
        except BaseException:
            self.generator.set_state(state)
            raise

    def _draw(self, numbers: int, images: int) -> Tensor:
        """Random numbers in [0, 1) for the images of this process, (numbers, images): drawn for the whole batch."""
        whole = images if self.batch is None else self.batch
        return torch.rand(numbers, whole, generator=self.generator)[:, self.processes.rank :: self.processes.count]

    def _erased(self, images: Tensor) -> Tensor:
        """Some images with a rectangle, 2 to 20 % of the area, set to their mean (Zhong et al. 2020)."""
        side, device = images.shape[-1], images.device
        chosen, area, shape, down, across = uploaded(self._draw(5, len(images)), device)[:, :, None].unbind()
        ratio = torch.exp(_spread(shape) * math.log(3))
        height, width = (torch.sqrt((0.02 + 0.18 * area) * part).clamp(max=1) for part in (ratio, 1 / ratio))
        at = (torch.arange(side, device=device)[None] + 0.5) / side
        rows = (at >= down * (1 - height)) & (at < down * (1 - height) + height)
        columns = (at >= across * (1 - width)) & (at < across * (1 - width) + width)
        gone = rows[:, :, None] & columns[:, None, :] & (chosen < self.augmentation.erasing)[:, :, None]
        return torch.where(gone[:, None], images.mean(dim=(2, 3), keepdim=True), images)

    def _shifts(self, spread: Tensor, side: int) -> Tensor:
        """Shifts by whole pixels, as parts of the side: where nothing else is changed, resampling does not blur."""
        return torch.round(spread * self.augmentation.translation * side) / side


def affine_matrices(angles: Tensor, shifts: Tensor, scales: Tensor) -> Tensor:
    """What maps a place in the new image to one in the old: float32 (N, 2, 3), as torch's `affine_grid` asks.

    Args:
        angles: (N,), radians.
        shifts: (N, 2), down and across, as parts of the side.
        scales: (N,), factors.
    """
    cosine, sine = torch.cos(angles), torch.sin(angles)
    turn = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    offset = turn @ (2 * shifts.flip(1))[:, :, None]  # x comes first, and the side is 2 long
    return torch.cat([turn * scales[:, None, None], offset], 2)


def moved_images(images: Tensor, matrices: Tensor) -> Tensor:
    """Images (N, 1, S, S) resampled bilinearly through `affine_matrices`; what lies beyond the border repeats it."""
    rows, columns = images.shape[2:]
    x, y = (torch.linspace(-1, 1, side, device=images.device) * (side - 1) / side for side in (columns, rows))
    across, down, offset = (matrices[:, None, None, :, part] for part in range(3))
    # products and sums, and no matrix product: a GPU may be set to do those with 10 bits, which would blur whole shifts
    grid = torch.addcmul(across * x[None, None, :, None], down, y[None, :, None, None])
    grid = torch.addcmul(grid, offset, offset.new_ones(()))
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _spread(uniform: Tensor) -> Tensor:
    """From [0, 1) to [−1, 1)."""
    return 2 * uniform - 1
