"""How another cohort differs from the one a model learned from: tags, intensities, and the model's own features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medres.cohort.profile import INTENSITIES, NUMBERS, RARE, CohortProfile, Count, Distribution
from medres.evaluation.results import CohortSize, Shift, ShiftRecord
from medres.statistics.intervals import wilson_bounds

MEANINGFUL = 0.1
"""A standardised difference below this is usually taken for balance (Austin 2009)."""

OUTLIERS_EXPECTED = "training: the share of the validation images for which the cut was set"


def shifts(training: CohortProfile, here: CohortProfile, *, confidence: float = 0.95) -> list[Shift]:
    """Every tag and intensity of two cohorts side by side.

    Shares of images with Newcombe's interval for a difference, means as standardised differences with Hedges and
    Olkin's; in both patients are the sample, because images of one patient are not independent. `differs`: the interval
    excludes 0, and a standardised difference is 0.1 or more. With a line in twenty that is so by chance.

    Source: Newcombe 1998 (method 10); Hedges and Olkin 1985; Austin 2009.
    """
    found = []
    for tag, counts in training.categories.items():
        others = here.categories.get(tag, {})
        values = sorted({*counts, *others}, key=lambda name: (name == RARE, name))
        found += [_share(tag, value, (training, counts), (here, others), confidence) for value in values]
    for name, title in NUMBERS.items():
        found.append(_mean("tags", title, training.numbers.get(name), here.numbers.get(name), confidence))
    for name, title in INTENSITIES.items():
        pair = training.intensities.get(name), here.intensities.get(name)
        found.append(_mean("intensities", f"intensity of the image: {title}", *pair, confidence))
    return found


def merged_profile(profiles: Sequence[CohortProfile]) -> CohortProfile:
    """The cohort that the folds of a run learned from together, from what each fold's card says of its own part.

    Every patient is in all parts but the one that held it out, so that shares, means and deviations over all parts are
    those of the whole cohort, and counts are a fold less than as many times too great. Values that a part may
    hide among its rare ones are not told apart here. Quantiles cannot be merged.
    """
    if len(profiles) == 1:
        return profiles[0]
    times = len(profiles) - 1
    return CohortProfile(
        images=round(sum(one.images for one in profiles) / times),
        patients=round(sum(one.patients for one in profiles) / times),
        categories={
            tag: _merged_counts([one.categories.get(tag, {}) for one in profiles], times)
            for tag in profiles[0].categories
        },
        numbers=_merged_numbers([one.numbers for one in profiles], times),
        intensities=_merged_numbers([one.intensities for one in profiles], times),
    )


def _merged_counts(parts: Sequence[dict[str, Count]], times: int) -> dict[str, Count]:
    values = sorted({value for part in parts for value in part} - {RARE})
    told = [value for value in values if all(value in part or RARE not in part for part in parts)]
    groups = {value: [part[value] for part in parts if value in part] for value in told}
    rest = [count for part in parts for value, count in part.items() if value not in told]
    if rest:
        groups[RARE] = rest
    return {
        value: Count(
            images=round(sum(count.images for count in counts) / times),
            patients=round(sum(count.patients for count in counts) / times),
        )
        for value, counts in groups.items()
    }


def _merged_numbers(parts: Sequence[dict[str, Distribution]], times: int) -> dict[str, Distribution]:
    found = {}
    for name in parts[0]:
        if any(name not in part for part in parts):
            continue
        known = [part[name] for part in parts]
        weights = [one.images for one in known]
        mean = float(np.average([one.mean for one in known], weights=weights))
        squares = np.average([one.deviation**2 + (one.mean - mean) ** 2 for one in known], weights=weights)
        found[name] = Distribution(
            images=round(sum(weights) / times),
            patients=round(sum(one.patients for one in known) / times),
            mean=mean,
            deviation=float(np.sqrt(squares)),
            quantiles=(),
        )
    return found


def outlier_shift(
    *,
    expected: float,
    expected_counts: tuple[int, int],
    beyond: float,
    counts: tuple[int, int],
    confidence: float = 0.95,
) -> Shift:
    """The share of images beyond the frozen outlier cut, beside the share of validation images for which it was set.

    Args:
        expected: that share.
        expected_counts: those images, and their patients.
        beyond: the share here.
        counts: images and patients here.
        confidence: of the interval.
    """
    low, high = newcombe(expected, expected_counts[1], beyond, counts[1], confidence=confidence)
    return Shift(
        "features", "beyond the outlier cut of feature distances", OUTLIERS_EXPECTED,
        expected, beyond, beyond - expected, low, high,
        "share", not low <= 0 <= high, *expected_counts, *counts,
    )  # fmt: skip


def newcombe(first: float, m: float, second: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of second − first for shares of m and n (Newcombe 1998, method 10: from Wilson's score intervals).

    >>> [round(bound, 4) for bound in newcombe(48 / 80, 80, 56 / 70, 70)]
    [0.0524, 0.3339]
    """
    low_1, high_1 = wilson_bounds(first, m, confidence=confidence)
    low_2, high_2 = wilson_bounds(second, n, confidence=confidence)
    difference = second - first
    low = difference - np.sqrt((second - low_2) ** 2 + (high_1 - first) ** 2)
    return float(low), float(difference + np.sqrt((high_2 - second) ** 2 + (first - low_1) ** 2))


