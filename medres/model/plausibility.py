"""Is this image of the kind that a model was trained on? Its view, laterality and polarity, against the cohort's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medres.cohort.profile import BROADER_TERMS, DEFINED_TERMS, RARE, UNKNOWN, CohortProfile, Occurring

if TYPE_CHECKING:
    from medres.imaging.preprocessing import Prepared
    from medres.records import Radiograph

_UNPAIRED = frozenset({"U"})  # an ImageLaterality that tells no side
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
    """Whether a profile tells that no image of its cohort had this value: of a tag that nearly all of them record.

    It tells nothing where the cohort used words of its own, as a manifest's FRONTAL: PA may be what they mean.
    """
    known = profile.occurring.get(tag) or _counted(profile, tag)
    asked, terms = value.strip().upper(), DEFINED_TERMS[tag]
    if known is None or not asked or not known.values or not (terms | _UNPAIRED).issuperset(known.values):
        return False
    if asked not in terms and (known.others or tag == "ImageLaterality"):
        return False
    if known.recorded - _told_as_rare(profile, tag, known) < 1 - _MOST_UNRECORDED:
        return False
    return not any(may_be_called(asked, term) or may_be_called(term, asked) for term in known.values)


def may_be_called(view: str, term: str) -> bool:
    """Whether a view goes by a term, or by one that says less.

    >>> may_be_called("LL", "LATERAL"), may_be_called("LL", "RL"), may_be_called("LLD", "LATERAL")
    (True, False, False)
    """
    return view == term or view in BROADER_TERMS.get(term, ())


def _told_as_rare(profile: CohortProfile, tag: str, known: Occurring) -> float:
    """The share of the images whose value is not told, at most."""
    rare = profile.categories.get(tag, {}).get(RARE)
    return rare.images / profile.images if known.others and rare is not None else 0.0


def _counted(profile: CohortProfile, tag: str) -> Occurring | None:
    """What earlier profiles tell by their counts alone: nothing where these hide a value among rare ones."""
    counts = profile.categories.get(tag, {})
    if not counts or RARE in counts or not profile.images:
        return None
    unrecorded = counts[UNKNOWN].images / profile.images if UNKNOWN in counts else 0.0
    values = tuple(name.upper() for name in counts if name != UNKNOWN)
    return Occurring(values=values, others=False, recorded=1 - unrecorded)
