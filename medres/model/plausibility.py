"""Is this image of the kind that a model was trained on? Its view, laterality and polarity, against the cohort's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medres.cohort.profile import DEFINED_TERMS, RARE, UNKNOWN, CohortProfile, Occurring

if TYPE_CHECKING:
    from medres.imaging.preprocessing import Prepared
    from medres.records import Radiograph

_MOST_UNRECORDED = 0.05  # of the cohort's images; where more say nothing, a value may have been among them


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the training cohorts of a model, or of the members of an ensemble, had."""

    profiles: tuple[CohortProfile, ...]

    def doubts(self, image: Radiograph | Prepared, pixels: NDArray[np.uint16]) -> tuple[str, ...]:
        """Reason codes for which a human must look: VIEW_UNSEEN, LATERALITY_UNSEEN, POLARITY_UNLIKELY.

        A profile that cannot tell, as those of earlier versions in part, is silent; an ensemble doubts what all of its
        members do.

        Args:
            image: its header's values.
            pixels: the image as the network sees it, (size, size).
        """
        found = []
        if self._never("ViewPosition", image.view_position):
            found.append("VIEW_UNSEEN")
        if self._never("ImageLaterality", image.laterality):
            found.append("LATERALITY_UNSEEN")
        if self._all(profile.layout is not None and profile.layout.is_negative(pixels) for profile in self.profiles):
            found.append("POLARITY_UNLIKELY")
        return tuple(found)

    def _never(self, tag: str, value: str) -> bool:
        return self._all(never_occurred(profile, tag, value) for profile in self.profiles)

    def _all(self, said: Iterable[bool]) -> bool:
        return bool(self.profiles) and all(said)


def never_occurred(profile: CohortProfile, tag: str, value: str) -> bool:
    """Whether a profile tells that no image of its cohort had this value: of a tag that nearly all of them record."""
    known = profile.occurring.get(tag) or _counted(profile, tag)
    asked = value.strip().upper()
    if known is None or not asked or known.recorded < 1 - _MOST_UNRECORDED or asked in known.values:
        return False
    if tag == "ImageLaterality" and asked not in DEFINED_TERMS[tag]:  # U: unpaired
        return False
    return not known.others or asked in DEFINED_TERMS[tag]


def _counted(profile: CohortProfile, tag: str) -> Occurring | None:
    """What earlier profiles tell by their counts alone: nothing where these hide a value among rare ones."""
    counts = profile.categories.get(tag, {})
    if not counts or RARE in counts or not profile.images:
        return None
    unrecorded = counts[UNKNOWN].images / profile.images if UNKNOWN in counts else 0.0
    values = tuple(name.upper() for name in counts if name != UNKNOWN)
    return Occurring(values=values, others=False, recorded=1 - unrecorded)