def standardised_difference(
    first: Distribution, second: Distribution, *, confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Second − first in pooled standard deviations with its bounds; None where neither cohort varies."""
    from scipy.stats import norm

    gap = second.mean - first.mean
    pooled = float(np.sqrt((first.deviation**2 + second.deviation**2) / 2))
    if pooled == 0:
        return None
    value, m, n = gap / pooled, first.patients, second.patients
    reach = float(norm.isf((1 - confidence) / 2)) * float(np.sqrt((m + n) / (m * n) + value**2 / (2 * (m + n))))
    return value, value - reach, value + reach


def _share(
    tag: str,
    value: str,
    training: tuple[CohortProfile, dict[str, Count]],
    here: tuple[CohortProfile, dict[str, Count]],
    confidence: float,
) -> Shift:
    (one, first), (two, second) = training, here
    shares = [_part(value, counts, profile) for profile, counts in (training, here)]
    rare = [_part(RARE, counts, profile) for profile, counts in (training, here)]
    known = [value in counts or RARE not in counts for counts in (first, second)]
    counts = (one.images, one.patients, two.images, two.patients)
    if value == RARE:  # not the same values on both sides
        return Shift("tags", tag, value, shares[0], shares[1], None, None, None, "share", False, *counts)
    near = list(shares)  # where a side may hide the value among its rare ones: as much of it as brings both together
    for side in (0, 1):
        if not known[side]:
            near[side] = min(shares[1 - side], rare[side])
    low, high = newcombe(near[0], one.patients, near[1], two.patients, confidence=confidence)
    differs = not low <= 0 <= high
    one_share, two_share = (share if sure else None for share, sure in zip(shares, known, strict=True))
    if one_share is None or two_share is None:
        return Shift("tags", tag, value, one_share, two_share, None, None, None, "share", differs, *counts)
    difference = two_share - one_share
    return Shift("tags", tag, value, one_share, two_share, difference, low, high, "share", differs, *counts)


def _part(value: str, counts: dict[str, Count], profile: CohortProfile) -> float:
    return counts[value].images / profile.images if value in counts else 0.0


def _mean(group: str, name: str, first: Distribution | None, second: Distribution | None, confidence: float) -> Shift:
    means = (first.mean if first else None), (second.mean if second else None)
    counts = [count for side in (first, second) for count in ((side.images, side.patients) if side else (0, 0))]
    if first is None or second is None:
        return Shift(group, name, "", *means, None, None, None, "standard deviations", False, *counts)
    found = standardised_difference(first, second, confidence=confidence)
    if found is None:
        differs = first.mean != second.mean
        return Shift(group, name, "", *means, None, None, None, "standard deviations", differs, *counts)
    value, low, high = found
    differs = abs(value) >= MEANINGFUL and not low <= 0 <= high
    return Shift(group, name, "", *means, value, low, high, "standard deviations", differs, *counts)


def shift_record(training: CohortProfile, here: CohortProfile, outliers: Shift, *, confidence: float) -> ShiftRecord:
    """How a cohort differs from the training cohort, as `run.json` keeps it."""
    lines = [outliers, *shifts(training, here, confidence=confidence)]
    return ShiftRecord(
        sentence=sentence(lines),
        training=CohortSize(images=training.images, patients=training.patients),
        here=CohortSize(images=here.images, patients=here.patients),
        lines=tuple(lines),
    )


def sentence(lines: Sequence[Shift]) -> str:
    """What differs, in one sentence."""
    outliers = next(line for line in lines if line.group == "features")
    beyond = (
        f"{outliers.here:.1%} of the images lie beyond the outlier cut, which was set so that {outliers.training:.1%} "
        "of the validation images did"
    )
    beyond = beyond.replace("%", " %")
    names = list(dict.fromkeys(line.name.split(",")[0] for line in lines if line.differs and line.group == "tags"))
    if any(line.differs and line.group == "intensities" for line in lines):
        names.append("image intensities")
    return (
        f"{beyond}; the cohort differs from the training cohort in {', '.join(names) or 'nothing that was measured'}."
    )
