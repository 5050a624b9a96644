"""What is said of an export, and of how far readers agree: one sentence a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medres.formatting import NO_INTERVAL, estimate, sample
from medres.review.verdicts.agreement import Counts, Pair
from medres.review.verdicts.exporting import Exported, Source
from medres.review.verdicts.record import Opinion

_WORDS: Mapping[Opinion, str] = {
    "agree": "agreed",
    "disagree": "disagreed",
    "unsure": "unsure",
    "own": "own grade",
    "skipped": "skipped",
}


def lines(found: Exported, source: Source) -> Iterator[str]:
    """An account of an export."""
    if not source.whole:
        lost = f", and {source.lost} are lost" if source.lost else ""
        yield f"the store is damaged: {found.verdicts} verdicts could be read{lost}; restore its last backup"
    yield f"{found.folder}: {found.verdicts} verdicts"
    for count in found.agreement.counts:
        yield counted(count)
    for pair in found.agreement.pairs:
        yield paired(pair)
    if found.labelled:
        yield f"{found.folder / 'manifest.csv'}: {found.labelled} images for `medres train`, {found.left_out} left out"


def counted(one: Counts) -> str:
    """What one reader said.

    >>> counted(Counts("nodule", "Dr. A", {"agree": 2, "unsure": 1}, 3))
    'nodule, Dr. A: 3 images: agreed 2, unsure 1'
    """
    said = ", ".join(f"{word} {one.said[name]}" for name, word in _WORDS.items() if one.said.get(name))
    return f"{one.label}, {one.reader}: {one.images} images: {said}"


def paired(one: Pair) -> str:
    """How far two agree."""
    alike = f"the same of {one.alike} of {one.images}" if one.images else "no image in common"
    return (
        f"{one.label}, {one.first} and {one.second}: {alike}; kappa {estimate(one.kappa, without=NO_INTERVAL)}, "
        f"{sample(one.kappa)}"
    )
