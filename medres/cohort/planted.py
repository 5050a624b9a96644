"""What the search for near-duplicates finds of copies that were planted: silence about the rest is no all-clear."""

from __future__ import annotations

from collections.abc import Mapping

PLANTED = 30
"""Copies of each kind that were planted in 1,000 images of either cohort to see how many are found."""

FOUND_OF_PLANTED: Mapping[str, Mapping[str, int]] = {
    "compressed again": {"chests": 30, "knees": 30},
    "other brightness": {"chests": 30, "knees": 30},
    "mirrored": {"chests": 30, "knees": 30},
    "inverted": {"chests": 30, "knees": 30},
    "mirrored and inverted": {"chests": 30, "knees": 30},
    "cropped by up to 10 %": {"chests": 30, "knees": 28},
    "cropped by 20 %": {"chests": 30, "knees": 30},
    "turned by 3 degrees": {"chests": 30, "knees": 30},
    "turned by 7 degrees": {"chests": 30, "knees": 30},
    "cropped by 20 % at a corner": {"chests": 30, "knees": 30},
}
"""How many were, by kind and cohort, without a false alarm: NIH ChestX-ray14 at 64 × 64 pixels, and OAI knees. See
`tests/test_planted.py`."""


def what_is_found() -> str:
    """How much of what was planted the search finds, in one line: silence about the rest is no all-clear."""
    counts = (f"{kind} {found['chests']} and {found['knees']}" for kind, found in FOUND_OF_PLANTED.items())
    return (
        f"copies of an image: of {PLANTED} planted of each kind in chest and in knee radiographs the search finds: "
        f"{', '.join(counts)}; what is cropped or turned further is not found"
    )
