"""Which called images are measured: as many as the cost allows, patients first, drawn with a seed.

Costs are counted in passes of an image through a network, not in seconds: the same run measures the same images on
every machine, and an interrupted one goes on with those it would have measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medres.evaluation.heatmaps.faithfulness import DELETED, REMOVED

MAP = 2.0
"""Passes that a map costs: one forwards, and the last stage forwards and back."""

_ORDERS = 2  # the map's, and a random one
_SHUFFLED = 3  # networks whose weights are shuffled
_FOR_MAPS = 0.25  # of what may be spent, for maps alone


def cost_of_altering(networks: int, others: int) -> float:
    """Passes that all measures of one image of one label take, beside its map.

    Args:
        networks: whose mean the map is.
        others: other networks that draw it.
    """
    copies = 2 + _ORDERS * (2 * len(DELETED) + len(REMOVED))
    return networks * (copies + MAP * (1 + _SHUFFLED)) + MAP * others


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images of each label are measured."""

    mapped: int  # at most: maps are drawn
    altered: int  # of those, at most: they are altered and scored again as well


def counts(passes: float | None, *, labels: int, networks: int, others: int, most: int) -> Counts:
    """How many images of each label may be measured for so many passes.

    >>> counts(3000, labels=1, networks=1, others=2, most=200)
    Counts(mapped=200, altered=75)
    >>> counts(None, labels=3, networks=1, others=2, most=200)
    Counts(mapped=200, altered=200)

    Args:
        passes: that may be spent; None: no matter.
        labels: that are measured.
        networks: whose mean a map is.
        others: other networks that draw it.
        most: images of a label.
    """
    if passes is None:
        return Counts(most, most)
    share = passes / max(1, labels)
    altered = min(most, int(share * (1 - _FOR_MAPS) / cost_of_altering(networks, others)))
    return Counts(max(altered, min(most, int(share * _FOR_MAPS / (MAP * networks)))), altered)


def drawn(patients: Sequence[str], most: int, *, seed: Sequence[int]) -> list[int]:
    """Places of at most so many images: one of every patient in random order, then the second ones, and so on.

    >>> len(drawn(["a", "a", "b", "c"], 3, seed=[0])), sorted(drawn(["a", "a", "b", "c"], 9, seed=[0]))
    (3, [0, 1, 2, 3])
    """
    generator = np.random.default_rng(list(seed))
    names = sorted(set(patients))
    order = dict(zip(names, generator.permutation(len(names)).tolist(), strict=True))
    seen: dict[str, int] = {}
    keys = []
    for place in generator.permutation(len(patients)).tolist():
        name = patients[place]
        seen[name] = seen.get(name, -1) + 1
        keys.append((seen[name], order[name], place))
    return [place for _, _, place in sorted(keys)[:most]]
