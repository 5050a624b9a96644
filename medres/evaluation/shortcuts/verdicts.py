"""What the shortcut probes mean, in words: a verdict says which figures it rests on, and never more than they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from medres.evaluation.shortcuts.alterations import CORNERS_ONLY, WITHOUT_CENTRE
from medres.evaluation.shortcuts.results import AlterationResults, ColumnResults, ShortcutVerdict, VerdictThresholds
from medres.formatting import NO_INTERVAL, estimate
from medres.records import Interval

Anatomy = Literal["much", "part", "little", "open", "undefined"]
"""How much of what a score is above chance survives without the anatomy."""

MUCH = 0.5
"""Half: from here on more of the score may come from elsewhere than from the anatomy."""

LITTLE = 0.25
"""A quarter: of the smallest AUROC worth reporting (0.6) it is 0.025, more than seeds differ by (0.004 to 0.017)."""

THRESHOLDS = VerdictThresholds(much=MUCH, little=LITTLE)


def verdict(
    whole: Interval, alterations: Mapping[str, AlterationResults], columns: Mapping[str, ColumnResults]
) -> ShortcutVerdict:
    """The verdict on one label.

    The whole interval must be on one side: `much` of the score survives where at least half surely does, `part` where
    some surely does, `little` where surely less than half does and perhaps nothing, or less than a quarter; else it is
    `open`. A column of metadata is named where it alone gives at least half of what the score is above chance, and
    the score surely loses a quarter of that among images that share its value (or what survives without the anatomy
    surely loses half there, or there is no pair to compare).

    Args:
        whole: the AUROC of the unaltered images.
        alterations: by name, what is left of it when a part of every image is hidden.
        columns: by name, what each column of metadata knows of the label.
    """
    hidden, corners = (alterations[one.name] for one in (WITHOUT_CENTRE, CORNERS_ONLY))
    anatomy = _anatomy(hidden.kept)
    survives = anatomy in ("much", "part")
    in_corners = survives and _at_least(corners.kept, MUCH)
    above = None if whole.value is None or whole.low is None or whole.low <= 0.5 else whole.value - 0.5
    named = [name for name, one in columns.items() if above and _stands_in(one, above, hidden, survives)]
    sentences = [_of_anatomy(anatomy, whole, hidden.auroc)]
    if in_corners:
        sentences.append(f"The four corners of the image alone give {_shown(corners.auroc)}.")
    sentences += [_of_column(name, columns[name], survives=survives) for name in named]
    if not named and anatomy != "undefined":
        count = len(columns)
        sentences.append(
            f"Of {count} column{'s' if count > 1 else ''} of metadata none stands in for it."
            if count
            else "There are no metadata to compare it with."
        )
    return ShortcutVerdict(
        anatomy=anatomy,
        corners=in_corners,
        columns=tuple(named),
        suspect=anatomy == "much" or bool(named),
        sentences=tuple(sentences),
    )


def _anatomy(kept: Interval) -> Anatomy:
    if kept.value is None or kept.low is None or kept.high is None:
        return "undefined"
    if kept.low >= MUCH:
        return "much"
    if kept.high < LITTLE or (kept.low <= 0 and kept.high < MUCH):
        return "little"
    return "part" if kept.low > 0 else "open"


def _at_least(share: Interval, bound: float) -> bool:
    return share.value is not None and share.low is not None and share.value >= bound and share.low > 0


def _stands_in(figures: ColumnResults, above: float, hidden: AlterationResults, survives: bool) -> bool:
    alone = figures.alone
    if alone.value is None or alone.value - 0.5 < MUCH * above or (alone.low is not None and alone.low <= 0.5):
        return False
    if figures.within.value is None or _surely_loses(figures.difference, LITTLE * above):
        return True
    left = hidden.auroc.value
    return survives and left is not None and _surely_loses(figures.hidden_difference, MUCH * (left - 0.5))


def _surely_loses(difference: Interval, least: float) -> bool:
    return (
        difference.value is not None and difference.low is not None and difference.value >= least and difference.low > 0
    )


def _of_anatomy(anatomy: Anatomy, whole: Interval, hidden: Interval) -> str:
    if whole.value is None:
        return "Shortcuts cannot be told: the AUROC is undefined."
    if whole.low is None or whole.low <= 0.5:
        return f"Shortcuts cannot be told: the score itself is not surely better than chance (AUROC {_shown(whole)})."
    figures = f"with the centre of every image hidden its AUROC is {_shown(hidden)}, with it {_shown(whole)}"
    return {
        "undefined": f"Shortcuts cannot be told, what is left without the anatomy has no interval: {figures}.",
        "much": f"Much of this score does not need the anatomy: {figures}.",
        "part": f"Part of this score does not need the anatomy: {figures}.",
        "little": f"Little of this score is left without the anatomy: {figures}.",
        "open": f"Whether this score needs the anatomy stays open, the interval is too wide: {figures}.",
    }[anatomy]


def _of_column(name: str, figures: ColumnResults, *, survives: bool) -> str:
    alike = f" (or {', '.join(figures.alike)}, dividing the images alike)" if figures.alike else ""
    alone = f"{name}{alike} alone, without any image, gives {_shown(figures.alone)}"
    if figures.within.value is None:
        return f"{alone}; no two images of the same {name} differ in the label, so the two cannot be told apart."
    within = f"among images of the same {name} the score has {_shown(figures.within)}"
    hidden = f", with the centre hidden {_shown(figures.hidden_within)}" if survives else ""
    return f"{alone}; {within}{hidden}."


def _shown(found: Interval) -> str:
    """A figure with its interval, as a sentence has it."""
    return estimate(found, without=NO_INTERVAL)
