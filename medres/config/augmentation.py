"""How training images are changed at random."""

from __future__ import annotations

from pydantic import Field

from medres.config.reading import Settings


class Augmentation(Settings):
    """Random changes to training images only, drawn for each image of a batch."""

    probability: float = Field(
        default=0.8, ge=0, le=1, description="Chance that an image is moved at all (0.8: one in five stays as it was)."
    )
    rotation: float = Field(
        default=10.0, ge=0, le=180, description="Largest rotation, degrees (10: patients are seldom turned further)."
    )
    translation: float = Field(
        default=0.08,
        ge=0,
        le=0.5,
        description="Largest shift, as a part of the side (0.08: positions differ, and little leaves the square).",
    )
    scaling: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Largest change of size, as a part of the size (0.1: bodies and magnification differ).",
    )
    intensity_scale: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Largest relative change of contrast (0.2: devices and windows differ, fine signs stay).",
    )
    intensity_shift: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Largest change of brightness, of [0, 1] (0.1: exposures differ, and few pixels leave the range).",
    )
    erasing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Chance that a rectangle of 2 to 20 % of the area is blanked (0: it may hide the only sign).",
    )
    noise: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Standard deviation of added Gaussian noise, of [0, 1] (0: radiographs have noise of their own).",
    )
    horizontal_flip: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Chance of a mirror image; only for a gate of limbs alone (0: the heart lies left).",
    )
